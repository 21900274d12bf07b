"""Measurement -> answer: labels on the scan's own grid, areas, ED and ES, Dice where the truth is known."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from kwise.checkpoint import Loaded
from kwise.metrics import dice
from kwise.phenotypes import STRUCTURES, Phenotype, area_ejection_fraction, cavity_areas, ed_es
from kwise.predict.beat import beats_more, begun_at, late_start, pair_held
from kwise.predict.bounds import Watch, bounded
from kwise.predict.cautions import (
    beats_caution,
    coverage_caution,
    file_cautions,
    frames_caution,
    ring_caution,
    start_caution,
)
from kwise.predict.door import (
    acceleration_of,
    is_wide,
    matrix_for,
    matrix_of,
    measurement_of,
    with_coils_for,
)
from kwise.predict.looks import Seen, look_twice
from kwise.predict.measures import phenotypes_of
from kwise.types import CLASS_NAMES, IGNORE, Measurement, Query, Scan
from kwise.uncertainty import Intervals

__all__ = [
    "Answer",
    "acceleration_of",
    "answer",
    "answer_of_labels",
    "matrix_of",
    "measurement_of",
    "segment",
]

PIXELS_AT_ONCE = 2**19  # of all slices, asked of a model in one go: bounds the memory of long or fine cines


@dataclass(frozen=True)
class Answer:
    """What a model says about a scan; whatever it does not say keeps its default, and no file tells it.

    `labels` (z, t, y, x) int64 on the scan's own grid, of `n_classes` classes; `image` (z, t, y, x) float32
    magnitude of a reconstruction on the same grid, `phase` its phase in rad. `areas` name -> (t,) mm^2 summed
    over slices, names as in CLASS_NAMES; `ed`, `es` frames of the largest and smallest LV pool;
    `ejection_fraction` in percent, of areas; `dice` name -> hard Dice where the scan knows the truth;
    `phenotypes` numbers about the case, with units and intervals; `cautions` what a reader has to know, in
    sentences; `seen` what the model looked at; `intervals` bounds of LV areas and EF where the checkpoint was
    calibrated.
    """

    scan: Scan
    labels: Tensor | None = None
    n_classes: int = 0
    areas: Mapping[str, Tensor] = field(default_factory=dict)
    ed: int | None = None
    es: int | None = None
    ejection_fraction: float = math.nan
    dice: Mapping[str, float] = field(default_factory=dict)
    image: Tensor | None = None
    phase: Tensor | None = None
    phenotypes: tuple[Phenotype, ...] = ()
    cautions: tuple[str, ...] = ()
    seen: str = ""
    intervals: Intervals | None = None


@torch.inference_mode()
def segment(
    model: nn.Module, measurement: Measurement, resolution: tuple[int, int], watch: Watch | None = None
) -> tuple[Tensor, int]:
    """Labels (z, t, y, x) int64 of a measurement of one case on a grid of `resolution`, and the number of
    classes.

    A few frames at a time are asked of the model, which sees all of the measurement every time; `watch`
    is shown the logits.
    """
    at_once = max(1, PIXELS_AT_ONCE // (measurement.n_slices * resolution[0] * resolution[1]))
    labels, n_classes = [], 0
    for some in torch.arange(measurement.n_frames).split(at_once):
        prediction = model(measurement, Query(frames=some.unsqueeze(0), resolution=resolution))
        if prediction.logits is None:
            raise ValueError(
                f"segmenting: got no logits from {type(model).__name__}; wanted a segmentation model"
            )
        if watch is not None:
            watch.see(prediction.logits[0])
        labels.append(prediction.labels()[0])
        n_classes = prediction.logits.shape[1]
    return torch.cat(labels, dim=1), n_classes


@dataclass(frozen=True)
class Look:
    """What a model said of a scan whose beat was taken to begin at some frame; frames as in the file."""

    labels: Tensor
    words: str
    n_classes: int
    intervals: Intervals | None


def answer(scan: Scan, loaded: Loaded, change: Callable[[Measurement], Measurement] | None = None) -> Answer:
    """The segmentation of a checkpoint; `change` alters what the model sees, for controls alone.

    The beat begins at `scan.ed`; where no file tells, at frame 0, or where the LV is found largest if that is
    elsewhere and the LV beats more when asked again from there (benchmarks/late_start.py).
    """
    found = look_from(scan, scan.ed or 0, loaded, change)
    late = None if scan.ed is not None else late_start(found.labels)
    if late is not None:
        again = look_from(scan, late, loaded, change)
        late = late if beats_more(again.labels, found.labels) else None
        found = found if late is None else again
    said = answer_of_labels(scan, found.labels, found.n_classes, found.words)
    of_file = file_cautions(scan, loaded.preprocessing, said.areas, said.seen)
    open_ring = ring_caution(found.labels, found.n_classes, said.ed or 0)
    # Where no muscle surrounds it, what fills and empties is no pool.
    beats = () if open_ring else beats_caution(found.labels)
    of_beat = (*start_caution(late), *beats, *frames_caution(scan, loaded.preprocessing))
    cautions = (*open_ring, *said.cautions, *of_beat, *of_file)
    return with_intervals(replace(said, cautions=cautions), found.intervals)


def look_from(
    scan: Scan, first: int, loaded: Loaded, change: Callable[[Measurement], Measurement] | None = None
) -> Look:
    """Look at a scan as if its beat began at frame `first`."""
    told = loaded.preprocessing
    n_classes = 0
    watch = Watch(None if scan.in_pixels else loaded.calibration)  # intervals are in mm^2

    def look(part: Scan) -> Tensor:
        nonlocal n_classes
        measurement = measurement_of(part, matrix_for(part, told))
        if change is not None:
            measurement = change(measurement)
        watch.start(measurement, part.spacing_mm[1:])  # of two looks the second counts
        labels, n_classes = segment(loaded.model, measurement, (part.shape[-2], part.shape[-1]), watch)
        return labels

    coils = with_coils_for(begun_at(scan, first), told)
    n, usual = scan.shape[1], told.get("n_frames") or 0
    shown = torch.arange(n)  # where each frame lies in what the model sees, from `first` on
    if n == 2 < usual:
        coils, shown = pair_held(coils, usual), torch.tensor([0, usual // 2])
    # Spokes cannot be cropped to a narrower field: they are answered on all of it, in pixels of the size
    # learned.
    crops = is_wide(coils, told) and coils.trajectory is None
    seen = look_twice(coils, look, told) if crops else Seen(look(coils), _cut(coils, told))
    shown = shown.roll(first)
    return Look(seen.labels[:, shown], seen.words, n_classes, watch.intervals(shown))


def with_intervals(found: Answer, told: Intervals | None) -> Answer:
    """The answer with its intervals, its phenotypes bounded, and the flags among its cautions."""
    pool = found.areas.get(CLASS_NAMES[STRUCTURES["LV"]])
    if told is None or (pool is not None and not bool((pool > 0).any())):
        return found  # of what was not found there are no bounds
    phenotypes = bounded(found.phenotypes, told)
    return replace(found, intervals=told, phenotypes=phenotypes, cautions=(*told.flags, *found.cautions))


def answer_of_labels(scan: Scan, labels: Tensor, n_classes: int, seen: str = "") -> Answer:
    """An answer made of labels (z, t, y, x) on the scan's grid: areas, ED and ES, phenotypes, Dice.

    ValueError for a model whose classes are none of kwise's.
    """
    if not 2 <= n_classes <= len(CLASS_NAMES):
        wanted = f"2 to {len(CLASS_NAMES)}: {', '.join(CLASS_NAMES)}"
        raise ValueError(f"answering {scan.case}: got a model of {n_classes} classes; wanted {wanted}")
    areas = named_areas(labels, scan, n_classes)
    sizes = {"LV": areas[CLASS_NAMES[STRUCTURES["LV"]]]}
    ed, es = ed_es(sizes)
    fraction = area_ejection_fraction(sizes) if scan.shape[1] > 1 else math.nan
    return Answer(
        scan,
        labels,
        n_classes,
        areas,
        ed,
        es,
        fraction,
        dice_of(scan, labels, n_classes),
        phenotypes=phenotypes_of(areas, labels, scan, ed, es, fraction),
        cautions=coverage_caution(labels, scan, ed),
        seen=seen,
    )


def _cut(scan: Scan, preprocessing: Mapping[str, Any]) -> str:
    matrix = matrix_for(scan, preprocessing)
    seen = "all of k-space" if matrix is None else f"the central {matrix[0]} x {matrix[1]} of k-space"
    n_coils = 0 if scan.kspace is None else len(scan.kspace)
    return seen + (f" of {n_coils} virtual coils" if "virtual coils" in scan.notes else "")


def named_areas(labels: Tensor, scan: Scan, n_classes: int) -> dict[str, Tensor]:
    """Area (t,) in mm^2 of every structure among `n_classes`, by its name in CLASS_NAMES."""
    short = tuple(name for name, k in STRUCTURES.items() if k < max(2, n_classes))
    return {
        CLASS_NAMES[STRUCTURES[k]]: area for k, area in cavity_areas(labels, scan.spacing_mm, short).items()
    }


def dice_of(scan: Scan, labels: Tensor, n_classes: int) -> dict[str, float]:
    """Hard Dice of every foreground class over the labelled part of a scan; empty where nothing is
    labelled.
    """
    if scan.labels is None or not bool((scan.labels != IGNORE).any()):
        return {}
    values = dice(labels, scan.labels, n_classes).tolist()
    return dict(zip(CLASS_NAMES[1:n_classes], values[1:]))
