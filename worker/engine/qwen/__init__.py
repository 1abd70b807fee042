"""Qwen3-TTS: an exact, streaming, continuously batched engine. Start at `QwenEngine`."""

from worker.engine.base import EngineError, Finish
from worker.engine.checkpoint.files import ModelError
from worker.engine.exactness import set_strict_mode
from worker.engine.qwen.engine import QwenEngine
from worker.engine.qwen.prompt import PromptError, Voice
from worker.engine.qwen.sampler import Sampling
from worker.engine.qwen.speech import Event, SpeechRequest, SpeechResult

set_strict_mode()  # before the first product

Utterance, Speech = SpeechRequest, SpeechResult  # the names of version 0.1

__all__ = [
    "EngineError",
    "Event",
    "Finish",
    "ModelError",
    "PromptError",
    "QwenEngine",
    "Sampling",
    "Speech",
    "SpeechRequest",
    "SpeechResult",
    "Utterance",
    "Voice",
]
