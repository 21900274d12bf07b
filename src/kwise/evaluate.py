"""Model + batches + task -> a row of scores per case, and the CSV file that keeps them."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import nn

from kwise.atomic import write_atomically
from kwise.tasks.task import Task
from kwise.types import Batch, Measurement, Prediction

Row = dict[str, float | str]
Control = Callable[[Measurement], Measurement]


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    task: Task,
    *,
    control: Control | None = None,
    device: torch.device | str = "cpu",
    frame_rows: list[Row] | None = None,
) -> list[Row]:
    """One row per case: case, acceleration (nominal R), achieved_acceleration, then the task's scores.

    `control` changes every measurement before the model sees it (shuffled k-space, centre lines only).
    `frame_rows`, if given, receives (case, acceleration) and the task's columns for every frame: dead
    outputs hide in totals. The model is left in eval mode on `device`. Errors: no batch at all, and
    whatever the task refuses, with the case.
    """
    model.to(device).eval()
    rows: list[Row] = []
    for batch in batches:
        prediction, achieved = _answer(model, batch, control, device)
        heads = _heads(batch)
        try:
            scores = task.score(prediction, batch.targets)
            tables = [] if frame_rows is None else task.frame_scores(prediction, batch.targets)
        except ValueError as error:
            raise ValueError(f"evaluating {', '.join(batch.cases)}: {error}") from error
        for head, r, score in zip(heads, achieved, scores, strict=True):
            rows.append({**head, "achieved_acceleration": r, **score})
        if frame_rows is not None:
            frame_rows.extend({**head, **line} for head, table in zip(heads, tables) for line in table)
    if not rows:
        raise ValueError("evaluating a model: got no batch; wanted at least one case")
    return rows


@torch.inference_mode()
def _answer(
    model: nn.Module, batch: Batch, control: Control | None, device: torch.device | str
) -> tuple[Prediction, list[float]]:
    """The model's answer to a batch, and the acceleration (b,) of what it really saw."""
    measurement = batch.measurement if control is None else control(batch.measurement)
    prediction = model(measurement.to(device), batch.targets.query.to(device))
    fractions = measurement.mask.flatten(1).double().mean(dim=1)
    return prediction, (1 / fractions).tolist()


def _heads(batch: Batch) -> list[Row]:
    return [
        {"case": case, "acceleration": float(r)}
        for case, r in zip(batch.cases, batch.accelerations, strict=True)
    ]


def write_scores(path: Path | str, rows: Sequence[Row]) -> None:
    """Write rows as CSV, complete or not at all; columns in the order they first appear, floats to the last
    bit.

    Written beside the target and renamed, so a full disk or a kill leaves the older file. Errors: no rows.
    """
    path = Path(path)
    if not rows:
        raise ValueError(f"writing {path}: got no rows; wanted at least one")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda part: _write_rows(part, rows))


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="nan", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
