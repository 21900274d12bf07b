"""Where voxels lie, in the axes of DICOM and MRD: left, back and up, in mm, from a scan's affine."""

from dataclasses import dataclass

import numpy as np
import torch

from kwise.types import Scan

_LPS = np.array([-1.0, -1.0, 1.0])  # NIfTI's axes point right and front, DICOM's and MRD's left and back


@dataclass(frozen=True)
class Place:
    """Slices of a scan in the patient: `right`, `down` and `through` (3,) unit vectors along x and y of the
    image and to the next slice, `corners` (z, 3) centres of voxel (0, 0) of every slice in mm, `pixel_mm` (y,
    x), `pitch_mm` between slices.
    """

    right: np.ndarray
    down: np.ndarray
    through: np.ndarray
    corners: np.ndarray
    pixel_mm: tuple[float, float]
    pitch_mm: float

    def centres(self, shape: tuple[int, int]) -> np.ndarray:
        """(z, 3) positions in mm of pixel (y // 2, x // 2) of slices of `shape` (y, x)."""
        y, x = self.pixel_mm[0] * (shape[0] // 2), self.pixel_mm[1] * (shape[1] // 2)
        return self.corners + self.right * x + self.down * y


def affine_of(scan: Scan) -> np.ndarray:
    """(4, 4) voxel (x, y, z) -> mm of NIfTI; without one in the scan, its origin is voxel (0, 0, 0)."""
    if scan.affine is not None:
        return scan.affine.to(torch.float64).numpy()
    z, y, x = scan.spacing_mm
    return np.diag([x, y, z, 1.0])


def place_of(scan: Scan) -> Place:
    """The slices of a scan in DICOM's axes; ValueError where rows and columns are not at right angles."""
    affine = affine_of(scan)
    columns = affine[:3, :3] * _LPS[:, None]
    lengths = np.linalg.norm(columns, axis=0)
    if lengths.min() <= 0 or not np.isfinite(affine).all():
        raise ValueError(f"placing {scan.case}: got an affine without three directions; wanted a geometry")
    right, down, through = (columns / lengths).T
    if abs(right @ down) > 1e-3:
        got = f"rows and columns at {np.degrees(np.arccos(right @ down)):.1f} degrees"
        raise ValueError(f"placing {scan.case}: got {got}; wanted right angles, as DICOM and MRD need")
    down = down - right * (right @ down)
    down = down / np.linalg.norm(down)
    corners = affine[:3, 3] * _LPS + np.arange(scan.shape[0])[:, None] * columns[:, 2]
    return Place(right, down, through, corners, (float(lengths[1]), float(lengths[0])), float(lengths[2]))
