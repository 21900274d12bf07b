"""Segmentation: a class for every pixel. Its loss in training, its score row for every case.

Axis names: b case, k class, z slice, f frame, y and x image, q queried point, n all pixels of a slice.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kwise.metrics import dice, frame_dice, frame_distances, soft_dice
from kwise.nearest import one_of
from kwise.phenotypes import STRUCTURES, area_ejection_fraction, cavity_areas, ed_es, ejection_fraction
from kwise.tasks.losses import binary_entropy, dice_loss, known_mean, one_hot, present_dice_loss
from kwise.types import IGNORE, Prediction, Targets

VARIANTS = ("dice_ce", "disk")
UNIT = (1.0, 1.0, 1.0)  # spacing that leaves areas in pixels: a fraction needs no mm


@dataclass(frozen=True)
class Segmentation:
    """Labels for every pixel, learned by Dice + cross-entropy.

    `variant` "dice_ce": soft Dice of the foreground classes present in the case, plus cross-entropy.
    "disk": the published loss, Dice of all classes on the softmax plus binary cross-entropy of softmax
    against one-hot (arXiv 2511.03762; its 1e-5 |theta|^2 belongs to the training loop, which knows the
    parameters). `dice_weight` and `ce_weight` weigh the two terms. Both are means over cases, so a case's
    loss does not depend on its batch.
    """

    n_classes: int = 4
    dice_weight: float = 1.0
    ce_weight: float = 1.0
    variant: str = "dice_ce"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            wanted = one_of(self.variant, VARIANTS)
            raise ValueError(f"building Segmentation: got variant {self.variant!r}; wanted {wanted}")
        if not 2 <= self.n_classes <= len(STRUCTURES) + 1:
            raise ValueError(
                f"building Segmentation: got {self.n_classes} classes; wanted 2 to {len(STRUCTURES) + 1}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Short names of the foreground classes, in order."""
        return tuple(STRUCTURES)[: self.n_classes - 1]

    def loss(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Scalar loss of dense logits (b, k, z, f, y, x), or of point logits (b, k, z, q) at
        `targets.query.points`.

        Pixels labelled IGNORE count nowhere; a case without any labelled pixel adds 0. The model's own
        `prediction.losses` are added.
        """
        logits, labels = _flat(prediction, targets, self.n_classes)
        known = labels != IGNORE
        truth = one_hot(labels, self.n_classes).float()
        probabilities = logits.softmax(dim=1) * known.unsqueeze(1)
        if self.variant == "disk":
            overlap, entropy = dice_loss(probabilities, truth), binary_entropy(logits, truth)
        else:
            overlap = present_dice_loss(probabilities, truth)
            entropy = -(logits.log_softmax(dim=1) * truth).sum(dim=1)
        per_case = self.dice_weight * overlap + self.ce_weight * known_mean(entropy, known)
        has_truth = known.any(dim=1)
        total = torch.where(has_truth, per_case, 0.0).sum() / has_truth.sum().clamp(min=1)
        return total + sum(prediction.losses.values(), torch.zeros((), device=total.device))

    def score(self, prediction: Prediction, targets: Targets) -> list[dict[str, float]]:
        """One row per case: Dice, soft Dice, distances (px, mm), frames, areas (mm2) and area ejection
        fraction (percent).

        Columns end in the class (LV, myo, RV) or `foreground`: the mean of the classes for Dice, and the
        largest for distances, as DiSK reports them. Distances are inf where a class was missed in a frame;
        a value nobody can know (no labelled frame, no spacing) is NaN. Needs dense logits on the grid of
        `targets.labels`.
        """
        return [self._score_case(*case) for case in self._cases(prediction, targets)]

    def frame_scores(self, prediction: Prediction, targets: Targets) -> list[list[dict[str, float | str]]]:
        """For every case, one row (frame, class, dice) per labelled frame and foreground class."""
        return [
            self._frame_table(labels, truth) for _, labels, truth, _, _ in self._cases(prediction, targets)
        ]

    def progress(self, prediction: Prediction, targets: Targets) -> list[float]:
        """Mean hard Dice of the foreground classes over the labelled pixels of every case."""
        _check_dense(prediction, targets, self.n_classes)
        answers = zip(prediction.labels(), targets.labels)
        return [quick_dice(guess, truth, self.n_classes) for guess, truth in answers]

    def _frame_table(self, labels: Tensor, truth: Tensor) -> list[dict[str, float | str]]:
        values = frame_dice(labels, truth, self.n_classes)
        table: list[dict[str, float | str]] = []
        for frame in range(len(values)):
            if bool(torch.isfinite(values[frame]).all()):
                for name, value in zip(self.names, values[frame, 1:].tolist()):
                    table.append({"frame": frame, "class": name, "dice": value})
        return table

    def _cases(self, prediction: Prediction, targets: Targets) -> list[tuple]:
        """Per case on the CPU: probabilities (k, z, f, y, x), labels, truth (z, f, y, x), spacing, (ed,
        es).
        """
        _check_dense(prediction, targets, self.n_classes)
        assert prediction.logits is not None
        probabilities = prediction.logits.float().softmax(dim=1).cpu()
        labels, truth = prediction.labels().cpu(), targets.labels.cpu()
        cases = []
        for i in range(len(truth)):
            spacing = (math.nan,) * 3 if targets.spacing_mm is None else tuple(targets.spacing_mm[i].tolist())
            cases.append((probabilities[i], labels[i], truth[i], spacing, _known_frames(targets, i)))
        return cases

    def _score_case(
        self, probabilities: Tensor, labels: Tensor, truth: Tensor, spacing: tuple, frames: tuple[int, int]
    ) -> dict[str, float]:
        if not bool((truth != IGNORE).any()):
            raise ValueError(
                "scoring a segmentation: got a case without labelled pixels; wanted at least one"
            )
        labelled = (truth != IGNORE).flatten(1).any(dim=1)  # a view nobody labelled has no areas either
        probabilities, labels, truth = probabilities[:, labelled], labels[labelled], truth[labelled]
        hard, soft = dice(labels, truth, self.n_classes), soft_dice(probabilities, truth)
        row = {"dice_foreground": float(hard[1:].mean()), **self._named("dice_{}", hard)}
        row |= {"soft_foreground": float(soft[1:].mean()), **self._named("soft_{}", soft)}
        row |= self._distances(labels, truth, spacing)
        curves = {"predicted": cavity_areas(labels, UNIT), "true": cavity_areas(truth, UNIT)}
        if min(frames) < 0 and bool(torch.isfinite(curves["true"]["LV"]).any()):
            frames = ed_es(curves["true"])
        row |= self._frames(frame_dice(labels, truth, self.n_classes), frames)
        row["dead_classes"] = _count_dead(labels, truth, self.n_classes)
        return row | _area_row(curves["predicted"], curves["true"], spacing[1] * spacing[2], frames)

    def _named(self, pattern: str, values: Tensor) -> dict[str, float]:
        return {pattern.format(name): float(values[k]) for k, name in enumerate(self.names, start=1)}

    def _distances(self, labels: Tensor, truth: Tensor, spacing: tuple) -> dict[str, float]:
        """Columns hd_*, hd95_* in px and mm, and how many (slice, frame, class) had no distance."""
        _, dy, dx = spacing
        pixels = frame_distances(labels, truth, self.n_classes)
        # Pixels are nearly always square: then mm are a product and cost nothing.
        square = not math.isfinite(dy * dx) or math.isclose(dy, dx, rel_tol=1e-6)
        mm = [x * dy for x in pixels] if square else frame_distances(labels, truth, self.n_classes, (dy, dx))
        row: dict[str, float] = {}
        for unit, pair in (("px", pixels), ("mm", mm)):
            for kind, values in zip(("hd", "hd95"), pair):
                mean = torch.from_numpy(values.mean(axis=0))
                row[f"{kind}_foreground_{unit}"] = float(mean[1:].max())
                row |= self._named(f"{kind}_{{}}_{unit}", mean)
        row["hd_failures"] = float(np.isinf(pixels[0]).sum())
        return row

    def _frames(self, per_frame: Tensor, frames: tuple[int, int]) -> dict[str, float]:
        """Foreground Dice at ED and ES, and every class's worst frame (a dead output shows as 0)."""
        worst = torch.where(per_frame.isnan(), torch.inf, per_frame).min(dim=0).values
        foreground = per_frame[:, 1:].mean(dim=1)
        row = {f"dice_{name}": _at(foreground, frame) for name, frame in zip(("ED", "ES"), frames)}
        return row | self._named("min_frame_dice_{}", worst)


def quick_dice(guess: Tensor, truth: Tensor, n_classes: int = 4) -> float:
    """Mean hard Dice of all classes but 0 over the labelled pixels of two label maps of one shape."""
    known = truth != IGNORE
    values = []
    for k in range(1, n_classes):
        a, b = (guess == k) & known, truth == k
        values.append(2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum())))
    return sum(values) / len(values)


def _check_dense(prediction: Prediction, targets: Targets, n_classes: int) -> None:
    doing, got = "scoring a segmentation", prediction.logits
    b, z, f, y, x = targets.labels.shape
    wanted = (b, n_classes, z, f, y, x)
    if got is None or tuple(got.shape) != wanted:
        shape = None if got is None else tuple(got.shape)
        raise ValueError(
            f"{doing}: got logits {shape}; wanted dense logits {wanted} on the grid of the labels"
        )
    if not bool(torch.isfinite(got).all()):
        raise ValueError(f"{doing}: got NaN or Inf logits; wanted finite numbers")
    highest = int(targets.labels.max())
    if highest >= n_classes:
        raise ValueError(f"{doing}: got label {highest}; wanted labels below n_classes = {n_classes}")


def _flat(prediction: Prediction, targets: Targets, n_classes: int) -> tuple[Tensor, Tensor]:
    """float32 logits (b, k, z * n) and labels (b, z * n), dense or at the queried points."""
    doing, logits = "computing a segmentation loss", prediction.logits
    if logits is None or logits.ndim not in (4, 6):
        shape = None if logits is None else tuple(logits.shape)
        raise ValueError(f"{doing}: got logits {shape}; wanted (b, k, z, f, y, x) or (b, k, z, q)")
    labels = targets.at_points() if logits.ndim == 4 else targets.labels.flatten(2)
    flat = logits.flatten(3)
    wanted = (labels.shape[0], n_classes, *labels.shape[1:])
    if tuple(flat.shape) != wanted:
        raise ValueError(f"{doing}: got logits {tuple(flat.shape)} as (b, k, z, n); wanted {wanted}")
    return flat.flatten(2).float(), labels.flatten(1)


def _known_frames(targets: Targets, i: int) -> tuple[int, int]:
    """ED and ES of case i as the data set gives them, -1 where it does not."""
    ed = -1 if targets.ed is None else int(targets.ed[i])
    es = -1 if targets.es is None else int(targets.es[i])
    return ed, es


def _count_dead(labels: Tensor, truth: Tensor, n_classes: int) -> float:
    """Number of (frame, class) pairs where the truth is present and the prediction empty."""
    dead = 0
    for k in range(1, n_classes):
        there = (truth == k).sum(dim=(0, 2, 3)) > 0
        answered = ((labels == k) & (truth != IGNORE)).sum(dim=(0, 2, 3)) > 0
        dead += int((there & ~answered).sum())
    return float(dead)


def _at(curve: Tensor, frame: int) -> float:
    """The curve's value at a frame, NaN where the frame is unknown (-1)."""
    return float(curve[frame]) if frame >= 0 else math.nan


def _area_row(
    predicted: dict[str, Tensor], true: dict[str, Tensor], pixel_mm2: float, frames: tuple[int, int]
) -> dict[str, float]:
    """LV areas at the true ED and ES, predicted and true, and the area ejection fractions, from curves in
    pixels.

    `area_ef_predicted_percent` is taken at the true ED and ES; `area_ef_own_percent` at the maximum and
    minimum of the predicted curve, which needs no truth but is biased upwards by noise. One labelled frame
    has no true fraction.
    """
    row: dict[str, float] = {}
    for who, areas in (("predicted", predicted), ("true", true)):
        at_ed, at_es = (_at(areas["LV"], frame) for frame in frames)
        row[f"area_LV_ED_{who}_mm2"], row[f"area_LV_ES_{who}_mm2"] = at_ed * pixel_mm2, at_es * pixel_mm2
        row[f"area_ef_{who}_percent"] = ejection_fraction(at_ed, at_es)
    if int(torch.isfinite(true["LV"]).sum()) < 2:
        row["area_ef_true_percent"] = math.nan
    row["area_ef_own_percent"] = area_ejection_fraction(predicted)
    return row
