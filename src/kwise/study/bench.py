"""Cases measured in simulation and answered by a model: what every study, calibration and coverage table
looks at.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kwise.checkpoint import Loaded, load_checkpoint
from kwise.data.acquisition import Acquisition, draw_scan_mask, measure, on_virtual_coils, simulate
from kwise.models import MODELS
from kwise.models.controls import CONTROLS
from kwise.predict.door import is_wide, matrix_for, matrix_of, measurement_of, with_coils_for
from kwise.predict.looks import look_twice
from kwise.sampling import MASKS, achieved_acceleration, load_mask
from kwise.study.cohort import Cohort
from kwise.types import IGNORE, Measurement, Query, Scan

BATCH = 10  # cases of one shape answered together
PIXELS_AT_ONCE = 2**20  # of all cases, slices and frames of a batch: bounds its memory


@dataclass(frozen=True)
class Answered:
    """One case under one mask: logits (k, z, t, y, x) on its own grid, the truth there, and what was
    acquired.

    `seen` is the measurement (b = 1) as it entered the model; `achieved` the R of the mask on the scanner's
    grid. Where the model looked twice at a wide field, logits and `seen` are those of the second look, at
    columns around the heart, and `placed` the labels on the whole grid.
    """

    case: str
    scan: Scan
    logits: Tensor
    truth: Tensor
    seen: Measurement
    achieved: float
    placed: Tensor | None = None

    @property
    def labels(self) -> Tensor:
        """The answer (z, t, y, x) on the grid of the scan."""
        return self.logits.argmax(dim=0) if self.placed is None else self.placed


@dataclass
class Bench:
    """A model and a cohort: scans are simulated once, whatever the number of masks."""

    loaded: Loaded
    cohort: Cohort
    snr: float | None = None
    control: str | None = None  # of CONTROLS: changes what the model sees
    whole: tuple[str, ...] = ()  # images that are measured uncropped
    own_truth: set[str] = field(default_factory=set)  # cases whose truth is the model's own answer
    scans: dict[str, Scan] = field(default_factory=dict)

    @property
    def acquisition(self) -> Acquisition:
        """Field of view, matrix and coils of the checkpoint's training; phase and noise as always in
        simulation, and R counted on the scanner's grid.
        """
        seen = self.loaded.preprocessing
        return Acquisition(
            matrix=matrix_of(seen),
            fov_mm=seen.get("fov_mm", Acquisition.fov_mm),
            n_coils=seen.get("n_coils", Acquisition.n_coils),
            virtual_coils=seen.get("virtual_coils", Acquisition.virtual_coils),
            snr=Acquisition.snr if self.snr is None else (self.snr, self.snr),
        )

    def scan(self, case: str) -> Scan:
        """A case with all of its k-space; without labels the model's own answer to it becomes the truth."""
        if case not in self.scans:
            how = replace(self.acquisition, fov_mm=None) if case in self.whole else self.acquisition
            scan = simulate(self.cohort.read(case), how, ("evaluation", case))
            self.scans[case] = scan if scan.labels is not None else self._labelled_by_itself(scan)
        return self.scans[case]

    def _labelled_by_itself(self, scan: Scan) -> Scan:
        self.own_truth.add(scan.case)
        if self.is_wide(scan):
            everything = torch.ones(scan.shape, dtype=torch.bool)
            return replace(scan, labels=self._as_predicted(scan, everything, None).labels)
        whole = self._measured(scan, torch.ones(1, 1, 1, 1, dtype=torch.bool))
        return replace(scan, labels=logits_of(self.loaded.model, whole, scan.shape[-2:])[0].argmax(dim=0))

    def _measured(self, scan: Scan, mask: Tensor) -> Measurement:
        return on_virtual_coils(measure(scan, mask, self.acquisition.matrix), self.acquisition)

    def answers(self, mask: str, acceleration: float | None) -> Iterator[Answered]:
        """Every case under a family at R, or under a mask from a file; masks depend on (case, R) alone."""
        for group in _alike([self.scan(case) for case in self.cohort.cases], self.is_wide):
            masks = [scan_mask(scan, mask, acceleration) for scan in group]
            if self.is_wide(group[0]):
                asked = zip(group, masks)
                yield from (self._as_predicted(scan, lines, self.control) for scan, lines in asked)
                continue
            seen = [self._measured(scan, lines) for scan, lines in zip(group, masks)]
            together = Measurement.stack(seen)
            if self.control is not None:
                together = CONTROLS[self.control](together)
            logits = logits_of(self.loaded.model, together, group[0].shape[-2:])
            for i, (scan, lines) in enumerate(zip(group, masks)):
                assert scan.labels is not None
                achieved = achieved_acceleration(lines)
                yield Answered(scan.case, scan, logits[i], scan.labels, together.only(i), achieved)

    def is_wide(self, scan: Scan) -> bool:
        """Whether the model cannot take a scan as it took those of its training: then it looks as `kwise
        predict` does, at pixels of the size it learned from, and twice at a wider field.
        """
        told = self.loaded.preprocessing
        return is_wide(scan, told) or matrix_for(scan, told) != matrix_of(told)

    def _as_predicted(self, scan: Scan, mask: Tensor, control: str | None) -> Answered:
        """What `kwise.predict.answer.answer` says of a scan under `mask` (z, t, ky, 1 or kx)."""
        told, model = self.loaded.preprocessing, self.loaded.model
        looks: list[tuple[Tensor, Measurement]] = []

        def look(part: Scan) -> Tensor:
            seen = measurement_of(part, matrix_for(part, told))
            seen = seen if control is None else CONTROLS[control](seen)
            looks.append((logits_of(model, seen, part.shape[-2:])[0], seen))
            return looks[-1][0].argmax(dim=0)

        lines = mask.expand(scan.shape)
        taken = replace(scan, mask=lines.contiguous() if scan.mask is None else lines & scan.mask)
        coils = with_coils_for(taken, told)
        labels = look_twice(coils, look, told).labels if is_wide(coils, told) else look(coils)
        truth = labels if scan.labels is None else scan.labels
        logits, seen = looks[-1]
        return Answered(scan.case, scan, logits, truth, seen, achieved_acceleration(mask), labels)


def open_bench(
    checkpoint: Path,
    cohort: Cohort,
    snr: float | None = None,
    control: str | None = None,
    whole: tuple[str, ...] = (),
) -> Bench:
    """A bench with the model of a checkpoint."""
    return Bench(load_checkpoint(checkpoint, MODELS), cohort, snr, control, whole)


def scan_mask(scan: Scan, mask: str, acceleration: float | None) -> Tensor:
    """(z, t, ky, 1): lines of a family, drawn by (case, R) as in every table, or one mask from a file for all
    slices.
    """
    n_slices, n_frames, n_lines, _ = scan.shape
    if mask in MASKS:
        assert acceleration is not None
        return draw_scan_mask(scan, mask, acceleration, ("evaluation", scan.case, float(acceleration)))
    return torch.stack([load_mask(mask, n_lines, n_frames)] * n_slices).unsqueeze(-1)


@torch.inference_mode()
def logits_of(model: nn.Module, measurement: Measurement, resolution: Sequence[int]) -> Tensor:
    """Logits (b, k, z, t, y, x) of all frames on a grid of `resolution`, a few frames at a time."""
    grid = (resolution[0], resolution[1])
    b, z = len(measurement.kspace), measurement.n_slices
    at_once = max(1, PIXELS_AT_ONCE // (b * z * grid[0] * grid[1]))
    parts = []
    for some in torch.arange(measurement.n_frames).split(at_once):
        found = model(measurement, Query(frames=some.expand(b, -1), resolution=grid)).logits
        if found is None:
            raise ValueError(f"studying {type(model).__name__}: got no logits; wanted a segmentation model")
        parts.append(found)
    return torch.cat(parts, dim=3)


def is_labelled(truth: Tensor) -> bool:
    """True where somebody annotated at least one pixel."""
    return bool((truth != IGNORE).any())


def _alike(scans: Sequence[Scan], is_wide: Callable[[Scan], bool]) -> Iterator[list[Scan]]:
    """Scans in batches of equal shape and coils, all or none wide or with views, in order."""
    group: list[Scan] = []
    for scan in scans:
        form = is_wide(scan), *_form(scan)
        if group and (len(group) == BATCH or form != (is_wide(group[0]), *_form(group[0]))):
            yield group
            group = []
        group.append(scan)
    if group:
        yield group


def _form(scan: Scan) -> tuple:
    assert scan.kspace is not None
    maps = None if scan.coil_maps is None else tuple(scan.coil_maps.shape)
    return tuple(scan.kspace.shape), maps, scan.views is None
