"""fastMRI single-coil knees (Zbontar et al., arXiv 1811.08839) as a data set: measured k-space, one slice
a case.

Files lie in singlecoil_train, singlecoil_val and singlecoil_test, which are the splits. `kspace` (slice,
readout, line) becomes ours by a transposition; the readout's oversampling is cut in the image, and so is
the field of view along the lines where everything was acquired, to the matrix of the file's header or its
`reconstruction_esc`. The first five slices of a volume hold no knee and are left out, as in the K-Space
Transformer's code.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.data.splits import check_count, check_split, default_root
from kwise.fourier import fft2c, ifft2c
from kwise.nearest import nearest
from kwise.operator import crop_centre
from kwise.types import Scan

FIRST_SLICE = 5
HOME = "fastmri"
_FOLDERS = {"train": "singlecoil_train", "val": "singlecoil_val", "test": "singlecoil_test"}


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """At most `n` slices `file/slice` of one split (None: all), by name; ValueError where no file is
    there.
    """
    place = _place(root)
    check_count(n, f"listing fastMRI cases of {place}")
    wanted = list(_FOLDERS.values()) if split is None else [_FOLDERS[check_split(split)]]
    files = {name: file for name, file in _files(place).items() if file.parent.name in wanted}
    if not files:
        raise ValueError(f"looking for fastMRI volumes: got no file in {place}; wanted {wanted} there")
    return [f"{name}/{z:03d}" for name, file in files.items() for z in range(FIRST_SLICE, _depth(file))][:n]


def read(root: Path | None, case: str) -> Scan:
    """One slice: k-space (1, 1, 1, ky, kx); its mask and `notes["acceleration"]` where the file is
    undersampled.

    ValueError in one line for another name, other axes, or a damaged file.
    """
    place = _place(root)
    name, _, number = case.partition("/")
    files = _files(place)
    if name not in files or not number.isdigit():
        raise ValueError(
            f"reading fastMRI from {place}: got {case!r}; wanted file/slice, files like "
            f"{nearest(name, files)}"
        )
    file = files[name]
    with _opened(file) as stored:
        depth = len(stored["kspace"])
        if int(number) >= depth:
            raise ValueError(f"reading {file}: got slice {int(number)}; wanted 0 to {depth - 1}")
        raw = torch.from_numpy(stored["kspace"][int(number)]).to(torch.complex64).T.contiguous()
        lines = torch.from_numpy(np.asarray(stored["mask"][()]) != 0) if "mask" in stored else None
        header = _header(stored)
        notes = {k: str(stored.attrs[k]) for k in ("acquisition", "acceleration") if k in stored.attrs}
    matrix = header.get("matrix", (raw.shape[0], raw.shape[1]))
    kspace = _cropped(raw, matrix, whole=lines is None)
    mask = None if lines is None else _mask(file, lines, len(kspace), kspace.shape[-1])
    fov = header.get("fov_mm")
    spacing = (1.0, 1.0, 1.0) if fov is None else (fov[2], fov[1] / raw.shape[0], fov[0] / raw.shape[1])
    return Scan(case=case, kspace=kspace[None, None, None], mask=mask, spacing_mm=spacing, notes=notes)


def _cropped(raw: Tensor, matrix: tuple[int, int], *, whole: bool) -> Tensor:
    """K-space (ky, kx) of the central field of view; along ky only where every line was acquired."""
    ky, kx = raw.shape
    shape = (min(ky, matrix[0]) if whole else ky, min(kx, matrix[1]))
    return raw if shape == (ky, kx) else fft2c(crop_centre(ifft2c(raw), shape))


def _mask(file: Path, lines: Tensor, n_lines: int, n_read: int) -> Tensor:
    """(1, 1, ky, kx)."""
    if len(lines.flatten()) != n_lines:
        raise ValueError(f"reading {file}: got a mask of {lines.numel()} lines; wanted {n_lines}, as kspace")
    return lines.view(1, 1, -1, 1).expand(-1, -1, -1, n_read)


def _header(stored: Any) -> dict[str, Any]:
    """`matrix` (y, x) of the reconstruction and `fov_mm` (x, y, z) of what was encoded, where the file
    tells.
    """
    found: dict[str, Any] = {}
    if "reconstruction_esc" in stored:
        x, y = stored["reconstruction_esc"].shape[-2:]
        found["matrix"] = (int(y), int(x))
    if "ismrmrd_header" in stored:
        raw = stored["ismrmrd_header"][()]
        text = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
        if matrix := _numbers(text, "reconSpace", "matrixSize"):
            found.setdefault("matrix", (int(matrix[1]), int(matrix[0])))
        if fov := _numbers(text, "encodedSpace", "fieldOfView_mm"):
            found["fov_mm"] = fov
    return found


def _numbers(text: str, space: str, what: str) -> tuple[float, ...]:
    """The x, y, z of one element of an ISMRMRD header, whatever its name space; empty where it is not
    told.
    """
    pattern = rf"<(?:\w+:)?{space}>.*?<(?:\w+:)?{what}>(.*?)</(?:\w+:)?{what}>"
    block = re.search(pattern, text, flags=re.DOTALL)
    if block is None:
        return ()
    axes = [re.search(rf"<(?:\w+:)?{axis}>\s*([\d.eE+-]+)\s*<", block[1]) for axis in "xyz"]
    return tuple(float(axis[1]) for axis in axes if axis) if all(axes) else ()


def _place(root: Path | None) -> Path:
    root = default_root() if root is None else root
    return root / HOME if (root / HOME).is_dir() else root


def _files(place: Path) -> dict[str, Path]:
    """Name -> file of every volume in the folders of the splits."""
    found = {f.stem: f for folder in _FOLDERS.values() for f in sorted((place / folder).glob("*.h5"))}
    if not found:
        wanted = ", ".join(_FOLDERS.values())
        raise ValueError(f"looking for fastMRI volumes: got no file in {place}; wanted {wanted} there")
    return found


def _depth(file: Path) -> int:
    with _opened(file) as stored:
        return len(stored["kspace"])


def _opened(file: Path) -> Any:
    """An open file that holds complex k-space (slice, readout, line); ValueError for any other."""
    import h5py

    try:
        stored = h5py.File(file, "r")
    except OSError as error:
        why = " ".join(str(error).split())[:120]
        raise ValueError(f"reading {file}: got a damaged or foreign file ({why}); wanted HDF5") from error
    kspace = stored.get("kspace")
    if kspace is None or kspace.dtype.kind != "c" or kspace.ndim != 3:
        got = "no kspace" if kspace is None else f"kspace {kspace.shape} {kspace.dtype}"
        stored.close()
        raise ValueError(f"reading {file}: got {got}; wanted complex (slice, readout, line), a single coil")
    return stored
