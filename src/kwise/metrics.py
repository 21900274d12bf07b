"""One value per case, each definition in its docstring: Dice hard and soft, Hausdorff distance, HD95.

Axis names: k class, z slice, t frame, y and x image. Pixels whose true label is IGNORE (-1) count nowhere,
frames without a labelled pixel are skipped. Empty rules, the same everywhere: a class absent from truth
and prediction is a perfect answer (Dice 1, distance 0); absent from one of them alone it is a failure
(Dice 0, distance inf).
"""

import numpy as np
import torch
from torch import Tensor

from kwise.types import IGNORE

SMOOTH = 1e-5  # of the soft Dice, as in MONAI's DiceLoss


def _check_same_shape(prediction: Tensor, truth: Tensor) -> None:
    if prediction.shape != truth.shape:
        raise ValueError(
            f"comparing a segmentation with its truth: got shapes {tuple(prediction.shape)} and "
            f"{tuple(truth.shape)}; wanted the same shape"
        )


def one_hot(labels: Tensor, n_classes: int) -> Tensor:
    """Labels (...) int64 as booleans (k, ...); IGNORE belongs to no class."""
    classes = torch.arange(n_classes, device=labels.device)
    return labels.unsqueeze(0) == classes.view(-1, *[1] * labels.ndim)


def _overlap(prediction: Tensor, truth: Tensor) -> Tensor:
    """Dice 2|A.B| / (|A| + |B|) over the last axis of two boolean masks, float64; 1 where both are empty."""
    both = (prediction & truth).sum(dim=-1).double()
    total = (prediction.sum(dim=-1) + truth.sum(dim=-1)).double()
    return torch.where(total > 0, 2 * both / total.clamp(min=1), torch.ones_like(total))


def dice(prediction: Tensor, truth: Tensor, n_classes: int) -> Tensor:
    """Hard Dice (k,) float64 of every class over the whole labelled part of a case, any axes.

    `prediction`, `truth` (...) int64 labels of the same shape. Both empty: 1; one empty: 0.
    """
    _check_same_shape(prediction, truth)
    known = truth != IGNORE
    a, b = one_hot(prediction, n_classes) & known, one_hot(truth, n_classes)
    return _overlap(a.flatten(1), b.flatten(1))


def frame_dice(prediction: Tensor, truth: Tensor, n_classes: int) -> Tensor:
    """Hard Dice (t, k) float64 of every frame and class, over its slices; NaN for frames nobody labelled.

    `prediction`, `truth` (z, t, y, x) int64. A class dead in some frames hides in the total of `dice`, but
    not here.
    """
    _check_same_shape(prediction, truth)
    known = truth != IGNORE
    a, b = one_hot(prediction, n_classes) & known, one_hot(truth, n_classes)
    values = _overlap(_frames_last(a), _frames_last(b)).T.clone()
    values[~known.any(dim=3).any(dim=2).any(dim=0)] = torch.nan
    return values


def _frames_last(mask: Tensor) -> Tensor:
    """(k, z, t, y, x) -> (k, t, z * y * x)."""
    return mask.transpose(1, 2).flatten(2)


def soft_dice(probabilities: Tensor, truth: Tensor) -> Tensor:
    """Soft Dice (k,) float64 of every class: (2 sum(p g) + 1e-5) / (sum p + sum g + 1e-5) over all labelled
    pixels.

    `probabilities` (k, ...), `truth` (...) int64 labels. This is what DiSK's code reports as "Dice": 1 -
    MONAI's DiceLoss on the softmax over a scan's whole 2D+t volume (arXiv 2511.03762, Table 1). A class
    absent from the truth scores about 1e-5 / sum p.
    """
    _check_same_shape(probabilities[0], truth)
    p = (probabilities.double() * (truth != IGNORE)).flatten(1)
    g = one_hot(truth, len(probabilities)).double().flatten(1)
    return (2 * (p * g).sum(dim=1) + SMOOTH) / (p.sum(dim=1) + g.sum(dim=1) + SMOOTH)


def hausdorff(
    prediction: Tensor, truth: Tensor, n_classes: int, spacing: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Hausdorff distance (k,) of every class between the two regions, per slice and frame, mean over
    labelled frames.

    Units of `spacing` (y, x): pixels by default. DiSK's definition (skimage.hausdorff_distance on the
    regions). NaN for the background; both empty: 0; one empty in any frame: inf.
    """
    return _case_mean(frame_distances(prediction, truth, n_classes, spacing)[0])


def hd95(
    prediction: Tensor, truth: Tensor, n_classes: int, spacing: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """95th percentile of the surface distances (k,), per slice and frame, mean over labelled frames.

    The larger of the two directions' percentiles, as MONAI's HausdorffDistanceMetric(percentile=95). Units
    and empty rules as in `hausdorff`.
    """
    return _case_mean(frame_distances(prediction, truth, n_classes, spacing)[1])


def _case_mean(values: np.ndarray) -> Tensor:
    """Mean over frames (n, k) -> (k,); NaN without a labelled frame."""
    if len(values) == 0:
        return torch.full((values.shape[1],), torch.nan, dtype=torch.float64)
    return torch.from_numpy(values.mean(axis=0))


def frame_distances(
    prediction: Tensor, truth: Tensor, n_classes: int, spacing: tuple[float, float] = (1.0, 1.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Hausdorff distance and HD95, each (n, k) float64, of the n labelled pictures (slice, frame) in order.

    `prediction`, `truth` (..., y, x) int64. Column 0, the background, is NaN.
    """
    _check_same_shape(prediction, truth)
    height, width = truth.shape[-2:]
    a = prediction.reshape(-1, height, width).cpu().numpy()
    b = truth.reshape(-1, height, width).cpu().numpy()
    labelled = [i for i in range(len(b)) if (b[i] != IGNORE).any()]
    full = np.full((len(labelled), n_classes), np.nan)
    tail = full.copy()
    for row, i in enumerate(labelled):
        known = b[i] != IGNORE
        for k in range(1, n_classes):
            full[row, k], tail[row, k] = region_distances((a[i] == k) & known, b[i] == k, spacing)
    return full, tail


def region_distances(
    a: np.ndarray, b: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> tuple[float, float]:
    """(Hausdorff distance of two regions, HD95 of their surfaces) of boolean (y, x) masks, in units of
    `spacing`.
    """
    if not a.any() or not b.any():
        empty = 0.0 if a.any() == b.any() else float("inf")
        return empty, empty
    a, b = _cropped(a, b)
    if np.array_equal(a, b):
        return 0.0, 0.0
    edge_a, edge_b = _edge(a), _edge(b)
    to_a, to_b = _distance_to(edge_a, spacing), _distance_to(edge_b, spacing)
    # Outside a region the nearest pixel of the region lies on its edge; inside, the region is at distance 0.
    full = max(to_b[a & ~b].max(initial=0.0), to_a[b & ~a].max(initial=0.0))
    tail = max(np.percentile(to_b[edge_a], 95), np.percentile(to_a[edge_b], 95))
    return float(full), float(tail)


def _cropped(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to the box around their union: distances between them do not depend on the rest."""
    union = a | b
    ys, xs = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    box = np.s_[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    return a[box], b[box]


def _edge(mask: np.ndarray) -> np.ndarray:
    """Pixels of a mask with one of their four neighbours outside it; beyond the picture counts as outside."""
    wide = np.pad(mask, 1)
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def _distance_to(edge: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Euclidean distance of every pixel to the nearest pixel of `edge`."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~edge, sampling=spacing)
