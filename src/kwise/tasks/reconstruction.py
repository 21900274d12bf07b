"""Reconstruction: the image that a full measurement would have given. Its loss in training, its score row for
every case.

Axis names: b case, z slice, f frame, y and x image, q queried point. Scores are means over slices and frames.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.image_metrics import WINDOW, nmse, psnr, ssim
from kwise.nearest import one_of
from kwise.types import Prediction, Targets

KINDS = ("l2", "l1")


@dataclass(frozen=True)
class Reconstruction:
    """Images learned by their distance from the truth, relative to the truth's own size in each case.

    `kind` "l2": sum |error|^2 / sum |truth|^2, which is the K-Space Transformer's squared error on slices of
    unit energy (in k-space it is the same number, by Parseval). "l1": sum |error| / sum |truth|. Complex
    images are compared as they are where the truth is complex; where it is a magnitude, as magnitudes.
    """

    kind: str = "l2"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"building Reconstruction: got kind {self.kind!r}; wanted {one_of(self.kind, KINDS)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Classes of the answer: none."""
        return ()

    def loss(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Scalar mean over cases; images (b, z, f, y, x), or (b, z, q) at `targets.query.points`.

        The model's own `prediction.losses` are added. ValueError without an image on either side, or for
        other shapes.
        """
        doing = "computing a reconstruction loss"
        image, truth = _images(doing, prediction, targets)
        if image.ndim == 3:
            truth = _at_points(truth, targets)
        _check_shapes(doing, image, truth)
        if not truth.is_complex():
            image = image.abs()
        error, size = (image - truth).flatten(1), truth.flatten(1)
        if self.kind == "l2":
            per_case = _squared(error).sum(dim=1) / _squared(size).sum(dim=1)
        else:
            per_case = error.abs().sum(dim=1) / size.abs().sum(dim=1)
        return per_case.mean() + sum(prediction.losses.values(), torch.zeros((), device=per_case.device))

    def score(self, prediction: Prediction, targets: Targets) -> list[dict[str, float]]:
        """One row per case: psnr_db, ssim, nmse of magnitudes, and complex_* of complex images.

        PSNR and SSIM use max - min of the true magnitude of each slice; a perfect case has psnr_db inf.
        complex_* are NaN where truth or answer is a magnitude. ValueError where the reference image is
        absent.
        """
        doing = "scoring a reconstruction"
        images, truths = _images(doing, prediction, targets)
        _check_shapes(doing, images, truths)
        if not bool(torch.isfinite(images.abs()).all()):
            raise ValueError(f"{doing}: got NaN or Inf in the image; wanted finite numbers")
        return [_row(image.cpu(), truth.cpu()) for image, truth in zip(images, truths)]

    def frame_scores(self, prediction: Prediction, targets: Targets) -> list[list[dict[str, float | str]]]:
        """For every case, one row (frame, psnr_db, ssim) per frame."""
        images, truths = _images("scoring a reconstruction", prediction, targets)
        tables: list[list[dict[str, float | str]]] = []
        for image, truth in zip(images.abs().cpu(), truths.abs().cpu()):
            rows = [_frame_row(i, image[:, i], truth[:, i]) for i in range(truth.shape[1])]
            tables.append(rows)
        return tables

    def progress(self, prediction: Prediction, targets: Targets) -> list[float]:
        """PSNR of the magnitude of every case in dB, mean over its slices and frames."""
        doing = "measuring the progress of a reconstruction"
        images, truths = _images(doing, prediction, targets)
        _check_shapes(doing, images, truths)
        return [float(psnr(image.abs(), truth.abs()).mean()) for image, truth in zip(images, truths)]


def _row(image: Tensor, truth: Tensor) -> dict[str, float]:
    """Scores of one case (z, f, y, x)."""
    row = _scores("", image.abs(), truth.abs())
    if image.is_complex() and truth.is_complex():
        return row | _scores("complex_", image, truth)
    return row | dict.fromkeys(("complex_psnr_db", "complex_ssim", "complex_nmse"), float("nan"))


def _scores(prefix: str, image: Tensor, truth: Tensor) -> dict[str, float]:
    """Means over the slices of (..., y, x); SSIM is NaN on grids below its window."""
    small = min(truth.shape[-2:]) < WINDOW
    return {
        f"{prefix}psnr_db": float(psnr(image, truth).mean()),
        f"{prefix}ssim": float("nan") if small else float(ssim(image, truth).mean()),
        f"{prefix}nmse": float(nmse(image, truth).mean()),
    }


def _frame_row(frame: int, image: Tensor, truth: Tensor) -> dict[str, float | str]:
    scores = _scores("", image, truth)
    return {"frame": frame, "psnr_db": scores["psnr_db"], "ssim": scores["ssim"]}


def _images(doing: str, prediction: Prediction, targets: Targets) -> tuple[Tensor, Tensor]:
    if targets.image is None:
        raise ValueError(f"{doing}: got targets without an image; wanted the fully sampled reference")
    if prediction.image is None:
        raise ValueError(f"{doing}: got a prediction without an image; wanted a model that reconstructs")
    return prediction.image, targets.image


def _check_shapes(doing: str, image: Tensor, truth: Tensor) -> None:
    if image.shape != truth.shape:
        raise ValueError(f"{doing}: got an image {tuple(image.shape)}; wanted {tuple(truth.shape)}")


def _at_points(truth: Tensor, targets: Targets) -> Tensor:
    """(b, z, f, y, x) -> (b, z, q)."""
    points = targets.query.points
    if points is None:
        raise ValueError("computing a reconstruction loss: got (b, z, q) without points; wanted a query")
    return truth.flatten(2).gather(2, points.unsqueeze(1).expand(-1, truth.shape[1], -1))


def _squared(x: Tensor) -> Tensor:
    return torch.view_as_real(x).square().sum(dim=-1) if x.is_complex() else x.square()
