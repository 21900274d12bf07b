"""k-MTR's tables: phenotypes, diseases, segmentation, reconstruction, error against R; which rows, and how
printed.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kwise.data import dataset
from kwise.recipes.kmtr import EVERY_R, ROWS, SCALES
from kwise.recipes.kmtr_linear import linear
from kwise.recipes.kmtr_plain import age_and_sex, from_segmentation
from kwise.recipes.recipe import Recipe
from kwise.recipes.rows import Row, no_scores, row_names
from kwise.report.claim_table import auc_claim, claim_table, error_claim, mean_claim, r2_claim
from kwise.report.disease_tables import disease_names, disease_table
from kwise.report.phenotype_tables import (
    agreement_table,
    coverage_table,
    error_table,
    phenotype_names,
    r2_table,
)
from kwise.report.results import Results, read_results
from kwise.report.table import Table, difference_table, score_table
from kwise.tasks import Diagnosis, Phenotypes, Reconstruction, Segmentation

PARTS = ("phenotypes", "diseases", "segmentation", "reconstruction", "sweep")
# Name of a row -> recipe of `ROWS`: models that give every answer, and those beside the published one.
JOINT = {"kmtr_joint": "joint", "harmonic_joint": "harmonic"}
OURS = {"kmtr": "phenotypes", **JOINT}
LINEAR = {"linear_images": "vit", "linear_kspace": "scratch"}
NOT_IN_THE_PAPER = ("LVESV_mL",)  # the paper's table has twelve phenotypes
TESTED, FEW = (
    1000,
    100,
)  # held-out subjects: where a case is a row of numbers, and where it is a stack of images
# Table 2: AUC, F1, recall, precision, AP; only what the plain text of the paper says.
PUBLISHED: dict[str, dict[str, tuple[float | None, ...]]] = {
    "CAD": {
        "ViT": (None, None, 0.842, None, None),
        "MAE": (None, None, None, 0.233, None),
        "k-MTR": (0.737, 0.282, None, None, 0.234),
    },
    "high_blood_pressure": {
        "MAE": (None, None, None, 0.358, None),
        "k-MTR": (0.697, 0.474, 0.781, None, 0.386),
    },
    "hypertension": {
        "MAE": (0.717, 0.432, 0.724, None, 0.378),
        "k-MTR": (None, None, None, 0.319, None),
    },
}
PUBLISHED_DICE = {"kmtr": {8.0: (0.85, math.nan)}}
PUBLISHED_PSNR = {"kmtr": {4.0: (38.18, math.nan)}, "k_gin": {4.0: (38.30, math.nan)}}
SAID = (
    "The published numbers are of 42,000 simulated UK Biobank subjects; of its Table 1 the text has none.",
    "All subjects here are synthetic: the virtual population, drawn from names. They compare models alone.",
)


def rows(scale: str) -> Iterator[Row]:
    """All rows of a scale, table after table."""
    if scale not in SCALES:
        raise ValueError(f"choosing a scale: got {scale!r}; wanted one of {', '.join(SCALES)}")
    yield from _vectors(scale)
    yield from _grids(scale)
    for name, row in OURS.items():
        yield Row(
            name, _made(row, scale), folder_name("sweep", scale), n=200, rates=EVERY_R, task=Phenotypes()
        )


def _vectors(scale: str) -> Iterator[Row]:
    """Phenotypes and diseases at R = 4."""
    whole = {"resnet50_full": "resnet50_full", "vit": "vit", "mae": "mae"}
    under = {name: name for name in ("resnet50_undersampled", "resnet50_kspace", "scratch", "unaligned")}
    part, task = folder_name("phenotypes", scale), Phenotypes()
    plain = Row(
        "age_sex", _made("train_mean", scale), part, make=age_and_sex, n=TESTED, rates=(4.0,), task=task
    )
    yield plain
    # What a linear map knows of the images that `vit` sees, and of the k-space that `scratch` does.
    for name, row in LINEAR.items():
        yield replace(plain, name=name, recipe=_made(row, scale), make=linear)
    for name, row in {"train_mean": "train_mean", **whole, **under, **OURS}.items():
        yield Row(name, _made(row, scale), part, n=TESTED, rates=(4.0,), task=task)
    for name, row in (("from_nnunet_full", "nnunet_full"), ("from_kmtr_joint", "joint")):
        yield Row(name, _made(row, scale), part, make=from_segmentation, n=TESTED, rates=(4.0,), task=task)
    part, ill = folder_name("diseases", scale), Diagnosis()
    yield replace(plain, table=part, task=ill)
    for name, row in LINEAR.items():
        yield replace(plain, name=name, recipe=_made(row, scale), table=part, task=ill, make=linear)
    heads = {"train_mean": "train_mean", "vit": "vit_diseases", "mae": "mae_diseases"}
    for name, row in {**heads, **OURS, "kmtr": "diseases"}.items():
        yield Row(name, _made(row, scale), part, n=TESTED, rates=(4.0,), task=ill)


def _grids(scale: str) -> Iterator[Row]:
    """Segmentation at R = 8, reconstruction at R = 4."""
    part, labels = folder_name("segmentation", scale), Segmentation(n_classes=6)
    names = {name: name for name in ("nnunet_full", "nnunet_undersampled", "li_net")}
    for name, row in {**names, "kmtr": "segmentation", **JOINT}.items():
        yield Row(name, _made(row, scale), part, n=FEW, rates=(8.0,), task=labels)
    part, images = folder_name("reconstruction", scale), Reconstruction()
    names = {"zero_filled": "zero_filled", "k_gin": "k_gin", "kmtr": "image"}
    for name, row in {**names, **JOINT}.items():
        yield Row(name, _made(row, scale), part, n=FEW, rates=(4.0,), task=images)


def _made(row: str, scale: str) -> Recipe:
    return ROWS[row](SCALES[scale])


def folder_name(part: str, scale: str) -> str:
    """The folder of one table's scores, below results/."""
    return f"kmtr_{scale}_{part}"


def scores_of(part: str, scale: str, results: Path) -> Results:
    """The committed scores of one table; none where there are none yet."""
    folder = results / folder_name(part, scale)
    return read_results(folder) if any(folder.glob("*/seed*/scores*.csv")) else {}


def tables(scale: str, results: Path) -> list[Table]:
    """All tables, the published numbers beside ours; ValueError where there are no scores at all."""
    order = row_names(rows(scale))
    parts: list[Table] = []
    for part, tables_of in (
        ("phenotypes", _phenotype_tables),
        ("diseases", _disease_tables),
        ("segmentation", _segmentation_tables),
        ("reconstruction", _reconstruction_tables),
        ("sweep", _sweep_tables),
    ):
        scores = scores_of(part, scale, results)
        if scores:
            parts += tables_of(scores, order)
    if not parts:
        where = results / folder_name("phenotypes", scale)
        raise no_scores("kmtr", scale, where)
    return [*parts[:-1], replace(parts[-1], notes=(*parts[-1].notes, *SAID))]


def _phenotype_tables(scores: Results, order: list[str]) -> list[Table]:
    tables = [
        error_table(scores, 4.0, order=order),
        r2_table(scores, 4.0, order=order, left_out=NOT_IN_THE_PAPER),
        agreement_table(scores, 4.0, order=order),
        coverage_table(scores, 4.0, order=order),
    ]
    names = [name for name in phenotype_names(scores) if name not in NOT_IN_THE_PAPER]
    claims = [r2_claim("kmtr", rival, names) for rival in ("unaligned", "scratch")]
    claims += [error_claim(ours, rival, 1.1) for ours in OURS for rival in ("mae", "vit")]
    claims += [r2_claim("kmtr", "linear_kspace", names)]
    claims += [r2_claim(ours, "linear_images", names) for ours in OURS]
    tables.append(claim_table(scores, claims, 4.0, "Phenotypes, R = 4: claims of order"))
    references = [name for name in ("unaligned", "mae") if name in scores]
    return tables + [difference_table(scores, name, "phenotype_error", order=order) for name in references]


def _disease_tables(scores: Results, order: list[str]) -> list[Table]:
    from kwise.phantom.physiology import best_possible_auc

    cases = dataset("population").cases(None, "test", TESTED)
    best = {name: best_possible_auc(name, cases) for name in disease_names(scores)}
    claims = [auc_claim(ours, "mae", name, 0.03) for ours in OURS for name in best]
    return [
        disease_table(scores, 4.0, order=order, best=best, published=PUBLISHED),
        claim_table(scores, claims, 4.0, "Diseases, R = 4: no more than .03 below the image model"),
    ]


def _segmentation_tables(scores: Results, order: list[str]) -> list[Table]:
    whole = score_table(scores, "dice_foreground", order=order, published=PUBLISHED_DICE)
    names = Segmentation(n_classes=6).names
    return [whole, *(score_table(scores, f"dice_{name}", order=order) for name in names)]


def _reconstruction_tables(scores: Results, order: list[str]) -> list[Table]:
    decibels = score_table(scores, "psnr_db", order=order, published=PUBLISHED_PSNR)
    claims = [mean_claim(ours, "k_gin", "psnr_db") for ours in OURS]
    return [
        decibels,
        score_table(scores, "ssim", order=order),
        claim_table(scores, claims, 4.0, "Images, R = 4: claims of order"),
    ]


def _sweep_tables(scores: Results, order: list[str]) -> list[Table]:
    title = "mean |error| of all phenotypes in sd, against R"
    return [score_table(scores, "phenotype_error", order=order, title=title)]
