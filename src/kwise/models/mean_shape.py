"""The floors: an average segmentation that never looks at k-space, in place or moved to the true centre of
the heart.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.models.answer import (
    EVERYTHING,
    gather_points,
    output_shape,
    query_frames,
    resize_answer,
    sampling_grid,
)
from kwise.types import Batch, Measurement, Prediction, Query

_OFFSETS = tuple(0.25 * i for i in range(-16, 17))  # added to the logits of one class while tuning
_TUNING_CASES = 400
_SMALLEST = 1e-4  # probability of a class at a pixel where training never saw it


class MeanShape(nn.Module):
    """Class frequencies of the training labels, with an offset per class tuned for the best foreground Dice
    there.

    The model (`forward`) answers every measurement alike. `place` answers with the frequencies around the
    heart's centre, moved to given centres: the localisation floor, of one who knows where every heart is and
    nothing else. Logits are kept on `matrix` (y, x) and resampled to the grid asked for.
    """

    fitted_stages = ("train",)

    def __init__(self, *, n_classes: int = 4, matrix: tuple[int, int] = (64, 64)) -> None:
        super().__init__()
        self.fixed: Tensor
        self.fixed_offsets: Tensor
        self.centred: Tensor
        self.centred_offsets: Tensor
        for name in ("fixed", "centred"):
            self.register_buffer(name, torch.full((n_classes, *matrix), 1 / n_classes))
            self.register_buffer(f"{name}_offsets", torch.zeros(n_classes))

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """The same logits (b, k, z, f, y, x), or (b, k, z, q) at queried points, for every measurement."""
        b, z, t, _, _ = measurement.shape
        n_frames = query_frames(query, b, t, self.fixed.device).shape[1]
        shape = output_shape(measurement, query)
        logits = resize_answer(_logits(self.fixed.unsqueeze(0), self.fixed_offsets), shape)
        spread = logits[:, :, None, None].expand(b, -1, z, n_frames, -1, -1)
        return Prediction(logits=gather_points(spread, query))

    def place(self, centres: Tensor, shape: tuple[int, int, int, int]) -> Prediction:
        """Logits (b, k, z, f, y, x) of the mean shape moved to `centres` (b, 2) of (y, x), as `heart_centres`
        gives them; `shape` is (z, f, y, x).
        """
        moved = moved_frequencies(
            self.centred.expand(len(centres), -1, -1, -1), centres.to(self.centred.device)
        )
        logits = resize_answer(_logits(moved, self.centred_offsets), (shape[2], shape[3]))
        return Prediction(logits=logits[:, :, None, None].expand(-1, -1, shape[0], shape[1], -1, -1))

    def fit(self, batches: Iterable[Batch]) -> None:
        """Learn both floors from training labels; every case counts alike."""
        counts, centres = _gather_counts(batches, self.fixed.shape)
        chosen = counts[:_TUNING_CASES]
        self.fixed.copy_(_mean_frequencies(counts, torch.zeros_like(centres)))
        self.fixed_offsets.copy_(tuned_offsets(self.fixed.unsqueeze(0), chosen))
        self.centred.copy_(_mean_frequencies(counts, -centres))
        moved = moved_frequencies(self.centred.expand(len(chosen), -1, -1, -1), centres[:_TUNING_CASES])
        self.centred_offsets.copy_(tuned_offsets(moved, chosen))


def heart_centres(labels: Tensor) -> Tensor:
    """(b, 2) centre (y, x) of the foreground of labels (b, z, f, y, x) over all slices and frames, as
    positions (i - n//2)/n; 0 where a case has no foreground.
    """
    heart = (labels > 0).sum(dim=(1, 2)).float()
    mass = heart.sum(dim=(1, 2)).clamp(min=1)
    centres = []
    for axis, profile in ((-2, heart.sum(dim=2)), (-1, heart.sum(dim=1))):
        n = labels.shape[axis]
        positions = (torch.arange(n, device=labels.device) - n // 2) / n
        centres.append((profile * positions).sum(dim=1) / mass)
    return torch.stack(centres, dim=1)


def moved_frequencies(frequencies: Tensor, shift: Tensor) -> Tensor:
    """Class frequencies (b, k, y, x) moved by `shift` (b, 2) of (y, x) in fields of view; what enters is
    background.
    """
    here = sampling_grid(frequencies, (frequencies.shape[-2], frequencies.shape[-1]))
    grid = here - 2 * shift.flip(-1)[:, None, None, :]
    heart = functional.grid_sample(frequencies[:, 1:], grid, padding_mode="zeros", align_corners=False)
    return torch.cat([1 - heart.sum(dim=1, keepdim=True), heart], dim=1)


def frequencies(counts: Tensor) -> Tensor:
    """Counts (b, k, y, x) -> frequencies; a pixel nobody annotated is background."""
    total = counts.sum(dim=1, keepdim=True)
    share = counts / total.clamp(min=1e-6)
    background = functional.one_hot(torch.zeros((), dtype=torch.int64), counts.shape[1])[:, None, None].to(
        share
    )
    return torch.where(total > 0, share, background)


def tuned_offsets(frequencies: Tensor, counts: Tensor) -> Tensor:
    """(k,) offsets of the log frequencies (b or 1, k, y, x) with the best mean foreground Dice against
    `counts`.

    Coordinate ascent, background first, twice over the classes.
    """
    offsets = torch.zeros(counts.shape[1])
    best = _foreground_dice(_logits(frequencies, offsets), counts)
    for k in list(range(counts.shape[1])) * 2:
        for step in _OFFSETS:
            tried = offsets.clone()
            tried[k] = step
            dice = _foreground_dice(_logits(frequencies, tried), counts)
            if dice > best:
                best, offsets = dice, tried
    return offsets


def _logits(frequencies: Tensor, offsets: Tensor) -> Tensor:
    return frequencies.clamp(min=_SMALLEST).log() + offsets.to(frequencies)[:, None, None]


def _foreground_dice(logits: Tensor, counts: Tensor) -> float:
    """Mean hard Dice over cases and foreground classes of one answer for all frames; (b, k, y, x) label
    counts.
    """
    answer = functional.one_hot(logits.argmax(dim=1), counts.shape[1]).movedim(-1, 1)[:, 1:].to(counts)
    common = (answer * counts[:, 1:]).sum(dim=(2, 3))
    sizes = (answer * counts.sum(dim=1, keepdim=True)).sum(dim=(2, 3)) + counts[:, 1:].sum(dim=(2, 3))
    return float(torch.where(sizes > 0, 2 * common / sizes.clamp(min=1e-6), 1.0).mean())


def _mean_frequencies(counts: Tensor, shift: Tensor) -> Tensor:
    """(k, y, x) mean over cases of the moved class frequencies; in pieces, to keep memory small."""
    total = torch.zeros(counts.shape[1:])
    for part, move in zip(counts.split(256), shift.split(256)):
        total += moved_frequencies(frequencies(part), move).sum(dim=0)
    return total / len(counts)


def _gather_counts(batches: Iterable[Batch], shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Label counts (n, k, y, x) over slices and frames of every case on `shape` (k, y, x), and centres (n,
    2).
    """
    counts, centres = [], []
    for batch in batches:
        labels = batch.targets.labels.cpu()
        each = [(labels == k).sum(dim=(1, 2)) for k in range(shape[0])]
        counts.append(resize_answer(torch.stack(each, dim=1).float(), (shape[1], shape[2])))
        centres.append(heart_centres(labels))
    if not counts:
        raise ValueError("fitting mean_shape: got no training labels; wanted at least one case")
    return torch.cat(counts), torch.cat(centres)
