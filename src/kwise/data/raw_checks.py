"""What readers of raw files share: errors in one line, what was acquired, where DC lies, what is dead."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.data.kspace_checks import check_self_contained, one_line
from kwise.fourier import fft2c, ifft2c
from kwise.operator import crop_centre

# Pixel sizes no file told: one pixel counts as one mm, and the note says so.
NO_SPACING = "the file does not tell the pixel size: 1 mm stands for one pixel"
ENDINGS = (
    ".gz", ".nii", ".h5", ".hdf5", ".mrd", ".ismrmrd", ".mat", ".cfl", ".hdr", ".npy", ".npz", ".dcm",
    ".dicom", ".ima",
)  # fmt: skip
_UNEVEN = 0.1  # of their median may distances of slices differ
_ROOM, _SWELL = 2**26, 256  # bytes any file may become, and how much larger than the file, before we refuse


def refused(path: Path, got: str, wanted: str) -> ValueError:
    """The error of a file that cannot be believed."""
    return ValueError(f"reading {path}: got {got}; wanted {wanted}")


@contextmanager
def open_hdf5(path: Path, what: str) -> Iterator[Any]:
    """An open HDF5 file; what HDF5 complains about, on opening or later, is a ValueError in one line."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            check_self_contained(path, file)
            yield file
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        if isinstance(error, TypeError) and not _from_hdf5(error):
            raise  # a defect of kwise: no fault of the file
        got = f"a damaged or truncated HDF5 file ({one_line(error)})"
        raise refused(path, got, f"a whole file of {what}") from error


def _from_hdf5(error: TypeError) -> bool:
    """Whether h5py raised it, as for types of data that numpy does not have."""
    frames = (frame for frame, _ in walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).split(".")[0] == "h5py" for frame in frames)


def check_room(path: Path, *shape: int) -> None:
    """Refuses complex64 k-space of a shape that a file of this size cannot mean: a damaged header."""
    size = 8
    for n in shape:
        size *= int(n)
    if size > max(_ROOM, _SWELL * path.stat().st_size):
        wanted = "a matrix that fits its size"
        raise refused(path, f"a header of {size / 1e9:.1f} GB of k-space {shape}", wanted)


def acquired_samples(kspace: Tensor) -> Tensor:
    """(z, t, ky, kx) bool: where any coil of zero-filled k-space (c, z, t, ky, kx) holds anything."""
    mask = kspace[0] != 0
    for coil in kspace[1:]:
        mask |= coil != 0
    return mask


def check_acquired(path: Path, mask: Tensor) -> Tensor:
    """The mask; ValueError where nothing at all was acquired."""
    if not bool(mask.any()):
        raise refused(path, "k-space of zeros alone", "at least one acquired sample")
    return mask


def dead_coils(kspace: Tensor) -> dict[str, str]:
    """A note that names the coils of k-space (c, z, t, ky, kx) without any signal; empty where all work."""
    dead = [i for i, coil in enumerate(kspace) if not bool((coil != 0).any())]
    if not dead or len(dead) == len(kspace):
        return {}
    return {"dead coils": f"{', '.join(map(str, dead))} (from 0) of {len(kspace)} hold zeros alone"}


def peak_shift(kspace: Tensor) -> tuple[tuple[int, int], dict[str, str]]:
    """Samples (ky, kx) to roll k-space (c, z, t, ky, kx) by to bring its peak to DC, index n//2, and a note.

    For formats that do not say where DC is. Rolling multiplies the image by a linear phase: magnitudes stay
    as they are, and nothing is interpolated. A peak at the corner is the storage order of an FFT; one up to
    n/8 off the centre an echo that is shifted; one sample off is left alone; anything else is left and told.
    """
    energy = torch.zeros(kspace.shape[-2:])
    for coil in kspace:
        energy += coil.abs().square().sum(dim=(0, 1))
    peak, sizes = divmod(int(energy.argmax()), energy.shape[1]), tuple(energy.shape)
    off = [p - n // 2 for p, n in zip(peak, sizes)]
    if max(map(abs, off)) <= 1:
        return (0, 0), {}
    where = f"its peak (ky {peak[0]}, kx {peak[1]}) of {sizes[0]} x {sizes[1]}"
    near = all(abs(d) <= n / 8 for d, n in zip(off, sizes))
    if not near and not all(min(p, n - p) <= n / 8 for p, n in zip(peak, sizes)):
        return (0, 0), {"centre of k-space": f"not where {where} lies: left as it was"}
    shift = (-off[0], -off[1])
    return shift, {"centre of k-space": f"rolled by {shift}: {where} lies at DC now"}


def rolled(x: Tensor, shift: tuple[int, int]) -> Tensor:
    """K-space or a mask, rolled along (ky, kx)."""
    return x if shift == (0, 0) else x.roll(shift, dims=(-2, -1))


def uneven_slices(places: np.ndarray) -> dict[str, str]:
    """A note where the places (z, axes) of slices in mm, in order, are not evenly apart: no volume then."""
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    if len(steps) < 2 or (np.abs(steps - np.median(steps)) <= _UNEVEN * np.median(steps)).all():
        return {}
    told = ", ".join(f"{step:.4g}" for step in steps[:12])
    return {"slice distance": f"uneven, {told} mm between neighbours: no volume is measured"}


def cut_readout(lines: Tensor, n: int) -> Tensor:
    """K-space lines (..., kx) of the central `n` pixels of their readout: oversampling removed.

    The field of view shrinks by n / kx, the pixels keep their size and their values.
    """
    if n == lines.shape[-1]:
        return lines
    # A grid of one line: the 2-D transform is then the 1-D one.
    images = ifft2c(lines.unsqueeze(-2))
    return fft2c(crop_centre(images, (1, n))).squeeze(-2)


def case_name(path: Path) -> str:
    """The name of a case: that of its file without endings; of a folder, all of it."""
    path = path.resolve()
    return path.name if path.is_dir() else stem_of(path.name)


def stem_of(name: str) -> str:
    """A file's name without the endings of the formats kwise reads: other dots are part of the name, as in
    1.2.840.nii.gz.
    """
    stem = name
    while stem.lower().endswith(ENDINGS):
        stem = stem.rpartition(".")[0]
    return stem or name
