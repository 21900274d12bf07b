"""What state the files of a cohort are in: scores of files that have changed since are not those of the
cohort.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from kwise.data import DATASETS, default_root

CELLS = "cells"  # of a folder that holds it, all was written by a study


def state_of(dataset: str, root: str | None, split: str | None, n: int) -> str:
    """A digest of name, size and time of every file a cohort is made of; "" where its cases are drawn.

    Of a data set by name those files count that lie in its root, or below it in a path that names one of its
    cases.
    """
    if dataset not in DATASETS:
        return _digest(Path(dataset), _files_of(Path(dataset)))
    data = DATASETS[dataset]
    if not data.stored:
        return ""
    place = default_root() if root is None else Path(root)
    names = set(data.cases(root, "val" if split is None else split, n))
    top = {place, place.parent if place.is_file() else place}
    mine = (f for f in _below(place) if f.parent in top or not names.isdisjoint(f.relative_to(place).parts))
    return _digest(place, mine, *sorted(names))


def _files_of(place: Path) -> Iterator[Path]:
    """All files below a folder; of one file all those beside it that share its name up to the first dot, such
    as a header.
    """
    if place.is_dir():
        return _below(place)
    stem = place.name.partition(".")[0]
    return (file for file in place.parent.iterdir() if file.name.partition(".")[0] == stem)


def _below(place: Path) -> Iterator[Path]:
    """Every file in and below a folder or that one file, but for hidden ones and what studies wrote."""
    if place.is_file():
        yield place
    for folder, folders, files in os.walk(place):
        if CELLS in folders and Path(folder) != place:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name != CELLS and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _digest(place: Path, files: Iterator[Path], *words: str) -> str:
    told = hashlib.sha256("\x1f".join((str(place.resolve()), *words)).encode())
    for file in sorted(files):
        try:
            stat = file.stat()
        except OSError:  # a link that leads nowhere: its reader says so
            continue
        told.update(f"\x1f{file}\x1f{stat.st_size}\x1f{stat.st_mtime_ns}".encode())
    return told.hexdigest()[:16]
