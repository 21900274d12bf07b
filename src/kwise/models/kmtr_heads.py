"""Heads that read one vector a case: phenotypes with their uncertainty, diseases with calibrated
probabilities.

Letters: b case, d width, p phenotype, q disease. What is fitted on validation cases after training (a factor
on the sd, a line through the logits, thresholds) is kept as buffers, so it travels with the weights.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.phenotypes import DISEASES, PHENOTYPES
from kwise.types import Prediction, Targets

SMALLEST_SD = 0.05  # of a phenotype's population sd: what nobody can measure better than


class PhenotypeHead(nn.Module):
    """A vector -> the phenotypes in their own units; with `gaussian` a standard deviation for each (Nix and
    Weigend, 1994).
    """

    def __init__(self, width: int, hidden: int, *, gaussian: bool = False) -> None:
        super().__init__()
        self.gaussian = gaussian
        n = len(PHENOTYPES)
        self.net = _perceptron(width, hidden, 2 * n if gaussian else n)
        self.mean: Tensor
        self.sd: Tensor
        self.sd_factor: Tensor
        self.register_buffer("mean", torch.tensor([m for m, _ in PHENOTYPES.values()]), persistent=False)
        self.register_buffer("sd", torch.tensor([s for _, s in PHENOTYPES.values()]), persistent=False)
        self.register_buffer("sd_factor", torch.ones(n))

    def forward(self, summary: Tensor) -> Prediction:
        """(b, d) -> phenotypes (b, p), and phenotype_sd where `gaussian`."""
        said = self.net(summary).float()
        values = self.mean + self.sd * said[:, : len(self.mean)]
        if not self.gaussian:
            return Prediction(phenotypes=values)
        # softplus(0.54) = 1: a head that knows nothing yet says the population's own spread.
        spread = functional.softplus(said[:, len(self.mean) :] + 0.54) + SMALLEST_SD
        return Prediction(phenotypes=values, phenotype_sd=self.sd * spread * self.sd_factor)

    def calibrate(self, answers: Iterable[tuple[Prediction, Targets]]) -> None:
        """Widen or narrow the sd of each phenotype until the errors of validation cases have it on
        average.
        """
        self.sd_factor.mul_(error_over_sd(answers, self.sd_factor))


class DiseaseHead(nn.Module):
    """A vector -> logits of the diseases, and the probability from which each is called.

    After training: Platt's line through the logits (1999), and the threshold of the best F1 on validation
    cases.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        n = len(DISEASES)
        self.net = _perceptron(width, hidden, n)
        self.slope: Tensor
        self.shift: Tensor
        self.threshold: Tensor
        self.register_buffer("slope", torch.ones(n))
        self.register_buffer("shift", torch.zeros(n))
        self.register_buffer("threshold", torch.full((n,), 0.5))

    def forward(self, summary: Tensor) -> Prediction:
        """(b, d) -> diseases (b, q) and disease_threshold (b, q)."""
        logits = self.slope * self.net(summary).float() + self.shift
        return Prediction(diseases=logits, disease_threshold=self.threshold.expand(len(logits), -1))

    def calibrate(self, answers: Iterable[tuple[Prediction, Targets]]) -> None:
        """Fit line and thresholds; ValueError, naming the disease, where validation cases are of
        one class.
        """
        logits, truth = [], []
        for answer, targets in answers:
            if answer.diseases is None or targets.diseases is None:
                return
            logits.append((answer.diseases - self.shift) / self.slope)
            truth.append(targets.diseases)
        if not logits:
            return
        said, known = torch.cat(logits).double(), torch.cat(truth).double()
        for i, name in enumerate(DISEASES):
            there = torch.isfinite(known[:, i])
            line = said[there, i], known[there, i], "calibrating diseases", "validation cases"
            self.slope[i], self.shift[i], self.threshold[i] = disease_line(name, *line)


def error_over_sd(answers: Iterable[tuple[Prediction, Targets]], like: Tensor) -> Tensor:
    """(p,) root mean square of error over sd of each phenotype; 1 where nothing tells, or where a model gives
    no sd. `like` (p,) is a tensor of its kind.
    """
    ratios = []
    for answer, targets in answers:
        if answer.phenotypes is None or answer.phenotype_sd is None or targets.phenotypes is None:
            return torch.ones_like(like)
        ratios.append(((answer.phenotypes - targets.phenotypes) / answer.phenotype_sd).square())
    if not ratios:
        return torch.ones_like(like)
    mean = torch.cat(ratios).nanmean(dim=0).sqrt()
    return torch.where(torch.isfinite(mean) & (mean > 0), mean, torch.ones_like(mean))


def disease_line(
    name: str, said: Tensor, labels: Tensor, doing: str, cases: str
) -> tuple[float, float, float]:
    """Slope and shift of Platt's line through what was `said` (n,) of one disease, and the probability behind
    it that calls it with the best F1; ValueError, which `doing` opens, where all of the labels (n,) of these
    `cases` are the same.
    """
    if not 0 < int(labels.sum()) < len(labels):
        got = f"{int(labels.sum())} of {len(labels)} {cases} with {name}"
        raise ValueError(f"{doing}: got {got}; wanted cases with and without it")
    slope, shift = platt(said, labels)
    return slope, shift, best_f1_threshold((slope * said + shift).sigmoid(), labels)


def guess_line(
    name: str, guess: Tensor, labels: Tensor, doing: str, cases: str
) -> tuple[float, float, float]:
    """`disease_line` through linear guesses (n,) of any size, in units of their own spread, so that the weak
    pull on its slope does not matter.
    """
    spread = float(guess.std().clamp(min=1e-9))
    slope, shift, threshold = disease_line(name, guess / spread, labels, doing, cases)
    return slope / spread, shift, threshold


def platt(logits: Tensor, labels: Tensor, steps: int = 50) -> tuple[float, float]:
    """Slope > 0 and shift of the logistic regression of labels (n,) 0 or 1 on logits (n,), by Newton's
    method.

    A weak pull of the slope towards 1 keeps separable cases finite; where cases want a negative slope the
    logits are worthless, and it becomes 0.01.
    """
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    design = torch.stack([logits.double(), torch.ones_like(logits, dtype=torch.float64)], dim=1)
    pull = torch.tensor([1e-2, 1e-4], dtype=torch.float64)

    def cost(weights: Tensor) -> Tensor:
        said = design @ weights
        fit = functional.binary_cross_entropy_with_logits(said, labels.double(), reduction="sum")
        return fit + 0.5 * (pull * (weights - start).square()).sum()

    weights = start
    for _ in range(steps):
        probability = (design @ weights).sigmoid()
        gradient = design.T @ (probability - labels) + pull * (weights - start)
        curvature = (design.T * (probability * (1 - probability))) @ design + pull.diag()
        step = torch.linalg.solve(curvature, gradient)
        # Far from the minimum Newton's step may overshoot: it is halved until it helps.
        while float(cost(weights - step)) > float(cost(weights)) and float(step.abs().max()) > 1e-10:
            step = step / 2
        weights = weights - step
        if float(step.abs().max()) < 1e-8:
            break
    if float(weights[0]) > 0.01:
        return float(weights[0]), float(weights[1])
    rate = labels.mean().clamp(1e-3, 1 - 1e-3)
    return 0.01, float(rate.logit() - 0.01 * logits.mean())


def best_f1_threshold(probability: Tensor, labels: Tensor) -> float:
    """The value of `probability` (n,) from which calling 1 gives the highest F1 against labels (n,)."""
    order = probability.argsort(descending=True)
    hits = labels[order].cumsum(0)
    f1 = 2 * hits / (torch.arange(1, len(labels) + 1, dtype=hits.dtype) + labels.sum())
    # Equal probabilities are called together: only the last of them is a threshold.
    ranked = probability[order]
    last = torch.cat([ranked[1:] < ranked[:-1], torch.ones(1, dtype=torch.bool)])
    return float(ranked[torch.where(last, f1, -1.0).argmax()])


def _perceptron(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs))
