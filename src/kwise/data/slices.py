"""Slices of several kinds on one square grid, to reconstruct: ACDC, Sunnybrook, one brain, the phantom.

A case is `kind/name`: `acdc/patient003/es50` (a slice at 25, 50 or 75 percent of a stack, at ED or ES),
`sunnybrook/NAME`, `brain/brain-100`, `heart/heart-test-000003`. Patients, brain blocks and phantoms are each
in one split; ACDC's validation patients are the test here. Images come as magnitudes: the central square of
each, brought to the grid asked by cutting its k-space, so that R counts lines of that very grid.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kwise.data import acdc, brain, heart, patients, sunnybrook
from kwise.data.splits import check_count, check_split, split_of
from kwise.fourier import fft2c, ifft2c
from kwise.nearest import nearest
from kwise.operator import crop_centre
from kwise.types import Scan

# How many slices of each kind a split has at most, spread evenly over what there is.
COUNTS: dict[str, dict[str, int]] = {
    "acdc": {"train": 300, "val": 8, "test": 40},
    "sunnybrook": {"train": 200, "val": 6, "test": 24},
    "brain": {"train": 72, "val": 3, "test": 16},
    "heart": {"train": 100, "val": 3, "test": 20},
}
_LEVELS = (25, 50, 75)  # percent of a stack
_PHASES = ("ed", "es")
_FRACTIONS = {"train": 0.9, "val": 0.1}  # of the ACDC patients that are not the test


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """Slices of one split (None: all), `n` of them spread evenly over the kinds, in a fixed order.

    `root` is the folder of all data sets. ValueError where one of them is not there.
    """
    check_count(n, "listing slices")
    if split is None:
        return _spread([case for name in ("train", "val", "test") for case in cases(root, name)], n)
    check_split(split)
    found = [
        f"{kind}/{case}"
        for kind, most in COUNTS.items()
        for case in _spread(_LISTS[kind](root, split), most[split])
    ]
    return _spread(found, n)


def read(root: Path | None, case: str, *, shape: tuple[int, int] = (64, 64)) -> Scan:
    """One slice: image (1, 1, y, x) on a grid of `shape`, no labels; ValueError for a kind there is not."""
    kind, _, name = case.partition("/")
    if kind not in _READERS or not name:
        raise ValueError(f"reading a slice: got {case!r}; wanted one of {', '.join(COUNTS)} and a name")
    image, side_mm, notes = _READERS[kind](root, name, shape)
    spacing = (1.0, side_mm / shape[0], side_mm / shape[1])
    return Scan(case, image=reduced(image, shape)[None, None], spacing_mm=spacing, notes=notes)


def reduced(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """The central square of a magnitude (y, x), zero beyond its edges, on a grid of `shape` over the same
    field of view: the magnitude of the centre of its k-space.
    """
    side = max(image.shape[-2:])
    square = crop_centre(image, (side, side))
    factor = (shape[0] * shape[1]) ** 0.5 / side
    return ifft2c(crop_centre(fft2c(square.to(torch.complex64)), shape)).abs() * factor


def _spread(cases: Sequence[str], n: int | None) -> list[str]:
    """`n` cases at even distances; all where there are no more."""
    if n is None or n >= len(cases):
        return list(cases)
    return [cases[i * len(cases) // n] for i in range(n)]


Part = tuple[Tensor, float, dict[str, str]]  # magnitude (y, x), mm of its longer side, notes


def _acdc_cases(root: Path | None, split: str) -> list[str]:
    of = "val" if split == "test" else "train"
    names = patients.stack_cases(root, of)
    if split != "test":
        names = [name for name in names if split_of(name, "slices", _FRACTIONS) == split]
    return [f"{name}/{phase}{level}" for name in names for phase in _PHASES for level in _LEVELS]


def _read_acdc(root: Path | None, name: str, shape: tuple[int, int]) -> Part:
    patient, _, place = name.partition("/")
    known = [f"{phase}{level}" for phase in _PHASES for level in _LEVELS]
    if place not in known:
        raise ValueError(f"reading a slice of {patient}: got {place!r}; wanted {nearest(place, known)}")
    scan = acdc.read_stack(root, patient)
    assert scan.image is not None
    image = scan.image[len(scan.image) * int(place[2:]) // 100, _PHASES.index(place[:2])]
    return image, max(image.shape) * scan.spacing_mm[1], scan.notes


def _read_other(read_case: Callable[[Path | None, str], Scan]) -> Callable[..., Part]:
    def part(root: Path | None, name: str, shape: tuple[int, int]) -> Part:
        scan = read_case(root, name)
        assert scan.image is not None
        return scan.image[0, 0], max(scan.shape[2:]) * scan.spacing_mm[1], scan.notes

    return part


def _read_heart(root: Path | None, name: str, shape: tuple[int, int]) -> Part:
    scan = heart.read(root, name, n_frames=1, shape=shape)
    assert scan.image is not None
    return scan.image[0, 0], max(shape) * scan.spacing_mm[1], scan.notes


_LISTS: dict[str, Callable[[Path | None, str], Sequence[str]]] = {
    "acdc": _acdc_cases,
    "sunnybrook": sunnybrook.cases,
    "brain": brain.cases,
    "heart": lambda root, split: heart.cases(root, split, COUNTS["heart"][split]),
}
_READERS: dict[str, Callable[[Path | None, str, tuple[int, int]], Part]] = {
    "acdc": _read_acdc,
    "sunnybrook": _read_other(sunnybrook.read),
    "brain": _read_other(brain.read),
    "heart": _read_heart,
}
