"""What a folder is: one scan, where every file of it belongs to that scan, or else a folder of scans."""

import re
from collections.abc import Callable
from pathlib import Path

from kwise.data.raw_checks import refused
from kwise.data.raw_dicom import CONTENTS, is_dicom

_NIFTI = r"\.nii(\.gz)?"
# Names of what lies beside the images of one scan and is no scan.
_BESIDE = re.compile(
    r"dicomdir|lockfile|version|readme|license|thumbs\.db|desktop\.ini|autorun\.inf|"
    r".+\.(txt|md|csv|tsv|xml|pdf|json|html?|jpe?g|png|gif|cfg|log)",
    re.IGNORECASE,
)
_ANSWERS = ("run.json", "phenotypes.csv")  # in a folder that kwise wrote: no scan of anybody


def folder_format(path: Path) -> str:
    """The key in FORMATS of a folder that is one scan; ValueError names what does not belong to it."""
    files = [file for file in sorted(path.iterdir()) if not file.name.startswith(".")]
    for name, of_scan in _KINDS.items():
        found = of_scan(files)
        if not any(found):
            continue
        strays = [file.name for file, fits in zip(files, found) if not (fits or _is_beside(file))]
        if strays:
            got = f"a folder of {name.upper()} and {', '.join(strays[:3])}"
            raise refused(path, got, "a folder of one scan alone, or each scan by its own name")
        return name
    there = [file.name for file in files][:5]
    got = f"a folder of {', '.join(there)}" if there else "an empty folder"
    raise refused(path, got, "DICOM images, or a patient of ACDC or M&Ms")


def _acdc(files: list[Path]) -> list[bool]:
    """Which files are of the first patient of ACDC among them: its cine, frames, truth and Info.cfg."""
    cine = re.compile(rf"(.+)_(4d|frame\d+)(_gt)?{_NIFTI}")
    info = any(file.name == "Info.cfg" for file in files)
    parts = [cine.fullmatch(file.name) for file in files]
    cines = [part[1] for part in parts if part and part[2] == "4d" and not part[3]]
    stems = cines or [part[1] for part in parts if part and info]
    frames = [bool(part and part[1] in stems[:1]) for part in parts]
    twice = len(cines) > 1 and cines[0] == cines[1]  # packed and not: nobody knows which one counts
    return [(fits and not twice) or file.name == "Info.cfg" for file, fits in zip(files, frames)]


def _mnms(files: list[Path]) -> list[bool]:
    """Which files are of the first patient of M&Ms among them: its cine and truth."""
    cine = re.compile(rf"(.+)_sa(_gt)?{_NIFTI}")
    parts = [cine.fullmatch(file.name) for file in files]
    stem = next((part[1] for part in parts if part and not part[2]), None)
    return [bool(part and part[1] == stem) for part in parts]


def _dicom(files: list[Path]) -> list[bool]:
    """Which files are DICOM; none where there is but the table of contents of a disc."""
    found = [file.is_file() and is_dicom(file) for file in files]
    images = any(fits and file.name.upper() != CONTENTS for file, fits in zip(files, found))
    return found if images else [False] * len(files)


_KINDS: dict[str, Callable[[list[Path]], list[bool]]] = {"acdc": _acdc, "mnms": _mnms, "dicom": _dicom}


def _is_beside(path: Path) -> bool:
    """Whether a path lies beside a scan and is none: a text, an empty folder, an answer of kwise."""
    if path.is_dir():
        return any((path / name).is_file() for name in _ANSWERS) or not any(path.iterdir())
    return bool(_BESIDE.fullmatch(path.name))
