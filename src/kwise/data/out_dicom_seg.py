"""Labels as DICOM SEG: one binary segmentation per cardiac phase, which refers to the images it lies on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kwise import __version__
from kwise.atomic import write_atomically
from kwise.data.dicom_source import ImageReference
from kwise.data.out_dicom import ENHANCED_MR, MAKER, comments, derivation
from kwise.data.out_geometry import Place, place_of
from kwise.types import CLASS_NAMES, Scan

# Class index -> keyword of its SNOMED CT code among pydicom's.
_CODES = ("", "LeftVentricle", "LeftVentricleMyocardium", "RightVentricle", "LeftAtrium", "RightAtrium")


def write_dicom_segmentations(
    folder: Path,
    labels: Tensor,
    n_classes: int,
    scan: Scan,
    images: Any,
    model: str,
    colours: Sequence[tuple[int, int, int]] = (),
) -> list[Path]:
    """Write seg_001.dcm, ... of labels (z, t, y, x), one a frame, all of one series; gives their paths.

    `images` is the Enhanced MR data set of `write_dicom_images` for the same scan, whose patient, study and
    frame of reference they share. `colours` (r, g, b) by class index.
    """
    from pydicom.uid import generate_uid

    series, segments = generate_uid(), _segments(n_classes, model, colours)
    place, written = place_of(scan), []
    for t in range(labels.shape[1]):
        pixels = np.where(labels[:, t].numpy() >= n_classes, 0, labels[:, t].numpy()).clip(0).astype(np.uint8)
        made = _segmentation(pixels, place, images, segments, series, t)
        made.ContentDescription = f"cardiac phase {t + 1} of {labels.shape[1]}"
        made.SeriesDescription = f"kwise {model}: heart, one SEG per cardiac phase"[:64]
        made.ImageComments = comments(scan)
        _refer(made, images, t, labels.shape[0], place)
        written.append(folder / f"seg_{t + 1:03d}.dcm")
        write_atomically(written[-1], made.save_as)
    return written


def _segments(n_classes: int, model: str, colours: Sequence[tuple[int, int, int]]) -> list[Any]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    family = codes.cid7162.ArtificialIntelligence
    program = AlgorithmIdentificationSequence(f"kwise {model}"[:64], family, __version__)
    return [
        SegmentDescription(
            segment_number=k,
            segment_label=CLASS_NAMES[k],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=getattr(codes.SCT, _CODES[k]),
            algorithm_type="AUTOMATIC",
            algorithm_identification=program,
            display_color=CIELabColor.from_rgb(*colours[k]) if k < len(colours) else None,
        )
        for k in range(1, max(2, n_classes))
    ]


def _segmentation(
    pixels: np.ndarray, place: Place, images: Any, segments: list[Any], series: str, t: int
) -> Any:
    """One phase (z, y, x) uint8."""
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
    from highdicom.seg import Segmentation
    from pydicom.uid import generate_uid

    return Segmentation(
        source_images=[images],
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=series,
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=t + 1,
        manufacturer=MAKER["Manufacturer"],
        manufacturer_model_name=MAKER["ManufacturerModelName"],
        software_versions=MAKER["SoftwareVersions"],
        device_serial_number=MAKER["DeviceSerialNumber"],
        content_label="HEART",
        pixel_measures=PixelMeasuresSequence(place.pixel_mm, place.pitch_mm, place.pitch_mm),
        plane_orientation=PlaneOrientationSequence("PATIENT", [*place.right, *place.down]),
        plane_positions=[PlanePositionSequence("PATIENT", list(corner)) for corner in place.corners],
        omit_empty_frames=bool(pixels.any()),
    )


def _refer(made: Any, images: Any, t: int, n_slices: int, place: Place) -> None:
    """Every frame of a segmentation refers to the image of its slice in its own cardiac phase."""
    for groups in made.PerFrameFunctionalGroupsSequence:
        corner = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        z = int(np.linalg.norm(place.corners - corner, axis=1).argmin())
        frame = ImageReference(
            str(images.SeriesInstanceUID), ENHANCED_MR, str(images.SOPInstanceUID), t * n_slices + z + 1
        )
        groups.DerivationImageSequence = [derivation(frame, segmented=True)]
