"""Workers that speak with Qwen3-TTS on tiny random weights; torch is loaded only where one of them is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from worker.engine.qwen.engine import QwenEngine
    from worker.voices.prompt_cache import PromptCache

QWEN_SLOTS = 3


@pytest.fixture(scope="session")
def endless(tiny: Path, one_thread: None) -> QwenEngine:
    """Utterances end by their budgets. float64: samples do not depend on how chunks were cut."""
    from worker.engine.qwen.engine import QwenEngine

    return QwenEngine.load(str(tiny), device="cpu", dtype="float64", slots=QWEN_SLOTS)


@pytest.fixture(scope="session")
def ending(tiny_ending: Path, one_thread: None) -> QwenEngine:
    """Greedy utterances end by themselves, within 60 frames."""
    from worker.engine.qwen.engine import QwenEngine

    return QwenEngine.load(str(tiny_ending), device="cpu", dtype="float64", slots=QWEN_SLOTS)


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> PromptCache:
    from worker.voices.prompt_cache import PromptCache

    return PromptCache(tmp_path_factory.mktemp("prompts"))
