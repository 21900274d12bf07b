"""Which DICOM images make one stack of slices: of one person, in one plane, no place taken by two series."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from kwise.data.raw_checks import refused, uneven_slices

_TURNED = 0.0175  # between direction cosines: a degree
_SAME_MM = 1.0  # slices nearer than this are one place, taken twice
_KINDS = ("patient", "study", "plane")
_ONE_STACK = "one stack of parallel slices: give each series a folder of its own"


@dataclass(frozen=True)
class Series:
    """Where an image belongs by its header, "" for what is not told; `about` describes it to people."""

    patient: str  # the ID, else the name
    study: str
    uid: str
    about: str


@dataclass(frozen=True)
class Image:
    """One image (y, x) with what its header tells; None for what it does not."""

    pixels: np.ndarray
    position: np.ndarray | None
    directions: np.ndarray | None
    spacing: tuple[float, float] | None
    thickness: float | None
    time: float | None
    number: int
    file: Path
    frame: int  # in its file, from 0
    series: Series


def check_one_stack(path: Path, images: list[Image]) -> dict[str, str]:
    """Notes where slices lie unevenly, or came as series of their own; ValueError for images of several
    patients, studies, planes or pixel sizes, and for series that share a place or differ in their number of
    frames.
    """
    people = _numbers(image.series.patient for image in images)
    studies = _numbers(image.series.study for image in images)
    kinds = [
        (people[image.series.patient], studies[image.series.study], plane, image.series.uid)
        for image, plane in zip(images, _planes(images))
    ]
    if len({kind[:3] for kind in kinds}) > 1:
        raise refused(path, _groups(images, kinds), _ONE_STACK)
    sizes = sorted({tuple(round(mm, 3) for mm in image.spacing) for image in images if image.spacing})
    if len(sizes) > 1:
        raise refused(path, f"pixels of {sizes[:3]} mm", "one size in all")
    uneven = uneven_slices(np.array([[place] for place in sorted({_place(image) for image in images})]))
    n_series = len({image.series.uid for image in images})
    if n_series == 1:
        return uneven
    if _overlap(images) or len({len(group) for group in by_slice(images)}) > 1:
        raise refused(path, _groups(images, kinds), _ONE_STACK)
    return uneven | {"series": f"{n_series} series of parallel slices read as one stack"}


def by_slice(images: list[Image]) -> list[list[Image]]:
    """Images grouped by place along the normal, each group in the order of time."""
    groups: dict[float, list[Image]] = {}
    for image in images:
        groups.setdefault(_place(image), []).append(image)
    ordered = [groups[place] for place in sorted(groups)]
    return [sorted(group, key=lambda image: (image.time or 0.0, image.number)) for group in ordered]


def spacing_of(first: list[Image]) -> tuple[float, float, float]:
    """(z, y, x) in mm from the first image of every slice."""
    y, x = first[0].spacing or (1.0, 1.0)
    places = sorted(_place(image) for image in first)
    apart = float(np.median(np.diff(places))) if len(places) > 1 else first[0].thickness
    return apart or 1.0, y, x


def affine_of(first: list[Image], spacing: tuple[float, float, float]) -> torch.Tensor | None:
    """Voxel (x, y, z) to scanner mm as in NIfTI; DICOM's axes point left and back."""
    image = first[0]
    if image.position is None or image.directions is None or image.spacing is None:
        return None
    affine = np.eye(4)
    z, y, x = spacing
    affine[:3, 0], affine[:3, 1] = image.directions[0] * x, image.directions[1] * y
    affine[:3, 2] = np.cross(*image.directions) * z
    affine[:3, 3] = image.position
    affine[:2] *= -1
    return torch.from_numpy(affine)


def _place(image: Image) -> float:
    """Distance along the normal of the image plane in mm, to 1 / 100 mm; 0 where it is not told."""
    if image.position is None or image.directions is None:
        return 0.0
    return round(float(image.position @ np.cross(*image.directions)), 2)


def _planes(images: list[Image]) -> list[int]:
    """The number, from 1, of the plane of every image among those met so far; 0 where it is not told."""
    known: list[np.ndarray] = []
    found = []
    for image in images:
        axes = image.directions
        if axes is None:
            found.append(0)
            continue
        near = (i for i, other in enumerate(known, 1) if np.abs(axes - other).max() < _TURNED)
        found.append(number := next(near, len(known) + 1))
        if number > len(known):
            known.append(axes)
    return found


def _overlap(images: list[Image]) -> bool:
    """Whether two series hold the same place, or nearly."""
    places = sorted({(_place(image), image.series.uid) for image in images})
    return any(b - a < _SAME_MM and one != other for (a, one), (b, other) in pairwise(places))


def _numbers(words: Iterable[Hashable]) -> dict[Hashable, int]:
    """Word -> its number, from 1, in the order of first appearance."""
    return {word: i for i, word in enumerate(dict.fromkeys(words), 1)}


def _groups(images: list[Image], keys: list[tuple[int, int, int, str]]) -> str:
    """The groups that images fall into, in words; people by number, not by name: errors end up in logs."""
    groups: dict[tuple[int, int, int, str], list[Image]] = {}
    for key, image in zip(keys, images):
        groups.setdefault(key, []).append(image)
    several = [len({key[i] for key in groups}) > 1 for i in range(3)]
    words = []
    for (*numbers, uid), members in groups.items():
        told = [f"{name} {n}" for name, n, many in zip(_KINDS, numbers, several) if many]
        about = f'"{members[0].series.about}"' if members[0].series.about else f"...{uid[-8:]}" if uid else ""
        told += [f"series {about}"] if about else []
        words.append(f"{len(members)} of {', '.join(told) or 'no series'}")
    rest = f", and {len(words) - 6} more" if len(words) > 6 else ""
    return f"{len(images)} images of {len(words)} kinds ({'; '.join(words[:6])}{rest})"
