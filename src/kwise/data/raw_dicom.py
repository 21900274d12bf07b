"""DICOM magnitude cines: one file, classic or enhanced, or a folder of single images; k-space is simulated.

Slices are sorted by their place along the normal of the image plane, frames by trigger time, else by number.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kwise.data.kspace_checks import one_line
from kwise.data.nifti import FRAME_MS
from kwise.data.raw_checks import NO_SPACING, case_name, refused
from kwise.data.raw_dicom_stack import Image, Series, affine_of, by_slice, check_one_stack, spacing_of
from kwise.types import Scan

CONTENTS = "DICOMDIR"  # DICOM, but a table of contents
MOST_FILES = 20_000  # of a folder
_DICOM = b"DICM"


def is_dicom(path: Path) -> bool:
    """Whether a file says it is DICOM, or a folder holds one that does."""
    if path.is_dir():
        return any(is_dicom(file) for file in _files(path))
    with path.open("rb") as file:
        return file.read(132)[128:] == _DICOM


def read_dicom(path: Path) -> Scan:
    """The image (z, t, y, x) of a file or a folder; ValueError in one line for damage, mixed matrix sizes, an
    unfitting number of images, images of several people, planes or series, or no magnitude image at all.
    """
    images, left_out = _images(_files_of(path))
    if not images:
        raise refused(path, f"{left_out} images, none of them a magnitude", "MR magnitude images")
    if len(shapes := {image.pixels.shape for image in images}) > 1:
        raise refused(path, f"images of {sorted(shapes)[:3]} pixels", "one matrix size in all")
    stacked = check_one_stack(path, images)
    slices = by_slice(images)
    counts = [len(frames) for frames in slices]
    if len(set(counts)) > 1:
        raise refused(path, f"slices of {sorted(set(counts))[:4]} frames", "the same number in all")
    image = np.stack([np.stack([frame.pixels for frame in frames]) for frames in slices])
    first = [frames[0] for frames in slices]
    notes = {"format": "DICOM", "source": "magnitude images: k-space is simulated"} | stacked
    if left_out:
        notes["left out"] = f"{left_out} images that are no magnitudes"
    if first[0].spacing is None:
        notes["spacing"] = NO_SPACING
    spacing = spacing_of(first)
    return Scan(
        case=case_name(path),
        image=torch.from_numpy(image.astype(np.float32)),
        spacing_mm=spacing,
        frame_ms=_frame_ms(slices[0]),
        affine=affine_of(first, spacing),
        notes=notes,
    )


def image_places(path: Path) -> list[list[tuple[Path, int]]]:
    """The file of every image and its frame in it, from 0: by slice, then frame, as `read_dicom` sorts."""
    slices = by_slice(_images(_files_of(path))[0])
    return [[(image.file, image.frame) for image in frames] for frames in slices]


def _files_of(path: Path) -> list[Path]:
    return [file for file in _files(path) if is_dicom(file)] if path.is_dir() else [path]


def _files(folder: Path) -> list[Path]:
    files = (file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    found = sorted(file for file in files if file.name.upper() != CONTENTS)
    if len(found) > MOST_FILES:
        raise refused(folder, f"{len(found)} files", f"a series of at most {MOST_FILES}")
    return found


def _images(files: Sequence[Path]) -> tuple[list[Image], int]:
    """All magnitude images, and how many others there were."""
    images, left_out = [], 0
    for file in files:
        header, pixels = _load(file)
        kind = [str(word).upper() for word in header.get("ImageType", [])]
        other = str(header.get("Modality", "")) == "SEG"  # what somebody drew on images, beside them
        if pixels is None or other or "P" in kind[2:3] or "PHASE" in " ".join(kind):
            left_out += 1
            continue
        images += _split(file, header, pixels)
    return images, left_out


def _load(file: Path) -> tuple[Any, np.ndarray | None]:
    """Header and pixels (n, y, x) in the units of the header; None without pixels."""
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise refused(file, "DICOM", "pydicom to read it: pip install 'kwise[raw]'") from error
    try:
        header = dcmread(file)
        if "PixelData" not in header:
            return header, None
        pixels = np.asarray(header.pixel_array)
    except (InvalidDicomError, OSError, EOFError) as error:
        raise refused(file, f"a damaged DICOM file ({one_line(error)})", "a whole one") from error
    except Exception as error:  # pydicom raises nearly anything on damaged or compressed pixels
        raise refused(file, f"pixels nobody can decode ({one_line(error)})", "plain pixels") from error
    if pixels.ndim not in (2, 3) or pixels.size == 0 or int(header.get("SamplesPerPixel", 1)) != 1:
        raise refused(file, f"pixels of shape {pixels.shape}", "grey images")
    return header, pixels if pixels.ndim == 3 else pixels[None]


def _split(file: Path, header: Any, pixels: np.ndarray) -> list[Image]:
    """The images of one file: one, or the frames of a multi-frame file."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or [None] * len(pixels)
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    if len(per_frame) != len(pixels):
        raise refused(file, f"{len(per_frame)} frame headers for {len(pixels)} frames", "one each")
    step, series = _number(header, "FrameTime"), _series_of(header)
    images = []
    for i, (frame, values) in enumerate(zip(per_frame, pixels)):
        look = _lookup(header, shared, frame)
        slope, start = (_floats(look(name), 1) for name in ("RescaleSlope", "RescaleIntercept"))
        scaled = values.astype(np.float32) * (slope[0] if slope is not None else 1)
        axes = _floats(look("ImageOrientationPatient"), 6)
        spacing = _floats(look("PixelSpacing"), 2)
        thickness = _first_told(look, "SpacingBetweenSlices", "SliceThickness")
        time = _first_told(look, "NominalCardiacTriggerDelayTime", "TriggerTime")
        later = None if step is None else i * step
        images.append(
            Image(
                pixels=scaled + (start[0] if start is not None else 0),
                position=_floats(look("ImagePositionPatient"), 3),
                directions=None if axes is None else axes.reshape(2, 3),
                spacing=None if spacing is None or spacing.min() <= 0 else (spacing[0], spacing[1]),
                thickness=None if thickness is None else float(thickness[0]),
                time=later if time is None or (per_frame[0] is None and len(pixels) > 1) else float(time[0]),
                number=i if len(pixels) > 1 else int(_number(header, "InstanceNumber") or 0),
                file=file,
                frame=i,
                series=series,
            )
        )
    return images


def _series_of(header: Any) -> Series:
    """The series of a file as its header tells it."""
    names = ("PatientID", "PatientName", "StudyInstanceUID", "SeriesInstanceUID", "SeriesDescription")
    patient, name, study, uid, about = (str(header.get(word) or "") for word in names)
    return Series(patient or name, study, uid, " ".join(about.split())[:60])


def _lookup(header: Any, shared: Any, frame: Any) -> Callable[[str], Any]:
    """Finds an element by name: in the frame's groups, the shared groups, or the header itself."""

    def look(name: str) -> Any:
        for groups in (frame, shared):
            for group in groups or ():
                if group.VR == "SQ" and group.value and name in group.value[0]:
                    return group.value[0].get(name)
        return header.get(name)

    return look


def _first_told(look: Callable[[str], Any], *names: str) -> np.ndarray | None:
    """The number of the first element of these that is there; 0 is a number as well."""
    return next((value for value in (_floats(look(name), 1) for name in names) if value is not None), None)


def _floats(value: Any, n: int) -> np.ndarray | None:
    """`n` finite numbers; None for anything else."""
    try:
        array = np.array(value, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        return None
    return array if len(array) == n and np.isfinite(array).all() else None


def _number(header: Any, name: str) -> float | None:
    found = _floats(header.get(name), 1)
    return None if found is None else float(found[0])


def _frame_ms(frames: list[Image]) -> float | None:
    times = [frame.time for frame in frames if frame.time is not None]
    if len(times) < 2 or len(times) < len(frames):
        return None
    step = float(np.median(np.diff(times)))
    return step if FRAME_MS[0] <= step <= FRAME_MS[1] else None
