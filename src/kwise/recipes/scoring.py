"""Scoring a checkpoint on a split: scores.csv and frames.csv, with controls and the localisation floor."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from kwise.checkpoint import load_checkpoint
from kwise.data import DATASETS, DataSet
from kwise.data.loader import Acquisition
from kwise.evaluate import Row, evaluate, write_scores
from kwise.models import MODELS
from kwise.models.controls import CONTROLS
from kwise.models.mean_shape import MeanShape, heart_centres
from kwise.recipes.run import test_batches
from kwise.tasks.segmentation import Segmentation
from kwise.types import Batch, Measurement, Prediction, Query, Targets


class TrueCentre(nn.Module):
    """The localisation floor: mean shape at the true centre of each heart. It is told the truth; no model
    could be.
    """

    def __init__(self, floor: MeanShape) -> None:
        super().__init__()
        self.floor = floor
        self.targets: Targets | None = None

    def forward(self, measurement: Measurement, query: Query) -> Prediction:
        assert self.targets is not None
        labels = self.targets.labels
        return self.floor.place(heart_centres(labels), (labels.shape[1], *labels.shape[2:]))


def evaluate_checkpoint(
    checkpoint: Path,
    folder: Path,
    accelerations: Sequence[float],
    *,
    data: DataSet | None = None,
    acquisition: Acquisition | None = None,
    split: str = "test",
    n: int | None = 100,
    control: str | None = None,
    true_centre: bool = False,
    fully_sampled: bool = False,
    root: str | None = None,
    suffix: str = "",
) -> Path:
    """Score a checkpoint: writes `folder`/scores.csv and frames.csv, `suffix` behind both stems.

    `control` is a word of CONTROLS; `true_centre` scores a mean-shape checkpoint at the true centres;
    `fully_sampled` shows the model everything at every R (upper bound).
    """
    model = load_checkpoint(checkpoint, MODELS).model
    data = DATASETS["heart"] if data is None else data
    acquisition = Acquisition() if acquisition is None else acquisition
    if true_centre:
        assert isinstance(model, MeanShape)
        model = TrueCentre(model)
    rows: list[Row] = []
    frames: list[Row] = []
    for rate in accelerations:
        batches = test_batches(data, acquisition, 1.0 if fully_sampled else rate, split, n, root)
        batches = (replace(batch, accelerations=(rate,) * len(batch.cases)) for batch in batches)
        if isinstance(model, TrueCentre):
            batches = tell(model, batches)
        change = None if control is None else CONTROLS[control]
        if control == "shuffled_kspace" and data.stored:  # cines of different length come one by one
            batches, change = other_hearts(batches), None
        rows += evaluate(model, batches, Segmentation(), control=change, frame_rows=frames)
    folder.mkdir(parents=True, exist_ok=True)
    scores = folder / f"scores{suffix}.csv"
    write_scores(folder / f"frames{suffix}.csv", rounded(mean_frames(frames)))
    write_scores(scores, rounded(rows))
    return scores


def mean_frames(rows: Sequence[Row]) -> list[Row]:
    """Dice per frame and class, averaged over the cases of each acceleration: enough to see a dead output."""
    groups: dict[tuple[float, float, str], list[float]] = {}
    for row in rows:
        key = (float(row["acceleration"]), float(row["frame"]), str(row["class"]))
        groups.setdefault(key, []).append(float(row["dice"]))
    return [
        {"case": f"mean of {len(v)}", "acceleration": r, "frame": f, "class": k, "dice": sum(v) / len(v)}
        for (r, f, k), v in groups.items()
    ]


def rounded(rows: Sequence[Row]) -> list[Row]:
    """Numbers to six digits: what a file under version control should keep."""
    return [{k: v if isinstance(v, str) else float(f"{v:.6g}") for k, v in row.items()} for row in rows]


def tell(model: TrueCentre, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Hand the truth to the localisation floor, batch by batch."""
    for batch in batches:
        model.targets = batch.targets
        yield batch


def other_hearts(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Every batch with the measurement of the next one, brought to its own number of frames."""
    kept = list(batches)
    for batch, other in zip(kept, kept[1:] + kept[:1]):
        have, wanted = other.measurement.n_frames, batch.measurement.n_frames
        frames = torch.arange(wanted) * have // wanted
        swapped = Measurement(
            other.measurement.kspace[:, :, :, frames],
            other.measurement.mask[:, :, frames],
            spacing_mm=batch.measurement.spacing_mm,
        )
        yield replace(batch, measurement=swapped)
