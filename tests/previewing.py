"""What the tests of the preview engine share: cards, segments, and a reader that checks every step for gaps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.processes import children_of, until
from worker.engine.base import FRAME_SAMPLES, Engine, EngineError, Finish, Frames, Resume, Segment
from worker.engine.preview.engine import PreviewEngine
from worker.engine.preview.natural.choice import Natural
from worker.voices.card import Card, Preview

TEXT = "Hello there, I am Makima, and this is a sentence of some length."
LONG = "The quick brown fox jumps over the lazy dog, and nobody is surprised. " * 10


def card(languages: tuple[str, ...] = ("English",), preview: Preview | None = None) -> Card:
    return Card(
        name="someone",
        languages=languages,
        licence="CC0",
        consent="synthetic",
        folder=Path("voices/someone"),
        preview=preview or Preview(),
    )


def segment(
    text: str = TEXT,
    language: str = "English",
    voice: Card | None = None,
    max_frames: int = 10_000,
    resume: Resume | None = None,
) -> Segment:
    return Segment(text, language, voice or card(), seed=1, max_frames=max_frames, resume=resume)


Make = Callable[..., PreviewEngine]


class Received:
    """The frames of one slot, checked for gaps."""

    def __init__(self) -> None:
        self.pcm: list[NDArray[np.float32]] = []
        self.n_frames = 0
        self.finish: Finish | None = None
        self.error: EngineError | None = None

    def add(self, frames: Frames) -> None:
        assert not self.ended
        assert frames.first_frame == self.n_frames
        assert frames.pcm.dtype == np.float32
        assert len(frames.pcm) % FRAME_SAMPLES == 0
        assert frames.codes.shape == (0, 16)
        self.pcm.append(frames.pcm)
        self.n_frames += len(frames.pcm) // FRAME_SAMPLES
        self.finish, self.error = frames.finish, frames.error

    @property
    def ended(self) -> bool:
        return self.finish is not None or self.error is not None

    @property
    def audio(self) -> NDArray[np.float32]:
        return np.concatenate([np.zeros(0, np.float32), *self.pcm])


class SharedNatural(Natural):
    """The natural voices for several engines, because loading them takes seconds: an engine's end leaves them."""

    def close(self) -> None: ...

    def end(self) -> None:
        super().close()


def processes_of(pid: int | None = None) -> list[int]:
    """The processes that speak a text for this one, or for `pid`."""
    pid = pid or os.getpid()
    forked = [child for voice in voices_of(pid) for child in children_of(voice)]
    return children_of(pid, "espeak_process.py") + [child for child in forked if name_of(child) == "speaking"]


def the_process(before: list[int]) -> int:
    """The process that speaks the text which was begun after `before`, the processes of other texts: they may remain
    for a while."""
    assert until(lambda: len(set(processes_of()) - set(before)) == 1)
    [process] = set(processes_of()) - set(before)
    return process


def voices_of(pid: int | None = None) -> list[int]:
    """The processes of the natural voices that fork for a text."""
    return children_of(pid or os.getpid(), "natural/program.py")


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
    except FileNotFoundError:
        return ""


def run(engine: Engine, *slots: int, held: tuple[int, ...] = ()) -> list[Received]:
    """Step until these slots have ended."""
    received = {slot: Received() for slot in slots}
    end_s = time.monotonic() + 30
    while not all(one.ended for one in received.values()):
        assert time.monotonic() < end_s
        for frames in engine.step(held):
            received[frames.slot].add(frames)
    return list(received.values())


def speak(engine: Engine, one: Segment) -> Received:
    return run(engine, engine.open(one))[0]


def step_until(engine: Engine, n_frames: int) -> int:
    """Step as a reader would at this instant, until this many frames came or nothing more is due."""
    n_stepped, end_s = 0, time.monotonic() + 10
    while n_stepped < n_frames and time.monotonic() < end_s:
        n_stepped += sum(len(frames.pcm) // FRAME_SAMPLES for frames in engine.step())
    n_stepped += sum(len(frames.pcm) // FRAME_SAMPLES for frames in engine.step())
    return n_stepped
