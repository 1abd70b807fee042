"""The convolutions of `fused`: four launches a residual unit, of which two are products and two read every number once.

Convolutions are cuDNN's on channels-last images of height 1, which need no copy. Early ones, of few steps and many
weights, are products with their input's windows. Transposed convolutions are one product for all rows.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.qwen.codec.layers import Layout
from worker.engine.qwen.codec.tables import taken, vector
from worker.engine.qwen.kernels import codec_frames, codec_stream

Wave: TypeAlias = tuple[Tensor, Tensor, Tensor]  # a bias that was left out before a snake, its alpha and its gain


def wave(upstream: Any, left_out: Tensor) -> Wave:
    """Upstream: SnakeBeta. left_out: the bias of the layer before."""
    alpha, beta = vector(upstream.alpha), vector(upstream.beta)
    return left_out, alpha.exp(), 1.0 / (beta.exp() + upstream.no_div_by_zero)


class EarlyConv:
    """A convolution as a product with windows of its input. Upstream: CausalConvNet.

    adds_bias: or leaves it out, in `left_out`.
    """

    def __init__(self, upstream: Any, layout: Layout, adds_bias: bool, consume: bool) -> None:
        conv = upstream.conv
        self._past: int = conv.kernel_size[0] - 1
        self._memory = layout.take(self._past, conv.in_channels)
        self._nothing = vector(conv.bias.new_zeros(conv.in_channels))
        self._bias = conv.bias if adds_bias else None
        self.left_out = vector(conv.bias)
        self._weight = taken(conv, consume).transpose(1, 2).flatten(1)  # [out, taps * in]

    def __call__(self, x: Tensor, state: Tensor, slots: Tensor) -> Tensor:
        n_rows, n, n_channels = x.shape
        x = codec_stream.codec_extend(x, state, slots, self._memory.offset, self._past, self._nothing)
        windows = x.as_strided(
            (n_rows, n, (self._past + 1) * n_channels), ((self._past + n) * n_channels, n_channels, 1)
        )
        return functional.linear(windows.reshape(n_rows, n, -1).contiguous(), self._weight, self._bias)


class WideConv:
    """A dilated convolution after a snake, without its bias. Upstream: CausalConvNet."""

    def __init__(self, upstream: Any, layout: Layout, before: Wave, consume: bool) -> None:
        conv = upstream.conv
        self._dilation: int = conv.dilation[0]
        self._past: int = self._dilation * (conv.kernel_size[0] - 1)
        self._memory = layout.take(self._past, conv.in_channels)
        self._before = before
        weight = taken(conv, consume).unsqueeze(2)  # [out, in, 1, taps]
        self._weight = weight.contiguous(memory_format=torch.channels_last)

    def __call__(self, x: Tensor, state: Tensor, slots: Tensor) -> Tensor:
        x = codec_stream.codec_extend(x, state, slots, self._memory.offset, self._past, *self._before)
        image = x.transpose(1, 2).unsqueeze(2)  # channels last
        y = functional.conv2d(image, self._weight, dilation=(1, self._dilation))
        return y.squeeze(2).transpose(1, 2).contiguous()


class FusedUnit:
    """Adds to its input in place. Upstream: DecoderResidualUnit."""

    def __init__(self, upstream: Any, layout: Layout, left_out: Tensor, consume: bool) -> None:
        self._conv = WideConv(upstream.conv1, layout, wave(upstream.act1, left_out), consume)
        self._after = wave(upstream.act2, vector(upstream.conv1.conv.bias))
        self._weight: Tensor = upstream.conv2.conv.weight.squeeze(-1).t()
        self.left_out = left_out + vector(upstream.conv2.conv.bias)

    def __call__(self, x: Tensor, state: Tensor, slots: Tensor) -> Tensor:
        y = self._conv(x, state, slots)
        codec_stream.codec_snake_(y, *self._after)
        x.flatten(0, 1).addmm_(y.flatten(0, 1), self._weight)
        return x


class FusedUpsample:
    """Makes `factor` steps of every step: a snake, a product, and the sum of what overlaps.

    Upstream: SnakeBeta and CausalTransConvNet, whose kernel is twice its stride.
    """

    def __init__(self, snake: Any, upstream: Any, layout: Layout, left_out: Tensor, consume: bool) -> None:
        conv = upstream.conv
        self._before = wave(snake, left_out)
        self._stride: int = conv.stride[0]
        self._memory = layout.take(self._stride, conv.out_channels)
        self.left_out = vector(conv.bias)
        self._weight = by_step(taken(conv, consume))

    def __call__(self, x: Tensor, state: Tensor, slots: Tensor) -> Tensor:
        codec_stream.codec_snake_(x, *self._before)
        y = functional.linear(x, self._weight)
        added: Tensor = codec_stream.codec_overlap_add(y, state, slots, self._memory.offset, self._stride)
        return added


class FusedConvNeXt:
    """A transposed convolution without overlap, and upstream's ConvNeXtBlock after it."""

    def __init__(self, upsample: Any, upstream: Any, layout: Layout, consume: bool) -> None:
        conv, depthwise = upsample.conv, upstream.dwconv.conv
        self._n_channels: int = conv.out_channels
        self._bias = conv.bias.repeat(conv.stride[0])
        self._weight = by_step(taken(conv, consume))
        self._past: int = depthwise.kernel_size[0] - 1
        self._memory = layout.take(self._past, depthwise.in_channels)
        self._taps = vector(depthwise.weight)[:, 0].t().contiguous()  # [taps, C]
        self._taps_bias, self._nothing = vector(depthwise.bias), torch.zeros_like(vector(depthwise.bias))
        self._norm = vector(upstream.norm.weight), vector(upstream.norm.bias), upstream.norm.eps
        self._wide, self._narrow = upstream.pwconv1, upstream.pwconv2
        self._scale = vector(upstream.gamma)

    def __call__(self, x: Tensor, state: Tensor, slots: Tensor) -> Tensor:
        x = functional.linear(x, self._weight, self._bias).view(len(x), -1, self._n_channels)
        y = codec_stream.codec_extend(x, state, slots, self._memory.offset, self._past, self._nothing)
        y = codec_frames.codec_depthwise_norm(y, self._taps, self._taps_bias, *self._norm)
        y = torch.ops.aten.gelu_(functional.linear(y, self._wide.weight, self._wide.bias))
        y = functional.linear(y, self._narrow.weight, self._narrow.bias)
        codec_frames.codec_scaled_add_(x, y, self._scale)
        return x


class LastConv:
    """A snake and the convolution to samples."""

    def __init__(self, snake: Any, upstream: Any, layout: Layout, left_out: Tensor) -> None:
        conv = upstream.conv
        self._before = wave(snake, left_out)
        self._past: int = conv.kernel_size[0] - 1
        self._memory = layout.take(self._past, conv.in_channels)
        self._weight = vector(conv.weight)[0].t().contiguous()  # [taps, C]
        self._bias = vector(conv.bias)

    def __call__(self, x: Tensor, state: Tensor, slots: Tensor) -> Tensor:
        x = codec_stream.codec_extend(x, state, slots, self._memory.offset, self._past, *self._before)
        samples: Tensor = codec_stream.codec_samples(x, self._weight, self._bias)
        return samples


class FusedVocoder:
    """From the transformer's output [B, T, latent] to samples, float32 [B, T * 1920], limited to -1..1."""

    def __init__(self, upstream: Any, layout: Layout, consume: bool) -> None:
        self._layers: list[FusedConvNeXt | EarlyConv | FusedUpsample | FusedUnit | LastConv] = [
            FusedConvNeXt(upsample, convnext, layout, consume) for upsample, convnext in upstream.upsample
        ]
        first, *blocks, activation, last = upstream.decoder
        layer: EarlyConv | FusedUpsample | FusedUnit = EarlyConv(first, layout, False, consume)
        self._layers.append(layer)
        for block in blocks:
            snake, transposed, *units = block.block
            layer = FusedUpsample(snake, transposed, layout, layer.left_out, consume)
            self._layers.append(layer)
            for unit in units:
                layer = FusedUnit(unit, layout, layer.left_out, consume)
                self._layers.append(layer)
        self._layers.append(LastConv(activation, last, layout, layer.left_out))

    def __call__(self, x: Tensor, state: Tensor, slots: Tensor) -> Tensor:
        """state [slots, width]: of every convolution, written in place."""
        for layer in self._layers:
            x = layer(x, state, slots)
        return x


def by_step(weight: Tensor) -> Tensor:
    """A transposed convolution's weight [in, out, taps] as a product's: [taps * out, in]."""
    return weight.permute(2, 1, 0).flatten(0, 1).contiguous()
