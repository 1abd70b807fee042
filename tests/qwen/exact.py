"""Upstream's codes and samples for the same weights, text and voice, and the comparison with ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from qwen_tts.inference.qwen3_tts_model import VoiceClonePromptItem

from tests.qwen.conftest import SAMPLE_RATE_HZ, reference_audio
from worker.engine.qwen import QwenEngine, Sampling, SpeechRequest, SpeechResult, Voice

Codes = NDArray[np.uint16]
FRAME_SAMPLES = 1920
NEAR_TIE = 2e-5  # of a draw's standard deviation: below it rounding decides, which differs with batch and prefill
TIES_ALLOWED = 0.01  # of the utterances compared
GREEDY = Sampling(greedy=True)

SIXTY = "Sixty tokens of text are sixty letters in this tokenizer: so"
JAPANESE = "今日は雨なので傘を持って出かけますよね。"  # 20 characters, 60 tokens
TEXTS = (
    ("English", "a"),
    ("English", SIXTY),
    ("Japanese", "o"),
    ("Japanese", JAPANESE),
    ("Auto", "1"),
    ("Auto", SIXTY[::-1]),
)


@dataclass
class Ties:
    """Compares codes; first differences at a near tie are excused, counted and printed."""

    n_compared: int = 0
    excused: list[str] = field(default_factory=list)

    def same(self, speech: SpeechResult, wanted: Codes, what: object) -> bool:
        """Whether every code is equal. Fails at a difference that is no near tie, or at other lengths."""
        self.n_compared += 1
        n = min(len(wanted), len(speech.codes))
        different = np.argwhere(speech.codes[:n] != wanted[:n])
        if not len(different):
            assert len(speech.codes) == len(wanted), f"{what}: {len(speech.codes)} frames, not {len(wanted)}"
            return True
        first = tuple(different[0])
        assert speech.margins is not None
        margin = float(speech.margins[first])
        assert margin <= NEAR_TIE, f"{what}: other codes from (frame, codebook) {first} on, and no tie: {margin:.2g}"
        self.excused.append(f"{what} at {first}: {margin:.2g}")
        print("a near tie:", self.excused[-1])
        return False

    def check(self) -> None:
        """Fails when more were excused than one in a hundred."""
        print(f"{len(self.excused)} near ties among {self.n_compared} utterances")
        allowed = max(1, round(TIES_ALLOWED * self.n_compared))
        assert len(self.excused) <= allowed, self.excused


def voices(engine: QwenEngine) -> tuple[Voice, Voice, Voice]:
    """An icl voice, an x_vector one, and an icl one with a shorter reference in Japanese."""
    return (
        engine.prompt(reference_audio(21, 3.7), SAMPLE_RATE_HZ, "Some words of a reference, and more.", "icl"),
        engine.prompt(reference_audio(22, 3.0), SAMPLE_RATE_HZ, None, "x_vector"),
        engine.prompt(reference_audio(23, 3.1), SAMPLE_RATE_HZ, "こんにちは、世界。", "icl"),
    )


def every_kind(engine: QwenEngine, n_frames: int) -> list[SpeechRequest]:
    """icl and x_vector, three languages, a token and sixty, whole and per-frame text: 24 greedy utterances."""
    icl, x_vector, japanese = voices(engine)
    return [
        SpeechRequest(text, voice, language, GREEDY, seed=1, max_frames=n_frames, whole_text=whole_text)
        for whole_text in (True, False)
        for voice in (icl, x_vector)
        for language, text in TEXTS
        for voice in ([japanese] if voice is icl and language == "Japanese" else [voice])
    ]


def upstream_codes(upstream: Any, utterances: Sequence[SpeechRequest]) -> list[Codes]:
    """The codes of upstream's generate_voice_clone, greedy, several at a time: uint16 [frames, 16] each."""
    spoken: dict[int, Codes] = {}
    for whole_text, max_frames in sorted({(u.whole_text, u.max_frames or 0) for u in utterances}):
        chosen = [n for n, u in enumerate(utterances) if (u.whole_text, u.max_frames) == (whole_text, max_frames)]
        spoken |= zip(chosen, _generated(upstream, [utterances[n] for n in chosen]), strict=True)
    return [spoken[n] for n in range(len(utterances))]


def _generated(upstream: Any, utterances: Sequence[SpeechRequest]) -> list[Codes]:
    codes: list[torch.Tensor] = []
    generate = upstream.model.generate

    def overheard(**options: Any) -> Any:
        result = generate(**options)
        codes.extend(result[0])
        return result

    first = utterances[0]
    penalty = first.sampling.repetition_penalty
    assert first.max_frames is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream.model, "generate", overheard)
        upstream.generate_voice_clone(
            [u.text for u in utterances],
            [u.language for u in utterances],
            voice_clone_prompt=[_item(u.voice) for u in utterances],
            non_streaming_mode=first.whole_text,
            max_new_tokens=first.max_frames + 1,
            do_sample=False,
            subtalker_dosample=False,
            **({} if penalty is None else {"repetition_penalty": penalty}),
        )
    return [part.numpy().astype(np.uint16) for part in codes]


def _item(voice: Voice) -> VoiceClonePromptItem:
    return VoiceClonePromptItem(
        ref_code=voice.codes,
        ref_spk_embedding=voice.speaker,
        x_vector_only_mode=voice.mode == "x_vector",
        icl_mode=voice.mode == "icl",
        ref_text=voice.transcript,
    )


@torch.inference_mode()
def decoded(upstream: Any, voice: Voice, codes: Codes) -> NDArray[np.float32]:
    """Upstream's one decode of reference and codes, cut at the reference: float32 [frames * 1920]."""
    n_reference = 0 if voice.codes is None else len(voice.codes)
    parts = [] if voice.codes is None else [voice.codes]
    whole = torch.cat([*parts, torch.from_numpy(codes.astype(np.int64))])
    pcm = upstream.model.speech_tokenizer.model.decoder(whole.t()[None])
    samples: NDArray[np.float32] = pcm.flatten()[n_reference * FRAME_SAMPLES :].float().numpy()
    return samples


def sixteen_bits(pcm: NDArray[np.float32]) -> NDArray[np.int32]:
    """The samples as they are sent, in numbers whose difference cannot wrap around."""
    scaled: NDArray[np.float32] = np.clip(np.rint(pcm * np.float32(32768)), -32768, 32767)
    return scaled.astype(np.int32)


def joined(before: SpeechResult | Codes, after: SpeechResult) -> SpeechResult:
    """A resumed speech with the codes it was given; for comparison of codes only."""
    codes = before if isinstance(before, np.ndarray) else before.codes
    assert after.margins is not None
    margins = np.concatenate((np.full(codes.shape, np.inf, np.float32), after.margins))
    return replace(after, codes=np.concatenate((codes, after.codes)), margins=margins)
