"""Phenotypes: volumes, masses and ejection fractions of a case. Their loss in training, a score row for every
case.

Axis names: b case, p phenotype, in the order and units of `kwise.phenotypes.PHENOTYPES`.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from kwise.phenotypes import PHENOTYPES
from kwise.tasks.named import named_columns
from kwise.types import Prediction, Targets


@dataclass(frozen=True)
class Phenotypes:
    """Numbers learned by Huber's loss of their z-scores (by the spreads of PHENOTYPES), or, from a model that
    also says how sure it is, by the likelihood of a Gaussian.

    `delta` is where Huber's loss turns from square to line, in sd. Unknown phenotypes (NaN) count nowhere.
    """

    delta: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:
        """Classes of the answer: none."""
        return ()

    def loss(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Scalar mean over cases of the mean over their known phenotypes; the model's own losses
        are added.
        """
        guess, truth = _both("computing a phenotype loss", prediction, targets)
        spread = torch.tensor([sd for _, sd in PHENOTYPES.values()], device=guess.device)
        known = torch.isfinite(truth)
        # Where nothing is known the error is set to 0 before it is squared: NaN would poison the gradient.
        error = torch.where(known, guess - torch.where(known, truth, 0.0), 0.0) / spread
        each = functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)
        if prediction.phenotype_sd is not None:
            sd = prediction.phenotype_sd / spread
            each = 0.5 * (error / sd).square().clamp(max=50.0) + sd.log()
        counts = known.sum(dim=1)
        per_case = torch.where(known, each, 0.0).sum(dim=1) / counts.clamp(min=1)
        total = per_case.sum() / (counts > 0).sum().clamp(min=1)
        return total + sum(prediction.losses.values(), torch.zeros((), device=total.device))

    def score(self, prediction: Prediction, targets: Targets) -> list[dict[str, float]]:
        """One row per case: NAME_predicted, NAME_true and NAME_sd of every phenotype (NaN where nobody
        knows), and phenotype_error, the mean |error| of the known ones in sd.
        """
        guess, truth = _both("scoring phenotypes", prediction, targets)
        if not bool(torch.isfinite(guess).all()):
            raise ValueError("scoring phenotypes: got NaN or Inf; wanted finite numbers")
        sd = torch.full_like(guess, math.nan) if prediction.phenotype_sd is None else prediction.phenotype_sd
        named = named_columns(PHENOTYPES, {"predicted": guess, "true": truth, "sd": sd})
        return [{"phenotype_error": error, **row} for error, row in zip(_errors(guess, truth), named)]

    def frame_scores(self, prediction: Prediction, targets: Targets) -> list[list[dict[str, float | str]]]:
        """Nothing: a phenotype is of the whole cine."""
        return [[] for _ in targets.labels]

    def progress(self, prediction: Prediction, targets: Targets) -> list[float]:
        """Minus the mean |error| of every case's known phenotypes in sd; NaN where none is known."""
        return [-x for x in _errors(*_both("measuring the progress of phenotypes", prediction, targets))]


def _errors(guess: Tensor, truth: Tensor) -> list[float]:
    spread = torch.tensor([sd for _, sd in PHENOTYPES.values()], device=guess.device)
    return ((guess - truth).abs() / spread).nanmean(dim=1).tolist()


def _both(doing: str, prediction: Prediction, targets: Targets) -> tuple[Tensor, Tensor]:
    """Predicted and true phenotypes (b, p) float32."""
    guess, truth = prediction.phenotypes, targets.phenotypes
    if truth is None:
        raise ValueError(f"{doing}: got targets without phenotypes; wanted a data set that knows them")
    if guess is None or guess.shape != truth.shape or truth.shape[1] != len(PHENOTYPES):
        got = None if guess is None else tuple(guess.shape)
        raise ValueError(f"{doing}: got phenotypes {got}; wanted {(len(truth), len(PHENOTYPES))}")
    return guess.float(), truth.float()
