"""OASIS-1 brains (Marcus et al., J. Cogn. Neurosci. 2007): T1 volumes in Analyze or NIfTI, one slice a
case.

A session is a folder OAS1_0001_MR1; the volume is the atlas-registered one (T88_111, gain-field corrected)
where it is there, else the subject's average, else the first raw scan. A case is `session/slice`, every
tenth slice of a volume as in the K-Space Transformer's paper; all sessions of a subject are in the same
split.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kwise.data.splits import check_count, default_root, pick_split, split_of
from kwise.nearest import nearest
from kwise.types import Scan

STEP = 10  # every tenth slice is a case: 10 %
HOME = "oasis"
_SESSION = re.compile(r"OAS1_\d{4}_MR\d+")
_FRACTIONS = {"train": 0.7, "val": 0.05, "test": 0.25}  # the paper's 3:1, with a part to choose models by
_VOLUMES = (
    "PROCESSED/MPRAGE/T88_111/*_t88_gfc",
    "PROCESSED/MPRAGE/SUBJ_111/*_sbj_111",
    "RAW/*_mpr-1_anon",
    "*",
)
_SUFFIXES = (".img", ".img.gz", ".nii", ".nii.gz")


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """At most `n` slices of one split (None: all), by session and slice.

    `root` holds sessions, or discs of sessions, or is the folder of all data sets. ValueError where no
    session is there.
    """
    place = _place(root)
    check_count(n, f"listing OASIS cases of {place}")
    splits: dict[str, str] = {}
    for session, folder in _sessions(place).items():
        of = split_of(session.rsplit("_", 1)[0], HOME, _FRACTIONS)
        if split is None or of == split or split not in _FRACTIONS:
            depth = _load(_volume(folder)).shape[2]
            splits |= {f"{session}/{z:03d}": of for z in range(STEP // 2, depth, STEP)}
    return pick_split(splits, split, f"listing OASIS cases of {place}")[:n]


def read(root: Path | None, case: str) -> Scan:
    """One slice: image (1, 1, y, x), no labels; ValueError for another name or a damaged volume."""
    place = _place(root)
    sessions = _sessions(place)
    session, _, number = case.partition("/")
    if session not in sessions or not number.isdigit():
        raise ValueError(
            f"reading OASIS from {place}: got {case!r}; wanted session/slice, sessions like "
            f"{nearest(session, sessions)}"
        )
    file = _volume(sessions[session])
    volume = _load(file)
    if int(number) >= volume.shape[2]:
        raise ValueError(f"reading {file}: got slice {int(number)}; wanted 0 to {volume.shape[2] - 1}")
    try:
        plane = np.asarray(volume.dataobj[:, :, int(number)], dtype=np.float32)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"reading {file}: got damaged data ({error}); wanted a whole volume") from error
    image = torch.from_numpy(np.ascontiguousarray(plane.reshape(volume.shape[:2]).T))
    x, y, z = (float(mm) for mm in volume.header.get_zooms()[:3])
    notes = {"source": "magnitude images: k-space is simulated", "volume": file.name}
    return Scan(case=case, image=image[None, None], spacing_mm=(z, y, x), notes=notes)


def _place(root: Path | None) -> Path:
    root = default_root() if root is None else root
    return root / HOME if (root / HOME).is_dir() else root


def _sessions(place: Path) -> dict[str, Path]:
    """Name -> folder of every session in a place, or in folders directly below it (the discs)."""
    found = [*place.glob("OAS1_*"), *place.glob("*/OAS1_*")]
    sessions = {folder.name: folder for folder in sorted(found) if _SESSION.fullmatch(folder.name)}
    if not sessions:
        got = "no session in it" if place.is_dir() else "no such folder"
        raise ValueError(f"looking for OASIS brains in {place}: got {got}; wanted folders OAS1_0001_MR1")
    return sessions


def _volume(folder: Path) -> Path:
    for pattern in _VOLUMES:
        for suffix in _SUFFIXES:
            if files := sorted(folder.glob(pattern + suffix)):
                return files[0]
    raise ValueError(f"looking for an OASIS volume in {folder}: got none; wanted Analyze or NIfTI")


def _load(file: Path) -> Any:
    """An image (x, y, z) or (x, y, z, 1), its voxels still on disk."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nibabel.load(file)  # type: ignore[attr-defined]
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        why = " ".join(str(error).split())[:120]
        raise ValueError(f"reading {file}: got a damaged or foreign file ({why}); wanted a volume") from error
    if len(image.shape) < 3 or any(n != 1 for n in image.shape[3:]) or 0 in image.shape:
        raise ValueError(f"reading {file}: got shape {image.shape}; wanted axes (x, y, z)")
    return image
