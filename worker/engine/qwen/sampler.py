"""Sampling: from logits to the next code, with parameters for each row and counter-based random numbers.

A row's draw is a function of its logits, its parameters and (seed, frame, codebook) alone. There is no generator state,
so neighbours, order and batch size change nothing. Python branches on `SamplingShape`, which comes from the host's copy
of the parameters. With the shape for any rows the host reads no tensor, so a CUDA graph can hold every function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

DEFAULTS: Mapping[str, Any] = {  # upstream's, for what generation_config.json leaves out
    "temperature": 0.9,
    "top_k": 50,
    "top_p": 1.0,
    "repetition_penalty": 1.05,
    "predictor_temperature": 0.9,
    "predictor_top_k": 50,
    "predictor_top_p": 1.0,
}
MIN_NEW_TOKENS = 2
COLDEST = 1e-5  # below it a temperature costs precision and is greedy anyway
TOP_STEP = 64  # what the number of candidates is rounded up to
SPARE = 8  # candidates beyond top-k, at least: as upstream, all that tie with the last one are kept
LOW_32 = 0xFFFF_FFFF


class Choice(NamedTuple):
    """The sampling parameters of one of the two models: the arguments of `Parameters.set`."""

    temperature: float
    top_k: int
    top_p: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling parameters of a request. None is the checkpoint's value, or the model's default without one.

    `greedy` takes the likeliest code in talker and predictor; a temperature of 0 does so in one of them. `top_k` 0,
    `top_p` 1 and `repetition_penalty` 1 are off. The penalty applies to the talker, greedy or not. Raises ValueError
    for a value out of range.
    """

    greedy: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    predictor_temperature: float | None = None
    predictor_top_k: int | None = None
    predictor_top_p: float | None = None

    def __post_init__(self) -> None:
        if type(self.greedy) is not bool:
            raise ValueError(f"greedy is {self.greedy!r}; give True or False")
        for part in ("", "predictor_"):
            self._check(part + "temperature", "0 (greedy) to 2", lambda t: 0 <= t <= 2)
            self._check(part + "top_k", "a whole number, 0 (no limit) or more", lambda k: isinstance(k, int) and k >= 0)
            self._check(part + "top_p", "above 0, up to 1 (off)", lambda p: 0 < p <= 1)
        self._check("repetition_penalty", "above 0, up to 10; 1 is off", lambda p: 0 < p <= 10)

    def _check(self, name: str, allowed: str, holds: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise ValueError(f"{name} must be {allowed}, not {value!r}; leave it out for the checkpoint's value")

    def resolved(self, generation: Mapping[str, Any]) -> Sampling:
        """A copy whose Nones are filled from generation_config.json's content, else with the model's defaults."""
        filled: dict[str, Any] = {"greedy": self.greedy}
        for field in fields(self)[1:]:
            stored = field.name.replace("predictor_", "subtalker_")
            found = (getattr(self, field.name), generation.get(stored), DEFAULTS[field.name])
            filled[field.name] = next(value for value in found if value is not None)
        for part, draws in (("", "do_sample"), ("predictor_", "subtalker_dosample")):
            if generation.get(draws) is False and getattr(self, part + "temperature") is None:
                filled[part + "temperature"] = 0.0
        return Sampling(**filled)

    def talker(self) -> Choice:
        """The talker's part. Raises ValueError unless resolved."""
        return self._choice("")

    def predictor(self) -> Choice:
        """The code predictor's part. Raises ValueError unless resolved."""
        return self._choice("predictor_")

    def _choice(self, part: str) -> Choice:
        temperature, top_k, top_p = (getattr(self, part + name) for name in ("temperature", "top_k", "top_p"))
        if None in (temperature, top_k, top_p):
            raise ValueError("this Sampling has fields without a value; call resolved(generation_config) first")
        return Choice(temperature, top_k, top_p, self.greedy)


@dataclass(frozen=True, slots=True)
class SamplingShape:
    """The work that a batch's draw needs, on which Python branches.

    k: how many of the largest logits show where top-k ends; 0 without a top-k. every: all tokens are candidates, else
    those k are, for a CPU: the host reads whether more tie with the last of top-k. top_p: the candidates are sorted for
    top-p. mixed: some rows draw and some are greedy. With neither k nor every, all are greedy.
    """

    k: int = 0
    every: bool = False
    top_p: bool = False
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """The sampling parameters of a batch's rows, as tensors for `draw`."""

    temperature: Tensor  # float32 [B, 1], 1 for greedy rows
    last: Tensor  # int64 [B, 1], 0-based rank of the last logit that top-k keeps
    tail: Tensor  # float32 [B, 1], the probability that top-p may cut off
    noise: Tensor  # float32 [B, 1], 1 to draw, 0 for greedy
    tokens: Tensor  # int64 [1, V], every token id


class Parameters:
    """The sampling parameters of the rows for one of the two models, on the device, and on the host for `shape`.

    every: those of all rows.
    """

    def __init__(self, n_slots: int, vocabulary: int, device: torch.device | str = "cpu") -> None:
        self._vocabulary = vocabulary
        self.every = Rows(
            temperature=torch.ones(n_slots, 1, device=device),
            last=torch.ones(n_slots, 1, dtype=torch.int64, device=device),
            tail=torch.zeros(n_slots, 1, device=device),
            noise=torch.zeros(n_slots, 1, device=device),
            tokens=torch.arange(vocabulary, device=device)[None],
        )
        self._choices = [Choice(0.0, 0, 1.0, True)] * n_slots

    def set(self, slot: int, temperature: float, top_k: int, top_p: float, greedy: bool = False) -> None:
        """Set a row's parameters. A temperature of 0 is greedy; a top_k of 0 is no limit."""
        top_k = min(top_k, self._vocabulary) or self._vocabulary
        if greedy or temperature < COLDEST:
            # The margin needs the two best.
            temperature, top_k, top_p, greedy = 1.0, min(2, self._vocabulary), 1.0, True
        self._choices[slot] = Choice(temperature, top_k, top_p, greedy)
        rows = self.every
        rows.temperature[slot] = temperature
        rows.last[slot] = top_k - 1
        rows.tail[slot] = 1 - top_p
        rows.noise[slot] = 0.0 if greedy else 1.0

    def rows(self, rows: Tensor) -> Rows:
        """The parameters of these rows, int64 [B]."""
        every = self.every
        temperature, last, tail, noise = (
            parameter.index_select(0, rows) for parameter in (every.temperature, every.last, every.tail, every.noise)
        )
        return Rows(temperature, last, tail, noise, every.tokens)

    def shape(self, rows: Collection[int]) -> SamplingShape:
        """The shape of a draw for these rows. Reads nothing from the device."""
        drawing = [choice for choice in map(self._choices.__getitem__, rows) if not choice.greedy]
        if not drawing:
            return SamplingShape()
        limits = [choice.top_k for choice in drawing if choice.top_k < self._vocabulary]
        k = -(-(max(limits) + SPARE) // TOP_STEP) * TOP_STEP if limits else 0
        return SamplingShape(
            min(k, self._vocabulary),
            every=len(limits) < len(drawing) or k >= self._vocabulary,
            top_p=any(choice.top_p < 1 for choice in drawing),
            mixed=len(drawing) < len(rows),
        )

    def any_shape(self, top_p: bool) -> SamplingShape:
        """The shape that draws for any rows, at the cost of a sort; it reads nothing from the device."""
        return SamplingShape(self._vocabulary, every=True, top_p=top_p, mixed=True)

    def has_top_p(self, rows: Collection[int]) -> bool:
        """Whether a top-p cuts for one of these rows."""
        return any(self._choices[row].top_p < 1 for row in rows)


def _mix(x: Tensor) -> Tensor:
    """Hash 32-bit numbers, held in int64, in place.

    Two rounds of wyhash32: multiply by a 31-bit constant, which cannot overflow; fold the upper half onto the lower.
    """
    x.mul_(0x53C5CA59)
    x.bitwise_xor_(x >> 32).bitwise_and_(LOW_32)
    x.mul_(0x74743C1B)
    return x.bitwise_xor_(x >> 32).bitwise_and_(LOW_32)


def keys(seeds: Tensor, frames: Tensor, n: int) -> Tensor:
    """A 32-bit key for each of n codebooks: seeds int64 [B] (0 to 2**63 - 1), frames int64 [B] -> int64 [B, n]."""
    x = _mix((seeds & LOW_32).bitwise_xor_(0x3C6EF372))
    x.bitwise_xor_(seeds >> 32).bitwise_xor_((frames * 0x1E3779B9).bitwise_and_(LOW_32))
    codebooks = torch.arange(1, n + 1, device=seeds.device).mul_(0x05EBCA6B)
    return _mix(_mix(x).unsqueeze(1) ^ codebooks)


def noise(key: Tensor, tokens: Tensor) -> Tensor:
    """The logarithm of an exponential variate for each (key, token), which is negative Gumbel noise.

    key: int64 [..., 1] from `keys`. tokens: int64 [..., n]. Returns float32 [..., n], broadcast.
    """
    return _log_exponential(_mix(tokens ^ key))


def _log_exponential(bits: Tensor) -> Tensor:
    """log(-log(1 - u)) for uniform u strictly inside (0, 1), made from 32-bit numbers; always finite."""
    uniform = bits.to(torch.float32).add_(0.5)
    # Near 2**32 float32 rounds up, so the factor is the next below 2**-32. Near 0, where tokens win, it is exact.
    return uniform.mul_(-(2**-32) * (1 - 2**-24)).log1p_().neg_().log_()


def draw(
    logits: Tensor, rows: Rows, key: Tensor, shape: SamplingShape, margins: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Draw one token for each row: temperature, top-k, top-p, then the largest score plus noise (Gumbel-max).

    logits: float32 [B, V]. key: int64 [B], a column of `keys`; or float32 [B, V], the `noise` of every token under it,
    which saves kernels. Returns tokens int64 [B] and margins float32 [B] or None. Greedy rows take their largest logit,
    and the lowest id of equals. Top-k and top-p keep what transformers' warpers keep: all tokens that tie with the last
    of top-k. A margin is the gap between the two best final scores in standard deviations of the row's finite logits
    after temperature; inf without a second.
    """
    if not (shape.k or shape.every):
        return logits.argmax(1), _margins(logits, logits, rows.temperature) if margins else None
    tokens, scores = _top_k(logits, rows, shape)
    if shape.top_p:
        tokens, scores = _top_p(tokens, scores, rows.tail)
    is_by_id = tokens is rows.tokens
    if not key.is_floating_point():
        minus_gumbel = noise(key.unsqueeze(1), tokens)
    else:
        minus_gumbel = key if is_by_id else key.gather(1, tokens)
    scores.addcmul_(rows.noise, minus_gumbel, value=-1)
    drawn = scores.argmax(1)
    if not is_by_id:
        drawn = tokens.gather(1, drawn.unsqueeze(1)).squeeze(1)
        if shape.mixed:  # the order of candidates that tie is arbitrary
            drawn = torch.where(rows.noise.squeeze(1) == 0, logits.argmax(1), drawn)
    return drawn, _margins(scores, logits, rows.temperature) if margins else None


def _top_k(logits: Tensor, rows: Rows, shape: SamplingShape) -> tuple[Tensor, Tensor]:
    """Candidates: ids [B, k] in any order, or all of them [1, V], and scores [B, k or V], -inf beyond top-k."""
    if not shape.k:
        return rows.tokens, logits / rows.temperature
    largest, tokens = logits.topk(shape.k, 1)
    scores = largest.div_(rows.temperature)
    if shape.every:
        least = scores.gather(1, rows.last.clamp_max(shape.k - 1)).masked_fill_(rows.last >= shape.k, -math.inf)
    else:
        least = scores.gather(1, rows.last)
        if (scores[:, -1:] < least).all():
            return tokens, scores.masked_fill_(scores < least, -math.inf)
    scores = logits / rows.temperature
    return rows.tokens, scores.masked_fill_(scores < least, -math.inf)


def _top_p(tokens: Tensor, scores: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """The candidates ascending, equals by id, as which of them top-p keeps must not depend on k or the batch."""
    if len(tokens) == len(scores):
        tokens, order = tokens.sort(1)
        scores = scores.gather(1, order)
    scores, order = scores.sort(dim=1, stable=True)
    removed = scores.softmax(1).cumsum_(1) <= tail
    removed[:, -1] = False
    return tokens.expand_as(order).gather(1, order), scores.masked_fill_(removed, -math.inf)


def _margins(scores: Tensor, logits: Tensor, temperature: Tensor) -> Tensor:
    """Best minus second score [B, n] over the standard deviation of the finite logits [B, V] after temperature: [B]."""
    best = scores.topk(min(2, scores.shape[1]), 1).values
    gap = best[:, 0] - best[:, -1]
    finite = logits.isfinite()
    count = finite.sum(1, keepdim=True)
    mean = logits.where(finite, 0.0).sum(1, keepdim=True) / count
    spread = ((logits - mean).where(finite, 0.0).square().sum(1, keepdim=True) / count).sqrt() / temperature
    return gap / spread.squeeze(1).clamp_min(torch.finfo(torch.float32).tiny)


def penalize(logits: Tensor, seen: Tensor, penalty: Tensor) -> Tensor:
    """The repetition penalty: logits [B, V], seen bool [B, V], penalty float32 [B] or [B, 1] (1 is off) -> [B, V]."""
    penalty = penalty.view(-1, 1)
    lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, lowered, logits)


def suppress(
    logits: Tensor, frames: Tensor, mask: Tensor, eos: int, earliest_end: Tensor | int = MIN_NEW_TOKENS
) -> Tensor:
    """Apply a mask, and forbid the end token in the first frames.

    logits: [B, V]. frames: int64 [B], frames so far. mask: float32 [V], 0 or -inf. eos: id of the end token.
    earliest_end: int64 [B], the frame from which on each row may end.
    """
    allowed = logits + mask
    allowed[:, eos].masked_fill_(frames < earliest_end, -math.inf)
    return allowed
