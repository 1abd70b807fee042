"""The take-over check of `bench quality` on an engine that resumes from codes."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import REPOSITORY
from worker.bench.quality_peers import take_over
from worker.engine.qwen.adapter import QwenSpeaker
from worker.rehearsal import Rehearsal
from worker.voices.registry import Registry


async def test_the_take_over_of_an_engine_with_codes_is_exact(tiny_ending: Path) -> None:
    card = Registry.load(REPOSITORY / "voices").get("placeholder")
    async with Rehearsal(QwenSpeaker.load(str(tiny_ending), "cpu", "float32", 1, None), [card]) as rehearsal:
        found = await take_over(rehearsal, "Yes. That is all for now.", "English", card)
    assert found is not None
    assert found.cuts
    assert found.different_at == (None,) * len(found.cuts)
