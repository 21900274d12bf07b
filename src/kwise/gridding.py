"""From a trajectory to the grid: density compensation, and the Cartesian measurement a trajectory amounts to.

Undersampled frames are not filled: as in zero-filling, what was not measured stays out. So no sample weighs
more than one cell of the grid, and cells without a sample are not acquired.
"""

from dataclasses import replace

import torch
from torch import Tensor

from kwise.fourier import along_trajectory, fft2c, from_trajectory
from kwise.types import Measurement

_ITERATIONS = 10  # of Pipe and Menon's; weights move by under 1 % after these
_CARTESIAN = (5 / 9) ** 2  # what the kernel gathers where every cell of the grid holds one sample of weight 1
_ROUNDING = 1e-10  # of a residual's energy: below, a frame is solved
_STEPS = 4  # of conjugate gradients: more fit what the samples of one frame cannot tell


def density_weights(positions: Tensor, valid: Tensor, shape: tuple[int, int]) -> Tensor:
    """(m, n) weights of samples at `positions` (m, n, 2), 0 where not `valid` (m, n): the area of k-space
    each stands for, in cells of a grid of `shape` (y, x), at most 1; all 1 on the grid itself.

    Pipe and Menon, MRM 1999: w <- w / (C w), C a cubic B-spline with itself on a grid twice as fine.
    """
    index, spread = _spline(positions.detach(), shape)
    keep = valid.to(spread.dtype)
    weights = keep.clone()
    for _ in range(_ITERATIONS):
        gathered = _gather(_scatter(weights, index, spread, shape), index, spread) / _CARTESIAN
        weights = keep * weights / torch.where(valid, gathered, 1.0)
    return weights.clamp(max=1)


def gridded(measurement: Measurement) -> Measurement:
    """The Cartesian measurement a trajectory amounts to; one without a trajectory as it is.

    Per frame and coil, the image of least norm whose samples along the trajectory are those measured, by a
    few steps of conjugate gradients from the adjoint of the density-weighted samples; of its k-space the
    cells that hold a sample. Nothing is shared between frames. A trajectory over positions of the grid gives
    back that grid.
    """
    path = measurement.trajectory
    if path is None:
        return measurement
    b, _, z, t = measurement.kspace.shape[:4]
    shape = (measurement.shape[-2], measurement.shape[-1])
    positions, valid = path.flatten(3, 4).flatten(0, 2).float(), measurement.mask.flatten(3).flatten(0, 2)
    samples = measurement.kspace.permute(0, 2, 3, 1, 4, 5).flatten(4).flatten(0, 2)  # (b * z * t, c, n)
    kspace = fft2c(_least_norm(samples, positions, density_weights(positions, valid, shape), shape))
    return replace(
        measurement,
        kspace=kspace.unflatten(0, (b, z, t)).permute(0, 3, 1, 2, 4, 5),
        mask=cells_of(positions, valid, shape).unflatten(0, (b, z, t)),
        trajectory=None,
    )


def _least_norm(samples: Tensor, positions: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images (m, c, y, x) that solve A^H W A x = A^H W samples from x = 0 (Pruessmann et al., MRM 2001)."""
    weights = weights.unsqueeze(1)

    def energy(x: Tensor) -> Tensor:
        return x.abs().square().sum(dim=(-2, -1), keepdim=True)

    residual = from_trajectory(weights * samples, positions, shape)
    image, direction = torch.zeros_like(residual), residual
    now = energy(residual)
    done = _ROUNDING * now.clamp(min=torch.finfo(now.dtype).tiny)
    for step in range(_STEPS):
        seen = along_trajectory(direction, positions)
        # What is left of a solved frame is rounding, which A may not even see: no step along it.
        met = (weights * seen.abs().square()).sum(dim=-1)[..., None, None]
        length = torch.where(now > done, now / met.clamp(min=torch.finfo(met.dtype).tiny), 0)
        image = image + length * direction
        if step + 1 < _STEPS:
            residual = residual - length * from_trajectory(weights * seen, positions, shape)
            before, now = now, energy(residual)
            direction = residual + now / before.clamp(min=torch.finfo(now.dtype).tiny) * direction
    return image


def cells_of(positions: Tensor, valid: Tensor, shape: tuple[int, int]) -> Tensor:
    """(m, y, x) bool: the cells of the grid that hold a valid sample."""
    rows, columns = (
        ((k * n).round().long() + n // 2) % n for k, n in zip(positions.unbind(-1), shape)
    )  # a sample beyond the last line is as near to the first: k-space of pixels is periodic
    held = torch.zeros(len(positions), shape[0] * shape[1], device=positions.device)
    return (held.scatter_add(1, rows * shape[1] + columns, valid.float()) > 0).unflatten(1, shape)


def _spline(positions: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Flat indices (m, n, 16) on a periodic grid twice as fine as `shape`, and cubic B-spline weights."""
    axes = []
    for k, n in zip(positions.unbind(-1), shape):
        place = (k + 0.5) * 2 * n
        low = place.floor()
        u = place - low
        near = torch.stack(
            [(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3], dim=-1
        )
        axes.append(((low.unsqueeze(-1).long() + torch.arange(-1, 3, device=k.device)) % (2 * n), near / 6))
    (rows, by_row), (columns, by_column) = axes
    index = rows.unsqueeze(-1) * 2 * shape[1] + columns.unsqueeze(-2)
    return index.flatten(-2), (by_row.unsqueeze(-1) * by_column.unsqueeze(-2)).flatten(-2)


def _scatter(weights: Tensor, index: Tensor, spread: Tensor, shape: tuple[int, int]) -> Tensor:
    grid = torch.zeros(len(weights), 4 * shape[0] * shape[1], device=weights.device, dtype=spread.dtype)
    return grid.scatter_add(1, index.flatten(1), (weights.unsqueeze(-1) * spread).flatten(1))


def _gather(grid: Tensor, index: Tensor, spread: Tensor) -> Tensor:
    return (grid.gather(1, index.flatten(1)).view_as(spread) * spread).sum(dim=-1)
