"""Which engine speaks: `preview`, `qwen`, or `auto`, which takes Qwen only where it can run."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from worker.engine.base import Engine, EngineError
from worker.settings import Settings

log = logging.getLogger(__name__)


def qwen_obstacle(settings: Settings) -> str:
    """Why Qwen3-TTS cannot run here and what to do. Imports no torch."""
    for package in ("torch", "qwen_tts"):
        if find_spec(package) is None:
            return f"the package {package} is missing (makima-tts[qwen]); use --engine preview"
    if settings.model is None:
        return "no model is named; set MAKIMA_TTS_MODEL or --model to a directory or hub name"
    return "this version of makima-tts has no Qwen engine yet; use --engine preview"


def make_engine(settings: Settings) -> Engine:
    """The engine the settings ask for. Raises EngineError; `qwen` never falls back to another."""
    if settings.engine == "qwen":
        raise EngineError(f"the Qwen engine cannot run: {qwen_obstacle(settings)}")
    if settings.engine == "auto":
        log.warning("speaking with the PREVIEW engine, not with Qwen3-TTS: %s", qwen_obstacle(settings))
    else:
        log.warning("speaking with the PREVIEW engine: a stand-in for tests, not the real voice")
    from worker.engine.preview import PreviewEngine

    return PreviewEngine(settings.slots, pace=settings.pace)
