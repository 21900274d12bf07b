"""Who belongs to which split, and where data lie: both decided by names alone, never by the order of a
folder.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

SPLITS = ("train", "val", "test")
FRACTIONS: Mapping[str, float] = {"train": 0.8, "val": 0.1, "test": 0.1}
DATA_VARIABLE = "KWISE_DATA"  # environment variable that names the folder of all data sets


def check_split(split: str) -> str:
    """The split itself; ValueError with the nearest valid names where there is none of that name."""
    if split not in SPLITS:
        raise ValueError(f"choosing a split: got {split!r}; wanted one of {', '.join(SPLITS)}")
    return split


def split_of(case: str, salt: str, fractions: Mapping[str, float] = FRACTIONS) -> str:
    """The split of a case or patient by salted hash: the same on every machine, whatever else lies in the
    folder.

    `fractions` maps split names to shares, in order. ValueError where they do not sum to 1.
    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) < 0:
        raise ValueError(f"splitting {salt}: got {dict(fractions)}; wanted shares >= 0 that sum to 1")
    digest = hashlib.blake2b(f"{salt}\x1f{case}".encode(), digest_size=8).digest()
    position = int.from_bytes(digest, "little") / 2**64
    for name, share in fractions.items():
        position -= share
        if position < 0:
            return name
    return next(name for name in reversed(list(fractions)) if fractions[name] > 0)


def ranked_splits(cases: Iterable[str], salt: str, counts: Mapping[str, int]) -> dict[str, str]:
    """Case -> split with exactly `counts` cases in each split: the cases in the order of their salted hash.

    ValueError where the counts do not add up to the cases.
    """
    ranked = sorted(
        cases, key=lambda case: hashlib.blake2b(f"{salt}\x1f{case}".encode(), digest_size=8).digest()
    )
    if len(ranked) != sum(counts.values()):
        raise ValueError(f"splitting {salt}: got {len(ranked)} cases; wanted {sum(counts.values())}")
    names = [name for name, count in counts.items() for _ in range(count)]
    return dict(zip(ranked, names))


def pick_split(splits: Mapping[str, str], split: str | None, doing: str) -> list[str]:
    """The cases of one split, sorted; all of them for None. `splits` maps case -> split.

    ValueError, with the counts of the splits there are, where none is left.
    """
    if split is not None:
        check_split(split)
    chosen = sorted(case for case, of in splits.items() if split is None or of == split)
    if not chosen:
        counts = Counter(splits.values())
        have = ", ".join(f"{name} ({counts[name]})" for name in SPLITS if name in counts)
        raise ValueError(f"{doing}: got split {split}, which is empty; wanted one of {have}")
    return chosen


def check_count(n: int | None, doing: str) -> None:
    """ValueError unless `n` is None or at least one case."""
    if n is not None and n < 1:
        raise ValueError(f"{doing}: got n = {n}; wanted at least one case")


def default_root() -> Path:
    """The folder of all data sets: $KWISE_DATA, else `../shared/data` seen from the repository one works in.

    The path is returned whether it exists or not: readers name it when they find nothing there.
    """
    if named := os.environ.get(DATA_VARIABLE):
        return Path(named)
    here = Path.cwd()
    repositories = [folder for folder in (here, *here.parents) if (folder / ".git").exists()]
    repositories += [Path(__file__).parents[3]]  # the checkout this file belongs to, where it is one
    looked = [folder.parent / "shared" / "data" for folder in repositories]
    return next((folder for folder in looked if folder.is_dir()), looked[0])
