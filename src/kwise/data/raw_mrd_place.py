"""Where the slices of an MRD file lie in the scanner, the size of their pixels, the time between frames."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kwise.data.nifti import FRAME_MS
from kwise.data.raw_checks import NO_SPACING, refused, uneven_slices
from kwise.data.raw_mrd_header import Header

_SAME_MM = 1.0  # readouts nearer than this are of one place
_TURNED = 0.0175  # between direction cosines: a degree


@dataclass(frozen=True)
class Stack:
    """Slices in order: `positions` (z, 3) in mm, None where they do not tell an order; `normals` (z, 3)."""

    positions: np.ndarray | None = None
    normals: np.ndarray | None = None

    def check(self, path: Path, chosen: range) -> dict[str, str]:
        """A note where the `chosen` slices lie unevenly; ValueError where they are not parallel."""
        if self.normals is None:
            return {}
        away = [z for z in chosen if _turned(self.normals[z], self.normals[chosen[0]])]
        if away:
            got = f"slices {', '.join(map(str, away[:8]))} (from 0) turned against slice {chosen[0]}"
            raise refused(path, got, "parallel slices (kwise convert --slices takes some of them)")
        return {} if self.positions is None else uneven_slices(self.positions[list(chosen)])

    @property
    def regular(self) -> bool:
        """Whether the slices are parallel and evenly apart, as far as is told."""
        if self.normals is None:
            return True
        even = self.positions is None or not uneven_slices(self.positions)
        return even and not any(_turned(normal, self.normals[0]) for normal in self.normals)


def in_order(heads: np.ndarray, use: np.ndarray, z: np.ndarray, n: int) -> tuple[np.ndarray, Stack]:
    """Slice numbers in the order of their places along the slice direction, and those places; in the order of
    their counter where slices are not parallel.
    """
    if not _tells_places(heads):
        return z, Stack()
    rows = np.flatnonzero(use)
    firsts = [rows[np.argmax(z[rows] == i)] for i in range(n)]
    positions, normals = (heads[name][firsts].astype(float) for name in ("position", "slice_dir"))
    if not np.isfinite(positions).all() or not np.isfinite(normals).all():
        return z, Stack()
    if any(_turned(normal, normals[0]) for normal in normals):
        return z, Stack(positions, normals)
    along = positions @ normals[0]
    if len(np.unique(along.round(3))) < n:
        return z, Stack()
    order = np.argsort(along)
    return np.argsort(order)[z], Stack(positions[order], normals[order])


def numbered(counter: np.ndarray, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values a counter takes among the used rows, and the number of each row's value among them."""
    values = np.unique(counter[use])
    return values, np.searchsorted(values, counter).clip(max=len(values) - 1)


def slices_in(
    path: Path, heads: np.ndarray, use: np.ndarray, notes: dict[str, str]
) -> tuple[np.ndarray, int]:
    """The slice of every used row, and how many there are: by counter, and by place where one counter stands
    for several, which `notes` say. ValueError where neither tells slices apart.
    """
    values, z = numbered(heads["idx"]["slice"], use)
    rows = np.flatnonzero(use)
    if not _tells_places(heads):
        return z, len(values)
    position, normal = heads["position"].astype(float), heads["slice_dir"].astype(float)
    if not np.isfinite(position[rows]).all() or not np.isfinite(normal[rows]).all():
        return z, len(values)
    split, n = z.copy(), 0
    for i, value in enumerate(values.tolist()):
        mine = rows[z[rows] == i]
        group = _places(position[mine])
        if _turned(normal[mine], normal[mine[0]]) or not _clean(heads[mine], group):
            got = f"readouts of slice {value} from {group.max() + 1} place(s), or turned against each other"
            raise refused(path, got, "one place and direction for each slice, at least in all of its frames")
        split[mine] = n + group
        n += int(group.max()) + 1
    if n > len(values):
        notes["slices"] = f"told apart by place: {n} places under {len(values)} slice number(s)"
    return split, n


def _tells_places(heads: np.ndarray) -> bool:
    return {"position", "slice_dir"} <= set(heads.dtype.names or ())


def _turned(normals: np.ndarray, other: np.ndarray) -> bool:
    """Whether any direction is turned by more than a degree against another one."""
    return bool(np.abs(normals - other).max() > _TURNED)


def _places(positions: np.ndarray) -> np.ndarray:
    """(n,) number of the place of every position (n, 3): those within 1 mm of its first."""
    points, inverse = np.unique(positions, axis=0, return_inverse=True)
    group = np.full(len(points), -1)
    while (left := np.flatnonzero(group < 0)).size:
        near = np.linalg.norm(points[left] - points[left[0]], axis=1) <= _SAME_MM
        group[left[near]] = group.max() + 1
    return group[inverse.reshape(-1)]


def _clean(heads: np.ndarray, group: np.ndarray) -> bool:
    """Whether places of readouts of one slice number are slices: well apart along their normal, and every one
    with all frames.
    """
    n = int(group.max()) + 1
    if n == 1:
        return True
    firsts = [int(np.argmax(group == i)) for i in range(n)]
    along = np.sort(heads["position"][firsts].astype(float) @ heads["slice_dir"][0].astype(float))
    idx = heads["idx"]
    frames = [np.unique(np.stack([idx["phase"], idx["repetition"]])[:, group == i], axis=1) for i in range(n)]
    return bool(np.diff(along).min() > 2 * _SAME_MM) and all(np.array_equal(frames[0], f) for f in frames[1:])


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
