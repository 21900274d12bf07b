"""NIfTI images as arrays (x, y, z[, t]) with a geometry in mm that can be trusted, whatever the header
says.
"""

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.data.raw_checks import NO_SPACING

# A frame spacing outside of this range is a header nobody filled in (ACDC's headers say 1 s a frame).
FRAME_MS = (5.0, 150.0)
PIXEL_MM = (0.3, 10.0)  # in the plane; anything else is a unit or a header nobody filled in
_MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_MS = {"sec": 1e3, "msec": 1.0, "usec": 1e-3}
_AXES = {3: "(x, y, z)", 4: "(x, y, z, t)"}


@dataclass(frozen=True)
class Volume:
    """One NIfTI file: `array` (x, y, z) or (x, y, z, t), `affine` (4, 4) voxel (x, y, z) -> mm,
    `spacing_mm` (z, y, x), `frame_ms` between frames or None where the header does not tell, `notes` for a
    scan: "spacing" where the sizes are no millimetres but 1 for each pixel.
    """

    array: np.ndarray
    affine: Tensor
    spacing_mm: tuple[float, float, float]
    frame_ms: float | None
    notes: dict[str, str] = field(default_factory=dict)

    def image(self) -> Tensor:
        """The array as float32, (z, t, y, x) or (z, y, x)."""
        order = (2, 3, 1, 0) if self.array.ndim == 4 else (2, 1, 0)
        return torch.from_numpy(np.ascontiguousarray(self.array.transpose(order), dtype=np.float32))


def read_nifti(file: Path, n_axes: int) -> Volume:
    """A NIfTI file of 3 or 4 axes, its sizes in mm whatever unit it names; ValueError in one line where it is
    missing, damaged, of other axes, not finite, or of pixels that no image of a body has.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    if not file.is_file():
        raise ValueError(f"reading {file}: got no such file; wanted a NIfTI image")
    try:
        image: Any = nibabel.load(file)  # type: ignore[attr-defined]
        _check_size(file, image)
        array = np.asanyarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        why = " ".join(str(error).split())[:120]
        raise ValueError(f"reading {file}: got a damaged or foreign file ({why}); wanted NIfTI") from error
    if array.ndim != n_axes or 0 in array.shape:
        raise ValueError(f"reading {file}: got shape {array.shape}; wanted axes {_AXES[n_axes]}")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"reading {file}: got {array.dtype} values, maybe NaN or Inf; wanted finite ones")
    space, _ = _units(image.header)
    x, y, z = (float(size) * _MM[space] for size in image.header.get_zooms()[:3])
    if not (x > 0 and y > 0 and z > 0):
        raise ValueError(f"reading {file}: got voxels of {x} x {y} x {z} mm; wanted positive sizes")
    if not all(PIXEL_MM[0] <= size <= PIXEL_MM[1] for size in (x, y)):
        got = f"pixels of {x:.4g} x {y:.4g} mm (unit in the header: {space})"
        wanted = f"{PIXEL_MM[0]:g} to {PIXEL_MM[1]:g} mm"
        raise ValueError(f"reading {file}: got {got}; wanted {wanted}")
    matrix = torch.tensor(np.asarray(image.affine), dtype=torch.float64)
    matrix[:3, 3] *= _MM[space]
    notes = {"spacing": NO_SPACING} if space == "unknown" and x == y == 1 else {}
    return Volume(array, _with_spacing(matrix, (x, y, z)), (z, y, x), _frame_ms(image.header), notes)


def _units(header: Any) -> tuple[str, str]:
    """The units of space and time by nibabel's words; "unknown" for those of no meaning."""
    try:
        space, time = header.get_xyzt_units()
    except KeyError:
        return "unknown", "unknown"
    return space if space in _MM else "unknown", time


def _check_size(file: Path, image: Any) -> None:
    """ValueError for a header of more voxels than a file of this size can hold, packed or not."""
    count = 1
    for n in image.shape:
        count *= int(n)
    if count > 1100 * file.stat().st_size + 4096:  # zlib packs by 1032 at most
        raise ValueError(f"{count:.3g} voxels {image.shape} in {file.stat().st_size} bytes")


def _with_spacing(affine: Tensor, spacing: tuple[float, float, float]) -> Tensor:
    """The affine with columns as long as the voxel sizes: some distributed files keep their affine in
    voxels.
    """
    sizes = torch.tensor(spacing, dtype=affine.dtype)
    lengths = affine[:3, :3].norm(dim=0)
    if bool((lengths == 0).any()):
        return torch.diag(torch.cat([sizes, sizes.new_ones(1)]))
    fixed = affine.clone()
    fixed[:3, :3] *= sizes / lengths
    return fixed


def _frame_ms(header: Any) -> float | None:
    zooms, (_, unit) = header.get_zooms(), _units(header)
    if len(zooms) < 4 or unit not in _MS:
        return None
    spacing = float(zooms[3]) * _MS[unit]
    return spacing if FRAME_MS[0] <= spacing <= FRAME_MS[1] else None
