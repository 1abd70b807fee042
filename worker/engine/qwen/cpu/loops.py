"""Loops over float32 numbers, compiled to functions of plain addresses. Shapes are those of `layers`.

Sums may be regrouped, so that they use the processor's vectors; nothing else is (`fastmath`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types

F, N, R = types.CPointer(types.float32), types.CPointer(types.int64), types.float32
SIZE = types.int64

LOG2_E = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
LOWEST = np.float32(-87.0)  # exp of less is no normal number
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
BIAS, TWO_23 = np.float32(127), np.float32(2**23)  # the exponent of a float32 and its place
TERMS = tuple(np.float32(1 / math.factorial(n)) for n in (7, 6, 5, 4, 3))


def compiled(*arguments: Any) -> Any:
    return cfunc(types.void(*arguments), cache=True, error_model="numpy")


@njit(inline="always", error_model="numpy")
def exp(x):
    """e to the x <= 0 within 1e-6 of itself, in operations that vectors have. libm's takes one number at a time.

    As in Cephes' expf: x is n times ln 2 (in two parts) and a rest, whose series is summed; 2**n are bits.
    """
    x = LOWEST if x < LOWEST else x
    n = np.floor(x * LOG2_E + HALF)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    y = TERMS[0]
    y = y * r + TERMS[1]
    y = y * r + TERMS[2]
    y = y * r + TERMS[3]
    y = y * r + TERMS[4]
    y = y * r + HALF
    y = y * r + ONE
    y = y * r + ONE
    return y * np.int32((n + BIAS) * TWO_23).view(np.float32)


@njit(fastmath={"reassoc", "contract"}, error_model="numpy")
def dot(a, b):
    total = np.float32(0)
    for i in range(a.shape[0]):
        total += a[i] * b[i]
    return total


@njit(fastmath={"contract"}, error_model="numpy")
def scaled_to(x, weight, eps, out):
    """RMSNorm of x by weight."""
    scale = ONE / np.sqrt(dot(x, x) / np.float32(x.shape[0]) + eps)
    for i in range(x.shape[0]):
        out[i] = x[i] * scale * weight[i]


@compiled(F, F, F, SIZE, SIZE, R)
def rms(x_, weight_, out_, n, width, eps):
    x, out, weight = carray(x_, (n, width)), carray(out_, (n, width)), carray(weight_, (width,))
    for row in range(n):
        scaled_to(x[row], weight, eps, out[row])


@compiled(F, F, F, F, F, SIZE, SIZE, R)
def add_rms(x_, y_, weight_, total_, out_, n, width, eps):
    x, y, weight = carray(x_, (n, width)), carray(y_, (n, width)), carray(weight_, (width,))
    total, out = carray(total_, (n, width)), carray(out_, (n, width))
    for row in range(n):
        for i in range(width):
            total[row, i] = x[row, i] + y[row, i]
        scaled_to(total[row], weight, eps, out[row])


@compiled(F, F, SIZE, SIZE)
def silu_mul(gate_up_, out_, n, width):
    gate_up, out = carray(gate_up_, (n, 2, width)), carray(out_, (n, width))
    for row in range(n):
        gate, up, here = gate_up[row, 0], gate_up[row, 1], out[row]
        for i in range(width):
            small = exp(-gate[i] if gate[i] > ZERO else gate[i])
            here[i] = gate[i] * up[i] * (small if gate[i] < ZERO else ONE) / (ONE + small)


@njit(fastmath={"contract"}, error_model="numpy")
def turn(head, cis):
    for i in range(cis.shape[0]):
        a, b = head[2 * i], head[2 * i + 1]
        head[2 * i] = a * cis[i, 0] - b * cis[i, 1]
        head[2 * i + 1] = a * cis[i, 1] + b * cis[i, 0]


@compiled(F, F, F, N, N, F, F, SIZE, SIZE, SIZE, SIZE, SIZE, SIZE, R)
def qk(qkv_, weight_, cis_, positions_, rows_, keys_, values_, n, n_rows, n_q, n_kv, n_positions, width, eps):
    qkv, weight = carray(qkv_, (n, n_q + 2 * n_kv, width)), carray(weight_, (n_q + n_kv, width))
    cis = carray(cis_, (n_positions, width // 2, 2))
    keys, values = (
        carray(keys_, (n_rows, n_kv, n_positions, width)),
        carray(values_, (n_rows, n_kv, n_positions, width)),
    )
    positions, rows = carray(positions_, (n,)), carray(rows_, (n,))
    for token in range(n):
        row, position = rows[token], positions[token]
        for head in range(n_q + n_kv):
            scaled_to(qkv[token, head], weight[head], eps, qkv[token, head])
            turn(qkv[token, head], cis[position])
        for head in range(n_kv):
            keys[row, head, position, :] = qkv[token, n_q + head]
            values[row, head, position, :] = qkv[token, n_q + n_kv + head]


@njit(fastmath={"contract"}, error_model="numpy")
def attend_head(query, keys, values, scores, out):
    """Attention of a query [width] to keys and values [length, width]. scores: room for [length] numbers."""
    length, width = keys.shape
    most = np.float32(-np.inf)
    for at in range(length):
        scores[at] = dot(query, keys[at])
        most = max(most, scores[at])
    total = np.float32(0)
    for at in range(length):
        scores[at] = exp(scores[at] - most)
    for at in range(length):
        total += scores[at]
    out[:] = 0
    for at in range(length):
        share = scores[at] / total
        for i in range(width):
            out[i] += share * values[at, i]


@compiled(F, F, F, N, N, F, F, SIZE, SIZE, SIZE, SIZE, SIZE, SIZE)
def attend(qkv_, keys_, values_, rows_, positions_, scores_, out_, n, n_rows, n_q, n_kv, n_positions, width):
    qkv, out = carray(qkv_, (n, n_q + 2 * n_kv, width)), carray(out_, (n, n_q, width))
    keys, values = (
        carray(keys_, (n_rows, n_kv, n_positions, width)),
        carray(values_, (n_rows, n_kv, n_positions, width)),
    )
    positions, rows, scores = carray(positions_, (n,)), carray(rows_, (n,)), carray(scores_, (n_positions,))
    scale = ONE / np.sqrt(np.float32(width))
    for token in range(n):
        row, length = rows[token], positions[token] + 1
        for head in range(n_q):
            query = out[token, head]
            kv_head = head // (n_q // n_kv)
            scaled = qkv[token, head] * scale
            attend_head(scaled, keys[row, kv_head, :length], values[row, kv_head, :length], scores, query)
