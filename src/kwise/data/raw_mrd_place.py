"""Where the slices of an MRD file lie in the scanner, the size of their pixels, the time between frames."""

import numpy as np
import torch
from torch import Tensor

from kwise.data.nifti import FRAME_MS
from kwise.data.raw_checks import NO_SPACING
from kwise.data.raw_mrd_header import Header


def in_order(
    heads: np.ndarray, use: np.ndarray, z: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Slice numbers in the order of their places along the slice direction, and those places (z, 3) in mm."""
    names = heads.dtype.names or ()
    if "position" not in names or "slice_dir" not in names:
        return z, None
    rows = np.flatnonzero(use)
    firsts = [rows[np.argmax(z[rows] == i)] for i in range(n)]
    positions = heads["position"][firsts].astype(float)
    along = positions @ heads["slice_dir"][firsts[0]].astype(float)
    if not np.isfinite(positions).all() or len(np.unique(along.round(3))) < n:
        return z, None
    order = np.argsort(along)
    return np.argsort(order)[z], positions[order]


def spacing_of(
    header: Header,
    n_encoded: int,
    n_lines: int,
    positions: np.ndarray | None,
    n_partitions: int,
    notes: dict[str, str],
) -> tuple[float, float, float]:
    """(z, y, x) in mm: of the encoded field of view; slices by their distance, else their thickness."""
    if header.fov_mm is None:
        notes["spacing"] = NO_SPACING
        return 1.0, 1.0, 1.0
    x, y, z = header.fov_mm
    told = header.matrix[2] if header.matrix else 1
    apart = slice_distance(positions, z / max(1, told, n_partitions))
    return apart, y / n_lines, x / n_encoded


def slice_distance(positions: np.ndarray | None, thickness: float) -> float:
    """Between the places (z, 3) of slices in mm, their `thickness` where one alone is told; 1 for nothing."""
    if positions is not None and len(positions) > 1:
        thickness = float(np.median(np.linalg.norm(np.diff(positions, axis=0), axis=1)))
    return thickness or 1.0


def frame_ms_of(header: Header, n_frames: int) -> float | None:
    """The header's TR, which is the time between frames in cines; None where it cannot be."""
    if n_frames < 2 or header.tr_ms is None or not FRAME_MS[0] <= header.tr_ms <= FRAME_MS[1]:
        return None
    return header.tr_ms


def affine_of(
    head: np.void,
    positions: np.ndarray | None,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> Tensor | None:
    """Voxel (x, y, z) to scanner mm as in NIfTI (MRD's axes point left and back); None if not told. A slab of
    `shape` (z, y, x) has its position at its middle.
    """
    names = ("read_dir", "phase_dir", "slice_dir")
    if positions is None or any(name not in (head.dtype.names or ()) for name in names):
        return None
    axes = np.stack([head[name].astype(float) for name in names], axis=1)
    if not np.isfinite(axes).all() or abs(abs(np.linalg.det(axes)) - 1) > 0.05:
        return None
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing[::-1])
    z, y, x = shape
    affine[:3, 3] = positions[0] - affine[:3, :3] @ np.array([x // 2, y // 2, z // 2])
    affine[:2] *= -1
    return torch.from_numpy(affine)
