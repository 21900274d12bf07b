"""Numbers about the structures of a segmentation, view by view: how large, where, how wide, how they beat.

Letters: b case, z view, t frame, k structure (without background), m moment, s statistic over time. Any
number of slices and frames gives the same numbers: slices of one kind are added up, and time is seen by its
first harmonic and its extremes.
"""

import math

import torch
from torch import Tensor

from kwise.types import VIEWS

N_MOMENTS = 6  # size, centre (y, x), second moments (yy, xx, yx)
N_STATISTICS = 5  # mean, cosine and sine of the beat, least, greatest
_NOTHING = 1e-3  # cm2 or mL: a structure so small has its place pulled to the centre of the image


def n_shape_features(n_classes: int) -> int:
    """How many numbers `shape_features` gives."""
    return len(VIEWS) * (n_classes - 1) * N_MOMENTS * N_STATISTICS


def shape_features(probabilities: Tensor, spacing_mm: Tensor, kinds: Tensor, seen: Tensor) -> Tensor:
    """Class probabilities (b, k + 1, z, t, y, x), spacing (b, 3) of (z, y, x), kind (b, z) of every view as
    an index into VIEWS, and which were `seen` (b, z) -> (b, features), NaN where no view of a kind was seen.

    Sizes are areas in cm2; of the short-axis stack, whose slices have a thickness, volumes in mL.
    """
    sizes = _moments(probabilities[:, 1:], spacing_mm)  # (b, m, k, z, t)
    parts = []
    for kind, name in enumerate(VIEWS):
        here = (kinds == kind) & seen
        total = torch.where(here[:, None, None, :, None], sizes, 0.0).sum(dim=3)  # (b, m, k, t)
        if name == "SAX":
            total = total * spacing_mm[:, 0, None, None, None] / 10
        statistics = _over_time(torch.cat([total[:, :1], _central(total)], dim=1))
        parts.append(torch.where(here.any(dim=1)[:, None], statistics.flatten(1), math.nan))
    return torch.cat(parts, dim=1)


def _moments(p: Tensor, spacing_mm: Tensor) -> Tensor:
    """(b, k, z, t, y, x) -> (b, m, k, z, t): size in cm2, and the sums of y, x, yy, xx, yx in cm."""
    axes = []
    for i, n in ((1, p.shape[-2]), (2, p.shape[-1])):
        place = torch.arange(n, device=p.device, dtype=p.dtype) - n // 2
        axes.append(place * spacing_mm[:, i, None] / 10)
    y, x = axes  # (b, y), (b, x)
    pixel = (spacing_mm[:, 1] * spacing_mm[:, 2] / 100)[:, None, None, None]
    rows, columns = p.sum(dim=-1), p.sum(dim=-2)  # (b, k, z, t, y), (b, k, z, t, x)
    found = [
        rows.sum(dim=-1),
        torch.einsum("bkzty,by->bkzt", rows, y),
        torch.einsum("bkztx,bx->bkzt", columns, x),
        torch.einsum("bkzty,by->bkzt", rows, y.square()),
        torch.einsum("bkztx,bx->bkzt", columns, x.square()),
        torch.einsum("bkztyx,by,bx->bkzt", p, y, x),
    ]
    return torch.stack(found, dim=1) * pixel.unsqueeze(1)


def _central(total: Tensor) -> Tensor:
    """Sums (b, m, k, t) of all slices -> (b, m - 1, k, t): centre in cm, second moments about it in cm2."""
    size = total[:, 0] + _NOTHING
    y, x, yy, xx, yx = (total[:, i] / size for i in range(1, N_MOMENTS))
    return torch.stack([y, x, yy - y * y, xx - x * x, yx - y * x], dim=1)


def _over_time(values: Tensor) -> Tensor:
    """(b, m, k, t) -> (b, s, m, k): the statistics, frame 0 at phase 0 of the cycle."""
    t = values.shape[-1]
    angles = 2 * math.pi * torch.arange(t, device=values.device, dtype=values.dtype) / t
    waves = torch.stack([torch.ones_like(angles), 2 * angles.cos(), 2 * angles.sin()], dim=1) / t
    extremes = torch.stack([values.amin(dim=-1), values.amax(dim=-1)], dim=1)
    return torch.cat([torch.einsum("bmkt,ts->bsmk", values, waves), extremes], dim=1)
