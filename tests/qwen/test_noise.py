"""The noise of the draws: counted, not remembered, and as good as drawn by chance."""

from __future__ import annotations

import math

import torch

from tests.qwen.test_sampler import chi_square_p, first_rows, parameters
from worker.engine.qwen.sampler import _log_exponential, draw, keys, noise


def test_seeds_that_differ_in_one_bit_have_keys_of_their_own() -> None:
    seeds = torch.tensor([0, 2**63 - 1] + [1 << bit for bit in range(63)])
    for frame in (0, 1, 2000):
        made = keys(seeds, torch.full_like(seeds, frame), 16)
        assert len(set(made.flatten().tolist())) == made.numel()
        assert int(made.min()) >= 0
        assert int(made.max()) < 2**32


def test_frames_codebooks_and_neighbouring_seeds_do_not_correlate() -> None:
    seeds, frames = torch.arange(40).repeat_interleave(200), torch.arange(200).repeat(40)
    variates = noise(keys(seeds, frames, 16).unsqueeze(2), torch.arange(4)).view(40, 200, 16, 4).double()
    z = (variates - variates.mean()) / variates.std()
    pairs = {
        "seeds": (z[1:], z[:-1]),
        "frames": (z[:, 1:], z[:, :-1]),
        "codebooks": (z[:, :, 1:], z[:, :, :-1]),
        "tokens": (z[..., 1:], z[..., :-1]),
        "seed and frame": (z[1:, :-1], z[:-1, 1:]),
        "frame and codebook": (z[:, 1:, :-1], z[:, :-1, 1:]),
    }
    for name, (a, b) in pairs.items():
        assert abs(float((a * b).mean())) < 4 / math.sqrt(a.numel()), name


def test_pairs_of_draws_fall_evenly() -> None:
    n = 10_000
    every = keys(torch.full((n,), 123), torch.arange(n), 2)
    flat = torch.zeros(n, 8)
    made = parameters([(1.0, 0, 1.0)], 8)
    first, second = (
        draw(flat, first_rows(made, 1), every[:, codebook], made.shape(range(1)))[0] for codebook in range(2)
    )
    even = torch.full((64,), 1 / 64)
    assert chi_square_p((first * 8 + second).bincount(minlength=64), even) > 1e-4
    assert chi_square_p((first[1:] * 8 + first[:-1]).bincount(minlength=64), even) > 1e-4


def test_noise_is_exponential_and_finite_at_both_ends() -> None:
    ends = _log_exponential(torch.tensor([0, 1, 2**31, 2**32 - 2, 2**32 - 1]))
    assert ends.isfinite().all()
    assert ends.tolist() == sorted(ends.tolist())
    uniform = -torch.expm1(-noise(torch.tensor([[77]]), torch.arange(100_000)).double().exp())[0]
    counts = (uniform * 100).long().clamp_max(99).bincount(minlength=100)
    assert chi_square_p(counts, torch.full((100,), 0.01)) > 1e-4
