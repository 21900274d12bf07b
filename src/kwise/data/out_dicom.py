"""A cine as one Enhanced MR Image (DICOM PS3.3 A.36): derived magnitudes with geometry, times and sources."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kwise import __version__
from kwise.atomic import write_atomically
from kwise.data.dicom_source import Identity, ImageReference
from kwise.data.out_geometry import Place, place_of
from kwise.types import Scan

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
MAKER = {
    "Manufacturer": "kwise",
    "ManufacturerModelName": "kwise",
    "DeviceSerialNumber": "none",
    "SoftwareVersions": __version__,
}
_BRIGHTEST = 4095  # stored value of the largest magnitude: 12 bits, as scanners write
_KIND = ["DERIVED", "PRIMARY", "CINE", "NONE"]


def write_dicom_images(path: Path, magnitude: Tensor, scan: Scan, identity: Identity, about: str) -> Any:
    """Write magnitudes (z, t, y, x) as one Enhanced MR file and give its data set, for others to refer to.

    `about` is the series description: what these images are. Frames run over t, then z. ValueError for a
    geometry DICOM cannot hold.
    """
    place = place_of(scan)
    made = new_object(path, ENHANCED_MR, identity)
    levels, slope = _levels(magnitude)
    _describe(made, scan, identity, about)
    _pixels(made, levels)
    made.SharedFunctionalGroupsSequence = [_shared(place, slope, float(magnitude.max()))]
    made.PerFrameFunctionalGroupsSequence = [
        _frame_groups(made, scan, place, identity, z, t)
        for t in range(scan.shape[1])
        for z in range(scan.shape[0])
    ]
    _dimensions(made)
    if identity.images:
        made.SourceImageEvidenceSequence = [_evidence(identity)]
    write_atomically(path, lambda part: made.save_as(part, enforce_file_format=True))
    return made


def new_object(path: Path, sop_class: str, identity: Identity) -> Any:
    """An empty DICOM object of a class, of this patient, study and maker, with a UID of its own."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(path.name, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    for name, value in (identity.elements | MAKER).items():
        setattr(made, name, value)
    now = datetime.now()
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    return made


def group(elements: Mapping[str, object]) -> Any:
    """A data set of these elements, keyword -> value."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def _levels(magnitude: Tensor) -> tuple[np.ndarray, float]:
    """Stored values uint16 (t, z, y, x), and what one of them is worth."""
    slope = float(magnitude.max()) / _BRIGHTEST or 1.0
    levels = (magnitude / slope).round().clamp(0, _BRIGHTEST)
    return levels.numpy().astype(np.uint16).transpose(1, 0, 2, 3), slope


def _describe(made: Any, scan: Scan, identity: Identity, about: str) -> None:
    from pydicom.uid import generate_uid

    made.Modality, made.SeriesInstanceUID, made.SeriesNumber = "MR", generate_uid(), 1
    made.SeriesDescription, made.InstanceNumber = about[:64], 1
    made.ImageType, made.PixelPresentation = _KIND, "MONOCHROME"
    made.VolumetricProperties, made.VolumeBasedCalculationTechnique = "SAMPLED", "NONE"
    made.ComplexImageComponent, made.AcquisitionContrast = "MAGNITUDE", "UNKNOWN"
    made.ImageComments = comments(scan)
    made.BurnedInAnnotation, made.LossyImageCompression = "NO", "00"
    made.PresentationLUTShape, made.AcquisitionContextSequence = "IDENTITY", []
    made.ContentQualification = "RESEARCH"
    # About the scanner that measured, which the file may not tell; elements that have to be there.
    made.PatientPosition = identity.elements.get("PatientPosition", "")
    made.ApplicableSafetyStandardAgency = "IEC"


def comments(scan: Scan) -> str:
    """What a reader of the file has to know: that it is research, and what was simulated or unknown."""
    told = ["kwise, research only"]
    if "simulated" in scan.notes:
        told.append(f"simulated: {scan.notes['simulated']}")
    if scan.in_pixels:
        told.append("pixel size unknown: 1 mm stands for one pixel")
    if scan.affine is None:
        told.append("position in the scanner unknown")
    return "; ".join(told)[:1024]


def _pixels(made: Any, levels: np.ndarray) -> None:
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.NumberOfFrames = levels.shape[0] * levels.shape[1]
    made.Rows, made.Columns = levels.shape[2:]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = np.ascontiguousarray(levels, dtype="<u2").tobytes()


def _shared(place: Place, slope: float, brightest: float) -> Any:
    # Nobody told which part of the body this is, and the element has to be there.
    body = code("38266002", "SCT", "Entire body")
    frame_type = group(dict(
        FrameType=_KIND, PixelPresentation="MONOCHROME", VolumetricProperties="SAMPLED",
        VolumeBasedCalculationTechnique="NONE", ComplexImageComponent="MAGNITUDE",
        AcquisitionContrast="UNKNOWN",
    ))  # fmt: skip
    value = group(dict(RescaleIntercept=0, RescaleSlope=number(slope), RescaleType="US"))
    window = group(dict(WindowCenter=number(brightest / 2 or 0.5), WindowWidth=number(brightest or 1.0)))
    return group(
        dict(
            PixelMeasuresSequence=[measures(place)],
            PlaneOrientationSequence=[orientation(place)],
            FrameAnatomySequence=[group(dict(FrameLaterality="U", AnatomicRegionSequence=[body]))],
            PixelValueTransformationSequence=[value],
            FrameVOILUTSequence=[window],
            MRImageFrameTypeSequence=[frame_type],
        )
    )


def code(value: str, scheme: str, meaning: str) -> Any:
    """A coded concept."""
    return group(dict(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning))


def number(value: float) -> str:
    """A decimal string of at most 16 characters, as DICOM's DS wants."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def measures(place: Place) -> Any:
    """Pixel size, and the pitch of the slices; how thick they are is not known, and said to be the pitch."""
    return group(
        dict(
            PixelSpacing=[number(mm) for mm in place.pixel_mm],
            SpacingBetweenSlices=number(place.pitch_mm),
            SliceThickness=number(place.pitch_mm),
        )
    )


def orientation(place: Place) -> Any:
    """Directions of rows and columns."""
    return group(dict(ImageOrientationPatient=[number(v) for v in (*place.right, *place.down)]))


def position(place: Place, z: int) -> Any:
    """Centre of the first pixel of a slice."""
    return group(dict(ImagePositionPatient=[number(v) for v in place.corners[z]]))


def _frame_groups(made: Any, scan: Scan, place: Place, identity: Identity, z: int, t: int) -> Any:
    content = group(dict(
        StackID="1", InStackPositionNumber=z + 1, TemporalPositionIndex=t + 1,
        DimensionIndexValues=[t + 1, z + 1],
    ))  # fmt: skip
    groups = group(dict(FrameContentSequence=[content], PlanePositionSequence=[position(place, z)]))
    if scan.frame_ms:
        groups.CardiacSynchronizationSequence = [
            group(
                dict(NominalCardiacTriggerDelayTime=t * scan.frame_ms, RRIntervalTimeNominal=_cycle_ms(scan))
            )
        ]
    if identity.images:
        groups.DerivationImageSequence = [derivation(identity.images[z][t])]
    return groups


def _cycle_ms(scan: Scan) -> float:
    assert scan.frame_ms is not None
    return scan.frame_ms * scan.shape[1]


def derivation(source: ImageReference, segmented: bool = False) -> Any:
    """That a frame was made from a source image: `segmented`, or its k-space transformed, for which the
    standard has no code and a private one stands.
    """
    kind = ("113076", "DCM", "Segmentation") if segmented else ("KSPACE", "99KWISE", "Image from k-space")
    purpose = code("121322", "DCM", "Source image for image processing operation")
    image = group(
        dict(
            ReferencedSOPClassUID=source.sop_class,
            ReferencedSOPInstanceUID=source.sop_instance,
            PurposeOfReferenceCodeSequence=[purpose],
        )
    )
    if source.frame is not None:
        image.ReferencedFrameNumber = source.frame
    return group(dict(DerivationCodeSequence=[code(*kind)], SourceImageSequence=[image]))


def _evidence(identity: Identity) -> Any:
    """Every source image once, by series, within their study."""
    series: dict[str, dict[str, str]] = {}
    for source in (source for row in identity.images for source in row):
        series.setdefault(source.series, {})[source.sop_instance] = source.sop_class
    listed = [
        group(
            {
                "SeriesInstanceUID": uid,
                "ReferencedSOPSequence": [
                    group({"ReferencedSOPClassUID": kind, "ReferencedSOPInstanceUID": instance})
                    for instance, kind in instances.items()
                ],
            }
        )
        for uid, instances in series.items()
    ]
    study = identity.elements["StudyInstanceUID"]
    return group({"StudyInstanceUID": study, "ReferencedSeriesSequence": listed})


def _dimensions(made: Any) -> None:
    from pydicom.uid import generate_uid

    uid = generate_uid()
    made.DimensionOrganizationSequence = [group(dict(DimensionOrganizationUID=uid))]
    made.DimensionIndexSequence = [
        group(
            dict(
                DimensionOrganizationUID=uid,
                DimensionIndexPointer=pointer,
                FunctionalGroupPointer=0x00209111,  # FrameContentSequence
                DimensionDescriptionLabel=label,
            )
        )
        for pointer, label in ((0x00209128, "Temporal Position Index"), (0x00209057, "In-Stack Position"))
    ]
