"""What a study runs: checkpoints x masks x accelerations on one cohort, and the name of each such cell on
disk.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kwise.checkpoint import CONFIG, find_checkpoint, fingerprint
from kwise.data import DATASETS
from kwise.models.controls import CONTROLS
from kwise.nearest import one_of
from kwise.sampling import MASKS
from kwise.study.bench import open_bench
from kwise.study.cohort import open_cohort
from kwise.study.roll import Roll, call_roll
from kwise.study.state import state_of
from kwise.uncertainty import CALIBRATION

ACCELERATIONS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
FAMILIES = ("gaussian_lines", "kt_variable_density", "uniform")
SCORES_VERSION = 1  # of the rows in a cell: another version is another file


@dataclass(frozen=True)
class Plan:
    """One study. `dataset` is a name of DATASETS or a folder of files; `split` None: study for the phantom,
    val elsewhere.

    `masks` are names of MASKS or files that `load_mask` reads, which have their own R. `snr` None: drawn per
    case as in training (15 to 60). `control` is a word of CONTROLS: what the answers would be without the
    evidence. `stored` tells one state of the cohort's files from another, `roll` who of them can be studied:
    `check_plan` finds both.
    """

    checkpoints: tuple[Path, ...]
    dataset: str = "heart"
    root: str | None = None
    split: str | None = None
    n: int = 60
    accelerations: tuple[float, ...] = ACCELERATIONS
    masks: tuple[str, ...] = FAMILIES
    snr: float | None = None
    control: str | None = None
    stored: str = ""
    roll: Roll = field(default_factory=Roll)

    @property
    def labels(self) -> tuple[str, ...]:
        """A short name per checkpoint, each different: the folder's, or its parent's where it is called
        checkpoint.
        """
        names = [
            p.parent.name if p.name == "checkpoint" else p.name for p in map(Path.absolute, self.checkpoints)
        ]
        return tuple(
            f"{name}-{names[:i].count(name) + 1}" if name in names[:i] else name
            for i, name in enumerate(names)
        )

    @property
    def cells(self) -> tuple["Cell", ...]:
        """Every checkpoint x mask x R, in the order they run: all masks of the smallest R first."""
        rates, files = sorted(set(self.accelerations)), self.mask_files
        families = [m for m in dict.fromkeys(self.masks) if m in MASKS]
        drawn = [(m, m, r) for r in rates for m in families]
        return tuple(
            Cell(label, checkpoint, mask, rate, name)
            for label, checkpoint in zip(self.labels, self.checkpoints)
            for mask, name, rate in [*drawn, *((path, name, None) for name, path in files.items())]
        )

    @property
    def mask_files(self) -> dict[str, str]:
        """A short name, each different, -> path of every mask that is a file: that of the file, behind its
        folder's where another file has the same.
        """
        paths = {Path(m).resolve(): m for m in self.masks if m not in MASKS}
        return dict(zip(_short_names(list(paths.values())), paths.values()))


@dataclass(frozen=True)
class Judgement:
    """What a study is judged by: endpoints (names of ENDPOINTS), tolerances that differ from theirs, mean or
    median.

    `grid` (lines, frames) of the mask to write, None: the cohort's.
    """

    endpoints: tuple[str, ...]
    tolerances: dict[str, float]
    statistic: str = "mean"
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Cell:
    """One model, one mask family at one R (None: a mask from a file, which has its own); `mask_name` is the
    family, or the short name of the file.
    """

    label: str
    checkpoint: Path
    mask: str
    acceleration: float | None
    mask_name: str

    def file(self, folder: Path, plan: Plan) -> Path:
        """Where its scores lie; whatever would change them (weights, calibration, cohort, mask) changes the
        name.
        """
        # Rows tell the name: a file that is called differently beside others is another cell.
        mask = self.mask if self.mask in MASKS else f"{self.mask_name} {_digest(Path(self.mask))}"
        calibration = self.checkpoint / CALIBRATION
        model = fingerprint(self.checkpoint), _digest(self.checkpoint / CONFIG)
        bounds = _digest(calibration) if calibration.is_file() else ""
        cohort = plan.dataset, plan.root, plan.split, plan.n, plan.snr, plan.control
        words = [SCORES_VERSION, *model, bounds, *cohort, mask, self.acceleration]
        if plan.stored:
            words += [plan.stored, *plan.roll.cases]
        if plan.roll.whole:
            words += ["whole", *plan.roll.whole]
        key = hashlib.sha256("\x1f".join(map(str, words)).encode()).hexdigest()[:10]
        rate = "file" if self.acceleration is None else f"R{self.acceleration:g}"
        return folder / "cells" / f"{self.label}_{Path(self.mask).stem}_{rate}_{key}.csv"


def check_plan(plan: Plan) -> Plan:
    """The plan, its checkpoints found and its cohort read; ValueError for checkpoints, masks or data sets
    there are none of, and for a cohort of whom nobody can be studied.
    """
    for mask in plan.masks:
        if mask not in MASKS and not Path(mask).is_file():
            raise ValueError(f"choosing a mask: got {mask!r}; wanted a file, or {one_of(mask, MASKS)}")
    if plan.dataset not in DATASETS and not Path(plan.dataset).exists():
        raise ValueError(
            f"choosing a cohort: got {plan.dataset!r}; wanted a folder of files, or "
            f"{one_of(plan.dataset, DATASETS)}"
        )
    if min(plan.accelerations, default=0) < 1:
        raise ValueError(f"planning a study: got R = {plan.accelerations}; wanted numbers from 1")
    if plan.control is not None and plan.control not in CONTROLS:
        raise ValueError(
            f"choosing a control: got {plan.control!r}; wanted {one_of(plan.control, CONTROLS)}"
        )
    folders = tuple(find_checkpoint(folder) for folder in plan.checkpoints)
    stored = state_of(plan.dataset, plan.root, plan.split, plan.n)
    cohort = open_cohort(plan.dataset, plan.root, plan.split, plan.n)
    fields = [open_bench(folder, cohort).acquisition.fov_mm for folder in folders]
    roll = call_roll(cohort, bool(stored), list(plan.mask_files.values()), fields)
    if plan.snr is not None and roll.measured:
        got = f"SNR {plan.snr:g} for {roll.measured[0]}, k-space that keeps the noise it was measured with"
        raise ValueError(f"planning a study: got {got}; wanted magnitude images, or no --snr")
    return replace(plan, checkpoints=folders, stored=stored, roll=roll)


def _short_names(paths: Sequence[str]) -> list[str]:
    """The last parts of every path, as few as tell it from the others."""
    parts = [Path(path).absolute().parts for path in paths]

    def name(mine: tuple[str, ...]) -> str:
        lengths = range(1, len(mine) + 1)
        n = next(n for n in lengths if sum(other[-n:] == mine[-n:] for other in parts) == 1)
        return "/".join(mine[-n:])

    return [name(mine) for mine in parts]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
