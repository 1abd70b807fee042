"""The library examples of docs/engine.md and README.md run as they stand, on a tiny model and a made recording."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import REPOSITORY
from tests.qwen.conftest import SAMPLE_RATE_HZ, reference_audio


def test_the_library_example_runs(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "engine.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    soundfile.write("reference.wav", reference_audio(seed=3), SAMPLE_RATE_HZ)
    block = block.replace("DIR-or-hub-name", str(tiny)).replace(
        "voice=voice, language=", "voice=voice, max_frames=3, language="
    )
    names: dict[str, Any] = {}
    exec(compile(block, "engine.md", "exec"), names)
    (speech,) = names["results"]
    assert (speech.codes.dtype, speech.codes.shape) == (np.uint16, (40, 16))
    assert (speech.pcm.dtype, speech.pcm.shape) == (np.float32, (40 * 1920,))
    assert speech.margins.shape == (40, 16)
    assert (speech.finish, names["finish"]) == ("length", "length")
    assert names["index"] in range(3)


def test_the_short_example_of_the_readme_runs(tiny: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {"audio": reference_audio(seed=3), "rate_hz": SAMPLE_RATE_HZ}
    exec(compile(block.replace("DIR-or-hub-name", str(tiny)), "README.md", "exec"), names)
    assert len(names["results"][0].pcm) > 0
