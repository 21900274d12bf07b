"""What lies beside a scan in a folder and is no scan itself: labels of it, the second file of a pair, a
manifest.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kwise.data.acdc import REMAP
from kwise.data.cohort import MANIFEST
from kwise.data.raw_slices import Slices, picked
from kwise.types import CLASS_NAMES, IGNORE, Scan

ENDINGS = ("gt", "seg", "label", "labels")  # X_gt.nii.gz holds labels of X.nii.gz
_KINDS = (".nii.gz", ".nii", ".npy", ".npz")
_ACDC = re.compile(r"_frame\d+$")  # patient001_frame01_gt.nii.gz: names that ACDC alone gives


def entries(folder: Path) -> list[Path]:
    """What in a folder may be a scan or hold scans, sorted: all but hidden files, the second file of a BART
    pair, the manifest of a cohort, and labels of another file there.
    """
    there = sorted(folder.iterdir())
    stems = {_stem_and_kind(path)[0] for path in there}
    return [path for path in there if not _passed_over(path, stems)]


def label_file(path: Path) -> Path | None:
    """The file of labels beside a scan's file, by its name: of the same format where there are several; None
    where there is none.
    """
    stem, own = _stem_and_kind(path)
    named = (path.with_name(f"{stem}_{end}{kind}") for kind in (own, *_KINDS) for end in ENDINGS)
    return next((file for file in named if _is_there(file)), None)


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name longer than a disk takes
        return False


def with_labels(path: Path, scan: Scan, read: Callable[[Path], Scan], slices: Slices = None) -> Scan:
    """The scan of `path`, or some `slices` of it, with the labels that lie beside it, as `read` finds all of
    them; as it is where none do.

    Labels count as truth where they are 0 to 3 on the very grid of a magnitude image; a frame of a cine
    without any is one that nobody annotated. Otherwise `notes["labels"]` says why they were left out. k-space
    takes none: nothing says that the labels lie as its image would.
    """
    file = label_file(path)
    if file is None or scan.labels is not None:
        return scan
    try:
        if scan.image is None:
            raise ValueError("they lie beside k-space, and nothing tells how they lie on its image")
        labels, told = _checked(file, read(file), scan, slices)
    except ValueError as error:
        why = f"left out: {file.name}: {' '.join(str(error).split())}"
        return replace(scan, notes=scan.notes | {"labels": why})
    return replace(scan, labels=labels, notes=scan.notes | {"labels": f"from {file.name}, {told}"})


def annotated(labels: Tensor, told: Sequence[int] = ()) -> Tensor | None:
    """Labels (z, t, y, x) int64, IGNORE on the frames that hold none and are not `told`; None where that is
    all of them.
    """
    drawn = (labels != 0).flatten(2).any(dim=2).any(dim=0)
    drawn[list(told)] = True  # told, and empty: nothing of the heart is there
    if not bool(drawn.any()):
        return None
    labels = labels.clone()
    labels[:, ~drawn] = IGNORE
    return labels


def _checked(file: Path, found: Scan, scan: Scan, slices: Slices) -> tuple[Tensor, str]:
    """Labels (z, t, y, x) for a scan from what a file of labels was read as, and what they were taken for."""
    if found.image is None:
        raise ValueError("got complex values; wanted whole numbers from 0 to 3")
    chosen = picked(file, slices, found.shape[0])
    grid = (len(chosen), *found.shape[1:])
    if grid != scan.shape:
        raise ValueError(f"got grid {grid} (z, t, y, x); wanted {scan.shape}, the scan's")
    values = found.image.unique()
    if not bool(torch.isin(values, torch.arange(4.0)).all()):
        got = ", ".join(f"{value:g}" for value in values[:8].tolist())
        raise ValueError(f"got values {got}; wanted whole numbers from 0 to 3")
    labels, told = found.image.to(torch.int64), ", ".join(f"{k} {CLASS_NAMES[k]}" for k in (1, 2, 3))
    if _ACDC.search(_stem_and_kind(file)[0].rpartition("_")[0]):
        labels, told = torch.tensor(REMAP)[labels], f"{told}, from ACDC's numbers"
    drawn = annotated(labels)
    if drawn is None:
        raise ValueError("got zeros alone; wanted a heart in one frame at least")
    return drawn[list(chosen)], f"taken as {told}"


def _passed_over(path: Path, stems: set[str]) -> bool:
    if path.name.startswith(".") or path.name == MANIFEST:
        return True
    if path.suffix == ".hdr" and path.with_suffix(".cfl").is_file():
        return True
    stem, kind = _stem_and_kind(path)
    of, _, ending = stem.rpartition("_")
    return kind in _KINDS and ending in ENDINGS and of in stems and path.is_file()


def _stem_and_kind(path: Path) -> tuple[str, str]:
    """x.nii.gz -> x and .nii.gz."""
    kind = next((kind for kind in _KINDS if path.name.endswith(kind)), path.suffix)
    return path.name.removesuffix(kind), kind
