"""What is known of a scan, as the targets a task scores against."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kwise.data.geometry import resample_labels
from kwise.phenotypes import DISEASES, PHENOTYPES
from kwise.types import IGNORE, Query, Scan, Targets


def targets_of(scan: Scan, shape: tuple[int, int], frames: Tensor | None = None) -> Targets:
    """The truth of one scan (b = 1) on a grid of `shape`, at `frames` (f,) or all frames; no spacing where
    nobody told the pixel size.
    """
    labels = scan.labels
    if labels is None:
        labels = torch.full(scan.shape, IGNORE, dtype=torch.int64)
    index = torch.arange(scan.shape[1]) if frames is None else frames
    labels = resample_labels(labels[:, index], shape)
    y, x = scan.shape[-2:]
    spacing = (scan.spacing_mm[0], scan.spacing_mm[1] * y / shape[0], scan.spacing_mm[2] * x / shape[1])
    told_mm = None if scan.in_pixels else torch.tensor([spacing])

    def where(frame: int | None) -> Tensor:
        found = [] if frame is None else (index == frame).nonzero().flatten().tolist()
        return torch.tensor([found[0] if found else -1])

    query = Query(frames=None if frames is None else index.unsqueeze(0))
    known, ill = told(scan.phenotypes, PHENOTYPES, scan), told(scan.diseases, DISEASES, scan)
    return Targets(
        labels.unsqueeze(0), None, query, told_mm, where(scan.ed), where(scan.es), known, ill
    )


def told(values: Mapping[str, float] | None, names: Iterable[str], scan: Scan) -> Tensor | None:
    """(1, n) float32 of what a scan says of `names`, NaN where it says nothing; None where it has no values.

    ValueError for a name that is none of them: a misspelt one would be unknown for ever.
    """
    if values is None:
        return None
    order = list(names)
    unknown = [name for name in values if name not in order]
    if unknown:
        raise ValueError(f"reading what is known of {scan.case}: got {unknown[0]!r}; wanted one of {order}")
    return torch.tensor([[float(values.get(name, math.nan)) for name in order]])


def stack_targets(items: Sequence[Targets]) -> Targets:
    """Join targets of equal grid along b."""

    def joined(parts: list) -> Tensor | None:
        return None if any(p is None for p in parts) else torch.cat(parts)

    frames, points = ([getattr(t.query, name) for t in items] for name in ("frames", "points"))
    query = Query(joined(frames), items[0].query.resolution, joined(points))
    labels = torch.cat([t.labels for t in items])
    names = ("image", "spacing_mm", "ed", "es", "phenotypes", "diseases", "kspace")
    rest: dict[str, Any] = {name: joined([getattr(t, name) for t in items]) for name in names}
    return Targets(labels, query=query, **rest)
