"""From scans to batches: how a scan is measured in simulation, and which batch a training step sees.

A batch is a pure function of (seed, step), so training resumes to the bit without any loader state.
Evaluation masks are a function of (case, R) only, so that every model and every run is scored on the same
lines.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from kwise.data.frames import resample_frames
from kwise.data.geometry import crop_fov, resample_labels
from kwise.operator import resize_kspace, zero_filled
from kwise.sampling import draw_plane_mask
from kwise.seeding import generator
from kwise.simulate import simulate_scan
from kwise.types import IGNORE, Batch, Measurement, Query, Scan, Targets

Words = tuple[object, ...]
Read = Callable[[str], Scan]
T = TypeVar("T")


@dataclass(frozen=True)
class Acquisition:
    """How scans are measured in simulation.

    `masks` and `accelerations` are drawn per case; `snr` is a range drawn log-uniformly (None: noise-free);
    `matrix` is the (ky, kx) a model sees, cut out of the measured k-space (None: all of it); `fov_mm` the
    largest side of the centre crop; `reference` gives the targets the fully sampled image too.
    `masks_on_matrix` cuts k-space to `matrix` before masks are drawn, so that R counts the positions a model
    sees; else R is that of the whole scan.
    """

    masks: tuple[str, ...] = ("gaussian_lines",)
    accelerations: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0)
    phase: str = "smooth"
    n_coils: int = 1
    snr: tuple[float, float] | None = (15.0, 60.0)
    matrix: tuple[int, int] | None = (64, 64)
    fov_mm: float | None = 160.0
    reference: bool = False
    masks_on_matrix: bool = False


def pick(options: Sequence[T], draw: torch.Generator) -> T:
    """One of `options`, uniformly."""
    return options[int(torch.randint(len(options), (1,), generator=draw))]


def _uniform_log(bounds: tuple[float, float], draw: torch.Generator) -> float:
    low, high = torch.tensor(bounds).log().tolist()
    return float(torch.empty(()).uniform_(low, high, generator=draw).exp())


def simulate(scan: Scan, acquisition: Acquisition, words: Words) -> Scan:
    """Fully sampled k-space of a magnitude scan: centre crop, phase, coils and noise, seeded by `words`; cut
    to the matrix where masks are drawn on that.
    """
    if scan.kspace is None:
        if acquisition.fov_mm is not None:
            scan = crop_fov(scan, acquisition.fov_mm)
        draw = generator("simulate", *words)
        snr = None if acquisition.snr is None else _uniform_log(acquisition.snr, draw)
        scan = simulate_scan(
            scan, phase=acquisition.phase, n_coils=acquisition.n_coils, snr=snr, generator=draw
        )
    if acquisition.masks_on_matrix and acquisition.matrix is not None:
        return _cut(scan, acquisition.matrix)
    return scan


def _cut(scan: Scan, matrix: tuple[int, int]) -> Scan:
    """A scan with k-space, cut to the central `matrix`, as `measure` would cut it; labels keep their grid."""
    everything = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    whole = measure(scan, everything, matrix)
    assert whole.spacing_mm is not None
    z, y, x = whole.spacing_mm[0].tolist()
    maps = None if whole.coil_maps is None else whole.coil_maps[0]
    mask = None if scan.mask is None else whole.mask[0]
    return replace(scan, kspace=whole.kspace[0], mask=mask, coil_maps=maps, spacing_mm=(z, y, x))


def draw_scan_mask(scan: Scan, name: str, acceleration: float, words: Words) -> Tensor:
    """A mask (z, t, ky, 1) of lines, or (z, t, ky, kx) of points; every slice gets its own."""
    n_slices, n_frames, *shape = scan.shape
    slices = [
        draw_plane_mask(name, (shape[0], shape[1]), n_frames, acceleration, generator("mask", *words, z))
        for z in range(n_slices)
    ]
    return torch.stack(slices)


def measure(scan: Scan, mask: Tensor, matrix: tuple[int, int] | None) -> Measurement:
    """The measurement (b = 1) of a scan with k-space under `mask` (z, t, ky, 1 or kx), cut to `matrix`.

    What the scanner itself left out stays out.
    """
    assert scan.kspace is not None
    mask = mask if scan.mask is None else mask & scan.mask
    measurement = Measurement(
        scan.kspace.unsqueeze(0),
        mask.unsqueeze(0),
        None if scan.coil_maps is None else scan.coil_maps.unsqueeze(0),
        spacing_mm=torch.tensor([scan.spacing_mm]),
    )
    return measurement if matrix is None else resize_kspace(measurement, matrix)


def targets_of(scan: Scan, shape: tuple[int, int], frames: Tensor | None = None) -> Targets:
    """The truth of one scan (b = 1) on a grid of `shape`, at `frames` (f,) or all frames."""
    labels = scan.labels
    if labels is None:
        labels = torch.full(scan.shape, IGNORE, dtype=torch.int64)
    index = torch.arange(scan.shape[1]) if frames is None else frames
    labels = resample_labels(labels[:, index], shape)
    y, x = scan.shape[-2:]
    spacing = (scan.spacing_mm[0], scan.spacing_mm[1] * y / shape[0], scan.spacing_mm[2] * x / shape[1])

    def where(frame: int | None) -> Tensor:
        found = [] if frame is None else (index == frame).nonzero().flatten().tolist()
        return torch.tensor([found[0] if found else -1])

    query = Query(frames=None if frames is None else index.unsqueeze(0))
    return Targets(labels.unsqueeze(0), None, query, torch.tensor([spacing]), where(scan.ed), where(scan.es))


def with_reference(targets: Targets, scan: Scan) -> Targets:
    """The targets of one scan with the complex image (1, z, f, y, x) of its whole k-space, coils combined.

    Noise of the scan is in it, as in any measured reference. ValueError where the scan was itself
    undersampled.
    """
    if scan.kspace is None or scan.mask is not None:
        raise ValueError(f"making the reference of {scan.case}: got an undersampled scan; wanted all k-space")
    shape = (targets.labels.shape[-2], targets.labels.shape[-1])
    whole = measure(scan, torch.ones(1, 1, 1, 1, dtype=torch.bool), shape)
    image = zero_filled(whole)
    frames = targets.query.frames
    return replace(targets, image=image if frames is None else image[:, :, frames[0]])


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


def stack_targets(items: Sequence[Targets]) -> Targets:
    """Join targets of equal grid along b."""

    def joined(parts: list) -> Tensor | None:
        return None if any(p is None for p in parts) else torch.cat(parts)

    query = Query(joined([t.query.frames for t in items]), None, joined([t.query.points for t in items]))
    labels, image = torch.cat([t.labels for t in items]), joined([t.image for t in items])
    return Targets(
        labels, image, query, *(joined([getattr(t, n) for t in items]) for n in ("spacing_mm", "ed", "es"))
    )


@dataclass(frozen=True)
class TrainingBatches:
    """`batches(step)` -> Batch: random cases, masks, accelerations, phases and noise of one training step.

    `read(case) -> Scan`; `frames` queried frames per case (None: all); `points` queried points per case
    (None: dense); `augment(scan, generator) -> Scan` is applied before simulation. `frame_counts`: cines are
    brought to one of these lengths, drawn per step, so that cases of any length share a batch. `uses`: so
    many steps in a row share one measurement and ask it for other frames, which saves its simulation and
    whatever a model computes of it once.
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
    uses: int = 1
    _last: dict[int, Batch] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.uses > 1 and (self.frames is None or self.points is not None):
            raise ValueError(
                f"drawing training batches: got uses={self.uses} without frames or with points; "
                "wanted frames to share among the uses"
            )

    def __call__(self, step: int) -> Batch:
        if self.uses == 1:
            return self._batch(step)
        drawn, use = divmod(step, self.uses)
        if drawn not in self._last:
            self._last.clear()
            self._last[drawn] = self._batch(drawn)
        return self._share(self._last[drawn], use)

    def _share(self, batch: Batch, use: int) -> Batch:
        """The frames of one of the `uses` of a batch that was drawn with all of them."""
        frames, targets = batch.targets.query.frames, batch.targets
        assert frames is not None and self.frames is not None
        some = slice(use * self.frames, (use + 1) * self.frames)
        image = None if targets.image is None else targets.image[:, :, some]
        query = replace(targets.query, frames=frames[:, some])
        # ED and ES index frames that may belong to another use.
        share = Targets(targets.labels[:, :, some], image, query, targets.spacing_mm)
        return replace(batch, targets=share)

    def _batch(self, step: int) -> Batch:
        draw = generator("batch", self.seed, step)
        names = [pick(self.cases, draw) for _ in range(self.batch_size)]
        n_frames = None if self.frame_counts is None else pick(self.frame_counts, draw)
        items = [self._case(name, (self.seed, step, i), draw, n_frames) for i, name in enumerate(names)]
        measurement = Measurement.stack([m for m, _, _ in items])
        return Batch(
            tuple(names), measurement, stack_targets([t for _, t, _ in items]), tuple(r for _, _, r in items)
        )

    def _case(
        self, name: str, words: Words, draw: torch.Generator, n_frames: int | None
    ) -> tuple[Measurement, Targets, float]:
        scan = self.read(name)
        if n_frames is not None:
            scan = resample_frames(scan, n_frames)
        if self.augment is not None:
            scan = self.augment(scan, draw)
        scan = simulate(scan, self.acquisition, words)
        acceleration = pick(self.acquisition.accelerations, draw)
        mask = draw_scan_mask(scan, pick(self.acquisition.masks, draw), acceleration, words)
        measurement = measure(scan, mask, self.acquisition.matrix)
        frames = None if self.frames is None else draw_frames(scan, self.frames * self.uses, draw)
        assert measurement.image_shape is not None
        targets = targets_of(scan, measurement.image_shape, frames)
        if self.acquisition.reference:
            targets = with_reference(targets, scan)
        if self.points is not None:
            points = draw_points(targets.labels[0, 0], self.points, draw).unsqueeze(0)
            targets = replace(targets, query=replace(targets.query, points=points))
        return measurement, targets, acceleration


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
            scan = simulate(read(case), acquisition, ("evaluation", case))
            lines = draw_scan_mask(scan, name, acceleration, ("evaluation", case, float(acceleration)))
            measurements.append(measure(scan, lines, acquisition.matrix))
            shape = measurements[-1].image_shape
            assert shape is not None
            truth = targets_of(scan, shape)
            targets.append(with_reference(truth, scan) if acquisition.reference else truth)
        yield Batch(
            tuple(group),
            Measurement.stack(measurements),
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
