"""fastMRI HDF5 files (Zbontar et al., arXiv 1811.08839): knees, brains, one coil or many, one frame a slice.

`kspace` is (slices, readout, lines) or (slices, coils, readout, lines); `mask` (lines,) says what was
acquired where the file is undersampled; `ismrmrd_header` holds the geometry.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.data.raw_checks import (
    NO_SPACING,
    case_name,
    check_acquired,
    check_room,
    cut_readout,
    dead_coils,
    open_hdf5,
    refused,
)
from kwise.data.raw_mrd_header import Header, parse_header
from kwise.data.raw_slices import Slices, picked, placed
from kwise.types import Scan


def is_fastmri(file: Any) -> bool:
    """Whether an open HDF5 file is laid out as fastMRI's."""
    stored = file.get("kspace")
    return hasattr(stored, "shape") and (len(stored.shape) in (3, 4) or "ismrmrd_header" in file)


def read_fastmri(path: Path, slices: Slices = None) -> Scan:
    """The scan (c, z, 1, ky, kx) of a fastMRI file, readout oversampling removed where the header tells it.

    ValueError in one line for a damaged file, other axes, or a mask that does not fit.
    """
    with open_hdf5(path, "fastMRI") as file:
        stored = file["kspace"]
        if stored.dtype.kind != "c" or stored.ndim not in (3, 4) or 0 in stored.shape:
            got = f"kspace of shape {stored.shape} {stored.dtype}"
            raise refused(path, got, "complex (slices, [coils], readout, lines)")
        header = _header(path, file)
        n_encoded, n_lines = stored.shape[-2:]
        n_coils = stored.shape[1] if stored.ndim == 4 else 1
        n_pixels = header.readout_pixels(n_encoded)
        check_room(path, *stored.shape)
        chosen = picked(path, slices, len(stored))
        kspace = torch.empty(n_coils, len(chosen), 1, n_lines, n_pixels, dtype=torch.complex64)
        lines = torch.zeros(len(chosen), n_lines, dtype=torch.bool)
        for z, number in enumerate(chosen):  # a slice in memory at a time
            one = torch.from_numpy(stored[number].reshape(n_coils, n_encoded, n_lines)).to(torch.complex64)
            lines[z] = (one != 0).flatten(0, 1).any(dim=0)
            kspace[:, z, 0] = cut_readout(one.transpose(-1, -2), n_pixels)
        mask = _mask(path, file, lines)[:, None, :, None].expand(*kspace.shape[1:])
        notes = _notes(file, header, n_encoded, n_pixels)
    return Scan(
        case=case_name(path),
        kspace=kspace,
        mask=check_acquired(path, mask),
        spacing_mm=_spacing(header, n_encoded, n_lines, chosen),
        notes=notes | dead_coils(kspace),
    )


def _header(path: Path, file: Any) -> Header:
    text = file["ismrmrd_header"][()] if "ismrmrd_header" in file else b""
    return parse_header(text, f"reading {path}") if text else Header()


def _mask(path: Path, file: Any, lines: Tensor) -> Tensor:
    """(z, ky) acquired lines: those that hold anything; ValueError where the file's own mask denies one."""
    if "mask" not in file:
        return lines
    told = torch.from_numpy(np.asarray(file["mask"][()]) != 0).flatten()
    if len(told) != lines.shape[1]:
        raise refused(path, f"a mask of {len(told)} lines", f"{lines.shape[1]}, as kspace has")
    if denied := int((lines.any(dim=0) & ~told).sum()):
        raise refused(path, f"{denied} lines of data that mask calls unacquired", "a mask that fits the data")
    return lines


def _notes(file: Any, header: Header, n_encoded: int, n_pixels: int) -> dict[str, str]:
    notes = {"format": "fastMRI HDF5"}
    for name in ("acquisition", "patient_id"):
        if name in file.attrs:
            notes[name] = str(file.attrs[name])
    if n_pixels < n_encoded:
        notes["readout oversampling"] = f"removed: {n_encoded} to {n_pixels} samples"
    if header.fov_mm is None:
        notes["spacing"] = NO_SPACING
    return notes


def _spacing(header: Header, n_encoded: int, n_lines: int, chosen: range) -> tuple[float, float, float]:
    if header.fov_mm is None:
        return 1.0, 1.0, 1.0
    x, y, z = header.fov_mm
    return placed((z, y / n_lines, x / n_encoded), None, chosen)[0]
