"""Which ACDC patients lie under a folder, and in which split each belongs."""

import csv
from collections.abc import Mapping
from pathlib import Path

from kwise.data.splits import check_count, default_root, pick_split, split_of
from kwise.nearest import nearest

SPLIT_FILE = "acdc.csv"
# Where patients lie below a root: at once, or as in the two forms of the distribution.
_PLACES = (".", "training", "testing", "database/training", "database/testing")


def cine_cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """At most `n` patients of one split (None: all) with a cine under `root`, by default acdc-cine of
    `default_root()`.

    `root` may be the folder of all data sets, a folder of patients, the distribution (training/, testing/),
    or one patient. The split is that of acdc.csv beside or above the patients; else a testing/ folder is
    test; else it is a salted hash of the name. ValueError names the path looked for where nobody is there.
    """
    return _cases(root, "acdc-cine", split, n)


def stack_cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """As `cine_cases`, for full stacks at ED and ES; a patient is in the same split here and there."""
    return _cases(root, "acdc-stack", split, n)


def find_patient(root: Path | None, home: str, case: str) -> Path:
    """The folder of one patient under a root; ValueError with the nearest names where there is none."""
    patients = find_patients(root, home)
    if case not in patients:
        known = nearest(case, patients)
        raise ValueError(f"reading ACDC from {_place(root, home)}: got {case!r}; wanted one like {known}")
    return patients[case]


def find_patients(root: Path | None, home: str) -> dict[str, Path]:
    """Name -> folder of every patient under a root, or under its folder `home` where it has one."""
    place = _place(root, home)
    if _is_patient(place):
        return {place.resolve().name: place}
    inside = (folder for inner in _PLACES for folder in sorted((place / inner).glob("*")))
    folders = [folder for folder in inside if _is_patient(folder)]
    if not folders:
        got = "no patient in it" if place.is_dir() else "no such folder"
        raise ValueError(f"looking for ACDC patients in {place}: got {got}; wanted folders with an Info.cfg")
    return {folder.name: folder for folder in folders}


def _cases(root: Path | None, home: str, split: str | None, n: int | None) -> list[str]:
    doing = f"listing ACDC cases of {_place(root, home)}"
    check_count(n, doing)
    return pick_split(patient_splits(root, home), split, doing)[:n]


def patient_splits(root: Path | None, home: str) -> dict[str, str]:
    """Patient -> split of everybody under a root, or under its folder `home` where it has one."""
    patients = find_patients(root, home)
    listed = _listed_splits(next(iter(patients.values())))
    return {case: listed.get(case) or _other_split(folder) for case, folder in patients.items()}


def _place(root: Path | None, home: str) -> Path:
    if root is None:
        return default_root() / home
    return root / home if (root / home).is_dir() else root


def _is_patient(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "Info.cfg").is_file() or any(folder.glob("*_4d.nii*")))


def _listed_splits(folder: Path) -> Mapping[str, str]:
    """Patient -> split of the acdc.csv nearest above a patient's folder; empty where there is none."""
    above = list(folder.resolve().parents)[:4]
    file = next((place / SPLIT_FILE for place in above if (place / SPLIT_FILE).is_file()), None)
    if file is None:
        return {}
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if rows and not {"patient", "split"} <= rows[0].keys():
        raise ValueError(f"reading {file}: got columns {sorted(rows[0])}; wanted patient and split too")
    return {row["patient"]: row["split"] for row in rows}


def _other_split(folder: Path) -> str:
    """The split of a patient whom no list names; cines and stacks share one salt, so that nobody is in
    two splits.
    """
    home = folder.resolve().parent
    if home.name == "testing":
        return "test"
    if home.name == "training" and (home.parent / "testing").is_dir():
        return split_of(folder.name, "acdc", {"train": 0.8, "val": 0.2})
    return split_of(folder.resolve().name, "acdc")
