"""Ridge regression straight from pixels or from k-space: what one linear map knows. A rival that a table of
networks on synthetic hearts should not be without.

Fitted to training subjects measured at the R that is asked (the networks learn one model for every R), its
pull chosen on validation subjects; the kernel form, for there are a hundred times more numbers in a
measurement than subjects.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kwise.models.kmtr_encoders import compressed, on_grid, scale_of, scaled_magnitude, single_coil
from kwise.models.kmtr_heads import guess_line
from kwise.phenotypes import DISEASES
from kwise.recipes.kmtr_plain import write_row
from kwise.recipes.rows import Row
from kwise.recipes.run import source, test_batches
from kwise.tasks import Diagnosis
from kwise.types import Batch, Measurement, Prediction

N_TRAIN = 2000  # at most: their numbers have to fit into memory
N_VALIDATION = 300
PULLS = tuple(10.0**e for e in range(-3, 3))  # in units of the mean diagonal of the kernel
BLOCK = 8192  # features multiplied at a time


@dataclass(frozen=True)
class Seen:
    """Subjects: `features` (n, f) float16, what is known of them (n, p), their names."""

    features: Tensor
    values: Tensor
    names: list[str]


def linear(row: Row, folder: Path, runs: Path) -> None:
    """Score phenotypes or diseases by ridge regression: on magnitudes of fully sampled images where the row's
    recipe is of those, else on k-space undersampled at the R asked, its sizes compressed by asinh.
    """
    n_train = min(row.recipe.n_train or N_TRAIN, N_TRAIN)
    known, chosen, asked = (
        _look(row, split, n) for split, n in (("train", n_train), ("val", N_VALIDATION), (row.split, row.n))
    )
    for_choice, said = _ridge(known, chosen, asked)
    if isinstance(row.task, Diagnosis):
        answer = _diagnosed(for_choice, chosen.values, said)
    else:
        answer = Prediction(phenotypes=said.float())
    achieved = 1.0 if row.recipe.fully_sampled else None
    write_row(row, folder, asked.names, answer, asked.values, achieved)


def _look(row: Row, split: str, n: int | None) -> Seen:
    data, acquisition = source(row.recipe), row.recipe.acquisition
    rate = 1.0 if row.recipe.fully_sampled else (row.rates or (4.0,))[0]
    features, values = [], []
    names: list[str] = []
    batches: Iterator[Batch] = test_batches(data, acquisition, rate, split, n)
    for batch in batches:
        features.append(_features(on_grid(batch.measurement), row.recipe.fully_sampled))
        targets = batch.targets
        found = targets.diseases if isinstance(row.task, Diagnosis) else targets.phenotypes
        if found is None or not bool(torch.isfinite(found).all()):
            got = f"unknown values among {', '.join(batch.cases)}"
            raise ValueError(f"fitting {row.name}: got {got}; wanted all phenotypes and diseases")
        values.append(found.double())
        names += batch.cases
    return Seen(torch.cat(features), torch.cat(values), names)


def _features(measurement: Measurement, images: bool) -> Tensor:
    if images:
        return scaled_magnitude(measurement).flatten(1).half()
    kspace = compressed(single_coil(measurement) / scale_of(measurement))
    return torch.view_as_real(kspace).flatten(1).half()


def _ridge(known: Seen, chosen: Seen, asked: Seen) -> tuple[Tensor, Tensor]:
    """Values (n, p) of the validation subjects and of those asked, with the pull that errs least, value by
    value, on the former.
    """
    from sklearn.kernel_ridge import KernelRidge  # seconds to import
    from sklearn.preprocessing import KernelCenterer

    centre = KernelCenterer()
    gram = centre.fit_transform(_products(known.features, known.features))
    new = centre.transform(_products(torch.cat([chosen.features, asked.features]), known.features))
    unit, mean = gram.diagonal().mean(), known.values.mean(dim=0)
    said = []
    for pull in PULLS:
        fit = KernelRidge(alpha=pull * unit, kernel="precomputed").fit(gram, (known.values - mean).numpy())
        said.append(torch.from_numpy(fit.predict(new)) + mean)
    n = len(chosen.values)
    guesses = torch.stack(said)
    best = (guesses[:, :n] - chosen.values).square().mean(dim=1).argmin(dim=0)
    picked = guesses[best, :, torch.arange(len(best))].T
    return picked[:n], picked[n:]


def _products(a: Tensor, b: Tensor) -> np.ndarray:
    """(n, m) products of features, block by block in float32: there is no memory for all of them at once."""
    total = torch.zeros(len(a), len(b))
    for start in range(0, a.shape[1], BLOCK):
        total += a[:, start : start + BLOCK].float() @ b[:, start : start + BLOCK].float().T
    return total.double().numpy()


def _diagnosed(for_choice: Tensor, ill: Tensor, said: Tensor) -> Prediction:
    """Logits by Platt's line and the threshold of the best F1, both from validation subjects."""
    logits: list[Tensor] = []
    thresholds: list[float] = []
    for i, name in enumerate(DISEASES):
        line = guess_line(name, for_choice[:, i], ill[:, i], "fitting", "validation subjects")
        slope, shift, threshold = line
        logits.append(slope * said[:, i] + shift)
        thresholds.append(threshold)
    return Prediction(
        diseases=torch.stack(logits, dim=1).float(),
        disease_threshold=torch.tensor([thresholds]).expand(len(said), -1),
    )
