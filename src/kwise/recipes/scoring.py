"""Scoring a checkpoint on a split: scores.csv and frames.csv, with controls and the localisation floor."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from kwise.checkpoint import load_checkpoint
from kwise.data import DataSet
from kwise.data.loader import Acquisition
from kwise.evaluate import Row, evaluate, write_scores
from kwise.models import MODELS
from kwise.models.controls import CONTROLS, shuffled_kspace
from kwise.models.mean_shape import MeanShape, heart_centres
from kwise.recipes.preprocessing import acquisition_of, data_of, task_of
from kwise.recipes.run import test_batches
from kwise.tasks import Task
from kwise.types import Batch, Measurement, Prediction, Query, Targets

GROUPED: tuple[str, ...] = ("acceleration", "frame", "class")  # columns that a mean over cases keeps


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
    task: Task | None = None,
    split: str = "test",
    n: int | None = 100,
    control: str | None = None,
    true_centre: bool = False,
    fully_sampled: bool = False,
    root: str | None = None,
    suffix: str = "",
) -> Path:
    """Score a checkpoint: writes `folder`/scores.csv and frames.csv, `suffix` behind both stems.

    `data`, `acquisition` and `task` are those of the checkpoint's training where they are not given.
    `control` is a word of CONTROLS; `true_centre` scores a mean-shape checkpoint at the true centres;
    `fully_sampled` shows the model everything at every R (upper bound).
    """
    loaded = load_checkpoint(checkpoint, MODELS)
    model, seen = loaded.model, loaded.preprocessing
    data = data_of(seen) if data is None else data
    acquisition = acquisition_of(seen) if acquisition is None else acquisition
    task = task_of(seen) if task is None else task
    if true_centre:
        assert isinstance(model, MeanShape)
        model = TrueCentre(model)
    if control == "shuffled_kspace" and len(data.cases(root, split, n)) < 2:
        raise ValueError(f"shuffling k-space of {data.name}: got one case; wanted two or more")
    rows: list[Row] = []
    frames: list[Row] = []
    for rate in accelerations:
        batches = test_batches(data, acquisition, 1.0 if fully_sampled else rate, split, n, root)
        batches = (replace(batch, accelerations=(rate,) * len(batch.cases)) for batch in batches)
        if isinstance(model, TrueCentre):
            batches = tell(model, batches)
        change = None if control is None else CONTROLS[control]
        if control == "shuffled_kspace":  # the last batch, or every one, may be of one case
            batches, change = other_hearts(batches), None
        rows += evaluate(model, batches, task, control=change, frame_rows=frames)
    folder.mkdir(parents=True, exist_ok=True)
    scores = folder / f"scores{suffix}.csv"
    if frames:
        write_scores(folder / f"frames{suffix}.csv", rounded(mean_frames(frames)))
    write_scores(scores, rounded(rows))
    return scores


def mean_frames(rows: Sequence[Row]) -> list[Row]:
    """Scores per frame (and class), averaged over the cases of each acceleration: enough to see a dead
    output.
    """
    groups: dict[tuple[tuple[str, float | str], ...], list[Row]] = {}
    for row in rows:
        key = tuple((name, row[name]) for name in GROUPED if name in row)
        groups.setdefault(key, []).append(row)
    made: list[Row] = []
    for key, members in groups.items():
        measures = [name for name in members[0] if name != "case" and name not in dict(key)]
        means: Row = {name: sum(float(row[name]) for row in members) / len(members) for name in measures}
        made.append({"case": f"mean of {len(members)}", **dict(key), **means})
    return made


def rounded(rows: Sequence[Row]) -> list[Row]:
    """Numbers to six digits: what a file under version control should keep."""
    return [{k: v if isinstance(v, str) else float(f"{v:.6g}") for k, v in row.items()} for row in rows]


def tell(model: TrueCentre, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Hand the truth to the localisation floor, batch by batch."""
    for batch in batches:
        model.targets = batch.targets
        yield batch


def other_hearts(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Every case with the measurement of its neighbour in the batch; a lone one with that of the first case
    of the next batch (after the last comes the first), brought to its own slices and frames.
    """
    first = batch = next(batches)
    for following in chain(batches, (first,)):
        alone = len(batch.cases) == 1
        measurement = _borrowed(batch, following) if alone else shuffled_kspace(batch.measurement)
        yield replace(batch, measurement=measurement)
        batch = following


def _borrowed(batch: Batch, other: Batch) -> Measurement:
    """The measurement of the first case of `other`, coil maps, trajectory and views with it; the grid must
    be that of `batch`.
    """
    own, taken = batch.measurement, other.measurement.only(0)
    if own.image_shape != taken.image_shape:
        got = f"{other.cases[0]} on {taken.image_shape} for {batch.cases[0]} on {own.image_shape}"
        raise ValueError(f"shuffling k-space: got {got}; wanted hearts on one grid, as a matrix makes them")
    z = torch.arange(own.n_slices) * taken.n_slices // own.n_slices
    t = torch.arange(own.n_frames) * taken.n_frames // own.n_frames
    return Measurement(
        taken.kspace[:, :, z][:, :, :, t],
        taken.mask[:, z][:, :, t],
        None if taken.coil_maps is None else taken.coil_maps[:, :, z],
        None if taken.trajectory is None else taken.trajectory[:, z][:, :, t],
        taken.image_shape,
        own.spacing_mm,
        None if taken.views is None else taken.views[:, z],
    )
