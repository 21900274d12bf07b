"""Controls: what a score would be without the evidence. Each is a function measurement -> measurement by
name.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kwise.types import Measurement


def shuffled_kspace(measurement: Measurement) -> Measurement:
    """Every case of the batch gets its neighbour's measurement: a reader of k-space segments another heart.

    So a good reader lands below the mean shape here; one that stays at its own score does not read at all.
    """
    if len(measurement.kspace) < 2:
        raise ValueError("shuffling k-space: got a batch of one case; wanted two or more")
    moved = {
        name: getattr(measurement, name).roll(1, dims=0)
        for name in ("kspace", "mask", "coil_maps", "trajectory")
        if getattr(measurement, name) is not None
    }
    return replace(measurement, **moved)


def centre_only(measurement: Measurement) -> Measurement:
    """Of the whole cine only the one line nearest DC is kept, in the frames that acquired it.

    A frame's own nearest line would not do: over the frames these are several lines, and a model that shares
    lines over time reads a coarse heart from them.
    """
    acquired = measurement.mask.any(dim=-1)
    distance = _line_distance(measurement).masked_fill(~acquired, torch.inf)
    nearest = distance.amin(dim=(-1, -2), keepdim=True)
    kept = acquired & (distance == nearest)
    # Two lines at the same distance from DC are one too many: the first is kept. Of a trajectory, whose
    # spokes may all pass DC and never come again, the first of the whole cine.
    if measurement.trajectory is None:
        first = kept.any(dim=-2, keepdim=True).to(torch.uint8).argmax(dim=-1, keepdim=True)
        kept = kept & (torch.arange(kept.shape[-1], device=kept.device) == first)
    else:
        kept = kept & (kept.flatten(2).cumsum(dim=-1).view(kept.shape) == 1)
    return replace(measurement, mask=measurement.mask & kept.unsqueeze(-1))


def _line_distance(measurement: Measurement) -> Tensor:
    """(b, z, t, ky) distance from DC: of the line, or of the nearest point of a spoke."""
    if measurement.trajectory is not None:
        return measurement.trajectory.norm(dim=-1).amin(dim=-1)
    lines = measurement.kspace.shape[-2]
    distance = (torch.arange(lines, device=measurement.kspace.device) - lines // 2).abs().float()
    return distance.expand(measurement.mask.shape[:-1])


CONTROLS: dict[str, Callable[[Measurement], Measurement]] = {
    "shuffled_kspace": shuffled_kspace,
    "centre_only": centre_only,
}
