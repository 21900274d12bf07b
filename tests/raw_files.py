"""Small files of every raw format, written as its specification says, for the tests of the readers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from kwise.seeding import generator

Change = Callable[[Any], None]
SPACING = (8.0, 2.0, 1.5)  # mm (z, y, x)

COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase")
# struct ISMRMRD_AcquisitionHeader of ismrmrd.h
MRD_HEAD = np.dtype(
    [
        ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"), ("available_channels", "<u2"), ("active_channels", "<u2"),
        ("channel_mask", "<u8", (16,)), ("discard_pre", "<u2"), ("discard_post", "<u2"),
        ("center_sample", "<u2"), ("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"), ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)), ("slice_dir", "<f4", (3,)), ("patient_table_position", "<f4", (3,)),
        ("idx", [(n, "<u2") for n in (*COUNTERS, "repetition", "set", "segment")] + [("user", "<u2", (8,))]),
        ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,)),
    ]
)  # fmt: skip
FLOATS = h5py.vlen_dtype(np.dtype("<f4"))
MRD_ROW = np.dtype([("head", MRD_HEAD), ("traj", FLOATS), ("data", FLOATS)])


def kspace_of(*shape: int, seed: object = 0) -> np.ndarray:
    """(c, z, t, ky, kx) complex64 with its peak at DC, as measurements have."""
    import torch

    draw = generator("raw files", seed)
    values = torch.randn(*shape, dtype=torch.complex64, generator=draw).numpy()
    values[..., shape[-2] // 2, shape[-1] // 2] += 20
    return values


def mrd_header(ky: int, kx: int, *, oversampling: int = 1, without: str = "", extra: str = "") -> str:
    """The XML header; `without` leaves one optional field out."""
    parts = {
        "version": "<version>1</version>",
        "subjectInformation": "<subjectInformation><patientID>x</patientID></subjectInformation>",
        "measurementInformation": "<measurementInformation><patientPosition>HFS</patientPosition>"
        "</measurementInformation>",
        "encodedSpace": f"<encodedSpace><matrixSize><x>{kx * oversampling}</x><y>{ky}</y><z>1</z>"
        f"</matrixSize><fieldOfView_mm><x>{kx * SPACING[2] * oversampling}</x>"
        f"<y>{ky * SPACING[1]}</y><z>{SPACING[0]}</z></fieldOfView_mm></encodedSpace>",
        "reconSpace": f"<reconSpace><matrixSize><x>{kx}</x><y>{ky}</y><z>1</z></matrixSize><fieldOfView_mm>"
        f"<x>{kx * SPACING[2]}</x><y>{ky * SPACING[1]}</y><z>{SPACING[0]}</z></fieldOfView_mm></reconSpace>",
        "encodingLimits": "<encodingLimits><kspace_encoding_step_1><minimum>0</minimum>"
        f"<maximum>{ky - 1}</maximum><center>{ky // 2}</center></kspace_encoding_step_1></encodingLimits>",
        "trajectory": "<trajectory>cartesian</trajectory>",
        "sequenceParameters": "<sequenceParameters><TR>42.5</TR></sequenceParameters>",
    }
    part = {name: "" if name == without else text for name, text in parts.items()}
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        + part["version"] + part["subjectInformation"] + part["measurementInformation"] + "<encoding>"
        + part["encodedSpace"] + part["reconSpace"] + part["encodingLimits"] + part["trajectory"]
        + "</encoding>" + part["sequenceParameters"] + extra + "</ismrmrdHeader>"
    )  # fmt: skip


def mrd_row(samples: np.ndarray, flags: tuple[int, ...] = (), **counters: int) -> np.ndarray:
    """One readout (c, kx) with its counters, as a row of the file."""
    row = np.zeros(1, dtype=MRD_ROW)
    head = row["head"]
    head["version"], head["number_of_samples"] = 1, samples.shape[1]
    head["active_channels"] = head["available_channels"] = len(samples)
    head["center_sample"] = counters.pop("center", samples.shape[1] // 2)
    head["flags"] = sum(1 << (bit - 1) for bit in flags)
    for name, value in counters.items():
        head["idx"][name] = value
    head["read_dir"], head["phase_dir"], head["slice_dir"] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    head["position"] = (3, 4, 5 + 10 * counters.get("slice", 0))
    row["data"][0] = np.ascontiguousarray(samples, dtype="<c8").view("<f4").ravel()
    row["traj"][0] = np.zeros(0, "<f4")
    return row


def mrd_rows(kspace: np.ndarray, every: int = 1) -> list[np.ndarray]:
    """A row for each `every`-th line of k-space (c, z, t, ky, kx)."""
    _, slices, frames, lines, _ = kspace.shape
    return [
        mrd_row(kspace[:, z, t, ky], kspace_encode_step_1=ky, slice=z, phase=t)
        for z in range(slices)
        for t in range(frames)
        for ky in range(0, lines, every)
    ]


def write_mrd_rows(path: Path, header: str | None, rows: list[np.ndarray], group: str = "dataset") -> Path:
    """The two data sets of an MRD file."""
    with h5py.File(path, "w") as file:
        if header is not None:
            text = np.array([header.encode()], dtype=object)
            file.create_dataset(f"{group}/xml", data=text, dtype=h5py.string_dtype("utf-8"))
        file.create_dataset(f"{group}/data", data=np.concatenate(rows))
    return path


def write_fastmri(path: Path, kspace: np.ndarray, without: str = "", mask: np.ndarray | None = None) -> Path:
    """k-space (z, c, readout, lines), or (z, readout, lines)."""
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        kx, ky = kspace.shape[-2:]
        if without != "ismrmrd_header":
            file["ismrmrd_header"] = mrd_header(ky, kx // 2, oversampling=2)
        if mask is not None:
            file["mask"] = mask.astype(np.float32)
        if without != "attributes":
            file.attrs["acquisition"], file.attrs["patient_id"], file.attrs["norm"] = "CORPD_FBK", "abc", 1.0
    return path


def write_mat73(path: Path, **arrays: np.ndarray) -> Path:
    """MATLAB v7.3: HDF5 after a block of 512 bytes, axes backwards, complex numbers as (real, imag)."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            stored = np.ascontiguousarray(array.T)
            if stored.dtype.kind == "c":
                pairs = np.empty(stored.shape, dtype=[("real", "<f4"), ("imag", "<f4")])
                pairs["real"], pairs["imag"] = stored.real, stored.imag
                stored = pairs
            file[name] = stored
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2024 HDF5 schema 1.00 ."
    with path.open("r+b") as raw:
        raw.write(head.ljust(124) + b"\x00\x02IM")
    return path


def write_mat5(path: Path, **arrays: np.ndarray) -> Path:
    """MATLAB v5."""
    from scipy.io import savemat

    savemat(path, arrays)
    return path


def write_cfl(path: Path, array: np.ndarray, dims: tuple[int, ...] | None = None, order: str = "<") -> Path:
    """`array` in BART's order of axes, READ first."""
    sizes = dims or tuple(array.shape) + (1,) * (16 - array.ndim)
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + " \n")
    array.astype(f"{order}c8").ravel(order="F").tofile(path.with_suffix(".cfl"))
    return path.with_suffix(".cfl")


def write_dicom(path: Path, pixels: np.ndarray, without: str = "", **elements: Any) -> Path:
    """A classic MR image (y, x), or a multi-frame one (t, y, x)."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.Rows, image.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        image.NumberOfFrames = len(pixels)
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    told = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "PixelSpacing": [SPACING[1], SPACING[2]],
        "SliceThickness": SPACING[0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-10, -20, 30],
        "TriggerTime": 0,
        "InstanceNumber": 1,
    } | elements
    for name, value in told.items():
        if name != without:
            setattr(image, name, value)
    image.PixelData = pixels.astype("<u2").tobytes()
    image.save_as(path, enforce_file_format=True)
    return path
