"""The plain rows of k-MTR's tables, which a reader asks for first: age and sex alone, and phenotypes computed
from a segmentation.

Both are fitted to training subjects by least squares; diseases by logistic regression.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kwise.checkpoint import load_checkpoint
from kwise.evaluate import Row as Scores
from kwise.evaluate import write_scores
from kwise.models import MODELS
from kwise.phenotypes import DISEASES, PHENOTYPES, STRUCTURES
from kwise.recipes.rows import Row
from kwise.recipes.run import source, test_batches
from kwise.recipes.scoring import rounded
from kwise.tasks import Diagnosis, Phenotypes, Task
from kwise.types import Prediction, Scan, Targets

N_FITTED = 1000  # training subjects that age and sex are fitted to
N_ANSWERED = 300  # validation subjects that a model answers so that its sizes can be mapped to phenotypes
PULLS = tuple(10.0**e for e in range(-2, 5))  # of ridge regression, on features of unit spread


def age_and_sex(row: Row, folder: Path, runs: Path) -> None:
    """Score phenotypes and diseases guessed from age, sex and their product: who is measured, not what."""
    data = source(row.recipe)
    known = [data.read(None, case) for case in data.cases(None, "train", N_FITTED)]
    asked = [data.read(None, case) for case in data.cases(None, "test", row.n)]
    seen, new = (np.array([_covariates(scan) for scan in scans]) for scans in (known, asked))
    if isinstance(row.task, Diagnosis):
        values, truth = (_values(scans, "diseases", DISEASES) for scans in (known, asked))
        diseases, thresholds = _logistic(seen, values, new)
        answer = Prediction(diseases=diseases, disease_threshold=thresholds)
    else:
        values, truth = (_values(scans, "phenotypes", tuple(PHENOTYPES)) for scans in (known, asked))
        answer = Prediction(phenotypes=_linear(seen, values, new))
    write_row(row, folder, [scan.case for scan in asked], answer, torch.from_numpy(truth))


def from_segmentation(row: Row, folder: Path, runs: Path) -> None:
    """Score phenotypes computed from the segmentation of the row's recipe: areas and volumes of its labels,
    and a linear map of them to the phenotypes of the whole heart, of which six slices show a part. The map
    is fitted to the model's own answers about validation subjects, so that it undoes what the model gets
    wrong about strangers.
    """
    checkpoint = runs / row.run / "checkpoint"
    if not checkpoint.exists():
        print(f"{row.name}: no weights in {checkpoint}, left out")
        return
    model = load_checkpoint(checkpoint, MODELS).model
    seen, known, _ = _answered(row, model, "val", N_ANSWERED)
    new, truth, names = _answered(row, model, row.split, row.n)
    write_row(row, folder, names, Prediction(phenotypes=_linear(seen, known, new)), torch.from_numpy(truth))


def _answered(
    row: Row, model: nn.Module, split: str, n: int | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sizes (n, f) of what a model segments, the phenotypes (n, p) and the names of subjects."""
    data = source(row.recipe)
    rate = 1.0 if row.recipe.fully_sampled else (row.rates or (4.0,))[0]
    names: list[str] = []
    found, truths = [], []
    for batch in test_batches(data, row.recipe.acquisition, rate, split, n):
        with torch.inference_mode():
            labels = model(batch.measurement, batch.targets.query).labels()
        views = data.read(None, batch.cases[0]).views
        spacing = batch.targets.spacing_mm
        assert spacing is not None and batch.targets.phenotypes is not None
        for i in range(len(labels)):
            z, y, x = spacing[i].tolist()
            found.append(sizes_of(Scan(batch.cases[i], torch.zeros(labels[i].shape), labels=labels[i],
                                       spacing_mm=(z, y, x), views=views)))  # fmt: skip
        truths.append(batch.targets.phenotypes)
        names += batch.cases
    return np.array(found), torch.cat(truths).double().numpy(), names


def sizes_of(scan: Scan) -> list[float]:
    """Features of a labelled examination: volumes (mL) of the short-axis stack at the first frame and at
    their smallest, areas (cm2) of the atria in the long-axis views at their largest and smallest, and ratios.
    """
    assert scan.labels is not None and scan.views is not None
    z, y, x = scan.spacing_mm
    features: list[float] = []
    stack = scan.labels[[i for i, view in enumerate(scan.views) if view == "SAX"]]
    for name in ("LV", "myo", "RV"):
        volume = (stack == STRUCTURES[name]).sum(dim=(0, 2, 3)).double() * (z * y * x / 1000)
        features += _extremes(float(volume[0]), float(volume.min()))
    for view, name in (("LAX_2CH", "LA"), ("LAX_4CH", "LA"), ("LAX_4CH", "RA")):
        there = [i for i, v in enumerate(scan.views) if v == view]
        area = (scan.labels[there] == STRUCTURES[name]).sum(dim=(0, 2, 3)).double() * (y * x / 100)
        features += _extremes(float(area.max()) ** 1.5, float(area.min()) ** 1.5)
    return features


def _extremes(largest: float, smallest: float) -> list[float]:
    return [largest, smallest, (largest - smallest) / max(largest, 1e-6)]


def _covariates(scan: Scan) -> list[float]:
    if scan.covariates is None or not {"age_years", "sex_male"} <= scan.covariates.keys():
        raise ValueError(
            f"reading age and sex of {scan.case}: got {scan.covariates}; wanted age_years and sex_male"
        )
    age, male = scan.covariates["age_years"], scan.covariates["sex_male"]
    return [age, male, age * male]


def _values(scans: Sequence[Scan], kind: str, names: Sequence[str]) -> np.ndarray:
    """(n, values) of what scans say, NaN where they do not."""
    return np.array([[(getattr(scan, kind) or {}).get(name, np.nan) for name in names] for scan in scans])


def _standardised(seen: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, sd = seen.mean(axis=0), np.maximum(seen.std(axis=0), 1e-9)
    return (seen - mean) / sd, (new - mean) / sd


def _linear(seen: np.ndarray, values: np.ndarray, new: np.ndarray) -> Tensor:
    """(m, values) float32 by ridge regression, each value over the subjects who know it, with the pull that
    errs least on subjects left out.
    """
    from sklearn.linear_model import RidgeCV  # seconds to import

    a, b = _standardised(seen, new)
    columns = []
    for value in values.T:
        known = np.isfinite(value)
        columns.append(RidgeCV(PULLS).fit(a[known], value[known]).predict(b))
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def _logistic(seen: np.ndarray, values: np.ndarray, new: np.ndarray) -> tuple[Tensor, Tensor]:
    """Logits (m, diseases), and the probability of the best F1 on the subjects fitted."""
    from sklearn.linear_model import LogisticRegression  # seconds to import

    from kwise.models.kmtr_heads import best_f1_threshold

    a, b = _standardised(seen, new)
    logits, thresholds = [], []
    for name, value in zip(DISEASES, values.T):
        known = np.isfinite(value)
        if len(set(value[known])) < 2:
            raise ValueError(f"fitting age and sex: got training subjects of one class of {name}; wanted two")
        fit = LogisticRegression().fit(a[known], value[known])
        logits.append(torch.from_numpy(fit.decision_function(b)).float())
        said = torch.from_numpy(fit.decision_function(a[known])).sigmoid()
        thresholds.append(best_f1_threshold(said, torch.from_numpy(value[known])))
    return torch.stack(logits, dim=1), torch.tensor([thresholds]).expand(len(b), -1)


def write_row(
    row: Row,
    folder: Path,
    names: Sequence[str],
    answer: Prediction,
    truth: Tensor,
    achieved: float | None = None,
) -> None:
    """The scores of one plain row at its first R, of which it saw `achieved` (None: that very R), against
    the true phenotypes or diseases (n, values).
    """
    task: Task = row.task or Phenotypes()
    targets = Targets(torch.zeros(len(names), 1, 1, 1, 1, dtype=torch.int64))
    if isinstance(task, Diagnosis):
        targets = replace(targets, diseases=truth.float())
    else:
        targets = replace(targets, phenotypes=truth.float())
    rate = (row.rates or (4.0,))[0]
    rows: list[Scores] = [
        {"case": name, "acceleration": rate, "achieved_acceleration": achieved or rate, **scores}
        for name, scores in zip(names, task.score(answer, targets))
    ]
    write_scores(folder / "scores.csv", rounded(rows))
