"""Sunnybrook short-axis slices (one frame each) with the LV cavity alone outlined, in one HDF5 file.

What the file holds: `image` and `label` (n, 256, 256), `name` of each slice, `patient`, `group` (HF-I, HF-
NI, HYP, N). Labels say LV pool or not. What is not LV pool may be background, myocardium or RV: nobody told,
so those pixels are IGNORE and a task of four classes learns nothing false from them. For a task of two
classes, LV pool or rest, where 0 means the rest, `lv_or_rest` gives the labels that are complete.
"""

from dataclasses import replace
from pathlib import Path

import torch

from kwise.data.splits import check_count, default_root, pick_split, split_of
from kwise.nearest import nearest
from kwise.types import IGNORE, Scan

FILE = "sunnybrook_slices.h5"
LV_POOL = 1
_WANTED = ("image", "label", "name", "patient", "group")


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """At most `n` slices of one split (None: all), by name; all slices of a patient are in the same split
    (salted hash).

    `root` is the file or its folder, by default `default_root()`. ValueError where the file is not there.
    """
    place = _file(root)
    check_count(n, f"listing Sunnybrook cases of {place}")
    names, patients = _texts(place, "name"), _texts(place, "patient")
    splits = {name: split_of(patient, "sunnybrook") for name, patient in zip(names, patients)}
    return pick_split(splits, split, f"listing Sunnybrook cases of {place}")[:n]


def read(root: Path | None, case: str) -> Scan:
    """One slice: image and labels (1, 1, y, x), labels 1 in the LV pool and IGNORE elsewhere; pixel size
    is not known.
    """
    import h5py

    place = _file(root)
    names = _texts(place, "name")
    if case not in names:
        raise ValueError(f"reading from {place}: got case {case!r}; wanted one like {nearest(case, names)}")
    row = names.index(case)
    with h5py.File(place, "r") as file:
        image = torch.from_numpy(file["image"][row]).to(torch.float32)
        pool = torch.from_numpy(file["label"][row]) > 0
        group = file["group"][row].decode()
    labels = torch.where(pool, LV_POOL, IGNORE)[None, None]
    notes = {
        "source": "magnitude images: k-space is simulated",
        "group": group,
        "spacing": "the file does not tell the pixel size: 1 mm stands for one pixel",
    }
    return Scan(case=case, image=image[None, None], labels=labels, notes=notes)


def lv_or_rest(scan: Scan) -> Scan:
    """The scan with complete labels of a two-class task: 1 LV pool, 0 everything else, background or not."""
    if scan.labels is None:
        raise ValueError(f"making LV or rest of {scan.case}: got no labels; wanted a scan with labels")
    return replace(scan, labels=(scan.labels == LV_POOL).to(torch.int64))


def _file(root: Path | None) -> Path:
    root = default_root() if root is None else root
    place = root if root.is_file() else root / FILE
    if not place.is_file():
        raise ValueError(f"looking for Sunnybrook slices: got no file {place}; wanted {FILE} there")
    return place


def _texts(place: Path, key: str) -> list[str]:
    """The strings of one data set of the file; ValueError for a damaged or foreign file."""
    import h5py

    try:
        with h5py.File(place, "r") as file:
            if missing := [name for name in _WANTED if name not in file]:
                raise ValueError(f"reading {place}: got no data set {missing}; wanted {list(_WANTED)}")
            return [text.decode() for text in file[key][:]]
    except OSError as error:
        why = " ".join(str(error).split())[:120]
        raise ValueError(f"reading {place}: got a damaged or foreign file ({why}); wanted HDF5") from error
