"""A cohort on disk: a folder with `manifest.csv`, a row per subject, and one HDF5 file each; all checked."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from kwise.data.cohort_files import read_subject
from kwise.data.splits import SPLITS, check_count, default_root, pick_split
from kwise.nearest import nearest
from kwise.phenotypes import DISEASES
from kwise.types import Scan

MANIFEST = "manifest.csv"
COVARIATES = ("age_years", "sex_male", "height_cm", "weight_kg")
UNITS = ("_mL", "_g", "_percent")  # endings of phenotype columns
_TELLING = 20  # so many known values in each of two splits show whether a column gives the split away


@dataclass(frozen=True)
class Row:
    """One subject of a manifest; an empty cell is NaN, never 0."""

    subject: str
    split: str
    file: str
    covariates: dict[str, float]
    phenotypes: dict[str, float]
    diseases: dict[str, float]


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> Sequence[str]:
    """At most `n` subjects of one split (None: all) of the cohort in `root`, by default in the data folder.

    ValueError names what is wrong with the manifest: a subject who stands in it twice or in two splits, a
    column from which the split can be read, an impossible value.
    """
    folder = cohort_folder(root)
    check_count(n, f"listing the cohort {folder}")
    splits = {row.subject: row.split for row in manifest(folder).values()}
    return pick_split(splits, split, f"listing the cohort {folder}")[:n]


def read(root: Path | None, case: str) -> Scan:
    """One subject with its traits: nine views, what is missing masked and named in `notes["missing"]`."""
    folder = cohort_folder(root)
    rows = manifest(folder)
    if case not in rows:
        raise ValueError(f"reading the cohort {folder}: got {case!r}; wanted one like {nearest(case, rows)}")
    row = rows[case]
    scan = read_subject(folder / row.file)
    return replace(
        scan, case=case, phenotypes=row.phenotypes, diseases=row.diseases, covariates=row.covariates
    )


def cohort_folder(root: Path | None) -> Path:
    """The folder of a cohort: `root`, or its folder `cohort`; ValueError where there is no manifest."""
    root = default_root() if root is None else root
    folder = root / "cohort" if (root / "cohort" / MANIFEST).is_file() else root
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"looking for a cohort in {folder}: got no {MANIFEST}; wanted a folder that has one")
    return folder


def manifest(folder: Path) -> Mapping[str, Row]:
    """Subject -> row of the manifest of a folder, checked; read again only when the file has changed."""
    file = folder / MANIFEST
    return _manifest(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _manifest(file: Path, changed: int) -> dict[str, Row]:
    with file.open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        columns = set(table.fieldnames or ())
        if lacking := {"subject", "split", "file"} - columns:
            raise ValueError(f"reading {file}: got no column {', '.join(sorted(lacking))}; wanted it")
        parsed = [_row(file, cells) for cells in table]
    if not parsed:
        raise ValueError(f"reading {file}: got no subject; wanted at least one row")
    _check_subjects(file, parsed)
    _check_leaks(file, parsed)
    return {row.subject: row for row in parsed}


def _row(file: Path, cells: dict[str, str]) -> Row:
    subject = cells["subject"]
    if cells["split"] not in SPLITS:
        got = f"split {cells['split']!r} of subject {subject}"
        raise ValueError(f"reading {file}: got {got}; wanted one of {', '.join(SPLITS)}")
    traits = {
        name: _number(file, subject, name, text)
        for name, text in cells.items()
        if name in COVARIATES or name in DISEASES or (name or "").endswith(UNITS)
    }
    for name, value in traits.items():
        if name in DISEASES and value not in (0.0, 1.0) and not math.isnan(value):
            raise ValueError(
                f"reading {file}: got {name} = {value:g} of subject {subject}; wanted 0, 1 or empty"
            )
        if name.endswith(UNITS) and value <= 0:
            got = f"{name} = {value:g} of subject {subject}"
            raise ValueError(f"reading {file}: got {got}; wanted a positive value, or empty where unknown")
    groups = ({n: v for n, v in traits.items() if n in known} for known in (COVARIATES, DISEASES))
    covariates, diseases = groups
    phenotypes = {n: v for n, v in traits.items() if n.endswith(UNITS)}
    return Row(subject, cells["split"], cells["file"], covariates, phenotypes, diseases)


def _number(file: Path, subject: str, name: str, text: str | None) -> float:
    if text is None or text.strip().lower() in ("", "nan", "na"):
        return math.nan
    try:
        return float(text)
    except ValueError:
        got = f"{name} = {text!r} of subject {subject}"
        raise ValueError(f"reading {file}: got {got}; wanted a number, or empty where unknown") from None


def _check_subjects(file: Path, rows: Iterable[Row]) -> None:
    """Nobody twice, and no file of two people: the same heart in train and test would be a leak."""
    subjects: dict[str, Row] = {}
    files: dict[str, Row] = {}
    for row in rows:
        for seen, key, what in ((subjects, row.subject, "subject"), (files, row.file, "file")):
            if key in seen:
                other = seen[key]
                people = f"subjects {other.subject} in {other.split}, {row.subject} in {row.split}"
                got = f"{what} {key} twice ({people})"
                raise ValueError(f"reading {file}: got {got}; wanted every subject once, in one split")
            seen[key] = row


def _check_leaks(file: Path, rows: Sequence[Row]) -> None:
    """No label or phenotype may tell train from test: where it does, a score would measure the split."""
    names = {**rows[0].phenotypes, **rows[0].diseases}
    for name in names:
        known: dict[str, np.ndarray] = {}
        for split in SPLITS:
            values = np.array([(r.phenotypes | r.diseases)[name] for r in rows if r.split == split])
            values = values[np.isfinite(values)] if len(values) else values
            if len(values) >= _TELLING:
                known[split] = values
        for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
            if a in known and b in known and _separation(known[a], known[b]) > 0.99:
                got = f"column {name}, which tells {a} from {b}"
                raise ValueError(f"reading {file}: got {got}; wanted labels that do not leak the split")


def _separation(a: np.ndarray, b: np.ndarray) -> float:
    """How well one number tells two groups apart: the larger of AUC and 1 - AUC, ties counting half."""
    ordered = np.sort(b)
    below = np.searchsorted(ordered, a, side="left") + np.searchsorted(ordered, a, side="right")
    auc = float(below.mean()) / (2 * len(b))
    return max(auc, 1 - auc)


def check_two_classes(root: Path | None, disease: str, split: str) -> None:
    """ValueError that names disease and split where not both classes are there: no AUC exists then.

    Call it before training or scoring a classifier; a disease nobody asks about may be missing.
    """
    folder = cohort_folder(root)
    rows = [row for row in manifest(folder).values() if row.split == split]
    values = {row.diseases.get(disease, math.nan) for row in rows}
    found = sorted(value for value in values if not math.isnan(value))
    if found != [0.0, 1.0]:
        got = f"{disease} = {found[0]:g} in every known subject" if found else f"no known {disease}"
        doing = f"classifying {disease} in split {split} of {folder}"
        raise ValueError(f"{doing}: got {got}; wanted subjects with and without it")
