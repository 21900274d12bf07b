"""What a reader of a segmentation has to know, in sentences: of the slices, the frames, and what is drawn."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from kwise.phenotypes import STRUCTURES
from kwise.predict.measures import knows_pitch
from kwise.types import Scan

OPEN = 0.1  # share of the LV pool's border without muscle, between short-axis and long-axis views
# (benchmarks/open_ring.py)
_LEAST = 20  # pixels of a pool that has a border to speak of


def coverage_caution(labels: Tensor, scan: Scan, ed: int) -> tuple[str, ...]:
    """Where the LV of labels (z, t, y, x) is cut by the first or last slice at frame `ed`, so that volumes
    miss a part.
    """
    if scan.shape[0] < 2 or not knows_pitch(scan):
        return ()
    inside = (labels[:, ed] == STRUCTURES["LV"]).flatten(1).any(dim=1).tolist()
    ends = [name for name, there in (("first", inside[0]), ("last", inside[-1])) if there]
    if not ends:
        return ()
    return (
        f"The LV reaches the {' and the '.join(ends)} of {scan.shape[0]} slices, which may not hold all of "
        "it: volumes and mass are of the part inside alone.",
    )


def frames_caution(scan: Scan, preprocessing: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a file has a few frames of a beat, such as ED and ES alone: models of motion learned from evenly
    filled beats blur one into the other.
    """
    trained, frames = preprocessing.get("n_frames"), scan.shape[1]
    if trained is None or not 1 < frames < trained / 2:
        return ()
    return (
        f"The file has {frames} frames of a beat and the model learned from {trained}: it blurs one into the "
        "other, so the ejection fraction comes out far too small.",
    )


def start_caution(late: int | None) -> tuple[str, ...]:
    """Where the beat was taken to begin at frame `late` of the file, since the LV is largest there."""
    if late is None:
        return ()
    return (
        f"The LV is largest at frame {late}, and the model takes the first frame for end-diastole: the beat "
        f"was answered as one from frame {late} on. Check that this is end-diastole.",
    )


def ring_caution(labels: Tensor, n_classes: int, ed: int) -> tuple[str, ...]:
    """Where the muscle of labels (z, t, y, x) does not surround the LV pool at frame `ed`, as it does in
    short-axis slices: of a long-axis view, or of no heart.
    """
    if n_classes <= STRUCTURES["myo"]:
        return ()
    shares = [share for slice_ in labels[:, ed] if (share := open_share(slice_)) is not None]
    found = float(torch.tensor(shares).median()) if shares else 0.0
    if found < OPEN:
        return ()
    return (
        f"The muscle leaves {100 * found:.0f} % of the LV pool's border open, all of which it surrounds in "
        "short-axis slices: this looks like another view, or no heart, or a model that cannot read it. Look "
        "before believing a number.",
    )


def open_share(labels: Tensor) -> float | None:
    """Share of the pixels around the LV pool of labels (y, x) that are no muscle; None without much of a
    pool.
    """
    pool = labels == STRUCTURES["LV"]
    if int(pool.sum()) < _LEAST:
        return None
    around = (max_pool2d(pool[None].float(), 3, stride=1, padding=1)[0] > 0) & ~pool
    return float((labels[around] != STRUCTURES["myo"]).float().mean()) if bool(around.any()) else 1.0
