"""Pretraining: a masked autoencoder restores all of k-space, or all of an image. Its loss, a score row for
every case.

Values are compared at the scale of the case: over the root mean square of the truth.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.nearest import one_of
from kwise.types import Prediction, Targets

KINDS = ("l1_hdr", "mse")


@dataclass(frozen=True)
class Pretraining:
    """`kind` "l1_hdr": mean |error| plus the high-dynamic-range loss |error|^2 / (|guess| + epsilon)^2 (Pan
    et al., k-GIN, MICCAI 2023), whose denominator has no gradient; images, whose range is small, have L1
    alone. "mse": mean |error|^2, as k-MTR.
    """

    kind: str = "l1_hdr"
    epsilon: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"building Pretraining: got kind {self.kind!r}; wanted {one_of(self.kind, KINDS)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Classes of the answer: none."""
        return ()

    def loss(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Scalar mean over cases; the model's own losses are added."""
        guess, truth = _both("computing a pretraining loss", prediction, targets)
        error = (guess - truth).abs()
        if self.kind == "mse":
            total = error.square().mean()
        else:
            total = error.mean()
            if prediction.kspace is not None:
                size = guess.detach().abs() + self.epsilon
                total = total + (error / size).square().mean()
        return total + sum(prediction.losses.values(), torch.zeros((), device=total.device))

    def score(self, prediction: Prediction, targets: Targets) -> list[dict[str, float]]:
        """One row per case: nmse, the sum of |error|^2 over that of |truth|^2, and l1, the mean |error| over
        the root mean square of the truth.
        """
        guess, truth = _both("scoring a pretraining", prediction, targets)
        error = (guess - truth).abs()
        return [
            {"nmse": float(nmse), "l1": float(l1)}
            for nmse, l1 in zip(error.square().mean(dim=1), error.mean(dim=1))
        ]

    def frame_scores(self, prediction: Prediction, targets: Targets) -> list[list[dict[str, float | str]]]:
        """Nothing: what is restored is judged as a whole."""
        return [[] for _ in targets.labels]

    def progress(self, prediction: Prediction, targets: Targets) -> list[float]:
        """Minus the mean |error| of every case."""
        guess, truth = _both("measuring the progress of a pretraining", prediction, targets)
        return (-(guess - truth).abs().mean(dim=1)).tolist()


def _both(doing: str, prediction: Prediction, targets: Targets) -> tuple[Tensor, Tensor]:
    """Guess and truth (b, n) over the root mean square of each case's truth: k-space where the model says
    k-space, else magnitude images.
    """
    guess, truth = prediction.kspace, targets.kspace
    wanted = "targets.kspace (acquisition.reference_kspace=true)"
    if guess is None:
        guess, truth = prediction.image, targets.image
        wanted = "targets.image (acquisition.reference=true)"
        guess = None if guess is None else guess.abs()
        truth = None if truth is None else truth.abs()
    if truth is None:
        raise ValueError(f"{doing}: got no fully sampled truth; wanted {wanted}")
    if guess is None or guess.shape != truth.shape:
        got = None if guess is None else tuple(guess.shape)
        raise ValueError(f"{doing}: got an answer {got}; wanted {tuple(truth.shape)}")
    guess, truth = guess.flatten(1), truth.flatten(1)
    rms = truth.abs().square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-30)
    return guess / rms, truth / rms
