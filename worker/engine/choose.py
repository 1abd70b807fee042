"""The choice of engine: `preview`, `qwen`, or `auto`, which is Qwen where it can run, else preview."""

from __future__ import annotations

import logging

from worker.engine.base import Engine, EngineError
from worker.engine.checkpoint import files, packages
from worker.engine.checkpoint.devices import computes_on_cpu, device_problem
from worker.engine.checkpoint.files import ModelError
from worker.engine.checkpoint.room import SlotCount
from worker.settings import Settings

log = logging.getLogger(__name__)

OR_PREVIEW = "or choose --engine preview"
PREVIEW_SLOTS = 8


def qwen_problem(settings: Settings) -> EngineError | None:
    """Why Qwen3-TTS cannot run here, judged by packages and files; None when it can. Does not import torch."""
    problem = packages.package_problem()
    if problem is None and settings.model is None:
        problem = ModelError("no model is named", "set MAKIMA_TTS_MODEL or --model to a directory or hub name")
    elif problem is None and settings.model is not None:
        try:
            files.read(settings.model)
        except ModelError as error:
            problem = error
    return None if problem is None else EngineError(problem.problem, f"{problem.remedy}, {OR_PREVIEW}")


def make_engine(settings: Settings) -> Engine:
    """The engine that the settings name. Raises EngineError; `qwen` never falls back to another engine."""
    problem = None if settings.engine == "preview" else qwen_problem(settings) or device_problem(settings.device)
    if settings.engine == "qwen" and problem is not None:
        raise EngineError(f"the Qwen engine cannot run: {problem.problem}", problem.remedy)
    if settings.engine != "preview" and problem is None:
        return _qwen(settings)
    if problem is not None:
        log.warning("using the PREVIEW engine, not Qwen3-TTS: %s", problem)
    else:
        log.warning("using the PREVIEW engine: a stand-in for tests, not the real voice")
    return preview_engine(settings, settings.slots)


def preview_engine(settings: Settings, slots: SlotCount) -> Engine:
    """The preview engine with the voices that the settings name. slots: auto is 8."""
    from worker.engine.preview.engine import PreviewEngine
    from worker.engine.preview.espeak import Espeak

    synthesiser = Espeak() if settings.preview_voices == "espeak-ng" else None
    return PreviewEngine(PREVIEW_SLOTS if slots == "auto" else slots, settings.pace, synthesiser)


def _qwen(settings: Settings) -> Engine:
    assert settings.model is not None
    if settings.pace is not None:
        log.warning("MAKIMA_TTS_PACE has no effect: it limits the preview engine only")
    if computes_on_cpu(settings.device):
        log.warning("Qwen3-TTS runs on the CPU, where the real model is slower than real time; use a GPU")
    if settings.cache_dir is None:
        log.warning("the voices' prompts are not cached, as there is no home directory; set MAKIMA_TTS_CACHE_DIR")
    from worker.engine.qwen.adapter import QwenSpeaker

    return QwenSpeaker.load(
        model=settings.model,
        device=settings.device,
        dtype=settings.dtype,
        slots=settings.slots,
        cache_dir=settings.cache_dir,
    )
