"""The streaming text-to-speech worker."""

import os

# onnxruntime, which qwen-tts and the voices import, would write a telemetry database into the home directory.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
