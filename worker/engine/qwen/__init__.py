"""Qwen3-TTS: an exact, streaming, continuously batched engine."""
