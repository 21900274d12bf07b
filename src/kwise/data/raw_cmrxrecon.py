"""CMRxRecon .mat files of 2023 to 2025, MATLAB v5 or v7.3: k-space, zero where undersampled, and masks.

In MATLAB's order k-space is (nx, ny, nc, nz, nt), and (nx, ny, nz, nt) under names with "single"; nx is the
readout. Axes at the end may be missing. (Wang et al., arXiv 2309.10836; cmrxrecon.github.io, Data.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.data.raw_checks import (
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
from kwise.data.raw_mat5 import Variable, read_mat5
from kwise.data.raw_side_file import read_side_file
from kwise.data.raw_slices import Slices, picked, placed
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


def read_cmrxrecon(path: Path, slices: Slices = None, mask: Path | None = None) -> Scan:
    """The scan of a k-space file, its peak moved to n//2, less what a `mask` file leaves out.

    A CSV file beside it tells pixel size and frame time (docs/formats.md). ValueError in one line for a mask
    alone, a mask that does not fit, or another file.
    """
    with _open_mat(path) as variables:
        key = kspace_key(list(variables))
        if key is None:
            if mask_key(list(variables)) is not None:
                raise refused(path, "a sampling mask without k-space", "k-space (a mask goes with --mask)")
            raise refused(path, f"variables {list(variables)[:5]}", "k-space named kspace... or kus")
        stored = variables[key]
        axes = _axes(path, key, stored)
        chosen = picked(path, slices, n_slices := _length(stored, axes, "z"))
        kspace = _kspace(stored, axes, chosen)
        middle = n_slices // 2  # judged by one slice, the same whichever are asked for
        near = kspace[:, [chosen.index(middle)]] if middle in chosen else None
        shift, told = peak_shift(_kspace(stored, axes, range(middle, middle + 1)) if near is None else near)
    kspace = rolled(kspace, shift)
    kept = check_acquired(path, acquired_samples(kspace))
    beside = read_side_file(path, (kspace.shape[-2], kspace.shape[-1]))
    notes = {
        "format": f"CMRxRecon .mat, variable {key}",
        "axes": f"read as ({', '.join(axes)}) in MATLAB's order",
    }
    if mask is not None:
        kept = kept & rolled(_fitting_mask(mask, kspace), shift)  # it lies on the grid as it was stored
        told["undersampled by"] = mask.name
        check_acquired(mask, kept)
    return Scan(
        case_name(path),
        kspace=kspace,
        mask=kept,
        spacing_mm=placed(beside.spacing_mm, None, chosen)[0] if beside.spacing_mm else (1.0, 1.0, 1.0),
        frame_ms=beside.frame_ms,
        notes=notes | told | beside.notes | dead_coils(kspace),
    )


def holds_mask_alone(path: Path) -> bool:
    """Whether a .mat file has a mask and no k-space."""
    with _open_mat(path) as variables:
        names = list(variables)
    return kspace_key(names) is None and mask_key(names) is not None


def read_mask_mat(path: Path) -> Tensor:
    """A mask file as (t, ky, kx) bool, t = 1 where all frames share it, on the grid as it was stored."""
    with _open_mat(path) as variables:
        key = mask_key(list(variables))
        if key is None:
            raise refused(path, f"variables {list(variables)[:5]}", "a mask named mask...")
        values = variables[key].whole()
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


def _axes(path: Path, key: str, stored: Variable) -> list[str]:
    """The names of the axes of k-space, in MATLAB's order."""
    axes = (_SINGLE if "single" in key else _MULTI).split()
    if not 2 <= len(stored.shape) <= len(axes):
        raise refused(path, f"{key} of shape {stored.shape}", f"axes ({', '.join(axes)})")
    if stored.kind != "c" or 0 in stored.shape:
        raise refused(path, f"{key} of kind {stored.kind!r}, shape {stored.shape}", "complex k-space")
    return axes[: len(stored.shape)]


def _length(stored: Variable, axes: list[str], name: str) -> int:
    return stored.shape[axes.index(name)] if name in axes else 1


def _kspace(stored: Variable, axes: list[str], chosen: range) -> Tensor:
    """The slices chosen, (c, z, t, ky, kx)."""
    values = stored.some(axes.index("z") if "z" in axes else None, chosen)
    names = list(axes)
    for name in "czt":
        if name not in names:
            values, names = values[..., None], [*names, name]
    order = [names.index(name) for name in ("c", "z", "t", "ky", "kx")]
    return torch.from_numpy(np.ascontiguousarray(values.transpose(order), dtype=np.complex64))


@contextmanager
def _open_mat(path: Path) -> Iterator[dict[str, Variable]]:
    """Numeric variables of a v7.3 file by HDF5, or of an older one, to be read while it is open."""
    import h5py

    if not h5py.is_hdf5(path):
        yield read_mat5(path)
        return
    with open_hdf5(path, "MATLAB v7.3") as file:
        yield {name: _from_hdf5(path, data) for name, data in file.items() if hasattr(data, "shape")}


def _from_hdf5(path: Path, data: Any) -> Variable:
    """MATLAB writes its axes backwards, and complex numbers as pairs (real, imag)."""

    def some(axis: int | None, chosen: range) -> np.ndarray:
        check_room(path, *data.shape)
        index: Any = ()
        if axis is not None:
            after = (slice(None),) * (data.ndim - 1 - axis)
            index = (*after, slice(chosen.start, chosen.stop, chosen.step))
        values = data[index]
        if paired:
            merged = np.empty(values.shape, dtype=np.complex64)
            merged.real, merged.imag = values["real"], values["imag"]
            values = merged
        return np.asarray(values).T

    paired = data.dtype.names == ("real", "imag")
    return Variable(data.shape[::-1], "c" if paired else data.dtype.kind, some)
