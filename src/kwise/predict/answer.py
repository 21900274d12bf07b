"""Measurement -> answer: labels on the scan's own grid, areas, ED and ES, Dice where the truth is known."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from kwise.checkpoint import Loaded
from kwise.metrics import dice
from kwise.operator import resize_kspace
from kwise.phenotypes import STRUCTURES, Phenotype, area_ejection_fraction, cavity_areas, ed_es
from kwise.predict.bounds import Watch, bounded
from kwise.types import CLASS_NAMES, IGNORE, Measurement, Query, Scan
from kwise.uncertainty import Intervals

PIXELS_AT_ONCE = 2**19  # of all slices, asked of a model in one go: bounds the memory of long or fine cines


@dataclass(frozen=True)
class Answer:
    """What a model says about a scan; whatever it does not say keeps its default, and no file tells it.

    `labels` (z, t, y, x) int64 on the scan's own grid, of `n_classes` classes; `image` (z, t, y, x) float32
    magnitude of a reconstruction on the same grid. `areas` name -> (t,) mm^2 summed over slices, names as in
    CLASS_NAMES; `ed`, `es` frames of the largest and smallest LV pool; `ejection_fraction` in percent, of
    areas; `dice` name -> hard Dice where the scan knows the truth; `phenotypes` numbers about the case, with
    units and intervals; `cautions` what a reader has to know, in sentences; `intervals` bounds of the LV's
    areas and EF where the checkpoint was calibrated.
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
    phenotypes: tuple[Phenotype, ...] = ()
    cautions: tuple[str, ...] = ()
    intervals: Intervals | None = None


def measurement_of(scan: Scan, matrix: tuple[int, int] | None = None) -> Measurement:
    """What the scanner acquired, as a batch of one, on the whole grid or cut to the central `matrix` (ky,
    kx).
    """
    if scan.kspace is None:
        raise ValueError(f"measuring {scan.case}: got an image; wanted k-space")
    mask = torch.ones(scan.kspace.shape[1:], dtype=torch.bool) if scan.mask is None else scan.mask
    measurement = Measurement(
        scan.kspace.unsqueeze(0),
        mask.unsqueeze(0),
        None if scan.coil_maps is None else scan.coil_maps.unsqueeze(0),
        None if scan.trajectory is None else scan.trajectory.unsqueeze(0),
        spacing_mm=torch.tensor([scan.spacing_mm]),
        image_shape=(scan.shape[-2], scan.shape[-1]),
    )
    return measurement if matrix is None else resize_kspace(measurement, matrix)


def acceleration_of(measurement: Measurement) -> float:
    """The achieved R: k-space positions of the grid over acquired ones."""
    return measurement.mask.numel() / int(measurement.mask.sum())


def matrix_of(preprocessing: Mapping[str, Any]) -> tuple[int, int] | None:
    """The central k-space (ky, kx) a checkpoint wants to see; None for all of it."""
    matrix = preprocessing.get("matrix")
    if matrix is None:
        return None
    if len(matrix) != 2 or not all(isinstance(n, int) and n > 0 for n in matrix):
        raise ValueError(
            f"reading the preprocessing of a checkpoint: got matrix {matrix}; wanted two whole numbers"
        )
    return matrix[0], matrix[1]


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


def answer(scan: Scan, loaded: Loaded, change: Callable[[Measurement], Measurement] | None = None) -> Answer:
    """The answer of a checkpoint to a scan; `change` alters what the model sees, for controls alone."""
    measurement = measurement_of(scan, matrix_of(loaded.preprocessing))
    if change is not None:
        measurement = change(measurement)
    watch = Watch(loaded.calibration)
    watch.start(measurement, scan.spacing_mm[1:])
    labels, n_classes = segment(loaded.model, measurement, (scan.shape[-2], scan.shape[-1]), watch)
    areas = named_areas(labels, scan, n_classes)
    sizes = {"LV": areas[CLASS_NAMES[STRUCTURES["LV"]]]}
    ed, es = ed_es(sizes)
    return with_intervals(
        Answer(
            scan,
            labels,
            n_classes,
            areas,
            ed,
            es,
            area_ejection_fraction(sizes),
            dice_of(scan, labels, n_classes),
        ),
        watch.intervals(),
    )


def with_intervals(found: Answer, told: Intervals | None) -> Answer:
    """The answer with its intervals, its phenotypes bounded, and the flags among its cautions."""
    if told is None:
        return found
    phenotypes = bounded(found.phenotypes, told)
    return replace(found, intervals=told, phenotypes=phenotypes, cautions=(*found.cautions, *told.flags))


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
