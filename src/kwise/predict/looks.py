"""Two looks at a wide field of view: one that finds the heart in all of it, one at the part around it.

Models learned from fields cut out around the heart. Along the readout that cut is exact for real k-space, as
the removal of oversampling is. Along the phase encoding it is not, because undersampling folds the whole
field over itself there: so the model sees all of it, and only its answer is cut.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kwise.data.geometry import readout_window, whole_readouts
from kwise.phenotypes import STRUCTURES
from kwise.types import Scan

Look = Callable[[Scan], Tensor]


@dataclass(frozen=True)
class Seen:
    """Labels (z, t, y, x) on the scan's own grid, and in words what the model looked at."""

    labels: Tensor
    words: str


def look_twice(scan: Scan, look: Look, preprocessing: Mapping[str, Any]) -> Seen:
    """Labels of a scan whose field is wider than the model's; `look(scan)` gives labels on a scan's grid."""
    first = look(scan)
    size = "{:.0f} x {:.0f} mm".format(*(n * mm for n, mm in zip(scan.shape[2:], scan.spacing_mm[1:])))
    whole = f"the whole field of {size} at the pixel size it learned from"
    centre, fov = heart_place(first), float(preprocessing["fov_mm"])
    n = min(scan.shape[3], round(fov / scan.spacing_mm[2]))
    if centre is None or n == scan.shape[3] or not whole_readouts(scan.mask):
        return Seen(first, whole)
    start = min(max(centre[1] - n // 2, 0), scan.shape[3] - n)
    labels = torch.zeros_like(first)
    labels[..., start : start + n] = look(readout_window(scan, start, n))
    far = (torch.arange(scan.shape[2]) - centre[0]).abs() * scan.spacing_mm[1] > fov / 2
    labels[..., far, :] = 0
    return Seen(labels, f"{whole}; then {fov:.0f} mm of the readout around the heart found there")


def heart_place(labels: Tensor) -> tuple[int, int] | None:
    """(y, x) median position of LV pool and myocardium in labels (z, t, y, x), of any class if there is no
    LV; None where nothing was found.
    """
    left = (labels == STRUCTURES["LV"]) | (labels == STRUCTURES["myo"])
    heart = left if bool(left.any()) else labels > 0
    if not bool(heart.any()):
        return None
    y, x = heart.nonzero()[:, -2:].median(dim=0).values.tolist()
    return y, x
