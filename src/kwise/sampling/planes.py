"""Masks of one plane of k-space, of points (t, ky, kx) or of lines (t, ky), as the K-Space Transformer
uses them.

Its masks (arXiv 2206.06947) come from the generator of Souza et al., Magn. Reson. Imaging 71 (2020), with
a fully sampled centre of unstated width or without one. That generator's counts scatter by some percent
around R; here every frame gets its exact share of int(positions * t / R).
"""

import torch
from torch import Generator, Tensor

from kwise.sampling.budget import frame_counts, line_budget
from kwise.sampling.lines import random_lines, uniform_lines

CENTRE_LINES = 5  # of uniform_1d_centre, the generator's default
CENTRE_SIDE = 8  # points a side of the square of gaussian_2d_centre
_SPREAD = 0.25  # sd of gaussian_2d over the side of the grid


def uniform_1d(n_lines: int, n_frames: int, acceleration: float, generator: Generator) -> Tensor:
    """(t, ky) of the K-Space Transformer's Table 1: every line equally likely, no fixed centre."""
    return uniform_lines(n_lines, n_frames, acceleration, generator)


def uniform_1d_centre(
    n_lines: int, n_frames: int, acceleration: float, generator: Generator, centre: int = CENTRE_LINES
) -> Tensor:
    """(t, ky) with `centre` lines around DC in each frame, half of its lines at most, and uniform others."""
    per_frame = line_budget(n_lines, n_frames, acceleration) // n_frames
    return random_lines(n_lines, n_frames, acceleration, generator, acs=min(centre, per_frame // 2))


def gaussian_2d(
    shape: tuple[int, int], n_frames: int, acceleration: float, generator: Generator, centre: int = 0
) -> Tensor:
    """(t, ky, kx) of the K-Space Transformer's Table 2: distinct points where normal draws around DC fell,
    sd a quarter of each side.

    A square of `centre` points a side around DC is always acquired, as far as half of the points allow.
    ValueError for an impossible R.
    """
    counts = frame_counts(_budget(shape, n_frames, acceleration), n_frames)
    mask = torch.zeros(n_frames, shape[0] * shape[1], dtype=torch.bool)
    for t, count in enumerate(counts):
        fixed = _square(shape, min(centre, int((count / 2) ** 0.5))).flatten()
        mask[t] = _filled(fixed, shape, count, generator)
    return mask.view(n_frames, *shape)


def gaussian_2d_centre(
    shape: tuple[int, int], n_frames: int, acceleration: float, generator: Generator
) -> Tensor:
    """(t, ky, kx) of `gaussian_2d` with a square of 8 x 8 points around DC always acquired."""
    return gaussian_2d(shape, n_frames, acceleration, generator, centre=CENTRE_SIDE)


def _budget(shape: tuple[int, int], n_frames: int, acceleration: float) -> int:
    """Points of all frames; the errors of `line_budget`, a point for a line."""
    return line_budget(shape[0] * shape[1], n_frames, acceleration)


def _filled(fixed: Tensor, shape: tuple[int, int], count: int, generator: Generator) -> Tensor:
    """`count` positions (n,) bool: the fixed ones, and a random subset of where normal draws fell.

    As in the original, twice as many are drawn until enough distinct ones fell on the grid; what even 64
    times as many have not reached (R near 1) is filled uniformly.
    """
    missing = count - int(fixed.sum())
    fallen = torch.zeros_like(fixed)
    draws = count
    while draws <= 64 * count and int(fallen.sum()) < missing < int((~fixed).sum()):
        fallen = _fallen(shape, draws, generator) & ~fixed
        draws *= 2
    # Fallen positions first, in random order, then the others in random order.
    order = torch.rand(len(fixed), generator=generator) + (~fallen).float() + 2 * fixed.float()
    mask = fixed.clone()
    mask[order.argsort()[:missing]] = True
    return mask


def _fallen(shape: tuple[int, int], draws: int, generator: Generator) -> Tensor:
    """(ky * kx,) bool: where `draws` normal draws around DC fell, those off the grid dropped."""
    places = torch.randn(draws, 2, generator=generator)
    y, x = ((places[:, i] * _SPREAD * n + n // 2).round().long() for i, n in enumerate(shape))
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    mask = torch.zeros(shape[0] * shape[1], dtype=torch.bool)
    mask[y[inside] * shape[1] + x[inside]] = True
    return mask


def _square(shape: tuple[int, int], side: int) -> Tensor:
    """(ky, kx) bool, True for `side` x `side` points around DC."""
    square = torch.zeros(shape, dtype=torch.bool)
    y, x = (n // 2 - min(side, n) // 2 for n in shape)
    square[y : y + min(side, shape[0]), x : x + min(side, shape[1])] = True
    return square
