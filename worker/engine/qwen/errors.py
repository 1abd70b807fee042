"""What the Qwen engine raises besides the protocol's errors."""

from __future__ import annotations

from worker.engine.checkpoint.files import ModelError

__all__ = ["ModelError"]
