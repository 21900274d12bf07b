"""Phenotypes and diagnoses of real hearts: ACDC's stacks at ED and ES, each patient answered by a model that
never saw them.

Volumes are those of the segmentation. The diagnosis is a logistic regression on the volumes that were
answered, fitted to the patients of the other folds. K-space is simulated from magnitude images.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kwise.checkpoint import load_checkpoint
from kwise.data import dataset
from kwise.data.acdc_folds import N_FOLDS
from kwise.data.geometry import crop_fov
from kwise.evaluate import Row as Scores
from kwise.evaluate import write_scores
from kwise.models import MODELS
from kwise.phenotypes import simpson_volumes, ventricular_phenotypes
from kwise.recipes import RECIPES
from kwise.recipes.acdc import STACK_ACCELERATIONS
from kwise.recipes.kmtr_table import folder_name
from kwise.recipes.recipe import Recipe
from kwise.recipes.rows import Row, no_scores, row_names
from kwise.recipes.run import source, test_batches, train_recipe
from kwise.recipes.scoring import rounded
from kwise.report.group_tables import group_table
from kwise.report.phenotype_tables import agreement_table, error_table, r2_table
from kwise.report.results import read_results
from kwise.report.table import Table
from kwise.types import Scan

SCALE = "acdc"
SIZES = ("LVEDV_mL", "LVESV_mL", "LVEF_percent", "RVEDV_mL", "RVESV_mL", "RVEF_percent", "LVM_g")
Sizes = Mapping[str, float]


def rows() -> Iterator[Row]:
    """Floor, model, and what true labels would give."""
    recipe = RECIPES["harmonic_unet_stack_fold0"]()
    for name, make in (
        ("train_mean", train_mean), ("harmonic_unet", harmonic_unet),
        ("expert_labels_in_field", expert_labels_in_field), ("expert_labels", expert_labels),
    ):  # fmt: skip
        yield Row(
            name, recipe, folder_name("patients", SCALE), split="val", n=None, make=make,
            rates=STACK_ACCELERATIONS,
        )  # fmt: skip


def train_mean(row: Row, folder: Path, runs: Path) -> None:
    """The floor: the mean sizes of the other folds, and for everybody the most frequent diagnosis."""
    truths, folds, _ = _patients()
    answers: dict[str, Sizes] = {}
    for case in truths:
        others = [other for other in truths if folds[other] != folds[case]]
        answers[case] = {name: float(np.mean([truths[other][name] for other in others])) for name in SIZES}
    _write(row, folder, {rate: answers for rate in row.rates or ()}, _commonest)


def expert_labels(row: Row, folder: Path, runs: Path) -> None:
    """What the experts' own labels say: the volumes are right, the diagnosis is what volumes can tell."""
    truths, _, _ = _patients()
    _write(row, folder, {rate: truths for rate in row.rates or ()})


def expert_labels_in_field(row: Row, folder: Path, runs: Path) -> None:
    """What the experts say of the field of view that models see: some right ventricles reach beyond it."""
    seen = {
        case: _sizes(cropped.labels, cropped.spacing_mm)
        for case, cropped in _scans(row.recipe.acquisition.fov_mm)
        if cropped.labels is not None
    }
    _write(row, folder, {rate: seen for rate in row.rates or ()})


def harmonic_unet(row: Row, folder: Path, runs: Path) -> None:
    """The volumes of every fold's segmentation; folds without weights are trained first."""
    answers: dict[float, dict[str, Sizes]] = {rate: {} for rate in row.rates or ()}
    for fold in range(N_FOLDS):
        recipe = RECIPES[f"harmonic_unet_stack_fold{fold}"]()
        run = runs / f"{recipe.name}-seed{recipe.seed}"
        checkpoint = run / "checkpoint"
        if not checkpoint.exists():
            train_recipe(recipe, run)
        model = load_checkpoint(checkpoint, MODELS).model
        for rate in answers:
            answers[rate] |= _answers(model, recipe, rate)
    _write(row, folder, answers)


@torch.inference_mode()
def _answers(model: nn.Module, recipe: Recipe, rate: float) -> dict[str, Sizes]:
    found: dict[str, Sizes] = {}
    for batch in test_batches(source(recipe), recipe.acquisition, rate, "val", None):
        spacing = batch.targets.spacing_mm
        assert spacing is not None
        labels = model(batch.measurement, batch.targets.query).labels()
        z, y, x = spacing[0].tolist()
        found[batch.cases[0]] = _sizes(labels[0], (z, y, x))
    return found


def _sizes(labels: Tensor, spacing_mm: tuple[float, float, float]) -> Sizes:
    found = ventricular_phenotypes(simpson_volumes(labels, spacing_mm), 0, 1)
    return {name: found[name] for name in SIZES}


def _scans(fov_mm: float | None = None) -> Iterator[tuple[str, Scan]]:
    """Every patient's stack, its central `fov_mm` alone where that is given."""
    data = dataset("acdc_stack")
    for case in data.cases(None, None, None):
        scan = data.read(None, case)
        yield case, scan if fov_mm is None else crop_fov(scan, fov_mm)


def _patients() -> tuple[dict[str, Sizes], dict[str, int], dict[str, str]]:
    """True sizes, fold and diagnosis of every patient; ValueError for one without a group."""
    folds = {
        case: fold
        for fold in range(N_FOLDS)
        for case in dataset(f"acdc_stack_fold{fold}").cases(None, "val", None)
    }
    truths: dict[str, Sizes] = {}
    groups: dict[str, str] = {}
    for case, scan in _scans():
        if case not in folds:
            continue
        if "group" not in scan.notes or scan.labels is None:
            raise ValueError(f"reading {case}: got no group or no labels; wanted both")
        truths[case], groups[case] = _sizes(scan.labels, scan.spacing_mm), scan.notes["group"]
    return truths, folds, groups


def _write(
    row: Row,
    folder: Path,
    answers: Mapping[float, Mapping[str, Sizes]],
    diagnose: Callable[[Mapping[str, Sizes], Mapping[str, int], Mapping[str, str]], dict[str, str]]
    | None = None,
) -> None:
    truths, folds, groups = _patients()
    made: list[Scores] = []
    for rate, said in answers.items():
        diagnoses = (diagnose or _diagnoses)(said, folds, groups)
        for case in sorted(said):
            columns = {f"{name}_predicted": said[case][name] for name in SIZES}
            columns |= {f"{name}_true": truths[case][name] for name in SIZES}
            columns |= {f"{name}_sd": float("nan") for name in SIZES}
            made.append(
                {"case": case, "acceleration": rate, "fold": folds[case], **columns,
                 "group_answered": diagnoses[case], "group": groups[case]}
            )  # fmt: skip
    write_scores(folder / "scores.csv", rounded(made))


def _diagnoses(
    said: Mapping[str, Sizes], folds: Mapping[str, int], groups: Mapping[str, str]
) -> dict[str, str]:
    """A diagnosis for every patient from the sizes answered, by a regression on those of other folds."""
    from sklearn.linear_model import LogisticRegression  # seconds to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found: dict[str, str] = {}
    for fold in sorted(set(folds.values())):
        known = [case for case in said if folds[case] != fold]
        asked = [case for case in said if folds[case] == fold]
        fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        fit.fit(_features(said, known), [groups[case] for case in known])
        found |= dict(zip(asked, map(str, fit.predict(_features(said, asked)))))
    return found


def _commonest(
    said: Mapping[str, Sizes], folds: Mapping[str, int], groups: Mapping[str, str]
) -> dict[str, str]:
    """The most frequent group for everybody, the first in the alphabet of equal ones: what a constant can
    reach.
    """
    return dict.fromkeys(said, Counter(sorted(groups[case] for case in said)).most_common(1)[0][0])


def _features(said: Mapping[str, Sizes], cases: Sequence[str]) -> np.ndarray:
    """(n, sizes + 2): the sizes, mass over LV volume and RV over LV volume; 0 where nothing was found."""
    table = np.array([[said[case][name] for name in SIZES] for case in cases])
    left = np.maximum(table[:, SIZES.index("LVEDV_mL")], 1.0)
    ratios = [table[:, SIZES.index(name)] / left for name in ("LVM_g", "RVEDV_mL")]
    return np.nan_to_num(np.column_stack([table, *ratios]))


def tables(results: Path) -> list[Table]:
    """Errors of volumes and ejection fractions, then the diagnoses; ValueError where there are no scores."""
    where = results / folder_name("patients", SCALE)
    if not any(where.glob("*/seed*/scores.csv")):
        raise no_scores("kmtr", SCALE, where)
    scores, order = read_results(where), row_names(rows())
    return [
        table
        for rate in STACK_ACCELERATIONS
        for table in (
            error_table(scores, rate, order=order),
            r2_table(scores, rate, order=order),
            agreement_table(scores, rate, order=order),
            group_table(scores, rate, order=order),
        )
    ]
