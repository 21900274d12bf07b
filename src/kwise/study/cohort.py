"""Whom a study measures: cases of a data set, or every fully sampled file of a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kwise.data import DATASETS
from kwise.data.beside import entries
from kwise.data.raw import format_of, open_any
from kwise.types import Scan


@dataclass(frozen=True)
class Cohort:
    """`read(case)` gives a magnitude scan or one with all of its k-space; `labelled` are the classes its
    truth tells apart.

    `left_out` says which files of a folder were not used, and why.
    """

    about: str
    cases: Sequence[str]
    read: Callable[[str], Scan]
    labelled: tuple[int, ...] = (0, 1, 2, 3)
    left_out: tuple[str, ...] = ()


def open_cohort(dataset: str, root: str | None, split: str | None, n: int) -> Cohort:
    """At most `n` cases of a data set by name, or of a folder; ValueError where there is none."""
    if dataset not in DATASETS:
        return _folder(Path(dataset), n)
    data = DATASETS[dataset]
    split = ("val" if data.stored else "study") if split is None else split
    cases = data.cases(root, split, n)
    return Cohort(f"{dataset}, split {split}", cases, partial(data.read, root), data.labelled)


def _folder(place: Path, n: int) -> Cohort:
    """Every file of a folder that kwise can read, with labels that lie beside it, or the one file."""
    found: dict[str, Path] = {}
    left_out = []
    for file in entries(place) if place.is_dir() and not _is_scan(place) else [place]:
        try:
            format_of(file)
        except ValueError as error:
            left_out.append(f"{file.name}: {error}")
        else:
            found[file.name] = file
    if not found:
        why = f" ({left_out[0]})" if left_out else ""
        raise ValueError(
            f"looking for scans in {place}: got none that kwise can read{why}; wanted one at least"
        )
    cases = list(found)[:n]
    return Cohort(str(place), cases, partial(_read_file, found), left_out=tuple(left_out))


def _is_scan(folder: Path) -> bool:
    try:
        return bool(format_of(folder))
    except ValueError:
        return False


def _read_file(found: dict[str, Path], case: str) -> Scan:
    scan = replace(open_any(found[case]), case=case)
    if scan.trajectory is not None:
        raise ValueError(
            f"reading {found[case]}: got a non-Cartesian scan; wanted a Cartesian one for line masks"
        )
    if scan.mask is not None and not bool(scan.mask.all()):
        share = 100 * float(scan.mask.float().mean())
        raise ValueError(
            f"reading {found[case]}: got {share:.0f} % of its k-space; wanted a fully sampled scan: a study "
            f"undersamples "
            "it itself"
        )
    return scan
