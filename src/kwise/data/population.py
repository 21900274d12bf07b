"""The virtual population as a data set: 42,000 synthetic subjects by name, nine views each."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from kwise.data.splits import check_count, pick_split, ranked_splits
from kwise.types import Scan

COUNTS = {"train": 40_000, "val": 1_000, "test": 1_000}
FOV_MM = 230.4  # 128 pixels of 1.8 mm


def name_of(index: int) -> str:
    """The name of a subject by its number: population-000000 and so on."""
    return f"population-{index:06d}"


@lru_cache(maxsize=1)
def splits() -> dict[str, str]:
    """Subject -> split, by salted hash of the name: 40,000, 1,000 and 1,000 exactly."""
    return ranked_splits(map(name_of, range(sum(COUNTS.values()))), "population", COUNTS)


@lru_cache(maxsize=4)
def _listed(split: str | None) -> tuple[str, ...]:
    return tuple(pick_split(splits(), split, "listing the virtual population"))


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> Sequence[str]:
    """Names of the subjects of one split (None: all 42,000), at most `n`, in the order of their numbers.

    `root` is not used: the population lives in no folder. ValueError for an unknown split or an n below 1.
    """
    check_count(n, "listing the virtual population")
    return _listed(split)[:n]


def read(
    root: Path | None,
    case: str,
    *,
    n_frames: int = 25,
    shape: tuple[int, int] = (128, 128),
    fov_mm: float = FOV_MM,
) -> Scan:
    """The cine examination of that subject: image and labels (z = 9 views, t, y, x), traits, diseases.

    Any name that begins with population- is a subject; those of the splits have a number of six digits.
    Labels are those of UK Biobank, and IGNORE everywhere in the three-chamber view. It is synthetic.
    """
    from kwise.phantom import examination

    if not case.startswith("population-"):
        raise ValueError(f"reading a virtual subject: got case {case!r}; wanted one like population-000000")
    return examination(case, n_frames=n_frames, shape=shape, fov_mm=fov_mm)
