"""The K-Space Transformer's tables: which rows they have at each scale, and how they are printed."""

from collections.abc import Iterator
from pathlib import Path

from kwise.recipes.kspace_transformer import (
    CHANGES,
    ENTRIES,
    FAMILIES,
    WITHOUT,
    paper,
    published,
    small,
)
from kwise.recipes.rows import Row, no_scores, row_names
from kwise.report.results import read_results
from kwise.report.table import Table, difference_table, score_table

SCALES = ("small", "paper")
MEASURES = ("psnr_db", "ssim", "nmse", "complex_psnr_db", "complex_ssim", "complex_nmse")
OURS, ORIGINAL = "kspace_transformer_plus", "kspace_transformer"
TITLES = {"1d": "Table 1, uniform 1D", "2d": "Table 2, Gaussian 2D"}


def rows(scale: str) -> Iterator[Row]:
    """All rows of a scale: every model, Table 3's and, at the small one, plus with each change taken back."""
    if scale not in SCALES:
        raise ValueError(f"choosing a scale: got {scale!r}; wanted small or paper")
    for data in ("small",) if scale == "small" else ("oasis", "fastmri"):
        for family in FAMILIES:
            for name in _names(data, family):
                recipe = small(name, family) if data == "small" else paper(name, data, family)
                yield Row(name, recipe, folder_name(data, family))


def _names(data: str, family: str) -> tuple[str, ...]:
    names = (*ENTRIES, *WITHOUT) if data != "fastmri" else tuple(ENTRIES)
    return (*names, *CHANGES) if data == "small" and family == "2d" else names


def folder_name(data: str, family: str) -> str:
    """The folder of one data set's scores on one family of masks, below results/."""
    return f"kspace_transformer_{data}_{family}"


def tables(scale: str, results: Path) -> list[Table]:
    """Tables 1 to 3, ours beside the published numbers, with the paired differences to plus and to
    the original; ValueError where there are no scores at all.
    """
    order = row_names(rows(scale))
    parts: list[Table] = []
    for data in ("small",) if scale == "small" else ("oasis", "fastmri"):
        for family in FAMILIES:
            if any((results / folder_name(data, family)).glob("*/seed*/scores*.csv")):
                parts += _tables(results, data, family, order)
    if not parts:
        where = results / folder_name("small" if scale == "small" else "oasis", "1d")
        raise no_scores("kspace_transformer", scale, where)
    return parts


def _tables(results: Path, data: str, family: str, order: list[str]) -> list[Table]:
    scores = read_results(results / folder_name(data, family))
    parts = []
    for metric in MEASURES:
        beside = published(metric, data, family) if metric in ("psnr_db", "ssim") else {}
        beside = {model: numbers for model, numbers in beside.items() if model in scores}
        title = f"{TITLES[family]}, {_about(data)}: {metric}"
        parts.append(score_table(scores, metric, order=order, published=beside, title=title))
    for reference in (OURS, ORIGINAL):
        if reference in scores:
            parts += [
                difference_table(scores, reference, metric, order=order) for metric in ("psnr_db", "ssim")
            ]
    return parts


def _about(data: str) -> str:
    return "slices at hand (published: OASIS)" if data == "small" else data
