"""A Qwen3-TTS checkpoint on disk and the machine under it, judged without torch."""

GIB = 1024**3  # bytes
