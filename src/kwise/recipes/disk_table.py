"""DiSK's table: which rows it has at each scale, and how it is printed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kwise.data.acdc_folds import N_FOLDS
from kwise.recipes import RECIPES, wide
from kwise.recipes.acdc import FINE_TUNED, FOLDED, compared_unseen, on_patients
from kwise.recipes.disk import ACCELERATIONS, PUBLISHED, SMALL
from kwise.recipes.recipe import Recipe
from kwise.recipes.rows import Row, no_scores, row_names
from kwise.report.results import Results, read_results
from kwise.report.table import (
    QUANTITIES,
    Table,
    agreement_table,
    difference_table,
    frame_table,
    score_table,
)

SCALES = ("small", "wide", "acdc", "folds", "unseen", "paper")
HEADLINES = ("harmonic_unet", "disk_plus", "syn_net_shared")  # three seeds each in the small table
LONGER = ("harmonic_unet_wide",)
# Rows of the small table, of their first seed, that stand beside the wide ones: same cases, asked the same.
BESIDE = (
    "harmonic_unet",
    "syn_net_shared",
    "syn_net_shared_timed",
    "nnunet_style",
    "mean_shape",
    "mean_shape_true_centre",
)
LOOKED_AT = (
    "the ranges of the wide hearts, which ..._wide were trained on, follow statistics of the patients of "
    "ACDC's training split (51 of the 57); those of its validation split were not looked at"
)
NOTES = {"unseen": ("no model here was trained on a patient", LOOKED_AT), "folds": (LOOKED_AT,)}
CONTROLLED = ("harmonic_unet", "disk_plus")  # models whose controls are rows of the table


def rows(scale: str) -> Iterator[Row]:
    """All rows of a scale: "small" (phantom), "wide" (the same hearts, after more training on wider ones),
    "acdc" (real hearts), "folds" (real hearts, cross-validated), "unseen" (real hearts, trained on phantoms
    alone), "paper" (DiSK at its own size).
    """
    if scale == "paper":
        for rate in ACCELERATIONS:
            yield Row("disk", RECIPES[f"disk_r{rate:g}"](), "disk_paper", suffix=f"_r{rate:g}")
        yield Row("disk_plus", RECIPES["disk_plus_paper"](), "disk_paper")
        return
    if scale not in SCALES:
        raise ValueError(f"choosing a scale: got {scale!r}; wanted one of {', '.join(SCALES)}")
    made = {"folds": _folds, "wide": _wide, "unseen": _unseen}
    if scale in made:
        yield from made[scale]()
        return
    for make in SMALL:
        recipe = make()
        if scale == "acdc":
            if recipe.name not in FINE_TUNED:
                continue
            recipe = RECIPES[recipe.name.replace("_small", "_acdc")]()
        for seed in range(3 if scale == "small" and row_name(recipe) in HEADLINES else 1):
            yield from _variants(replace(recipe, seed=seed), scale)


def _folds() -> Iterator[Row]:
    for name in FOLDED:
        for fold in range(N_FOLDS):
            recipe = RECIPES[f"{name}_acdc_fold{fold}"]()
            yield Row(name, recipe, "disk_folds", suffix=f"_fold{fold}", split="val", n=None)


def _wide() -> Iterator[Row]:
    for make in wide.WIDE:
        recipe = make()
        row = Row(recipe.name, recipe, "disk_wide", asked=wide.on_hearts(recipe))
        yield row
        if recipe.name in LONGER:
            yield from _controls(row)


def _unseen() -> Iterator[Row]:
    for name, recipe in compared_unseen().items():
        for split in ("train", "val"):
            asked = on_patients(recipe)
            yield Row(name, recipe, "disk_unseen", suffix=f"_{split}", split=split, n=None, asked=asked)


def _controls(row: Row) -> Iterator[Row]:
    for control in ("shuffled_kspace", "centre_only"):
        yield replace(row, name=f"{row.name}_{control}", control=control)


def row_name(recipe: Recipe) -> str:
    """disk_plus for disk_plus_small and for disk_plus_acdc."""
    return recipe.name.rpartition("_")[0]


def _variants(recipe: Recipe, scale: str) -> Iterator[Row]:
    name = row_name(recipe)
    # ACDC has no test patients of its own: the validation ones are scored, and nothing is chosen on them.
    plain = Row(name, recipe, f"disk_{scale}")
    plain = replace(plain, split="val", n=None) if scale == "acdc" else plain
    yield plain
    if name == "mean_shape":
        yield replace(plain, name="mean_shape_true_centre", true_centre=True)
    if name in CONTROLLED and recipe.seed == 0:
        yield from _controls(plain)


def tables(scale: str, results: Path = Path("results")) -> list[Table]:
    """The whole table in parts: Dice, soft Dice beside the published rows, differences, areas, frames;
    ValueError where there are no scores at all.
    """
    folder = results / f"disk_{scale}"
    if not any(folder.glob("*/seed*/scores*.csv")):
        raise no_scores("disk", scale, folder)
    scores, order = read_results(folder), row_names(rows(scale))
    frames = read_results(folder, "frames")
    if scale == "wide":
        order += BESIDE
        scores |= _beside(results)
        frames |= _beside(results, "frames")
    # The paper's patients are neither ACDC's nor ours.
    published = {} if scale in ("acdc", "folds", "unseen") else PUBLISHED
    parts = [
        score_table(scores, "dice_foreground", order=order),
        score_table(scores, "soft_foreground", order=order, published=published),
        score_table(scores, "hd_foreground_px", order=order),
    ]
    compared = [model for model in (*LONGER, *HEADLINES) if model in scores]
    parts += [difference_table(scores, model, order=order) for model in compared]
    parts += [agreement_table(scores, quantity, order=order) for quantity in QUANTITIES]
    parts.append(frame_table(frames, 8.0, order=order))
    parts[0] = replace(parts[0], notes=(*parts[0].notes, *NOTES.get(scale, ())))
    return parts


def _beside(results: Path, kind: str = "scores") -> Results:
    small = read_results(results / "disk_small", kind)
    return {name: {0: small[name][0]} for name in BESIDE if name in small}
