"""MRD (ISMRMRD) files of spokes and arms: every readout with the positions that its `traj` row tells.

A `traj` row holds (kx, ky) of every sample, or three numbers of which the third is not used. The format
leaves their unit open; three are found in files and told apart by their size: cycles per pixel of the encoded
matrix (up to 0.5), cycles per field of view (up to half the matrix), and 1/m.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.coils import mix_coils, noise_covariance, whitening_matrix
from kwise.data.raw_checks import NO_SPACING, case_name, check_acquired, check_room, dead_coils, refused
from kwise.data.raw_mrd_header import Header
from kwise.data.raw_mrd_place import (
    Stack,
    affine_of,
    frame_ms_of,
    in_order,
    numbered,
    slice_distance,
    slices_in,
)
from kwise.data.raw_mrd_plan import NOISE, check_rows, flagged, image_rows, partitions_in
from kwise.data.raw_slices import Slices, cut_slices, picked
from kwise.types import Scan

CARTESIAN = (None, "cartesian")  # what a header says of lines on a grid, or by silence
_SLACK = 1.02  # positions may reach this far beyond the edge that their unit allows


@dataclass(frozen=True)
class Spokes:
    """Where the used readouts `rows` belong: slice `z`, frame `t`, number `spoke` among those of the same."""

    rows: np.ndarray
    z: np.ndarray
    t: np.ndarray
    spoke: np.ndarray


def read_along_trajectory(path: Path, header: Header, rows: Any, slices: Slices = None) -> Scan:
    """The scan of an MRD file whose header names another trajectory than Cartesian; ValueError in one line
    for readouts without positions, positions of no known unit, or a header without a matrix.
    """
    heads = rows.fields("head")[:]
    use, notes = image_rows(path, heads)
    check_rows(path, heads[use])
    if (partitions := partitions_in(heads, use)) > 1:
        raise refused(path, f"a trajectory in {partitions} partitions", "trajectories of slices (2-D)")
    image_shape, matrix, scale = _grid(path, header)
    spokes, stack = _placed(path, heads, use, notes)
    n_coils = int(heads[use]["active_channels"][0])
    shape = [int(index.max()) + 1 for index in (spokes.z, spokes.t, spokes.spoke)]
    notes |= stack.check(path, picked(path, slices, shape[0]))
    points = int(heads[use]["number_of_samples"].max())
    check_room(path, n_coils, *shape, points)
    kspace = torch.zeros(n_coils, *shape, points, dtype=torch.complex64)
    where = torch.zeros(*shape, points, 2)
    mask = torch.zeros(*shape, points, dtype=torch.bool)
    data, traj = rows.fields("data"), rows.fields("traj")
    for row, *place in zip(spokes.rows, spokes.z, spokes.t, spokes.spoke):
        n, z, t, s = int(heads[row]["number_of_samples"]), *(int(i) for i in place)
        kspace[:, z, t, s, :n] = _samples(path, data[int(row)], n_coils, n, int(row))
        where[z, t, s, :n] = _positions(path, traj[int(row)], n, int(row))
        mask[z, t, s, slice(*_kept(heads[row], n))] = True
    kspace, told = _whitened(kspace, heads, rows)
    where, unit = _cycles_per_pixel(path, where, mask, matrix, header)
    where = where * torch.tensor(scale)
    mask &= ((where >= -0.5) & (where <= 0.5)).all(dim=-1)
    notes |= told | {"trajectory": f"{header.trajectory}, positions in {unit}"}
    spacing = _spacing(header, image_shape, stack.positions, notes)
    scan = Scan(
        case=case_name(path),
        kspace=kspace,
        mask=check_acquired(path, mask & (kspace != 0).any(dim=0)),
        trajectory=where.clamp(-0.5, 0.5 - 1e-6),
        image_shape=image_shape,
        spacing_mm=spacing,
        frame_ms=frame_ms_of(header, shape[1]),
        affine=affine_of(heads[use][0], stack.positions, spacing, (1, *image_shape)),
        notes={"format": "MRD (ISMRMRD)"} | dict(header.notes) | notes | dead_coils(kspace),
    )
    return cut_slices(path, scan, slices)  # spokes are few: all are read


def _grid(path: Path, header: Header) -> tuple[tuple[int, int], tuple[int, int], tuple[float, float]]:
    """(y, x) of the image and of the encoded matrix, and an encoded pixel's share of an image pixel,
    inverted.
    """
    if header.matrix is None:
        raise refused(path, "a trajectory without encodedSpace.matrixSize", "the matrix it stands for")
    matrix = (header.matrix[1], header.matrix[0])
    if header.recon_matrix is None or header.fov_mm is None or header.recon_fov_mm is None:
        return matrix, matrix, (1.0, 1.0)
    image = (header.recon_matrix[1], header.recon_matrix[0])
    ratio = [
        (recon / n) / (full / m)
        for recon, n, full, m in zip(header.recon_fov_mm[1::-1], image, header.fov_mm[1::-1], matrix)
    ]
    return image, matrix, (ratio[0], ratio[1])


def _placed(
    path: Path, heads: np.ndarray, use: np.ndarray, notes: dict[str, str]
) -> tuple[Spokes, Stack]:
    """Where every used readout belongs, and the places of the slices."""
    z, n_slices = slices_in(path, heads, use, notes)
    phases, phase = numbered(heads["idx"]["phase"], use)
    repetitions, repetition = numbered(heads["idx"]["repetition"], use)
    if len(phases) > 1 and len(repetitions) > 1:
        notes["frames"] = f"{len(repetitions)} repetitions of {len(phases)} phases, joined: spokes of all"
    z, stack = in_order(heads, use, z, n_slices)
    t, rows = phase if len(phases) > 1 else repetition, np.flatnonzero(use)
    spoke, seen = np.zeros(len(rows), dtype=int), dict[tuple[int, int], int]()
    for i, row in enumerate(rows):  # in the order acquired: repeated spokes are spokes as well
        key = (int(z[row]), int(t[row]))
        spoke[i] = seen.get(key, 0)
        seen[key] = spoke[i] + 1
    return Spokes(rows, z[rows], t[rows], spoke), stack


def _samples(path: Path, block: Any, n_coils: int, n: int, row: int) -> Tensor:
    values = np.ascontiguousarray(block, dtype=np.float32)
    if values.size != 2 * n_coils * n:
        got = f"readout {row} of {values.size} numbers"
        raise refused(path, got, f"{n_coils} coils x {n} samples as its header says")
    return torch.from_numpy(values.view(np.complex64).reshape(n_coils, n).copy())


def _positions(path: Path, block: Any, n: int, row: int) -> Tensor:
    """(n, 2) of (ky, kx) as they stand in the file."""
    values = np.asarray(block, dtype=np.float32)
    if values.size not in (2 * n, 3 * n) or not np.isfinite(values).all():
        got = f"readout {row} with {values.size} numbers of trajectory for {n} samples"
        raise refused(path, got, "two or three finite numbers (kx, ky) for each")
    return torch.from_numpy(values.reshape(n, -1)[:, 1::-1].copy())


def _kept(head: np.void, n: int) -> tuple[int, int]:
    """First sample that counts, and the one after the last."""
    names = head.dtype.names or ()
    pre, post = (int(head[key]) if key in names else 0 for key in ("discard_pre", "discard_post"))
    return (pre, n - post) if pre + post < n else (0, n)


def _cycles_per_pixel(
    path: Path, where: Tensor, mask: Tensor, matrix: tuple[int, int], header: Header
) -> tuple[Tensor, str]:
    """Positions in cycles per pixel of the encoded matrix, and the unit they came in."""
    reach = where[mask].abs().amax(dim=0)
    sides = torch.tensor(matrix, dtype=torch.float32)
    if bool((reach <= 0.5 * _SLACK).all()):
        return where, "cycles per pixel"
    if bool((reach <= sides / 2 * _SLACK).all()):
        return where / sides, "cycles per field of view"
    if header.fov_mm is not None:
        pixel_m = torch.tensor(header.fov_mm[1::-1]) / sides / 1000
        if bool((reach * pixel_m <= 0.5 * _SLACK).all()):
            return where * pixel_m, "1/m"
    got = f"a trajectory that reaches {float(reach.max()):.4g} on a matrix of {matrix[0]} x {matrix[1]}"
    raise refused(path, got, "cycles per pixel, cycles per field of view, or 1/m")


def _whitened(kspace: Tensor, heads: np.ndarray, rows: Any) -> tuple[Tensor, dict[str, str]]:
    """K-space with white noise by the file's noise scans; as it is where these are too few to tell."""
    n_coils = len(kspace)
    chosen = np.flatnonzero(flagged(heads, NOISE) & (heads["active_channels"] == n_coils))[:256]
    blocks = [np.ascontiguousarray(rows.fields("data")[int(row)], dtype=np.float32) for row in chosen]
    values = [
        b.view(np.complex64).reshape(n_coils, -1) for b in blocks if b.size and not b.size % (2 * n_coils)
    ]
    noise = torch.from_numpy(np.concatenate(values, axis=1)) if values else torch.zeros(n_coils, 0)
    if noise.shape[1] < 2 * n_coils or not bool(torch.isfinite(noise.abs()).all()) or not bool(noise.any()):
        return kspace, {}
    white = whitening_matrix(noise_covariance(noise)).to(torch.complex64)
    return mix_coils(white, kspace), {"prewhitened": "by the noise scans of the file"}


def _spacing(
    header: Header, image_shape: tuple[int, int], positions: np.ndarray | None, notes: dict[str, str]
) -> tuple[float, float, float]:
    """(z, y, x) in mm of the image; slices by their distance, else their thickness."""
    fov = header.recon_fov_mm if header.recon_matrix is not None and header.fov_mm else header.fov_mm
    if fov is None:
        notes["spacing"] = NO_SPACING
        return 1.0, 1.0, 1.0
    return slice_distance(positions, fov[2]), fov[1] / image_shape[0], fov[0] / image_shape[1]
