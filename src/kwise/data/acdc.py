"""ACDC hearts (Bernard et al., IEEE TMI 2018): NIfTI folders, one a patient, as cines or as full stacks at
ED and ES.

A patient's folder holds `Info.cfg`, `*_4d.nii.gz` (x, y, z, t) and, at ED and ES, `*_frameNN.nii.gz` with
`*_frameNN_gt.nii.gz`; NN, ED and ES count from 1. Images are magnitudes: their k-space has still to be
simulated.
"""

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kwise.data.nifti import Volume, read_nifti
from kwise.data.patients import find_patient
from kwise.data.raw_checks import stem_of
from kwise.types import IGNORE, Scan

# ACDC's classes 0 background, 1 RV, 2 myocardium, 3 LV pool, in kwise's numbers.
REMAP = (0, 3, 2, 1)
NOTE = "magnitude images: k-space is simulated"


def read(root: Path | None, case: str) -> Scan:
    """One patient's cine: image and labels (z, t, y, x), labels IGNORE on every frame but those annotated."""
    return read_patient(find_patient(root, "acdc-cine", case))


def read_stack(root: Path | None, case: str) -> Scan:
    """One patient's stack, image and labels (z, 2, y, x): frame 0 is ED, frame 1 is ES."""
    return read_patient_stack(find_patient(root, "acdc-stack", case))


def read_patient(path: Path) -> Scan:
    """The cine of one patient's folder, or of a single 4-D NIfTI file, which has neither labels nor ED and
    ES.

    Labels are left out, and `notes` says so, where they lie on another grid than the cine; None where there
    are none. ValueError for a missing, unreadable or wrongly shaped file.
    """
    cine = read_nifti(_cine_file(path) if path.is_dir() else path, 4)
    image = cine.image()
    if not path.is_dir():
        return _scan(stem_of(path.name), image, None, cine, {})
    info = read_info(path)
    labels, notes = _cine_labels(path, image)
    ed, es = (_number(info, key, path, image.shape[1]) for key in ("ED", "ES"))
    notes = _group(info) | notes
    return _scan(path.resolve().name, image, labels, cine, notes, _from_zero(ed), _from_zero(es))


def read_patient_stack(folder: Path) -> Scan:
    """ED and ES of one patient's folder as the two frames of a scan, all slices; errors as in
    `read_patient`.
    """
    info = read_info(folder)
    images, truths = _frame_files(folder, ""), _frame_files(folder, "_gt")
    numbers = [_number(info, key, folder) for key in ("ED", "ES")]
    if numbers == [None, None] and len(images) == 2:
        numbers = list(sorted(images))
    files = [images[number] for number in numbers if number in images]
    if len(files) != 2:
        got = f"frames {sorted(images)}"
        raise ValueError(f"reading stacks of {folder}: got {got}; wanted ED and ES, frames {numbers}")
    first, second = (read_nifti(file, 3) for file in files)
    if first.array.shape != second.array.shape:
        got = f"{first.array.shape} at ED, {second.array.shape} at ES"
        raise ValueError(f"reading stacks of {folder}: got {got}; wanted one grid (x, y, z)")
    image = torch.stack([first.image(), second.image()], dim=1)
    found = {position: truths[number] for position, number in enumerate(numbers) if number in truths}
    return _scan(folder.resolve().name, image, _label_frames(image, found), first, _group(info), 0, 1)


def read_info(folder: Path) -> dict[str, str]:
    """The lines `key: value` of a patient's Info.cfg; empty where there is no such file."""
    file = folder / "Info.cfg"
    if not file.is_file():
        return {}
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _scan(
    case: str,
    image: Tensor,
    labels: Tensor | None,
    geometry: Volume,
    notes: dict[str, str],
    ed: int | None = None,
    es: int | None = None,
) -> Scan:
    return Scan(
        case=case,
        image=image,
        labels=labels,
        spacing_mm=geometry.spacing_mm,
        frame_ms=geometry.frame_ms,
        affine=geometry.affine,
        ed=ed,
        es=es,
        notes={"source": NOTE} | geometry.notes | notes,
    )


def _group(info: dict[str, str]) -> dict[str, str]:
    return {"group": info["Group"]} if info.get("Group") else {}


def _from_zero(number: int | None) -> int | None:
    return None if number is None else number - 1


def _number(info: dict[str, str], key: str, folder: Path, n_frames: int | None = None) -> int | None:
    """ED or ES of Info.cfg, from 1 as written there; None where it is not said."""
    if key not in info:
        return None
    last = n_frames or 9999
    if not info[key].isdecimal() or not 1 <= int(info[key]) <= last:
        file = folder / "Info.cfg"
        raise ValueError(f"reading {file}: got {key}: {info[key]}; wanted a frame from 1 to {last}")
    return int(info[key])


def _cine_file(folder: Path) -> Path:
    found = sorted(folder.glob("*_4d.nii*"))
    if not found:
        raise ValueError(f"reading {folder}: got no *_4d.nii.gz; wanted a cine (else read acdc_stack)")
    return found[0]


def _frame_files(folder: Path, ending: str) -> dict[int, Path]:
    """Frame number, from 1 as in the name -> file `*_frameNN<ending>.nii[.gz]`."""
    pattern = re.compile(rf"_frame(\d+){ending}\.nii(\.gz)?$")
    found = ((pattern.search(file.name), file) for file in folder.glob("*.nii*"))
    return {int(match.group(1)): file for match, file in found if match}


def _cine_labels(folder: Path, image: Tensor) -> tuple[Tensor | None, dict[str, str]]:
    """Labels of a cine, and a note where they had to be left out."""
    z, n_frames, y, x = image.shape
    files = _frame_files(folder, "_gt")
    if late := [number for number in files if not 1 <= number <= n_frames]:
        raise ValueError(f"reading labels of {folder}: got frame {late[0]}; wanted one from 1 to {n_frames}")
    grids = {file: read_nifti(file, 3).array.shape for file in files.values()}
    if other := [shape for shape in grids.values() if shape != (x, y, z)]:
        return None, {"labels": f"left out: their grid {other[0]} (x, y, z) is not the cine's {(x, y, z)}"}
    return _label_frames(image, {number - 1: file for number, file in files.items()}), {}


def _label_frames(image: Tensor, files: dict[int, Path]) -> Tensor | None:
    """Labels (z, t, y, x) of an image, IGNORE but on the frames, from 0, that have a file; None where
    none has.
    """
    if not files:
        return None
    labels = torch.full(image.shape, IGNORE, dtype=torch.int64)
    for frame, file in files.items():
        array = read_nifti(file, 3).array.transpose(2, 1, 0)
        if not np.isin(array, range(len(REMAP))).all():
            got = np.unique(array)[:8].tolist()
            raise ValueError(f"reading {file}: got labels {got}; wanted ACDC's 0, 1, 2, 3")
        if array.shape != labels[:, frame].shape:
            wanted = tuple(labels[:, frame].shape)
            raise ValueError(f"reading {file}: got grid {array.shape}; wanted {wanted} (z, y, x)")
        labels[:, frame] = torch.tensor(REMAP)[torch.from_numpy(array.astype(np.int64))]
    return labels
