"""A Qwen3-TTS checkpoint on disk and the machine under it, judged without torch."""
