"""A QwenSpeaker as its thread uses it: segments opened in its slots and stepped to their ends."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tests.conftest import REPOSITORY
from worker.engine.base import Finish, Frames, Resume, Segment
from worker.engine.qwen.adapter import QwenSpeaker
from worker.voices.card import Card
from worker.voices.registry import Registry

PLACEHOLDER: Card = Registry.load(REPOSITORY / "voices").get("placeholder")


def segment(text: str = "Hello there.", seed: int = 1, max_frames: int = 20, voice: Card = PLACEHOLDER) -> Segment:
    return Segment(text, "English", voice, seed, max_frames)


@dataclass(slots=True)
class Spoken:
    """One segment as it came: codes [n, 16], pcm [n * 1920]. steps: the numbers of the steps that gave frames."""

    parts: list[Frames] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    @property
    def codes(self) -> NDArray[np.uint16]:
        return np.concatenate([part.codes for part in self.parts])

    @property
    def pcm(self) -> NDArray[np.float32]:
        return np.concatenate([part.pcm for part in self.parts])

    @property
    def finish(self) -> Finish | None:
        assert not any(part.ended for part in self.parts[:-1])
        return self.parts[-1].finish

    @property
    def heard(self) -> NDArray[np.int16]:
        """The samples as they leave in 16 bits."""
        heard: NDArray[np.int16] = np.round(self.pcm * 32767).astype(np.int16)
        return heard


def speak(speaker: QwenSpeaker, *segments: Segment, paused: Collection[int] = ()) -> list[Spoken]:
    """Open all of them at once and step to their ends. Checks that frames come in order and with their samples."""
    slots = [speaker.open(one) for one in segments]
    spoken = {slot: Spoken() for slot in slots}
    n_steps = 0
    while speaker.wait_s(paused) == 0:
        n_steps += 1
        for frames in speaker.step(paused):
            one = spoken[frames.slot]
            assert frames.first_frame == sum(len(part.codes) for part in one.parts)
            assert len(frames.pcm) == 1920 * len(frames.codes)
            assert frames.error is None
            one.parts.append(frames)
            one.steps.append(n_steps)
    return [spoken[slot] for slot in slots]


def resumed(after: Segment, spoken: Spoken, n_frames: int) -> Segment:
    """The same segment for another worker, once n frames of it are on the stream."""
    return replace(after, resume=Resume(n_frames, spoken.codes[:n_frames]))
