"""From scans to batches: which batch a training step sees, and which cases a model is scored on.

A batch is a pure function of (seed, step), so training resumes to the bit without any loader state.
Evaluation masks are a function of (case, R) only, so that every model and every run is scored on the same
lines.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kwise.coordinates import stack_measurements
from kwise.data.acquisition import Acquisition, Words, acquire, measure, pick
from kwise.data.frames import resample_frames
from kwise.data.truth import stack_targets, targets_of
from kwise.operator import zero_filled
from kwise.seeding import generator
from kwise.types import IGNORE, Batch, Measurement, Scan, Targets

Read = Callable[[str], Scan]


def with_reference(targets: Targets, scan: Scan, acquisition: Acquisition) -> Targets:
    """The targets of one scan with what its whole k-space says, where the acquisition asks for it: the
    complex image (1, z, f, y, x), coils combined, and that k-space itself.

    Noise of the scan is in it, as in any measured reference; a view of which nothing was acquired is zero.
    ValueError where the scan was itself undersampled.
    """
    if not (acquisition.reference or acquisition.reference_kspace):
        return targets
    undersampled = scan.mask is not None and not bool(whole_views(scan.mask).all())
    if scan.kspace is None or undersampled:
        raise ValueError(f"making the reference of {scan.case}: got an undersampled scan; wanted all k-space")
    shape = (targets.labels.shape[-2], targets.labels.shape[-1])
    whole = measure(scan, torch.ones(1, 1, 1, 1, dtype=torch.bool), shape)
    if acquisition.reference_kspace:
        targets = replace(targets, kspace=whole.kspace)
    if not acquisition.reference:
        return targets
    # Of virtual coils a model cannot know the phase of the combination.
    image = zero_filled(whole) if acquisition.virtual_coils is None else zero_filled(whole).abs()
    frames = targets.query.frames
    return replace(targets, image=image if frames is None else image[:, :, frames[0]])


def whole_views(mask: Tensor) -> Tensor:
    """(z,) bool of a mask (z, t, ky, kx): views acquired wholly or not at all."""
    return mask.flatten(1).all(dim=1) | ~mask.flatten(1).any(dim=1)


def labelled_frames(scan: Scan) -> Tensor:
    """Indices (f,) of the frames in which somebody annotated something."""
    assert scan.labels is not None
    return (scan.labels != IGNORE).any(dim=-1).any(dim=-1).any(dim=0).nonzero().flatten()


def draw_frames(scan: Scan, n: int, draw: torch.Generator) -> Tensor:
    """`n` labelled frames at random, repeated when there are fewer."""
    frames = labelled_frames(scan)
    if len(frames) == 0:
        raise ValueError(f"drawing frames of {scan.case}: got no labelled frame; wanted at least one")
    order = torch.randperm(len(frames), generator=draw)
    return frames[order.repeat(-(-n // len(frames)))[:n]]


def draw_points(labels: Tensor, n: int, draw: torch.Generator) -> Tensor:
    """`n` flat positions (n,) in labels (f, y, x), uniform: drawn by class they would teach a wrong share."""
    return torch.randint(labels.numel(), (n,), generator=draw)


@dataclass(frozen=True)
class TrainingBatches:
    """`batches(step)` -> Batch: random cases, masks, accelerations, phases and noise of one training step.

    `read(case) -> Scan`; `frames` queried frames per case (None: all); `points` queried points per case
    (None: dense); `augment(scan, generator) -> Scan` is applied before simulation. `frame_counts`: cines are
    brought to one of these lengths, drawn per step, so that cases of any length share a batch: by
    `redraw(case, n_frames)` where cases are drawn and not stored, else by interpolation.
    """

    cases: Sequence[str]
    read: Read
    acquisition: Acquisition
    batch_size: int = 8
    frames: int | None = 3
    points: int | None = None
    seed: int = 0
    augment: Callable[[Scan, torch.Generator], Scan] | None = None
    frame_counts: tuple[int, ...] | None = None
    redraw: Callable[[str, int], Scan] | None = None

    def __call__(self, step: int) -> Batch:
        draw = generator("batch", self.seed, step)
        names = [pick(self.cases, draw) for _ in range(self.batch_size)]
        n_frames = None if self.frame_counts is None else pick(self.frame_counts, draw)
        items = [self._case(name, (self.seed, step, i), draw, n_frames) for i, name in enumerate(names)]
        measurement = stack_measurements([m for m, _, _ in items])
        return Batch(
            tuple(names), measurement, stack_targets([t for _, t, _ in items]), tuple(r for _, _, r in items)
        )

    def _scan(self, name: str, n_frames: int | None) -> Scan:
        if n_frames is None:
            return self.read(name)
        if self.redraw is not None:
            return self.redraw(name, n_frames)
        return resample_frames(self.read(name), n_frames)

    def _case(
        self, name: str, words: Words, draw: torch.Generator, n_frames: int | None
    ) -> tuple[Measurement, Targets, float]:
        scan = self._scan(name, n_frames)
        if self.augment is not None:
            scan = self.augment(scan, draw)
        acceleration = pick(self.acquisition.accelerations, draw)
        mask = pick(self.acquisition.masks, draw)
        scan, measurement = acquire(scan, self.acquisition, mask, acceleration, words, words)
        frames = None if self.frames is None else draw_frames(scan, self.frames, draw)
        assert measurement.image_shape is not None
        targets = with_reference(targets_of(scan, measurement.image_shape, frames), scan, self.acquisition)
        if self.points is not None:
            points = draw_points(targets.labels[0, 0], self.points, draw).unsqueeze(0)
            targets = replace(targets, query=replace(targets.query, points=points))
        return measurement, targets, acceleration


def _truth(scan: Scan, measurement: Measurement, acquisition: Acquisition) -> Targets:
    """The truth of one case, on the grid of its measurement or on its own, with the question that asks so."""
    if not acquisition.native:
        assert measurement.image_shape is not None
        return with_reference(targets_of(scan, measurement.image_shape), scan, acquisition)
    assert scan.labels is not None
    y, x = scan.labels.shape[-2:]
    targets = targets_of(scan, (y, x))
    return replace(targets, query=replace(targets.query, resolution=(y, x)))


def evaluation_batches(
    cases: Sequence[str],
    read: Read,
    acquisition: Acquisition,
    acceleration: float,
    batch_size: int = 10,
    mask: str | None = None,
) -> Iterator[Batch]:
    """All cases once at one acceleration; phase, noise and mask depend on (case, R) only."""
    name = acquisition.masks[0] if mask is None else mask
    for start in range(0, len(cases), batch_size):
        group = [cases[i] for i in range(start, min(start + batch_size, len(cases)))]
        measurements, targets = [], []
        for case in group:
            words: Words = ("evaluation", case)
            at_rate = (*words, float(acceleration))
            scan, measurement = acquire(read(case), acquisition, name, acceleration, words, at_rate)
            measurements.append(measurement)
            targets.append(_truth(scan, measurement, acquisition))
        yield Batch(
            tuple(group),
            stack_measurements(measurements),
            stack_targets(targets),
            (acceleration,) * len(group),
        )


def cached(read: Read) -> Read:
    """`read` that remembers what it read; for data sets small enough to keep in memory."""
    memory: dict[str, Scan] = {}

    def remember(case: str) -> Scan:
        if case not in memory:
            memory[case] = read(case)
        return memory[case]

    return remember
