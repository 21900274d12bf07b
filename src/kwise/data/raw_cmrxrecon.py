"""CMRxRecon .mat files of 2023 to 2025, MATLAB v5 or v7.3: k-space, zero where undersampled, and masks.

In MATLAB's order k-space is (nx, ny, nc, nz, nt), and (nx, ny, nz, nt) under names with "single"; nx is the
readout. Axes at the end may be missing. (Wang et al., arXiv 2309.10836; cmrxrecon.github.io, Data.)
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.data.raw_checks import (
    NO_SPACING,
    acquired_samples,
    case_name,
    check_acquired,
    check_room,
    dead_coils,
    open_hdf5,
    peak_shift,
    refused,
    rolled,
)
from kwise.data.raw_mat5 import read_mat5
from kwise.types import Scan

_MULTI, _SINGLE = "kx ky c z t", "kx ky z t"


def kspace_key(names: list[str]) -> str | None:
    """The name of k-space among the variables of a file; None where there is none."""
    known = [n for n in names if n.startswith(("kspace", "kus", "kdata")) and "mask" not in n]
    return known[0] if known else None


def mask_key(names: list[str]) -> str | None:
    """The name of a mask among the variables of a file; None where there is none."""
    known = [name for name in names if name.startswith("mask")]
    return known[0] if known else None


def read_cmrxrecon(path: Path, mask: Path | None = None) -> Scan:
    """The scan of a k-space file, its peak moved to n//2, less what a `mask` file leaves out.

    ValueError in one line for a mask alone, a mask that does not fit, or another file.
    """
    arrays = _read_mat(path)
    key = kspace_key(list(arrays))
    if key is None:
        if mask_key(list(arrays)) is not None:
            raise refused(path, "a sampling mask without k-space", "k-space (a mask goes with --mask)")
        raise refused(path, f"variables {list(arrays)[:5]}", "k-space named kspace... or kus")
    kspace, axes = _kspace(path, key, arrays[key])
    shift, told = peak_shift(kspace)
    kspace = rolled(kspace, shift)
    kept = check_acquired(path, acquired_samples(kspace))
    notes = {
        "format": f"CMRxRecon .mat, variable {key}",
        "axes": f"read as ({axes}) in MATLAB's order",
        "spacing": NO_SPACING,
    }
    if mask is not None:
        kept = kept & rolled(_fitting_mask(mask, kspace), shift)  # it lies on the grid as it was stored
        told["undersampled by"] = mask.name
        check_acquired(mask, kept)
    return Scan(case_name(path), kspace=kspace, mask=kept, notes=notes | told | dead_coils(kspace))


def holds_mask_alone(path: Path) -> bool:
    """Whether a .mat file has a mask and no k-space."""
    names = list(_read_mat(path))
    return kspace_key(names) is None and mask_key(names) is not None


def read_mask_mat(path: Path) -> Tensor:
    """A mask file as (t, ky, kx) bool, t = 1 where all frames share it, on the grid as it was stored."""
    arrays = _read_mat(path)
    key = mask_key(list(arrays))
    if key is None:
        raise refused(path, f"variables {list(arrays)[:5]}", "a mask named mask...")
    values = arrays[key]
    if values.ndim not in (2, 3) or 0 in values.shape or values.dtype.kind not in "buif":
        raise refused(path, f"a mask of shape {values.shape} {values.dtype}", "0 and 1 of (kx, ky[, t])")
    if not np.isin(values, (0, 1)).all() or not values.any():
        raise refused(path, "a mask of other values than 0 and 1, or of zeros", "0 and 1")
    frames = values[..., None] if values.ndim == 2 else values
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(2, 1, 0) != 0))


def _fitting_mask(path: Path, kspace: Tensor) -> Tensor:
    told, (t, ky, kx) = read_mask_mat(path), tuple(kspace.shape[2:])
    if tuple(told.shape) not in ((1, ky, kx), (t, ky, kx)):
        raise refused(path, f"a mask of (t, ky, kx) = {tuple(told.shape)}", f"{(t, ky, kx)}, or t = 1")
    return told


def _kspace(path: Path, key: str, values: np.ndarray) -> tuple[Tensor, str]:
    """(c, z, t, ky, kx) and the axes it was read as."""
    axes = (_SINGLE if "single" in key else _MULTI).split()
    if not 2 <= values.ndim <= len(axes) or 0 in values.shape:
        raise refused(path, f"{key} of shape {values.shape}", f"axes ({', '.join(axes)}), from the first on")
    if values.dtype.kind != "c":
        raise refused(path, f"{key} of type {values.dtype}", "complex k-space")
    axes = axes[: values.ndim]
    told = ", ".join(axes)
    for name in "czt":
        if name not in axes:
            values, axes = values[..., None], [*axes, name]
    order = [axes.index(name) for name in ("c", "z", "t", "ky", "kx")]
    array = np.ascontiguousarray(values.transpose(order), dtype=np.complex64)
    return torch.from_numpy(array), told


def _read_mat(path: Path) -> dict[str, np.ndarray]:
    """Numeric variables in MATLAB's order of axes: of a v7.3 file by HDF5, or of an older one."""
    import h5py

    if h5py.is_hdf5(path):
        with open_hdf5(path, "MATLAB v7.3") as file:
            return {name: _from_hdf5(path, data) for name, data in file.items() if hasattr(data, "shape")}
    return read_mat5(path)


def _from_hdf5(path: Path, data: Any) -> np.ndarray:
    """MATLAB writes its axes backwards, and complex numbers as pairs (real, imag)."""
    check_room(path, *data.shape)
    values = data[()]
    if values.dtype.names == ("real", "imag"):
        merged = np.empty(values.shape, dtype=np.complex64)
        merged.real, merged.imag = values["real"], values["imag"]
        values = merged
    return np.asarray(values).T
