"""Engine health: a failure is the segment's fault, and its job is retried, or the engine's, which ends its worker.

A CUDA error leaves the process without a usable GPU until it ends. After any other failure the engine is probed: it
must speak a short, known sentence. If it does, it is well, and the segment was at fault.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from worker.engine.base import Engine, EngineError, EngineSick, Frames, Segment
from worker.engine.checkpoint.files import first_line
from worker.voices.card import Card

log = logging.getLogger(__name__)

SICK_AFTER = 3  # failures in a row, failed probes included
PROBE_STEPS = 200  # most steps to wait for the probe's first frame; the preview engine's take up to 20 ms each
PROBE_FRAMES = 8

_TYPES = {"AcceleratorError", "CudaError", "DeferredCudaCallError"}  # by name: this imports no torch
_WORDS = (
    "cuda error", "cuda driver error", "triton error [cuda]", "cudnn_status_execution_failed", "hip error",
    "device-side assert", "illegal memory access",
)  # fmt: skip
# Perhaps one segment's; a GPU stays usable.
_OUT_OF_MEMORY = ("out of memory", "alloc_failed", "can't allocate memory", "not enough memory")


class EngineHealth:
    """Counts failures in a row, and probes the engine after each. Used on the engine's thread.

    step: steps the engine with every other slot paused, delivers the other slots' frames, and returns all frames; it
    raises what the engine raises.
    """

    def __init__(self, engine: Engine, step: Callable[[], list[Frames]]) -> None:
        self._engine = engine
        self._step = step
        self._probe: Segment | None = None
        self.n_failures = 0

    def choose_probe(self, voices: Sequence[Card]) -> None:
        """Probe with the first of these voices, which the engine can speak; without a voice there is no probe."""
        self._probe = _probe_of(voices[0]) if voices else None

    def has_spoken(self) -> None:
        self.n_failures = 0

    def check_after(self, error: Exception) -> None:
        """Count a failure, and return when the engine has spoken the probe. Raises EngineSick."""
        self._count(error)
        while self._probe is not None and self.n_failures:
            try:
                self._speak(self._probe)
            except EngineSick:
                raise
            except Exception as another:
                log.warning("the engine failed to speak the probe sentence: %s", in_a_line(another))
                self._count(another)
            else:
                self.n_failures = 0

    def _count(self, error: Exception) -> None:
        self.n_failures += 1
        if is_beyond_repair(error):
            raise EngineSick(in_a_line(error)) from error
        if self.n_failures >= SICK_AFTER:
            raise EngineSick(f"{self.n_failures} failures in a row; the last: {in_a_line(error)}") from error

    def _speak(self, probe: Segment) -> None:
        """Step until the probe has sounded and ended; what follows its first frame is cancelled."""
        slot, has_sounded = self._engine.open(probe), False
        for _ in range(PROBE_STEPS):
            for frames in self._step():
                if frames.slot == slot:
                    has_sounded = has_sounded or frames.pcm.size > 0
                    if frames.error is not None:
                        raise frames.error
                    if frames.ended and has_sounded:
                        return
            if has_sounded:
                self._engine.cancel(slot)
        self._engine.cancel(slot)
        raise EngineError("the probe sentence gave no sound")


def close_anyhow(engine: Engine) -> None:
    """Close the engine; a lost GPU may refuse this too, which is logged."""
    try:
        engine.close()
    except Exception:
        log.warning("the engine could not be closed", exc_info=True)


def is_beyond_repair(error: BaseException) -> bool:
    """True for a CUDA error, also one that another error was raised from; False for lack of memory."""
    return any(_is_cuda_error(one) for one in _chain(error))


def in_a_line(error: BaseException) -> str:
    """The error's type and the first line of its text."""
    return f"{type(error).__name__}: {first_line(error)}"


def is_lack_of_memory(error: BaseException) -> bool:
    """True for a lack of memory on a GPU or the host, also one that another error was raised from."""
    return any(_is_out_of_memory(one) for one in _chain(error))


def _probe_of(card: Card) -> Segment:
    return Segment("Ready.", card.languages[0], card, seed=0, max_frames=PROBE_FRAMES)


def _is_cuda_error(error: BaseException) -> bool:
    if _is_out_of_memory(error):
        return False
    text = str(error).lower()
    is_type = any(kind.__name__ in _TYPES for kind in type(error).__mro__)
    return is_type or (isinstance(error, RuntimeError) and any(words in text for words in _WORDS))


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
