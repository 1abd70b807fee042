"""Between processors of different kinds single samples may differ by one step of 16 bits, and by no more.

The other kind is this processor with all libraries limited to instructions of 2008: they multiply and add in other
orders and without fused steps, as another processor's do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import REPOSITORY
from tests.qwen.exact import sixteen_bits
from tests.qwen.test_codec import codes_of, decoder_of
from tests.shell import ENVIRONMENT
from worker.engine.qwen.codec.decoder import Codec

pytestmark = pytest.mark.timeout(900)  # a Python that imports torch beside busy programs takes its time

OLD = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}
N_FRAMES = 24
PROGRAM = """
import sys
import numpy as np
from tests.qwen.test_unlike import decoded
np.save(sys.argv[1], decoded())
"""


def decoded() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Float32 samples of made codes by a codec of 128 channels, on two threads."""
    cpu = torch.device("cpu")
    torch.set_num_threads(2)
    codec = Codec(decoder_of(torch.float32, width=128, device=cpu), 1)
    pcm: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = codec.decode(
        codes_of(31, 1, N_FRAMES).to(cpu), torch.tensor([0])
    )[0].numpy()
    return pcm


def test_samples_of_another_kind_of_processor_differ_by_one_step_at_most(tmp_path: Path) -> None:
    there = {}
    for name, variables in (("like", {}), ("unlike", OLD)):
        path = tmp_path / f"{name}.npy"
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path)], cwd=REPOSITORY, env=ENVIRONMENT | variables, check=True
        )
        there[name] = np.load(path)
    like, unlike = there["like"], there["unlike"]
    assert like.std() > 0.1
    assert np.abs(like - unlike).max() < 1e-5
    assert np.abs(sixteen_bits(like) - sixteen_bits(unlike)).max() <= 1
    assert len(unlike) == N_FRAMES * 1920
