"""One T1 brain volume as axial slices, split by blocks: no slice of a split has a neighbour in another.

The file is raw/brain_t1_volume.npz with `vol` (160, 192, 224), skull removed, 1 mm; its second axis runs from
top to bottom. Blocks of 12 slices belong to one split as a whole, and the last 4 of each belong to none, so
slices of two splits are at least 5 mm apart. It is one person: a score here says nothing about another one.
"""

from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from kwise.data.splits import check_count, default_root, pick_split
from kwise.nearest import nearest
from kwise.types import Scan

FILE = Path("raw") / "brain_t1_volume.npz"
FIRST, LAST = 24, 144  # the slices with much brain in them
BLOCK, GAP = 12, 4  # slices of a block, and how many at its end are left out
PATTERN = ("train", "train", "test", "train", "val")  # splits of the blocks, over and over


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """At most `n` slices of one split (None: all), from top to bottom; ValueError where the file is not
    there.
    """
    place = _file(root)
    check_count(n, f"listing slices of {place}")
    return pick_split(_splits(place), split, f"listing slices of {place}")[:n]


def read(root: Path | None, case: str) -> Scan:
    """One slice: image (1, 1, y, x), y from left to right and x from back to front; no labels.

    ValueError for a slice that is in no split, or for a damaged file.
    """
    place = _file(root)
    known = _splits(place)
    if case not in known:
        raise ValueError(f"reading from {place}: got case {case!r}; wanted one like {nearest(case, known)}")
    image = _volume(place)[:, int(case.rpartition("-")[2])]
    return Scan(case, image=image[None, None], notes={"source": "magnitude images: k-space is simulated"})


def _splits(place: Path) -> dict[str, str]:
    """Case -> split of every slice that is in one."""
    depth = _volume(place).shape[1]
    numbers = (z for z in range(FIRST, min(LAST, depth)) if (z - FIRST) % BLOCK < BLOCK - GAP)
    return {f"brain-{z:03d}": PATTERN[(z - FIRST) // BLOCK % len(PATTERN)] for z in numbers}


@lru_cache(maxsize=2)
def _volume(place: Path) -> Tensor:
    """(160, 192, 224) float32."""
    try:
        with np.load(place) as file:
            volume = np.asarray(file["vol"], dtype=np.float32)
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"reading {place}: got a damaged or foreign file ({error}); wanted `vol`") from None
    if volume.ndim != 3 or volume.shape[1] <= FIRST:
        raise ValueError(f"reading {place}: got a volume {volume.shape}; wanted three axes, slices second")
    return torch.from_numpy(volume)


def _file(root: Path | None) -> Path:
    root = default_root() if root is None else root
    place = root if root.is_file() else root / FILE
    if not place.is_file():
        raise ValueError(f"looking for the brain volume: got no file {place}; wanted {FILE} there")
    return place
