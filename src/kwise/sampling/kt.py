"""Masks designed over k-space and time together: (t, ky) bool, True = acquired."""

import torch
from torch import Generator, Tensor

from kwise.sampling.budget import frame_counts, line_budget
from kwise.sampling.lines import coprime_stride

_OUTER = 0.18  # density far from DC relative to DC
_WIDTH = 1 / 9  # sd of the dense centre relative to n_lines
_JITTER = 0.1  # relative jitter of the density of each line, so that gaps are not all alike


def kt_variable_density(n_lines: int, n_frames: int, acceleration: float, generator: Generator) -> Tensor:
    """(t, ky) with a constant number of lines per frame, a dense centre, and outer lines spread evenly over
    time.

    Each frame is a systematic sample (Madow 1949) of a jittered density: its lines lie where the cumulative
    density passes an integer plus the frame's offset. The offsets of all frames form a jittered lattice over
    [0, 1) that closes around the cardiac cycle, visited in far steps: a line of density d comes about d * t
    times, evenly in time, and neighbouring frames are complementary. Where total / t is no integer, frames
    differ by one line. A design of our own.
    """
    total = line_budget(n_lines, n_frames, acceleration)
    shape = _centre_density(n_lines) * (1 + _JITTER * (2 * _rand(n_lines, generator) - 1))
    offsets = _lattice_offsets(n_frames, generator)
    counts = frame_counts(total, n_frames)
    mask = torch.zeros(n_frames, n_lines, dtype=torch.bool)
    for count in sorted({c for c in counts if c}):
        frames = torch.tensor([c == count for c in counts])
        mask[frames] = _systematic(_scale_density(shape, count), offsets[frames])
    return mask


def _rand(n: int, generator: Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def _centre_density(n_lines: int) -> Tensor:
    position = (torch.arange(n_lines, dtype=torch.float64) - n_lines // 2) / n_lines
    return _OUTER + (1 - _OUTER) * torch.exp(-0.5 * (position / _WIDTH) ** 2)


def _lattice_offsets(n_frames: int, generator: Generator) -> Tensor:
    """(t,) offsets in [0, 1): the lattice 0, 1/t, 2/t, ... in far steps, each jittered within half a cell."""
    visited = (torch.arange(n_frames) * coprime_stride(n_frames)) % n_frames
    jitter = 0.5 * _rand(n_frames, generator)
    return ((visited + jitter) / n_frames + _rand(1, generator)) % 1.0


def _scale_density(shape: Tensor, count: int) -> Tensor:
    """Expected lines per frame (ky,), proportional to `shape`, below 1 each, with sum `count`."""
    if count == len(shape):
        return torch.ones_like(shape)
    full = torch.zeros(len(shape), dtype=torch.bool)
    while True:
        scale = (count - int(full.sum())) / shape[~full].sum()
        density = torch.where(full, 1.0, shape * scale)
        if not bool((density > 1).any()):
            return density
        full = density >= 1


def _systematic(density: Tensor, offsets: Tensor) -> Tensor:
    """(t, ky): lines where the cumulative density, started at each frame's offset, passes an integer."""
    count = round(float(density.sum()))
    ends = density.cumsum(0)
    # The lines that hold the points offset + 0, 1, 2, ...: points never share a line because density <= 1.
    points = offsets.unsqueeze(1) + torch.arange(count, dtype=torch.float64)
    lines = torch.searchsorted(ends, points, right=True).clamp_max(len(density) - 1)
    mask = torch.zeros(len(offsets), len(density), dtype=torch.bool)
    return mask.scatter_(1, lines, True)
