"""The figures of DiSK's table by one command: Dice against R, learning curves, and every model's answers."""

from pathlib import Path

import numpy as np
import torch

from kwise.checkpoint import load_checkpoint
from kwise.data.loader import evaluation_batches
from kwise.models import MODELS
from kwise.recipes.disk_table import rows
from kwise.recipes.rows import row_names
from kwise.recipes.run import source
from kwise.report.plots import answers, learning_curves, score_against_r
from kwise.report.results import read_results

SHOWN = "heart-demo-000003"  # of a split that nothing is trained, chosen or scored on


def figures(scale: str, results: Path, runs: Path, folder: Path) -> list[Path]:
    """Draw all figures a table's files allow; the answers need the weights in `runs`. Returns their paths."""
    place = results / f"disk_{scale}"
    listed = list(rows(scale))
    made = [folder / f"disk_{scale}_dice.png", folder / f"disk_{scale}_curves.png"]
    label = "hard foreground Dice"
    score_against_r(read_results(place), made[0], row_names(listed), "dice_foreground", label)
    logs = {row.name: results / row.place / "log.jsonl" for row in listed if row.recipe.seed == 0}
    logs = {name: log for name, log in logs.items() if log.exists()}
    learning_curves(logs, made[1], "validation Dice, R = 8")
    trained = {
        row.name: runs / row.run / "checkpoint"
        for row in listed
        if row.recipe.seed == 0 and row.control is None and not row.true_centre
    }
    trained = {name: folder for name, folder in trained.items() if folder.exists()}
    if trained and scale == "small":
        made.append(folder / f"disk_{scale}_answers.png")
        _draw_answers(trained, made[-1])
    return made


def _draw_answers(trained: dict[str, Path], path: Path) -> None:
    recipe = next(rows("small")).recipe
    data = source(recipe)
    scan = data.read(None, SHOWN)
    assert scan.image is not None and scan.labels is not None and scan.ed is not None and scan.es is not None
    frames = [scan.ed, scan.es]
    labels: dict[str, np.ndarray] = {}
    for name, folder in trained.items():
        rate = 1.0 if name == "nnunet_style" else 8.0
        batch = next(
            evaluation_batches([SHOWN], lambda case: data.read(None, case), recipe.acquisition, rate, 1)
        )
        with torch.inference_mode():
            guess = load_checkpoint(folder, MODELS).model(batch.measurement, batch.targets.query).labels()
        labels[name] = guess[0, 0, frames].numpy()
    answers(scan.image[0, frames].numpy(), scan.labels[0, frames].numpy(), labels, path)
