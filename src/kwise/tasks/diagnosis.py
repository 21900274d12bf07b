"""Diagnosis: which diseases a case has. Its loss in training, a score row for every case.

Axis names: b case, q disease, in the order of `kwise.phenotypes.DISEASES`. AUC, F1 and the like belong to the
whole table of cases, not to one of them: see `kwise.report.disease_tables`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kwise.phenotypes import DISEASES
from kwise.tasks.named import named_columns
from kwise.types import Prediction, Targets


@dataclass(frozen=True)
class Diagnosis:
    """Diseases learned by binary cross-entropy; what nobody knows (NaN) counts nowhere.

    `positive_weight` multiplies the loss of the ill, 1 for honest probabilities.
    """

    positive_weight: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """Classes of the answer's labels: none."""
        return ()

    def loss(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Scalar mean over cases of the mean over their known diseases; the model's own losses are added."""
        logits, truth = _both("computing a diagnosis loss", prediction, targets)
        known = torch.isfinite(truth)
        weight = torch.full_like(logits[0], self.positive_weight)
        wanted = torch.where(known, truth, 0.0)
        each = functional.binary_cross_entropy_with_logits(
            logits, wanted, reduction="none", pos_weight=weight
        )
        counts = known.sum(dim=1)
        per_case = torch.where(known, each, 0.0).sum(dim=1) / counts.clamp(min=1)
        total = per_case.sum() / (counts > 0).sum().clamp(min=1)
        return total + sum(prediction.losses.values(), torch.zeros((), device=total.device))

    def score(self, prediction: Prediction, targets: Targets) -> list[dict[str, float]]:
        """One row per case: NAME_probability, NAME_true (NaN where nobody knows) and NAME_threshold of every
        disease, and disease_loss, the mean negative log-likelihood of the known ones.
        """
        logits, truth = _both("scoring a diagnosis", prediction, targets)
        if not bool(torch.isfinite(logits).all()):
            raise ValueError("scoring a diagnosis: got NaN or Inf logits; wanted finite numbers")
        said = prediction.disease_threshold
        threshold = torch.full_like(logits, 0.5) if said is None else said
        columns = {"probability": logits.sigmoid(), "true": truth, "threshold": threshold}
        named = named_columns(DISEASES, columns)
        return [{"disease_loss": loss, **row} for loss, row in zip(_losses(logits, truth), named)]

    def frame_scores(self, prediction: Prediction, targets: Targets) -> list[list[dict[str, float | str]]]:
        """Nothing: a disease is of the whole person."""
        return [[] for _ in targets.labels]

    def progress(self, prediction: Prediction, targets: Targets) -> list[float]:
        """Minus the mean negative log-likelihood of every case's known diseases; NaN where none is known."""
        return [-x for x in _losses(*_both("measuring the progress of a diagnosis", prediction, targets))]


def _losses(logits: Tensor, truth: Tensor) -> list[float]:
    known = torch.isfinite(truth)
    wanted = torch.where(known, truth, 0.0)
    each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return torch.where(known, each, math.nan).nanmean(dim=1).tolist()


def _both(doing: str, prediction: Prediction, targets: Targets) -> tuple[Tensor, Tensor]:
    """Logits and truth (b, q) float32."""
    logits, truth = prediction.diseases, targets.diseases
    if truth is None:
        raise ValueError(f"{doing}: got targets without diseases; wanted a data set that knows them")
    if logits is None or logits.shape != truth.shape or truth.shape[1] != len(DISEASES):
        got = None if logits is None else tuple(logits.shape)
        raise ValueError(f"{doing}: got disease logits {got}; wanted {(len(truth), len(DISEASES))}")
    other = truth[torch.isfinite(truth) & (truth != 0) & (truth != 1)]
    if len(other):
        raise ValueError(f"{doing}: got a disease label {float(other[0]):g}; wanted 0, 1 or NaN")
    return logits.float(), truth.float()
