"""The codec decoder's convolutions, each with the part of a slot's state that makes it exact in a stream.

All are causal. A convolution remembers the end of its input, after the activation before it; at the start of a stream
that is zeros. A transposed convolution remembers the part of its output that overlaps the next, without the bias, which
is added once to the sum. Both kinds of memory lie end to end in one row of numbers for each slot, divided by `Layout`,
so that a batch's state is gathered and stored in one operation each.

On a CPU a frame's samples are equal to the last bit whatever frames and rows are decoded with it, on any number of
threads: MKL's products and oneDNN's convolutions sum in one order, except at the short ends of their blocks. So a layer
always uses the same kind of product, and pads its input to whole blocks. This is known by trial alone
(tests/qwen/test_chunking.py); between workers it holds if their processors are of one kind.

The weights are upstream's own parameters, not copies. Shapes are [B, C, T] unless stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

BLOCK = 16  # rows or columns


@dataclass(frozen=True, slots=True)
class CodecBlock:
    """The place of one layer's memory, [height, width], in a slot's row."""

    offset: int
    height: int
    width: int

    def of(self, rows: Tensor) -> Tensor:
        """The view [B, height, width] of contiguous rows [B, n]."""
        n_rows, row_width = rows.shape
        return rows.as_strided((n_rows, self.height, self.width), (row_width, self.width, 1), self.offset)


class Layout:
    """Allocates the blocks of a slot's row."""

    def __init__(self) -> None:
        self.width = 0

    def take(self, height: int, width: int) -> CodecBlock:
        block = CodecBlock(self.width, height, width)
        self.width += height * width
        return block


class CausalConv:
    """A causal convolution of stride 1. Upstream: CausalConvNet.

    is_early: a frame has few steps in this layer, so on a CPU one product with the shifted input is faster.
    """

    def __init__(self, upstream: Any, layout: Layout, *, is_early: bool = False) -> None:
        conv = upstream.conv
        self._weight: Tensor = conv.weight
        self._bias: Tensor = conv.bias
        self._n_taps: int = conv.kernel_size[0]
        self._dilation: int = conv.dilation[0]
        self._past = layout.take(conv.in_channels, self._dilation * (self._n_taps - 1))
        has_onednn = conv.weight.dtype is torch.float32 and torch.backends.mkldnn.is_available()
        self._is_product = is_early or not has_onednn

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        n = x.shape[2]
        x = remember(x, self._past, rows)
        if x.is_cuda:
            return functional.conv1d(x, self._weight, self._bias, dilation=self._dilation)
        x = functional.pad(x, (0, -n % BLOCK)) if n % BLOCK else x
        return (self._as_product(x) if self._is_product else self._by_onednn(x))[:, :, :n]

    def _as_product(self, x: Tensor) -> Tensor:
        """[B, C, past + T] -> [B, out, T], T a multiple of the block."""
        n_rows, n_channels, length = x.shape
        n = length - self._past.width
        shifted = x.as_strided(
            (n_rows, n_channels, self._n_taps, n), (n_channels * length, length, self._dilation, 1)
        ).reshape(n_rows, -1, n)
        weight = self._weight.view(1, len(self._weight), -1).expand(n_rows, -1, -1)
        return torch.baddbmm(self._bias[:, None], weight, shifted)

    def _by_onednn(self, x: Tensor) -> Tensor:
        """The same by oneDNN's convolution, which torch itself uses for some shapes only."""
        y: Tensor = torch.mkldnn_convolution(
            x.unsqueeze(2), self._weight.unsqueeze(2), self._bias, [0, 0], [1, 1], [1, self._dilation], 1
        )
        return y.squeeze(2)


class TransposedConv:
    """A transposed convolution whose kernel is twice its stride. Upstream: CausalTransConvNet.

    Each input step makes `stride` samples, and as many that overlap the next step's.
    """

    def __init__(self, upstream: Any, layout: Layout) -> None:
        conv = upstream.conv
        self._stride: int = conv.stride[0]
        self._n_out: int = conv.out_channels
        self._weight: Tensor = conv.weight.view(len(conv.weight), -1).t()  # [out * 2 * stride, in]
        # The bias of the step's own samples; the overlap is carried without it.
        self._bias = torch.zeros_like(conv.weight[0])
        self._bias[:, : self._stride] = conv.bias[:, None]
        self._bias = self._bias.view(-1, 1)
        self._past = layout.take(self._n_out, self._stride)

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        n_rows, _, n = x.shape
        x = x if x.is_cuda else filled(x, 2)
        y = torch.baddbmm(self._bias, self._weight.expand(n_rows, -1, -1), x)
        y = y.view(n_rows, self._n_out, 2, self._stride, -1)[..., :n]
        own, overlap = y.unbind(2)
        memory = self._past.of(rows)
        own[..., 0].add_(memory)
        own[..., 1:].add_(overlap[..., :-1])
        memory.copy_(overlap[..., -1])
        return own.transpose(2, 3).reshape(n_rows, self._n_out, n * self._stride)


class Snake:
    """x + sin²(αx)/β. Upstream: SnakeBeta, which stores the logarithms of α and β."""

    def __init__(self, upstream: Any) -> None:
        self._alpha = upstream.alpha.exp()[:, None]
        self._gain = 1.0 / (upstream.beta.exp() + upstream.no_div_by_zero)[:, None]

    def __call__(self, x: Tensor) -> Tensor:
        y = (x * self._alpha).sin_().square_()
        return torch.addcmul(x, self._gain, y, out=y)


class ResidualUnit:
    """Adds to its input in place. Upstream: DecoderResidualUnit, whose second convolution is one step wide."""

    def __init__(self, upstream: Any, layout: Layout) -> None:
        self._act1 = Snake(upstream.act1)
        self._conv1 = CausalConv(upstream.conv1, layout)
        self._act2 = Snake(upstream.act2)
        self._weight: Tensor = upstream.conv2.conv.weight.view(1, -1, upstream.conv2.conv.in_channels)
        self._bias: Tensor = upstream.conv2.conv.bias[:, None]

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        y = self._act2(self._conv1(self._act1(x), rows))
        return x.baddbmm_(self._weight.expand(len(x), -1, -1), y).add_(self._bias)


class Upsample:
    """Makes `factor` steps of every step, each with its own weights. In and out: [B, T, C].

    Upstream: CausalTransConvNet whose kernel is its stride, so that nothing overlaps.
    """

    def __init__(self, upstream: Any) -> None:
        conv = upstream.conv
        self._n_out: int = conv.out_channels
        self._weight: Tensor = conv.weight.view(len(conv.weight), -1).t()  # [out * factor, in]
        self._bias: Tensor = conv.bias

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        y = linear(x, self._weight).view(*x.shape[:2], self._n_out, -1)
        return y.transpose(2, 3).reshape(len(x), -1, self._n_out).add_(self._bias)


class ConvNeXt:
    """A depthwise convolution and a pair of linears. In and out: [B, T, C]. Upstream: ConvNeXtBlock."""

    def __init__(self, upstream: Any, layout: Layout) -> None:
        conv = upstream.dwconv.conv
        self._weight: Tensor = conv.weight
        self._bias: Tensor = conv.bias
        self._past = layout.take(conv.kernel_size[0] - 1, conv.in_channels)
        self._norm = upstream.norm
        self._wide = upstream.pwconv1
        self._narrow = upstream.pwconv2
        self._scale: Tensor = upstream.gamma

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        y = self._depthwise(remember(x, self._past, rows, dim=1))
        y = functional.layer_norm(y, self._norm.normalized_shape, self._norm.weight, self._norm.bias, self._norm.eps)
        y = functional.gelu(linear(y, self._wide.weight, self._wide.bias))
        return torch.addcmul(x, self._scale, linear(y, self._narrow.weight, self._narrow.bias))

    def _depthwise(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return functional.conv1d(x.transpose(1, 2), self._weight, self._bias, groups=len(self._weight)).transpose(
                1, 2
            )
        # On a CPU torch's conv1d loops over the groups.
        return (x.unfold(1, self._weight.shape[-1], 1) * self._weight[:, 0]).sum(-1).add_(self._bias)


class Vocoder:
    """From the transformer's output [B, T, latent] to samples [B, 1, T * 1920], not clamped."""

    def __init__(self, upstream: Any, layout: Layout) -> None:
        self._upsample: list[Upsample | ConvNeXt] = []
        for upsample, convnext in upstream.upsample:
            self._upsample += [Upsample(upsample), ConvNeXt(convnext, layout)]
        first, *blocks, activation, last = upstream.decoder
        self._layers: list[CausalConv | Activated | ResidualUnit] = [CausalConv(first, layout, is_early=True)]
        for block in blocks:
            snake, transposed, *units = block.block
            self._layers.append(Activated(snake, TransposedConv(transposed, layout)))
            self._layers += [ResidualUnit(unit, layout) for unit in units]
        self._layers.append(Activated(activation, CausalConv(last, layout)))

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        for step in self._upsample:
            x = step(x, rows)
        x = x.transpose(1, 2)
        for layer in self._layers:
            x = layer(x, rows)
        return x


class Activated:
    """A snake activation and the convolution after it."""

    def __init__(self, snake: Any, conv: CausalConv | TransposedConv) -> None:
        self._snake = Snake(snake)
        self._conv = conv

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        return self._conv(self._snake(x), rows)


def remember(x: Tensor, past: CodecBlock, rows: Tensor, dim: int = 2) -> Tensor:
    """The end of the earlier input followed by x; the memory is overwritten with the end of x."""
    memory = past.of(rows)
    n = x.shape[dim]
    x = torch.cat((memory, x), dim)
    memory.copy_(x.narrow(dim, n, memory.shape[dim]))
    return x


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [B, n, in] times weight [out, in]."""
    if x.is_cuda:
        return functional.linear(x, weight, bias)
    n_rows, n, width = x.shape
    return functional.linear(filled(x.reshape(-1, width), 0), weight, bias)[: n_rows * n].view(n_rows, n, -1)


def filled(x: Tensor, dim: int) -> Tensor:
    """x padded with zeros in this dimension to a whole number of blocks."""
    n_missing = -x.shape[dim] % BLOCK
    return functional.pad(x, (0, 0) * (x.dim() - 1 - dim) + (0, n_missing)) if n_missing else x
