"""Who a scan is of: patient, study and images of a DICOM source, or a new study where the source was none."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kwise.data.raw_dicom import image_places, is_dicom
from kwise.types import Scan

# Elements that say whose images these are and which study they belong to, taken over from the source.
_PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
    "PatientSize", "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
)  # fmt: skip
_STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
    "StudyDescription",
)  # fmt: skip
_FRAME = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition")
# Present in every object, empty where nobody knows (type 2 of PS3.3).
_MAY_BE_EMPTY = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "PositionReferenceIndicator",
)  # fmt: skip


@dataclass(frozen=True)
class ImageReference:
    """One source image: series, SOP class and instance, and its frame number from 1 in a multi-frame file."""

    series: str
    sop_class: str
    sop_instance: str
    frame: int | None


@dataclass(frozen=True)
class Identity:
    """`elements` keyword -> value of patient, study and frame of reference; `images` by slice, then frame,
    empty where the source was not DICOM.
    """

    elements: dict[str, Any]
    images: tuple[tuple[ImageReference, ...], ...] = ()


def identity_of(scan: Scan, source: Path | None) -> Identity:
    """Patient and study of a scan: its DICOM source's own, else the case's name in a new study."""
    if source is None or not source.exists() or not is_dicom(source):
        return _new_identity(scan)
    return _dicom_identity(scan, source)


def _new_identity(scan: Scan) -> Identity:
    from pydicom.uid import generate_uid

    elements: dict[str, Any] = dict.fromkeys(_MAY_BE_EMPTY, "")
    now = datetime.now()
    elements["PatientID"], elements["StudyID"] = scan.case[:64], "1"
    elements["StudyDate"], elements["StudyTime"] = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    elements["StudyInstanceUID"], elements["FrameOfReferenceUID"] = generate_uid(), generate_uid()
    return Identity(elements)


def _dicom_identity(scan: Scan, source: Path) -> Identity:
    from pydicom import dcmread

    places = image_places(source)
    headers = {file: dcmread(file, stop_before_pixels=True) for row in places for file, _ in row}
    first = headers[places[0][0][0]]
    known = {name: first[name].value for name in (*_PATIENT, *_STUDY, *_FRAME) if name in first}
    empty = dict.fromkeys((*_MAY_BE_EMPTY, "PatientID"), "")
    elements = _new_identity(scan).elements | empty | known
    if (len(places), len(places[0])) != scan.shape[:2]:
        return Identity(elements)
    images = tuple(tuple(_reference(headers[file], frame) for file, frame in row) for row in places)
    return Identity(elements, images)


def _reference(header: Any, frame: int) -> ImageReference:
    several = int(header.get("NumberOfFrames") or 1) > 1
    series, kind, instance = (
        str(header.get(name, "")) for name in ("SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
    )
    return ImageReference(series, kind, instance, frame + 1 if several else None)
