"""Which engine speaks: `preview`, `qwen`, or `auto`, which takes Qwen only where it can run."""

from __future__ import annotations

import logging

from worker.engine.base import Engine, EngineError
from worker.engine.checkpoint import files as weights
from worker.engine.checkpoint import packages
from worker.engine.checkpoint.devices import computes_on_cpu, device_obstacle
from worker.settings import Settings

log = logging.getLogger(__name__)


OR_PREVIEW = "or choose --engine preview"


def qwen_obstacle(settings: Settings) -> str:
    """Why Qwen3-TTS cannot run here, by what is installed and on disk, and what to do. Imports no torch."""
    if problem := packages.obstacle():
        return f"{problem}, {OR_PREVIEW}"
    if settings.model is None:
        return f"no model is named; set MAKIMA_TTS_MODEL or --model to a directory or hub name, {OR_PREVIEW}"
    try:
        weights.read(settings.model)
    except weights.ModelError as error:
        return f"{error}, {OR_PREVIEW}"
    return ""


def make_engine(settings: Settings) -> Engine:
    """The engine the settings ask for. Raises EngineError; `qwen` never falls back to another."""
    obstacle = "" if settings.engine == "preview" else qwen_obstacle(settings) or device_obstacle(settings.device)
    if settings.engine == "qwen" and obstacle:
        raise EngineError(f"the Qwen engine cannot run: {obstacle}")
    if settings.engine != "preview" and not obstacle:
        return _qwen(settings)
    if obstacle:
        log.warning("speaking with the PREVIEW engine, not with Qwen3-TTS: %s", obstacle)
    else:
        log.warning("speaking with the PREVIEW engine: a stand-in for tests, not the real voice")
    from worker.engine.preview.engine import PreviewEngine

    return PreviewEngine(settings.slots, pace=settings.pace)


def _qwen(settings: Settings) -> Engine:
    assert settings.model is not None
    if settings.pace is not None:
        log.warning("MAKIMA_TTS_PACE holds back the preview engine only; Qwen3-TTS speaks as fast as it can")
    if computes_on_cpu(settings.device):
        log.warning("Qwen3-TTS speaks on the CPU: the real model makes speech more slowly there than it is heard")
    if settings.cache_dir is None:
        log.warning(
            "the voices' prompts are not kept: there is no home directory; set MAKIMA_TTS_CACHE_DIR to keep them"
        )
    from worker.engine.qwen.adapter import QwenSpeaker

    return QwenSpeaker.load(
        model=settings.model,
        device=settings.device,
        dtype=settings.dtype,
        slots=settings.slots,
        cache_dir=settings.cache_dir,
    )
