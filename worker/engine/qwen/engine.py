"""QwenEngine, the library's entry: load a model, make voices, and speak many requests at once.

    engine = QwenEngine.load("DIR-or-hub-name", device="cpu", dtype="float32", slots=8)
    voice = engine.prompt(audio, sample_rate_hz, transcript="…", mode="icl")
    results = engine.synthesize([SpeechRequest(text="Hello.", language="English", voice=voice)])

Errors: ModelError (the model cannot be loaded), PromptError (a text, language or voice cannot be spoken), EngineError,
and ValueError for a SpeechRequest or Sampling out of range. An engine is not thread-safe.
"""

from __future__ import annotations

import resource
import secrets
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.base import N_CODEBOOKS, NO_CODES, EngineError, Frames
from worker.engine.checkpoint.room import SlotCount
from worker.engine.qwen.active_segment import ActiveSegment, Codes
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule
from worker.engine.qwen.loader import Model, lack_of_memory, load
from worker.engine.qwen.prompt import Prefill, Prompter, Voice, language_name
from worker.engine.qwen.read_along import ReadAlong
from worker.engine.qwen.runner import ModelRunner
from worker.engine.qwen.speech import Event, SpeechRequest, SpeechResult
from worker.text.budget import frame_budget

LAUNCHES = ("frame", "prefill", "codec")
MIN_PROMPT_S = 0.2  # the encoders' windows need as much; a good voice needs 3 s and more


class QwenEngine:
    """A loaded model with `slots` rows. Make one with `load`."""

    def __init__(self, model: Model, slots: int, max_positions: int) -> None:
        if slots < 1 or max_positions < 2:
            raise ValueError(f"{slots} slots and {max_positions} positions are too few; give at least 1 and 2")
        self.model = model
        self._max_positions = max_positions
        with torch.inference_mode():
            self._prompter = Prompter(model.talker, model.config, model.tokenizer)
            self._runner = ModelRunner(model, slots, max_positions)
        self._batch: Batch | None = None
        self._is_warm = False
        self._n_outside_bytes = 0
        self._speaking: dict[int, int] = {}  # index of a request -> its slot

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        slots: SlotCount = "auto",
        attention: str = "auto",
        kernels: str = "auto",
        max_positions: int = 2048,
        warm: bool = True,
    ) -> QwenEngine:
        """Load a Qwen3-TTS Base model from a directory or the local hub cache. Raises ModelError.

        device: auto, cpu, cuda or cuda:N. dtype: auto (bfloat16 on a GPU and where a CPU multiplies it, else float32),
        bfloat16, float16, float32 or float64. slots: the most requests spoken at once; auto is 64 on a GPU and 8 on a
        CPU, or the most that memory allows. attention: auto, sdpa or flash. kernels: auto (triton on a GPU, loops in
        float32 on a CPU), triton, loops or torch. max_positions: the most of one request's prompt and frames together;
        memory grows with it. warm: call `warm_up`.
        """
        model = load(
            name, device=device, dtype=dtype, attention=attention, slots=slots, n_positions=max_positions,
            kernels=kernels,
        )  # fmt: skip
        with lack_of_memory(f"{model.n_slots} slots"):
            engine = cls(model, model.n_slots, max_positions)
        if warm:
            engine.warm_up()
        return engine

    @property
    def n_slots(self) -> int:
        return self._runner.n_slots

    @property
    def memory_bytes(self) -> int:
        """Memory in use: on a GPU torch's and, once warm, what it had taken beside it, such as CUDA graphs.

        On a CPU the process's peak resident size.
        """
        if self.model.device.type == "cuda":
            return torch.cuda.memory_reserved(self.model.device) + self._n_outside_bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    @property
    def eager_launches(self) -> dict[str, int] | None:
        """Launches that ran without a CUDA graph, slower and with the same result, by kind; None on a CPU."""
        if self.model.device.type != "cuda":
            return None
        counts = self._runner.n_eager
        return {kind: counts[kind] for kind in LAUNCHES}

    def _outside_bytes(self) -> int:
        """What this process has taken of the GPU since the load, and torch's allocator does not count."""
        if self.model.free_bytes is None:
            return 0
        free, _ = torch.cuda.mem_get_info(self.model.device)
        return max(0, self.model.free_bytes - free - torch.cuda.memory_reserved(self.model.device))

    def warm_up(self) -> None:
        """Run every usual shape once; on a GPU capture its CUDA graph. Later calls do nothing.

        Without it memory grows for a while, and a GPU runs without graphs. It uses the slots: raises EngineError while
        a stream is open.
        """
        if self._batch is not None:
            raise EngineError("a stream of this engine is open", "warm the engine up before, or close the stream")
        if not self._is_warm:
            with lack_of_memory(f"{self.n_slots} slots and their CUDA graphs"):
                self._runner.warm_up()
            self._is_warm = True
            self._n_outside_bytes = self._outside_bytes()

    @property
    def fingerprint(self) -> str:
        """Of all that a stored voice depends on except dtype: the weights and the layout of the codec's state."""
        return f"{self.model.fingerprint} {self._runner.codec.layout}"

    @torch.inference_mode()
    def prompt(
        self,
        audio: NDArray[np.float32],
        sample_rate_hz: int,
        transcript: str | None = None,
        mode: Literal["icl", "x_vector"] = "icl",
    ) -> Voice:
        """Make a voice from a mono recording, float32 [samples], encoded exactly as given. Raises ValueError."""
        audio = _checked_audio(audio, sample_rate_hz)
        if mode == "icl" and not (transcript and transcript.strip()):
            raise ValueError('mode "icl" needs the transcript of the recording; give it, or use mode="x_vector"')
        if mode not in ("icl", "x_vector"):
            raise ValueError(f'the mode {mode!r} is unknown; use "icl" or "x_vector"')
        codes, speaker = self.model.encode_reference(audio, sample_rate_hz, transcript, mode)
        return self.voice(mode, speaker, codes, transcript)

    @torch.inference_mode()
    def voice(
        self,
        mode: Literal["icl", "x_vector"],
        speaker: Tensor,
        codes: Tensor | None = None,
        transcript: str | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> Voice:
        """A voice from stored parts, the fields of `Voice`. Without `state` the codes are decoded once to make it."""
        if codes is not None and state is None:
            state = self._runner.codec.state_of(codes)
        return Voice(mode, speaker, codes, transcript, state or {})

    def synthesize(self, utterances: Sequence[SpeechRequest], *, margins: bool = True) -> list[SpeechResult]:
        """Speak all requests, as many at once as there are slots. Raises PromptError, EngineError."""
        utterances = [self._seeded(utterance) for utterance in utterances]
        parts: list[list[Frames]] = [[] for _ in utterances]
        for index, frames in self._speak(utterances, margins, chunk_frames=()):
            parts[index].append(frames)
        return [_result(part, utterance.seed or 0, margins) for part, utterance in zip(parts, utterances, strict=True)]

    def stream(
        self, utterances: Iterable[SpeechRequest], *, chunk_frames: Sequence[int] = ()
    ) -> Generator[Event, None, None]:
        """Speak requests from any iterable as slots become free; yields frames as soon as they are decoded.

        chunk_frames: frames of a request's first, second, … event; the last size repeats. By default sizes follow 1, 2,
        4, 8, 12, with deviations that let requests be decoded together. Closing the generator early frees the engine.
        Raises what `synthesize` raises, at the next event.
        """
        for index, frames in self._speak(map(self._seeded, utterances), False, chunk_frames):
            yield Event(index, frames.codes, frames.pcm, frames.finish)

    def cancel(self, index: int) -> None:
        """End a request of the open stream by its index; harmless when it is not being spoken."""
        if self._batch is not None and index in self._speaking:
            self._batch.cancel(self._speaking[index])

    def batch(self, schedule: Schedule, is_live: bool) -> Batch:
        """A batch over this engine's slots, for a caller that opens them itself. Use one batch at a time."""
        return Batch(self._runner, schedule, is_live)

    @torch.inference_mode()
    def prepare(self, utterance: SpeechRequest, emits_resumed: bool = False, margins: bool = False) -> ActiveSegment:
        """A segment for `Batch.open`. Raises PromptError, and EngineError when it does not fit a slot."""
        prefill = self._prompter.build(utterance.text, utterance.language, utterance.voice, utterance.whole_text)
        resumed = NO_CODES if utterance.resume is None else utterance.resume.astype(np.uint16)
        n_prompt = len(prefill.embeds)
        room = self._max_positions - n_prompt
        budget = utterance.max_frames
        if budget is None:
            language = language_name(utterance.language).capitalize()
            budget = max(min(frame_budget(utterance.text, language), room), len(resumed), 1)
        if budget > room or len(resumed) > budget:
            raise EngineError(
                f"{n_prompt} positions of prompt, {len(resumed)} resumed frames and max_frames {budget}, which counts "
                f"them, do not fit {self._max_positions} positions",
                "split the text, shorten the reference, or load with more max_positions",
            )
        return ActiveSegment(
            prefill=self._extended(prefill, resumed),
            state=utterance.voice.state,
            sampling=utterance.sampling.resolved(self.model.generation),
            seed=utterance.seed or 0,
            max_frames=budget,
            resumed=resumed,
            emits_resumed=emits_resumed,
            wants_margins=margins,
        )

    @torch.inference_mode()
    def prepare_read_along(self, utterance: SpeechRequest, max_frames: int, is_open: bool) -> ActiveSegment:
        """A segment for `Batch.open` whose text is read along, and may be open; resumed frames are emitted again.

        max_frames: the frame budget of its text, cut to the slot's room. Raises what `prepare` raises.
        """
        resumed = NO_CODES if utterance.resume is None else utterance.resume.astype(np.uint16)
        reading = ReadAlong(self._prompter, utterance.language, utterance.voice, self._runner.embed(resumed))
        room = self._max_positions - reading.n_positions + len(resumed)
        if room < max(1, len(resumed)):
            raise EngineError(
                f"{reading.n_positions} positions of prompt and resumed frames do not fit {self._max_positions}",
                "shorten the reference, or load with more max_positions",
            )
        reading.extend(utterance.text, not is_open)
        return ActiveSegment(
            prefill=reading,
            state=utterance.voice.state,
            sampling=utterance.sampling.resolved(self.model.generation),
            seed=utterance.seed or 0,
            max_frames=max(min(max_frames, room), len(resumed)),
            resumed=resumed,
            emits_resumed=True,
            room=room,
        )

    def _prepared(self, index: int, utterance: SpeechRequest, margins: bool) -> ActiveSegment:
        try:
            return self.prepare(utterance, margins=margins)
        except EngineError as error:
            error.add_note(f"in the request at index {index}")
            raise

    def _extended(self, prefill: Prefill, resumed: Codes) -> Prefill:
        """The prefill followed by the embeddings of the resumed frames."""
        n = len(resumed)
        if not n:
            return prefill
        text = prefill.trailing[:n]
        text = torch.cat((text, prefill.pad.expand(n - len(text), -1)))
        return replace(prefill, embeds=torch.cat((prefill.embeds, self._runner.embed(resumed) + text)))

    def _seeded(self, utterance: SpeechRequest) -> SpeechRequest:
        return utterance if utterance.seed is not None else replace(utterance, seed=secrets.randbits(63))

    def _speak(
        self, utterances: Iterable[SpeechRequest], margins: bool, chunk_frames: Sequence[int]
    ) -> Iterator[tuple[int, Frames]]:
        if self._batch is not None:
            raise EngineError("a stream of this engine is open already", "finish or close it first")
        schedule = Schedule(tuple(chunk_frames), is_exact=True) if chunk_frames else Schedule()
        batch = self._batch = self.batch(schedule, is_live=False)
        coming = enumerate(utterances)
        indices: dict[int, int] = {}  # slot -> index
        try:
            while True:
                while len(indices) < self.n_slots and (new := next(coming, None)) is not None:
                    slot = batch.open(self._prepared(*new, margins))
                    indices[slot], self._speaking[new[0]] = new[0], slot
                if not indices:
                    return
                for frames in batch.step():
                    index = indices[frames.slot]
                    if frames.finish is not None:
                        del indices[frames.slot], self._speaking[index]
                    yield index, frames
        finally:
            self._batch = None
            self._speaking.clear()


def _checked_audio(audio: NDArray[np.float32], sample_rate_hz: int) -> NDArray[np.float32]:
    if audio.ndim != 1:
        raise ValueError(f"the recording has the shape {list(audio.shape)}; mix its channels: audio.mean(1)")
    if not np.issubdtype(audio.dtype, np.floating) or not np.isfinite(audio).all():
        raise ValueError("the recording is not finite floats; read it with soundfile.read(file, dtype='float32')")
    if not 8000 <= sample_rate_hz <= 192_000 or len(audio) < MIN_PROMPT_S * sample_rate_hz:
        raise ValueError(
            f"{len(audio)} samples at {sample_rate_hz} Hz make no voice; record at least 3 s, better 5 to 15 s"
        )
    return audio.astype(np.float32)


def _result(parts: list[Frames], seed: int, margins: bool) -> SpeechResult:
    finish = parts[-1].finish
    assert finish is not None
    its_margins = [part.margins for part in parts if part.margins is not None]
    return SpeechResult(
        codes=np.concatenate([part.codes for part in parts]),
        pcm=np.concatenate([part.pcm for part in parts]),
        finish=finish,
        seed=seed,
        margins=np.concatenate([np.zeros((0, N_CODEBOOKS), np.float32), *its_margins]) if margins else None,
    )
