"""The phantom as data sets: cases are names, and the name draws the heart. Nothing is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from kwise.data.splits import check_count
from kwise.nearest import nearest
from kwise.types import Scan

# How many cases `cases` gives by default. Names hold six digits, so the same number bounds every split.
# Nobody trains, chooses or calibrates on the hearts of `study`: they measure what the others claim.
COUNTS = {"train": 1_000_000, "val": 200, "test": 100, "study": 200}
MOST = 1_000_000


@dataclass(frozen=True)
class HeartNames(Sequence[str]):
    """A lazy sequence of the names <kind>-<split>-<000000>: a million of them take no memory."""

    split: str
    numbers: range
    kind: str = "heart"

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "HeartNames": ...

    def __getitem__(self, index: int | slice) -> "str | HeartNames":
        if isinstance(index, slice):
            return HeartNames(self.split, self.numbers[index], self.kind)
        return f"{self.kind}-{self.split}-{self.numbers[index]:06d}"


def cases(
    root: Path | None = None, split: str | None = "train", n: int | None = None, kind: str = "heart"
) -> HeartNames:
    """Names of phantom cases of one split; `n` asks for fewer or more than the usual 1,000,000, 200,
    100 and 200 of the splits train, val, test and study.

    `root` is not used: the phantom lives in no folder. ValueError for an unknown split, None, or an n over
    1,000,000.
    """
    if split not in COUNTS:
        got = "no split" if split is None else repr(split)
        raise ValueError(f"choosing a split: got {got}; wanted one like {nearest(split or '', COUNTS)}")
    count = COUNTS[split] if n is None else n
    check_count(n, f"listing {kind} cases")
    if count > MOST:
        raise ValueError(f"listing {kind} cases: got n = {count}; wanted at most {MOST}")
    return HeartNames(split, range(count), kind)


def read(root: Path | None, case: str, *, n_frames: int = 12, shape: tuple[int, int] = (64, 64)) -> Scan:
    """The beating heart of that name: image and labels (1, t, y, x); any name that begins with heart- is
    a heart.
    """
    from kwise.phantom import heart_scan

    if not case.startswith("heart-"):
        raise ValueError(f"reading a heart: got case {case!r}; wanted a name such as heart-test-000000")
    return heart_scan(case, n_frames=n_frames, shape=shape)
