"""Data sets by name: which cases there are in a split, and each case as a Scan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kwise.data import (
    acdc,
    acdc_both,
    acdc_folds,
    brain,
    cohort,
    fastmri,
    heart,
    heart_wide,
    mnms,
    oasis,
    patients,
    population,
    slices,
    sunnybrook,
)
from kwise.data.kept import kept
from kwise.data.splits import DATA_VARIABLE, default_root, split_of
from kwise.nearest import nearest
from kwise.types import Scan

__all__ = [
    "DATASETS",
    "DataSet",
    "dataset",
    "default_root",
    "heart_dataset",
    "population_dataset",
    "sized",
    "slices_dataset",
    "split_of",
    "wide_dataset",
]

ListCases = Callable[[Path | None, str | None, int | None], Sequence[str]]
ReadCase = Callable[[Path | None, str], Scan]


@dataclass(frozen=True)
class DataSet:
    """A data set: `cases` names what is in a split, `read` gives one of them.

    `labelled` are the classes its truth can tell apart; `stored` is False where cases are drawn from their
    name.
    """

    name: str
    about: str
    list_cases: ListCases
    read_case: ReadCase
    labelled: tuple[int, ...] = (0, 1, 2, 3)
    stored: bool = True

    def cases(
        self, root: str | Path | None = None, split: str | None = "train", n: int | None = None
    ) -> Sequence[str]:
        """Names of the cases of a split (None: of all, where they are stored), at most `n`, in a fixed
        order.

        `root` is the folder of this data set or of all data sets, None: `default_root()`. ValueError names
        the path that was looked for, or the splits there are.
        """
        return self.list_cases(None if root is None else Path(root), split, n)

    def read(self, root: str | Path | None, case: str) -> Scan:
        """One case; ValueError with the nearest names where there is none of that name."""
        return self.read_case(None if root is None else Path(root), case)


def heart_dataset(n_frames: int = 12, shape: tuple[int, int] = (64, 64)) -> DataSet:
    """The phantom at another number of frames and another grid (y, x): the same hearts, asked more finely."""
    about = "virtual beating hearts, drawn from their name"
    read = partial(heart.read, n_frames=n_frames, shape=shape)
    return DataSet("heart", about, heart.cases, read, stored=False)


def wide_dataset(n_frames: int = 12, shape: tuple[int, int] = (64, 64)) -> DataSet:
    """Wide hearts at another number of frames and another grid (y, x)."""
    about = "virtual beating hearts in any pose, at any height, with ventricles of any size"
    read = partial(heart_wide.read, n_frames=n_frames, shape=shape)
    return DataSet("heart_wide", about, heart_wide.cases, read, stored=False)


def slices_dataset(shape: tuple[int, int] = (64, 64)) -> DataSet:
    """The slices of several kinds on a grid (y, x)."""
    about = "slices without labels: ACDC, Sunnybrook, one brain, the phantom"
    return DataSet("slices", about, slices.cases, partial(slices.read, shape=shape), ())


def population_dataset(
    n_frames: int = 25, shape: tuple[int, int] = (128, 128), fov_mm: float = population.FOV_MM
) -> DataSet:
    """The virtual population with other frames, grid (y, x) or field of view (mm along y): the same subjects.

    5 frames are every fifth of 25 and cost a fifth. Subjects are kept on disk where KWISE_KEEP names a
    folder.
    """
    drawn = partial(population.read, None, n_frames=n_frames, shape=shape, fov_mm=fov_mm)
    read = kept(drawn, "population", f"{n_frames}x{shape[0]}x{shape[1]}", f"{fov_mm:g}mm")
    return DataSet(
        "population",
        "virtual subjects: nine cardiac views, phenotypes, diseases; synthetic, drawn from their name",
        population.cases,
        lambda root, case: read(case),
        labelled=(0, 1, 2, 3, 4, 5),
        stored=False,
    )


def _in_folds(
    name: str, about: str, cases: Callable[..., Sequence[str]], read: Callable[[Path | None, str], Scan]
) -> dict[str, DataSet]:
    """A data set for every fold of ACDC: `cases(fold, root, split, n)` lists it."""
    return {
        f"{name}{k}": DataSet(
            f"{name}{k}", f"{about}, fold {k} of {acdc_folds.N_FOLDS} held out", partial(cases, k), read
        )
        for k in range(acdc_folds.N_FOLDS)
    }


DATASETS: dict[str, DataSet] = {
    "heart": heart_dataset(),
    "heart_wide": wide_dataset(),
    "population": population_dataset(),
    "cohort": DataSet(
        "cohort",
        "a cohort on disk: nine views per subject and a manifest (kwise simulate cohort writes one)",
        cohort.cases,
        cohort.read,
        labelled=(0, 1, 2, 3, 4, 5),
    ),
    "acdc": DataSet("acdc", "ACDC short-axis cines, labels at ED and ES", patients.cine_cases, acdc.read),
    "acdc_stack": DataSet(
        "acdc_stack", "ACDC full stacks at ED and ES", patients.stack_cases, acdc.read_stack
    ),
    "acdc_both": DataSet(
        "acdc_both", "ACDC cines, in training with full stacks beside them", acdc_both.cases, acdc_both.read
    ),
    **_in_folds("acdc_fold", "ACDC without its test patients", acdc_folds.cases, acdc_both.read),
    **_in_folds("acdc_stack_fold", "ACDC full stacks at ED and ES", acdc_folds.stacks, acdc.read_stack),
    "sunnybrook": DataSet(
        "sunnybrook", "Sunnybrook slices, LV pool alone", sunnybrook.cases, sunnybrook.read, labelled=(1,)
    ),
    "mnms": DataSet("mnms", "M&Ms short-axis cines, labels at ED and ES", mnms.cases, mnms.read),
    "brain": DataSet("brain", "one T1 brain volume, slices split by blocks", brain.cases, brain.read, ()),
    "slices": slices_dataset(),
    "oasis": DataSet("oasis", "OASIS-1 T1 brains, slices without labels", oasis.cases, oasis.read, ()),
    "fastmri": DataSet(
        "fastmri",
        "fastMRI single-coil knees, measured k-space without labels",
        fastmri.cases,
        fastmri.read,
        (),
    ),
}


def dataset(name: str) -> DataSet:
    """The data set of that name; ValueError with the nearest names, or with what a folder is good for, where
    there is none.
    """
    if name not in DATASETS and Path(name).exists():
        raise ValueError(
            f"choosing a data set: got the path {name}; wanted a name (kwise list datasets), whose files "
            f"{DATA_VARIABLE} or --root finds; of scans of your own, kwise study --dataset {name} scores "
            f"them and kwise predict {name} answers them"
        )
    if name not in DATASETS:
        raise ValueError(f"choosing a data set: got {name!r}; wanted one like {nearest(name, DATASETS)}")
    return DATASETS[name]


def sized(name: str, n_frames: int, shape: tuple[int, int], fov_mm: float | None = None) -> DataSet:
    """The data set of that name, with so many frames, on that grid (y, x) and over that field of view (mm
    along y; None: its own) where it lets one choose.
    """
    if name == "heart":
        return heart_dataset(n_frames, shape)
    if name == "heart_wide":
        return wide_dataset(n_frames, shape)
    if name == "population":
        return population_dataset(n_frames, shape, population.FOV_MM if fov_mm is None else fov_mm)
    return slices_dataset(shape) if name == "slices" else dataset(name)
