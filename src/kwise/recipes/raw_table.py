"""The tables of coils and of sampling off the grid: which rows they have, and how they are printed."""

from collections.abc import Iterator
from pathlib import Path

from kwise.recipes.raw import COILS, IMAGES, SAMPLING
from kwise.recipes.rows import Row, no_scores
from kwise.report.results import read_results
from kwise.report.table import Table, difference_table, score_table

SCALES = ("small",)
# Folder of scores -> what is compared, its recipes (the first is the reference), the columns printed.
COMPARISONS = {
    "raw_sampling": ("sampling at equal samples", SAMPLING, ("dice_foreground",)),
    "raw_coils": ("what coils add to Dice", COILS, ("dice_foreground",)),
    "raw_images": ("what coils add to images", IMAGES, ("psnr_db", "ssim")),
}


def rows(scale: str) -> Iterator[Row]:
    """All rows of the only scale."""
    if scale not in SCALES:
        raise ValueError(f"choosing a scale: got {scale!r}; wanted small")
    for folder, (_, recipes, _) in COMPARISONS.items():
        for make in recipes:
            yield Row(make.__name__.removesuffix("_raw"), make(), folder)


def tables(scale: str, results: Path) -> list[Table]:
    """Every comparison that has scores: the columns, and the paired differences to its reference; ValueError
    where there are no scores at all.
    """
    parts: list[Table] = []
    for folder, (about, recipes, metrics) in COMPARISONS.items():
        if any((results / folder).glob("*/seed*/scores*.csv")):
            scores = read_results(results / folder)
            order = [make.__name__.removesuffix("_raw") for make in recipes]
            for metric in metrics:
                parts.append(score_table(scores, metric, order=order, title=f"{about}: {metric}"))
                if order[0] in scores:
                    parts.append(difference_table(scores, order[0], metric, order=order))
    if not parts:
        where = results / next(iter(COMPARISONS))
        raise no_scores("raw", scale, where)
    return parts


def figures(scale: str, results: Path, runs: Path, folder: Path) -> list[Path]:
    """Dice against R of the samplings, where there are scores."""
    from kwise.report.plots import score_against_r

    place = results / "raw_sampling"
    if not any(place.glob("*/seed*/scores*.csv")):
        return []
    order = [make.__name__.removesuffix("_raw") for make in SAMPLING]
    made = folder / "raw_sampling_dice.png"
    score_against_r(read_results(place), made, order, "dice_foreground", "hard foreground Dice")
    return [made]
