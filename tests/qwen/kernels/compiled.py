"""Compiles kernels for an H100 (sm_90) as their operations launch them, where there is no GPU.

Run as a program with the names of dtypes, without Triton's interpreter. Prints a JSON list of (kernel, resources).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

TYPES = {
    torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.float64: "fp64",
    torch.int64: "i64", torch.int32: "i32", torch.bool: "i1",
}  # fmt: skip
OPTIONS = ("num_warps", "num_stages")
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
found: list[tuple[str, dict[str, int]]] = []


def compiled(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
    """In place of a launch: compile what it would launch. Pointers are multiples of 16, as torch's allocator's are."""
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], Any] = {}
    given = dict(zip(kernel.arg_names, args, strict=False)) | options
    for n, parameter in enumerate(kernel.params):
        value, name = given.pop(parameter.name), parameter.name
        if isinstance(value, Tensor):
            signature[name] = "*" + TYPES[value.dtype]
        elif parameter.is_constexpr or value is None or (value == 1 and isinstance(value, int)):
            signature[name] = "constexpr"
            constants[(n,)] = value
            continue
        else:
            signature[name] = "i32" if isinstance(value, int) else "fp32"
        if isinstance(value, Tensor) or (isinstance(value, int) and value % 16 == 0):
            attributes[(n,)] = [["tt.divisibility", 16]]
    assert set(given) <= set(OPTIONS), given
    source = ASTSource(kernel, signature, constants, attributes)
    result = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=given)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        command = [str(CUOBJDUMP), "--dump-resource-usage", file.name]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    usage = {name: int(n) for name, n in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", listing)}
    found.append((kernel.__name__, usage | {"shared": result.metadata.shared}))


def launch(dtype: torch.dtype) -> None:
    """Every kernel of a layer in the shapes of the 0.6B model."""
    from worker.engine.qwen.kernels import attention, layers

    n, n_heads, n_kv_heads, width, n_positions = 3, 16, 8, 128, 2048
    kind = torch.promote_types(dtype, torch.float32)
    x, weight = torch.zeros(n, 1024, dtype=dtype), torch.zeros(1024, dtype=dtype)
    layers.rms(x, weight, 1e-6)
    layers.add_rms(x, x, weight, 1e-6)
    layers.silu_mul(torch.zeros(n, 6144, dtype=dtype))
    rows, n_done = torch.zeros(n, dtype=torch.int64), torch.zeros(999, dtype=torch.int32)
    qkv = torch.zeros(n, (n_heads + 2 * n_kv_heads) * width, dtype=dtype)
    norms = torch.zeros(n_heads + n_kv_heads, width, dtype=kind)
    cis = torch.zeros(n_positions, width // 2, 2, dtype=kind)
    cache = torch.zeros(1, n_kv_heads, n_positions, width, dtype=dtype)
    short = cache[:, :, :16].contiguous()
    layers.qk(qkv, norms, cis, rows, rows, cache, cache, 1e-6)
    attention.attend(qkv[:1], cache, cache, rows, rows, n_done)
    attention.attend(qkv.expand(22, -1, -1).flatten(0, 1), cache, cache, rows, rows, n_done)
    attention.attend(qkv, short, short, rows, rows, n_done)
    attention.attend_packed(qkv, rows, n_kv_heads, width)


def launch_draws(dtype: torch.dtype) -> None:
    """Every kernel that draws, in the shapes of the 0.6B model."""
    from worker.engine.qwen.kernels.advance import advance
    from worker.engine.qwen.kernels.draw import draw, draw_first

    n, width, vocabulary = 3, 1024, 3072
    rows, numbers = torch.zeros(n, dtype=torch.int64), torch.zeros(n, 1)
    table, embedded = torch.zeros(vocabulary, width, dtype=dtype), torch.zeros(16, n, width, dtype=dtype)
    codes, logits = torch.zeros(n, 16, dtype=torch.int64), torch.zeros(n, vocabulary, dtype=dtype)
    given = rows, rows, rows, numbers, rows, numbers, table, codes
    draw(logits[:, :2048], *given, embedded[3], 3)
    seen, mask = torch.zeros(n, vocabulary, dtype=torch.bool), torch.zeros(vocabulary)
    draw_first(logits, *given, embedded[0], seen, numbers, mask, rows, 2150)
    advance(embedded, rows, table, table, rows, rows, n)


def launch_codec(dtype: torch.dtype) -> None:
    """Every kernel of the codec's decoder, in the shapes of the 0.6B model."""
    from worker.engine.qwen.kernels import codec_frames, codec_stream

    wide = torch.promote_types(dtype, torch.float32)
    slots, state = torch.zeros(2, dtype=torch.int64), torch.zeros(4, 139_168, dtype=dtype)
    for n_channels in (96, 768):
        x, vector = torch.zeros(2, 320, n_channels, dtype=dtype), torch.zeros(n_channels, dtype=wide)
        codec_stream.codec_snake_(x, vector, vector, vector)
        codec_stream.codec_extend(x, state, slots, 1024, 54, vector, vector, vector)
    codec_stream.codec_extend(x, state, slots, 1024, 6, vector)
    codec_stream.codec_overlap_add(torch.zeros(2, 320, 576, dtype=dtype), state, slots, 1024, 3)
    codec_stream.codec_samples(x[:, :, :96].contiguous(), torch.zeros(7, 96, dtype=wide), vector[:1])
    codec_frames.codec_advance(torch.zeros(4, dtype=torch.int64), slots, 12)
    codes, table = torch.zeros(2, 12, 16, dtype=torch.int64), torch.zeros(32768, 256, dtype=dtype)
    codec_frames.codec_codebooks(codes, table, 1)
    x, vector = torch.zeros(2, 12, 512, dtype=dtype), torch.zeros(512, dtype=wide)
    codec_frames.codec_add_rms(x, vector, 1e-5)
    codec_frames.codec_add_rms(x, vector, 1e-5, x, vector)
    qkv, ring = torch.zeros(2, 12, 3072, dtype=dtype), torch.zeros(4, 8, 32, 96, 64, dtype=dtype)
    queries = codec_frames.codec_rotate(qkv, ring, 2, slots, slots, torch.zeros(32))
    codec_frames.codec_attend(queries, ring, 2, slots, slots, 72)
    x, vector = torch.zeros(2, 54, 1024, dtype=dtype), torch.zeros(1024, dtype=wide)
    taps = torch.zeros(7, 1024, dtype=wide)
    codec_frames.codec_depthwise_norm(x, taps, vector, vector, vector, 1e-6)
    codec_frames.codec_scaled_add_(x, x, vector)


if __name__ == "__main__":
    JITFunction.run = compiled
    for name in sys.argv[1:]:
        launch(getattr(torch, name))
        launch_draws(getattr(torch, name))
        launch_codec(getattr(torch, name))
    print(json.dumps(found))
