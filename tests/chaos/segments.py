"""Checks the segments of one job: that each stands right before its first samples, and what its text is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from schemas.messages import SegmentStart
from worker.text import SegmentText, join

Place = tuple[int, str]  # where a segment begins, in samples, and its text


@dataclass(slots=True)
class Segments:
    """Of one job as it was heard so far, by index; each method returns what is wrong with the newest entry.

    announced: the segment whose samples have to follow at once.
    """

    heard: list[Place] = field(default_factory=list)
    announced: int | None = None

    @property
    def text(self) -> str:
        """As `text_spoken` has it."""
        return join([SegmentText(text, text) for _, text in self.heard])

    def hear(self, message: SegmentStart, n_samples: int) -> list[str]:
        """n_samples: of the job that were heard before."""
        index, place = message.index, (message.pos, message.text)
        said = self.follow()
        self.announced = index
        if index == len(self.heard):
            if message.pos != n_samples:
                said.append(f"segment {index} is to begin at {message.pos}, after {n_samples} samples")
            if self.heard and message.pos <= self.heard[-1][0]:
                said.append(f"segment {index} begins at {message.pos}, the one before at {self.heard[-1][0]}")
            self.heard.append(place)
        elif index == len(self.heard) - 1:  # again: a take-over, or its text was not complete
            pos, text = self.heard[-1]
            if message.pos != pos or not message.text.startswith(text):
                said.append(f"segment {index} is {place} now, and was {self.heard[-1]}")
            self.heard[-1] = place
        else:
            said.append(f"segment {index} comes after {len(self.heard)} segments")
        return said

    def hear_audio(self, index: int, has_samples: bool) -> list[str]:
        """index: of the segment whose samples came."""
        announced, self.announced = self.announced, None
        if announced is not None and announced != index:
            return [f"segment {announced} was to begin, and samples of segment {index} came"]
        if has_samples and index >= len(self.heard):
            return [f"samples of segment {index} came, of {len(self.heard)} that have begun"]
        return []

    def follow(self) -> list[str]:
        """Before any entry that is no audio."""
        announced, self.announced = self.announced, None
        return [] if announced is None else [f"segment {announced} begins without samples"]

    def difference(self, expected: Sequence[Place], is_whole: bool) -> str:
        """The first difference to an undisturbed run in a sentence, or "". is_whole: all are to be there."""
        for index, (mine, its) in enumerate(zip_longest(self.heard, expected)):
            if mine != its and (mine is not None or is_whole):
                return f"segment {index} is {mine}, undisturbed it is {its}"
        return ""
