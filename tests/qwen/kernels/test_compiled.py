"""Every kernel compiles for an H100, without spilling registers and within its shared memory. No GPU is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")
REPOSITORY = Path(__file__).resolve().parents[3]
SHARED_BYTES = 232_448  # the most a block may have
OF_A_LAYER = [
    "rms_kernel",
    "rms_kernel",
    "silu_mul_kernel",
    "qk_kernel",
    *["attend_kernel"] * 3,
    "attend_packed_kernel",
]
OF_THE_DRAWS = ["draw_kernel", "draw_kernel", "advance_kernel"]
OF_THE_CODEC = [
    f"codec_{name}_kernel"
    for name in (
        *("snake", "extend") * 2, "extend", "overlap", "samples", "advance", "codebooks", "add_rms", "add_rms",
        "rotate", "attend", "depthwise_norm", "scaled_add",
    )
]  # fmt: skip
STACK = {"codec_rotate_kernel": 32}  # bytes that the sine of a great angle needs; a register that is spilled adds to it


@pytest.mark.parametrize(
    "dtype", ["bfloat16", *(pytest.param(d, marks=pytest.mark.slow) for d in ("float16", "float32", "float64"))]
)
def test_kernels_compile(dtype: str, tmp_path: Path) -> None:
    if not (Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump").exists():
        pytest.skip("this Triton brings no tools of CUDA")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.qwen.kernels.compiled", dtype]
    output = subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=subprocess.PIPE, timeout=250)
    found = json.loads(output.stdout)
    assert [name for name, _ in found] == OF_A_LAYER + OF_THE_DRAWS + OF_THE_CODEC
    print(*found, sep="\n")
    assert [(name, use) for name, use in found if use["shared"] > SHARED_BYTES] == []
    if dtype in ("bfloat16", "float16"):
        assert [(name, use) for name, use in found if use["STACK"] > STACK.get(name, 0) or use["LOCAL"]] == []
