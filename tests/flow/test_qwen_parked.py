"""Segments of the Qwen engine that lose their slots to others in between."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import eventually
from tests.flow.conftest import QWEN_SLOTS
from worker.engine.base import Finish, Segment
from worker.engine.playback import Playback
from worker.engine.thread import EngineThread

if TYPE_CHECKING:
    from tests.qwen.speakers import Spoken
    from worker.engine.qwen.engine import QwenEngine
    from worker.engine.segment_stream import SegmentStream
    from worker.voices.prompt_cache import PromptCache

pytestmark = pytest.mark.skipif(find_spec("qwen_tts") is None, reason="qwen-tts is not installed: makima-tts[qwen]")


async def test_parked_segments_have_the_codes_and_samples_of_undisturbed_ones(
    endless: QwenEngine, prompts: PromptCache
) -> None:
    from tests.qwen.speakers import Spoken, segment, speak
    from worker.engine.qwen.adapter import QwenSpeaker

    class Counting(QwenSpeaker):
        opened: list[str] = []  # noqa: RUF012

        def open(self, segment: Segment) -> int:
            self.opened.append(segment.text)
            return super().open(segment)

    long = [segment(f"A long one, number {n}.", seed=n, max_frames=30) for n in range(QWEN_SLOTS)]
    short = [segment(f"Short {n}.", seed=10 + n, max_frames=4) for n in range(2)]
    undisturbed = [speak(QwenSpeaker(endless, prompts), one)[0] for one in long + short]
    thread = EngineThread(Counting(endless, prompts))
    await thread.start([])
    ahead = Playback()
    ahead.wrote(1000.0)
    reading = [asyncio.create_task(_read(thread.open(one, ahead), Spoken())) for one in long]
    await eventually(lambda: len(Counting.opened) == len(long))
    for one in short:
        n_opened = len(Counting.opened)
        reading.append(asyncio.create_task(_read(thread.open(one, Playback()), Spoken())))
        await eventually(lambda n=n_opened: len(Counting.opened) > n)  # type: ignore[misc]
    spoken = await asyncio.gather(*reading)
    await thread.close()
    assert len(Counting.opened) > len(long) + len(short), "some were parked"
    for got, expected in zip(spoken, undisturbed, strict=True):
        np.testing.assert_array_equal(got.codes, expected.codes)
        np.testing.assert_array_equal(got.pcm, expected.pcm)
        assert got.finish is Finish.LENGTH


async def _read(stream: SegmentStream, spoken: Spoken) -> Spoken:
    while not spoken.parts or not spoken.parts[-1].ended:
        spoken.parts.append(await stream.take(12))
    return spoken
