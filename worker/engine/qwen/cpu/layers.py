"""The operations of a layer beside its products, on contiguous float32 tensors of a CPU.

Names and arguments are those of the Triton kernels (`worker.engine.qwen.kernels`). The loops read numbers by address
and check nothing, so rows and positions must lie within the caches.
"""

from __future__ import annotations

from ctypes import CFUNCTYPE, c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.qwen.cpu import loops


def _function(loop: Any, n_pointers: int, n_sizes: int, has_eps: bool = False) -> Any:
    """The compiled loop, called with addresses as whole numbers."""
    arguments = [c_void_p] * n_pointers + [c_int64] * n_sizes + [c_float] * has_eps
    return CFUNCTYPE(None, *arguments)(loop.address)


_rms = _function(loops.rms, 3, 2, has_eps=True)
_add_rms = _function(loops.add_rms, 5, 2, has_eps=True)
_silu_mul = _function(loops.silu_mul, 2, 2)
_qk = _function(loops.qk, 7, 6, has_eps=True)
_attend = _function(loops.attend, 7, 6)


def rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of x [N, D] by weight [D]."""
    out = x.new_empty(x.shape)
    _rms(x.data_ptr(), weight.data_ptr(), out.data_ptr(), *x.shape, eps)
    return out


def add_rms(x: Tensor, y: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x + y and its RMSNorm by weight [D]. x, y: [N, D]."""
    total, out = x.new_empty(x.shape), x.new_empty(x.shape)
    _add_rms(x.data_ptr(), y.data_ptr(), weight.data_ptr(), total.data_ptr(), out.data_ptr(), *x.shape, eps)
    return total, out


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up [N, W] of gate_up [N, 2 W]: all gates, then all ups."""
    n, width = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(n, width)
    _silu_mul(gate_up.data_ptr(), out.data_ptr(), n, width)
    return out


def qk(
    qkv: Tensor, weight: Tensor, cis: Tensor, positions: Tensor, rows: Tensor, keys: Tensor, values: Tensor, eps: float
) -> None:
    """Norm and rotate the heads of queries and keys in place, and write keys and values to the caches.

    qkv: [N, (HQ + 2 HK) * D], all queries, then keys, then values, rotary pairs side by side. weight: [HQ + HK, D].
    cis: cosines and sines by position, [P, D / 2, 2]. positions, rows: int64 [N], where token n is in the caches.
    keys, values: [rows, HK, P, D].
    """
    n_rows, n_kv, n_positions, width = keys.shape
    _qk(
        qkv.data_ptr(), weight.data_ptr(), cis.data_ptr(), positions.data_ptr(), rows.data_ptr(), keys.data_ptr(),
        values.data_ptr(), len(qkv), n_rows, len(weight) - n_kv, n_kv, n_positions, width, eps,
    )  # fmt: skip


def attend(qkv: Tensor, keys: Tensor, values: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """Attention of each token's queries to its row of the caches, up to its own position: [N, HQ * D].

    The tensors are those of `qk`, which has run before.
    """
    n_rows, n_kv, n_positions, width = keys.shape
    n_q = qkv.shape[1] // width - 2 * n_kv
    out, scores = qkv.new_empty(len(qkv), n_q * width), qkv.new_empty(n_positions)
    _attend(
        qkv.data_ptr(), keys.data_ptr(), values.data_ptr(), rows.data_ptr(), positions.data_ptr(), scores.data_ptr(),
        out.data_ptr(), len(qkv), n_rows, n_q, n_kv, n_positions, width,
    )  # fmt: skip
    return out


def attend_packed(qkv: Tensor, starts: Tensor, n_kv_heads: int, width: int) -> Tensor:
    """The attention of each token of a pack over the pack's tokens from starts[t] to t: [T, HQ * D].

    qkv: as `qk` leaves it, [T, (HQ + 2 HK) * D]. starts: int64 [T], equal within an utterance. width: D.
    """
    heads = qkv.view(1, len(qkv), -1, width).transpose(1, 2)
    n_q = heads.shape[1] - 2 * n_kv_heads
    parts = []
    for run in heads.split(starts.unique_consecutive(return_counts=True)[1].tolist(), 2):
        q, k, v = run.split((n_q, n_kv_heads, n_kv_heads), 1)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        parts.append(attended[0].transpose(0, 1).reshape(run.shape[2], -1))
    return torch.cat(parts)
