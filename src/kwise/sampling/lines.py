"""Masks of whole readout lines, redrawn in every frame: (t, ky) bool, True = acquired."""

import math
from functools import lru_cache

import torch
from torch import Generator, Tensor

from kwise.sampling.budget import acs_lines, check_acs, default_acs, frame_counts, line_budget


def gaussian_lines(n_lines: int, n_frames: int, acceleration: float, generator: Generator) -> Tensor:
    """DiSK's mask ("NormalLines"): (t, ky) with lines drawn around DC, p ~ Normal(n_lines / 2, variance
    n_lines / 0.3).

    Every frame gets floor(total / t) distinct lines; the rest of the total = int(n_lines * t / R) falls
    uniformly on positions not yet sampled, so that R is exact (the published code lets these collide). Zhang
    et al. 2024 (DiSK).
    """
    total = line_budget(n_lines, n_frames, acceleration)
    return _draw_lines(_normal_density(n_lines), n_frames, total, generator)


def uniform_lines(n_lines: int, n_frames: int, acceleration: float, generator: Generator) -> Tensor:
    """(t, ky) with every line equally likely, floor(total / t) per frame and the rest anywhere."""
    total = line_budget(n_lines, n_frames, acceleration)
    return _draw_lines(torch.ones(n_lines), n_frames, total, generator)


def random_lines(
    n_lines: int, n_frames: int, acceleration: float, generator: Generator, acs: int | None = None
) -> Tensor:
    """(t, ky) with `acs` central lines in each frame and uniformly random others (Zbontar et al., fastMRI,
    2018).

    fastMRI tosses a coin for each line; here the number of lines is fixed, so that R is exact.
    """
    total = line_budget(n_lines, n_frames, acceleration)
    acs = default_acs(n_lines, n_frames, acceleration) if acs is None else check_acs(acs, total // n_frames)
    centre = acs_lines(n_lines, acs)
    outer = _draw_lines((~centre).float(), n_frames, total - acs * n_frames, generator)
    return outer | centre


def equispaced_lines(
    n_lines: int, n_frames: int, acceleration: float, generator: Generator, acs: int | None = None
) -> Tensor:
    """(t, ky) with `acs` central lines in each frame and equally spaced others, shifted from frame to frame.

    With s = the spacing rounded, any s frames in a row start at s different offsets, so they are
    complementary; the first offset is random. Where the spacing is no integer, gaps differ by one line, as in
    fastMRI's fractional masks.
    """
    total = line_budget(n_lines, n_frames, acceleration)
    acs = default_acs(n_lines, n_frames, acceleration) if acs is None else check_acs(acs, total // n_frames)
    centre = acs_lines(n_lines, acs)
    outer = (~centre).nonzero().squeeze(1)
    start = float(torch.rand((), generator=generator))
    cycle = max(1, round(len(outer) * n_frames / max(1, total - acs * n_frames)))
    step = coprime_stride(cycle) / cycle
    mask = centre.repeat(n_frames, 1)
    for t, count in enumerate(frame_counts(total - acs * n_frames, n_frames)):
        offset = (start + t * step) % 1.0
        mask[t, outer[[int((j + offset) * len(outer) / count) for j in range(count)]]] = True
    return mask


@lru_cache(maxsize=64)
def coprime_stride(n: int) -> int:
    """The number nearest to 0.38 n without a common factor with n: multiples of it visit 0..n-1 far apart in
    a row.
    """
    return min((q for q in range(1, n + 1) if math.gcd(q, n) == 1), key=lambda q: abs(q - 0.38 * n))


@lru_cache(maxsize=64)
def _normal_density(n_lines: int) -> Tensor:
    position = torch.arange(n_lines) - n_lines / 2
    # The floor keeps the far ends of very long axes drawable when R is near 1.
    return torch.exp(-(position**2) / (2 * n_lines / 0.3)).clamp_min(1e-30)


def _draw_lines(density: Tensor, n_frames: int, total: int, generator: Generator) -> Tensor:
    """Distinct lines of positive density in each frame, then left-overs on any free position of positive
    density.
    """
    n_lines = len(density)
    mask = torch.zeros(n_frames, n_lines, dtype=torch.bool)
    per_frame = total // n_frames
    if per_frame:
        drawn = torch.multinomial(density.expand(n_frames, -1), per_frame, generator=generator)
        mask.scatter_(1, drawn, True)
    left = total - per_frame * n_frames
    if left:
        free = ((density > 0) & ~mask).flatten().nonzero().squeeze(1)
        mask.view(-1)[free[torch.randperm(len(free), generator=generator)[:left]]] = True
    return mask
