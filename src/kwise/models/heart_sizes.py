"""Sizes of the structures of a segmentation, view by view, and how they beat: what phenotypes are made of.

Letters: b case, z view, t frame, k structure (without background), s statistic over time. Any number of
slices gives the same numbers: slices of one kind are added up.
"""

import math

import torch
from torch import Tensor

from kwise.types import VIEWS

N_STATISTICS = 5  # mean, cosine and sine of the beat, least, greatest
# No size is known better than this: mL of the short-axis stack, cm2 of a long-axis view. A structure that a
# view hardly shows has a spread below it, and tells nothing.
RESOLUTION = {view: 2.0 if view == "SAX" else 0.5 for view in VIEWS}


def size_resolution(n_classes: int) -> Tensor:
    """(features,): how well each of `size_features` can be known."""
    each = (n_classes - 1) * N_STATISTICS
    return torch.tensor([RESOLUTION[view] for view in VIEWS]).repeat_interleave(each)


def size_features(probabilities: Tensor, spacing_mm: Tensor, kinds: Tensor, seen: Tensor) -> Tensor:
    """Class probabilities (b, k + 1, z, t, y, x), spacing (b, 3) of (z, y, x), kind (b, z) of every view as
    an index into VIEWS, and which were `seen` (b, z) -> (b, features), NaN where no view of a kind was seen.

    Areas in cm2; of the short-axis stack, whose slices have a thickness, volumes in mL.
    """
    pixel = spacing_mm[:, 1] * spacing_mm[:, 2] / 100
    areas = probabilities[:, 1:].sum(dim=(-2, -1)) * pixel[:, None, None, None]  # (b, k, z, t)
    parts = []
    for kind, name in enumerate(VIEWS):
        here = (kinds == kind) & seen
        sizes = torch.where(here[:, None, :, None], areas, 0.0).sum(dim=2)  # (b, k, t)
        if name == "SAX":
            sizes = sizes * spacing_mm[:, 0, None, None] / 10
        parts.append(torch.where(here.any(dim=1)[:, None], _over_time(sizes).flatten(1), math.nan))
    return torch.cat(parts, dim=1)


def _over_time(sizes: Tensor) -> Tensor:
    """(b, k, t) -> (b, s, k): the statistics, frame 0 at phase 0 of the cycle."""
    t = sizes.shape[-1]
    angles = 2 * math.pi * torch.arange(t, device=sizes.device, dtype=sizes.dtype) / t
    waves = torch.stack([torch.ones_like(angles), 2 * angles.cos(), 2 * angles.sin()], dim=1) / t
    extremes = torch.stack([sizes.amin(dim=-1), sizes.amax(dim=-1)], dim=1)
    return torch.cat([torch.einsum("bkt,ts->bsk", sizes, waves), extremes], dim=1)
