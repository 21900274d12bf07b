"""DiSK's table: every model, floor and control trained, scored and printed.

Scores stand in results/<table>/<row>/seed<k>/; weights in runs/<recipe>-seed<k>/checkpoint.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kwise.data import dataset
from kwise.recipes import RECIPES
from kwise.recipes.acdc import ACCELERATIONS as ACDC_ACCELERATIONS
from kwise.recipes.acdc import FINE_TUNED
from kwise.recipes.disk import ACCELERATIONS, PUBLISHED, SMALL
from kwise.recipes.recipe import Recipe
from kwise.recipes.run import source, train_recipe
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.report.results import read_results
from kwise.report.table import (
    QUANTITIES,
    agreement_table,
    difference_table,
    frame_table,
    score_table,
    to_text,
)

HEADLINES = ("harmonic_unet", "disk_plus", "syn_net_shared")  # three seeds each
CONTROLLED = ("harmonic_unet", "disk_plus")  # models whose controls are rows of the table


@dataclass(frozen=True)
class Row:
    """One row: a trained recipe, and how it is scored."""

    name: str
    recipe: Recipe
    control: str | None = None
    true_centre: bool = False
    suffix: str = ""  # of its files: several runs share a row where every R has a model of its own

    @property
    def run(self) -> str:
        return f"{self.recipe.name}-seed{self.recipe.seed}"

    @property
    def place(self) -> Path:
        return Path(self.name) / f"seed{self.recipe.seed}"


def rows(scale: str) -> Iterator[Row]:
    """All rows of a scale: "small" (phantom), "acdc" (real hearts), "paper" (DiSK at its own size)."""
    if scale == "paper":
        for rate in ACCELERATIONS:
            yield Row("disk", RECIPES[f"disk_r{rate:g}"](), suffix=f"_r{rate:g}")
        return
    if scale not in ("small", "acdc"):
        raise ValueError(f"choosing a scale: got {scale!r}; wanted small, acdc or paper")
    for make in SMALL:
        recipe = make()
        if scale == "acdc":
            if recipe.name not in FINE_TUNED:
                continue
            recipe = RECIPES[recipe.name.replace("_small", "_acdc")]()
        for seed in range(3 if scale == "small" and row_name(recipe) in HEADLINES else 1):
            yield from _variants(replace(recipe, seed=seed))


def row_name(recipe: Recipe) -> str:
    """disk_plus for disk_plus_small and for disk_plus_acdc."""
    return recipe.name.rpartition("_")[0]


def _variants(recipe: Recipe) -> Iterator[Row]:
    name = row_name(recipe)
    yield Row(name, recipe)
    if name == "mean_shape":
        yield Row("mean_shape_true_centre", recipe, true_centre=True)
    if name in CONTROLLED and recipe.seed == 0:
        for control in ("shuffled_kspace", "centre_only"):
            yield Row(f"{name}_{control}", recipe, control=control)


def regenerate(
    scale: str, results: Path, runs: Path = Path("runs"), *, only: str | None = None, train: bool = True
) -> None:
    """Score what has no scores yet, training it first where it has no weights; `only` names one row."""
    for row in rows(scale):
        scored = results / f"disk_{scale}" / row.place
        if (only is not None and row.name != only) or (scored / f"scores{row.suffix}.csv").exists():
            continue
        folder = runs / row.run
        checkpoint = folder / "checkpoint"
        if not checkpoint.exists():
            if not train:
                continue
            checkpoint = train_recipe(row.recipe, folder)
        _score(row, checkpoint, scored, scale)
        for kept in (Path("recipe.json"), Path("log.jsonl")):
            if (folder / kept).exists() and row.control is None:
                shutil.copy(folder / kept, scored / f"{kept.stem}{row.suffix}{kept.suffix}")


def _score(row: Row, checkpoint: Path, folder: Path, scale: str) -> None:
    real = scale == "acdc"
    rates = ACDC_ACCELERATIONS if real else row.recipe.acquisition.accelerations
    evaluate_checkpoint(
        checkpoint,
        folder,
        rates,
        data=dataset("acdc") if real else source(row.recipe),
        acquisition=row.recipe.acquisition,
        split="val" if real else "test",
        n=None if real else 100,
        control=row.control,
        true_centre=row.true_centre,
        fully_sampled=row.recipe.fully_sampled,
        suffix=row.suffix,
    )


def row_names(scale: str) -> list[str]:
    """Names of all rows of a scale, in the order of the table."""
    return list(dict.fromkeys(row.name for row in rows(scale)))


def table(scale: str, results: Path = Path("results")) -> str:
    """The whole table as text: Dice, soft Dice beside the published rows, differences, areas, frames."""
    folder = results / f"disk_{scale}"
    scores = read_results(folder)
    order = row_names(scale)
    published = {} if scale == "acdc" else PUBLISHED  # the paper's patients are neither ACDC's nor ours
    parts = [
        score_table(scores, "dice_foreground", order=order),
        score_table(scores, "soft_foreground", order=order, published=published),
        score_table(scores, "hd_foreground_px", order=order),
    ]
    parts += [difference_table(scores, model, order=order) for model in HEADLINES if model in scores]
    parts += [agreement_table(scores, quantity, order=order) for quantity in QUANTITIES]
    parts.append(frame_table(read_results(folder, "frames"), 8.0, order=order))
    return "\n".join(to_text(part) for part in parts)
