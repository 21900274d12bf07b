"""The terms of segmentation losses, one value per case: plain torch, held to MONAI's values by tests.

Axis names: b case, k class, n pixels or points of a case. MONAI's own losses are not used: their import
takes seconds, and they cannot leave out unlabelled pixels.
"""

import torch
from torch import Tensor

from kwise.metrics import SMOOTH


def one_hot(labels: Tensor, n_classes: int) -> Tensor:
    """(b, n) -> (b, k, n) bool; IGNORE belongs to no class."""
    return labels.unsqueeze(1) == torch.arange(n_classes, device=labels.device).view(1, -1, 1)


def _soft_dice(probabilities: Tensor, truth: Tensor) -> Tensor:
    """(b, k) of (b, k, n), smoothed as in `kwise.metrics.soft_dice`."""
    both = (probabilities * truth).sum(dim=2)
    return (2 * both + SMOOTH) / (probabilities.sum(dim=2) + truth.sum(dim=2) + SMOOTH)


def dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """(b,) 1 - soft Dice, mean over all classes, background included."""
    return 1 - _soft_dice(probabilities, truth).mean(dim=1)


def present_dice_loss(probabilities: Tensor, truth: Tensor) -> Tensor:
    """(b,) 1 - soft Dice, mean over the foreground classes present in the truth; 0 where none is.

    An absent class has no overlap to learn from; cross-entropy removes its false positives.
    """
    present = (truth[:, 1:].sum(dim=2) > 0).float()
    missing = (1 - _soft_dice(probabilities[:, 1:], truth[:, 1:])) * present
    return missing.sum(dim=1) / present.sum(dim=1).clamp(min=1)


def binary_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """(b, n) binary cross-entropy of softmax against one-hot, mean over classes; logarithms cut at -100."""
    total = logits.logsumexp(dim=1)
    others = [
        torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1).logsumexp(dim=1) for k in range(logits.shape[1])
    ]
    # log(1 - p_k) from the other classes' logits: log1p(-p) has no gradient left where p rounds to 1.
    absent = (torch.stack(others, dim=1) - total.unsqueeze(1)).clamp(min=-100)
    present = logits.log_softmax(dim=1).clamp(min=-100)
    return -(truth * present + (1 - truth) * absent).mean(dim=1)


def known_mean(values: Tensor, known: Tensor) -> Tensor:
    """(b,) mean of (b, n) over the labelled ones; 0 where there is none."""
    return (values * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
