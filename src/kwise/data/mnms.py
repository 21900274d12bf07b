"""M&Ms hearts (Campello et al., IEEE TMI 2021): 4-D NIfTI cines of six centres, labels at ED and ES, one CSV.

A patient's folder, named by its external code, holds CODE_sa.nii.gz and CODE_sa_gt.nii.gz, both (x, y, z, t);
the truth is zero on every frame but ED and ES. The CSV tells both, from 0. Classes 1 LV pool, 2 myocardium, 3
RV pool are kwise's own. Images are magnitudes: their k-space has still to be simulated.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kwise.data.beside import annotated
from kwise.data.nifti import read_nifti
from kwise.data.splits import check_count, default_root, pick_split, split_of
from kwise.nearest import nearest
from kwise.types import Scan

HOME = "mnms"
NOTE = "magnitude images: k-space is simulated"
_KNOWN = ("VendorName", "Vendor", "Centre", "Pathology")  # columns that become notes
# Folders of the distribution, below `Training` and so on -> their split.
_SPLITS = {"training": "train", "validation": "val", "testing": "test"}


@dataclass(frozen=True)
class Row:
    """What the CSV tells of a patient: frames `ed` and `es` from 0, None where it does not, and notes."""

    ed: int | None = None
    es: int | None = None
    notes: Mapping[str, str] | None = None


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """At most `n` patients of one split (None: all), by the folders Training, Validation and Testing above
    them, else by a salted hash. ValueError names the path looked for where nobody is there.
    """
    place = _place(root)
    doing = f"listing M&Ms cases of {place}"
    check_count(n, doing)
    splits = {code: _split(folder, place) for code, folder in _patients(place).items()}
    return pick_split(splits, split, doing)[:n]


def read(root: Path | None, case: str) -> Scan:
    """One patient; ValueError with the nearest codes where there is none of that name."""
    place = _place(root)
    patients = _patients(place)
    if case not in patients:
        raise ValueError(
            f"reading M&Ms from {place}: got {case!r}; wanted one like {nearest(case, patients)}"
        )
    return read_folder(patients[case])


def is_mnms(folder: Path) -> bool:
    """Whether a folder is a patient's of M&Ms."""
    return folder.is_dir() and any(folder.glob("*_sa.nii*"))


def read_folder(folder: Path) -> Scan:
    """The cine of one patient's folder: image and labels (z, t, y, x), labels IGNORE but at ED and ES.

    Without a CSV above the folder, ED and ES are the frames whose truth is not empty. ValueError in one line.
    """
    file = sorted(folder.glob("*_sa.nii*"))[0]
    cine = read_nifti(file, 4)
    image = cine.image()
    row = _row(folder)
    for name, frame in (("ED", row.ed), ("ES", row.es)):
        if frame is not None and not 0 <= frame < image.shape[1]:
            raise ValueError(
                f"reading {folder}: got {name} = {frame}; wanted a frame from 0 to {image.shape[1] - 1}"
            )
    truths = sorted(folder.glob("*_sa_gt.nii*"))
    labels = _labels(truths[0], image, row) if truths else None
    return Scan(
        case=folder.resolve().name,
        image=image,
        labels=labels,
        spacing_mm=cine.spacing_mm,
        frame_ms=cine.frame_ms,
        affine=cine.affine,
        ed=row.ed,
        es=row.es,
        notes={"source": NOTE} | cine.notes | dict(row.notes or {}),
    )


def _labels(file: Path, image: Tensor, row: Row) -> Tensor | None:
    """(z, t, y, x), IGNORE on frames nobody annotated; None where that is all of them."""
    array = read_nifti(file, 4).array.transpose(2, 3, 1, 0)
    if array.shape != tuple(image.shape):
        raise ValueError(f"reading {file}: got grid {array.shape} (z, t, y, x); wanted {tuple(image.shape)}")
    if not np.isin(array, range(4)).all():
        raise ValueError(f"reading {file}: got labels {np.unique(array)[:8].tolist()}; wanted 0, 1, 2, 3")
    told = [frame for frame in (row.ed, row.es) if frame is not None]
    return annotated(torch.from_numpy(array.astype(np.int64)), told)


def _place(root: Path | None) -> Path:
    if root is None:
        return default_root() / HOME
    return root / HOME if (root / HOME).is_dir() else root


def _patients(place: Path) -> dict[str, Path]:
    """Code -> folder of every patient at most three folders below a place."""
    if is_mnms(place):
        return {place.resolve().name: place}
    found = {
        file.parent.name: file.parent
        for depth in ("*", "*/*", "*/*/*")
        for file in place.glob(f"{depth}/*_sa.nii*")
    }
    if not found:
        got = "no patient in it" if place.is_dir() else "no such folder"
        raise ValueError(
            f"looking for M&Ms patients in {place}: got {got}; wanted folders with a CODE_sa.nii.gz"
        )
    return found


def _split(folder: Path, place: Path) -> str:
    above = [parent.name.lower() for parent in folder.parents if parent == place or place in parent.parents]
    return next((_SPLITS[name] for name in above if name in _SPLITS), None) or split_of(folder.name, HOME)


def _row(folder: Path) -> Row:
    """The row of a patient in a CSV of the folders above that has the column `External code`."""
    code = folder.resolve().name
    for above in (folder, *list(folder.resolve().parents)[:4]):
        for file in sorted(above.glob("*.csv")):
            with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
                reader = csv.DictReader(lines)
                if "External code" not in (reader.fieldnames or ()):
                    continue
                for row in reader:
                    if (row["External code"] or "").strip() == code:
                        return _told(file, code, row)
    return Row()


def _told(file: Path, code: str, row: Mapping[str, str | None]) -> Row:
    frames: dict[str, int | None] = {}
    for name in ("ED", "ES"):
        text = (row.get(name) or "").strip().removesuffix(".0")
        if text and not text.isdecimal():
            raise ValueError(f"reading {file}: got {name} = {text[:20]!r} of {code}; wanted a frame from 0")
        frames[name] = int(text) if text else None
    notes = {name.lower(): value for name in _KNOWN if (value := (row.get(name) or "").strip())}
    if "pathology" in notes:
        notes["group"] = notes.pop("pathology")
    return Row(frames["ED"], frames["ES"], notes)
