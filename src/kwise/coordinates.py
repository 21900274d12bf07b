"""Positions with DC at 0, and the moves between the k-space grid and the set of acquired samples."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kwise.types import Measurement, Samples


def axis_coords(n: int) -> Tensor:
    """(n,) float32 positions (i - n//2) / n in [-0.5, 0.5): index n//2, the centre or DC, is 0."""
    return (torch.arange(n) - n // 2) / n


def grid_coords(*shape: int) -> Tensor:
    """(*shape, len(shape)) positions of every element of a grid, the axes in the order given."""
    return torch.stack(torch.meshgrid(*[axis_coords(n) for n in shape], indexing="ij"), dim=-1)


def kspace_coords(measurement: Measurement) -> Tensor:
    """(b, z, t, ky, kx, 4) positions (z, t, ky, kx): of the grid, or along the trajectory if there is one."""
    b, _, z, t, ky, kx = measurement.kspace.shape
    coords = grid_coords(z, t, ky, kx).to(measurement.kspace.device).expand(b, -1, -1, -1, -1, -1)
    if measurement.trajectory is None:
        return coords
    return torch.cat([coords[..., :2], measurement.trajectory.to(coords.dtype)], dim=-1)


def whole_lines(measurement: Measurement) -> Tensor:
    """(b,) bool: whether all readout lines that a case acquired cover the same kx, as an asymmetric echo
    does.
    """
    mask = measurement.mask
    columns = mask.flatten(1, 3).any(dim=1)[:, None, None, None]
    return (mask == (mask.any(dim=-1, keepdim=True) & columns)).flatten(1).all(dim=1)


def line_radius(measurement: Measurement) -> Tensor:
    """(b, ky, 1) |ky| in [0, 0.5] where all cases acquired whole lines; else (b, ky, kx) with |ky| for cases
    of whole lines, and for others the distance from DC, at most 0.5. Cartesian measurements.
    """
    ny, nx = measurement.kspace.shape[-2:]
    device = measurement.kspace.device
    lines, whole = axis_coords(ny).abs().unsqueeze(-1).to(device), whole_lines(measurement)
    if bool(whole.all()):
        return lines.expand(len(whole), -1, -1)
    radius = grid_coords(ny, nx).norm(dim=-1).clamp(max=0.5).to(device)
    return torch.where(whole[:, None, None], lines, radius)


def along_own_grid(measurement: Measurement) -> Measurement:
    """A Cartesian measurement as one along a trajectory over its own lines; any other as it is."""
    if measurement.trajectory is not None:
        return measurement
    return replace(measurement, trajectory=kspace_coords(measurement)[..., 2:].contiguous())


def stack_measurements(items: Sequence[Measurement]) -> Measurement:
    """Join measurements of equal image grid along b, trajectories of any kind and number of samples included.

    Where one has a trajectory all get one, padded by spokes and points that were not acquired.
    """
    if all(item.trajectory is None for item in items):
        return Measurement.stack(list(items))
    paths = [along_own_grid(item) for item in items]
    spokes, points = (max(item.kspace.shape[axis] for item in paths) for axis in (-2, -1))
    return Measurement.stack([_padded(item, spokes, points) for item in paths])


def _padded(measurement: Measurement, spokes: int, points: int) -> Measurement:
    assert measurement.trajectory is not None
    have = measurement.kspace.shape
    sides = (0, points - have[-1], 0, spokes - have[-2])
    pad = torch.nn.functional.pad
    return replace(
        measurement,
        kspace=pad(measurement.kspace, sides),
        mask=pad(measurement.mask.to(torch.uint8), sides).bool(),
        trajectory=pad(measurement.trajectory, (0, 0, *sides)),
    )


def gather_samples(measurement: Measurement) -> Samples:
    """The acquired samples of a measurement as a set, padded at the end to the longest case of the batch."""
    mask = measurement.mask.flatten(1)
    values = measurement.kspace.flatten(2).transpose(1, 2)
    coords = kspace_coords(measurement).flatten(1, 4)
    counts = mask.sum(dim=1)
    longest = int(counts.max())
    # A stable sort brings acquired positions to the front in grid order.
    order = torch.argsort(mask.to(torch.uint8), dim=1, descending=True, stable=True)[:, :longest]
    index = order.unsqueeze(-1)
    values = values.gather(1, index.expand(-1, -1, values.shape[-1]))
    coords = coords.gather(1, index.expand(-1, -1, 4))
    if bool((counts == longest).all()):
        return Samples(values, coords, None)
    return Samples(values, coords, torch.arange(longest, device=mask.device) < counts.unsqueeze(1))


def scatter_samples(samples: Samples, shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Samples back on a Cartesian grid: k-space (b, c, z, t, ky, kx), mask (b, z, t, ky, kx)."""
    b, _, c = samples.values.shape
    size = torch.tensor(shape, device=samples.coords.device)
    index = (samples.coords * size).round().long() + size // 2
    z, t, ky, kx = index.unbind(-1)
    flat = ((z * shape[1] + t) * shape[2] + ky) * shape[3] + kx
    total = int(size.prod())
    if samples.valid is not None:  # padding goes to one spare cell that is cut off again
        flat = torch.where(samples.valid, flat, torch.full_like(flat, total))
    kspace = torch.zeros(b, total + 1, c, dtype=samples.values.dtype, device=flat.device)
    kspace = kspace.scatter(1, flat.unsqueeze(-1).expand(-1, -1, c), samples.values)
    mask = torch.zeros(b, total + 1, dtype=torch.bool, device=flat.device)
    mask = mask.scatter(1, flat, True)
    return kspace[:, :total].transpose(1, 2).reshape(b, c, *shape), mask[:, :total].reshape(b, *shape)


def gather_lines(measurement: Measurement) -> Samples:
    """Acquired readout lines as a set: values (b, n, c * kx), coords (b, n, 4) with kx = 0; a line counts as
    acquired if any of its points is. Cartesian scans only.
    """
    if measurement.trajectory is not None:
        wish = "a Cartesian grid, or a model that reads points"
        raise ValueError(f"gathering readout lines: got a non-Cartesian trajectory; wanted {wish}")
    b, c, z, t, ky, kx = measurement.kspace.shape
    lines = measurement.kspace.permute(0, 2, 3, 4, 1, 5).reshape(b, z * t * ky, c * kx)
    acquired = measurement.mask.any(dim=-1).flatten(1)
    counts = acquired.sum(dim=1)
    longest = int(counts.max())
    order = torch.argsort(acquired.to(torch.uint8), dim=1, descending=True, stable=True)
    order = order[:, :longest].unsqueeze(-1)
    coords = grid_coords(z, t, ky).to(lines.device).flatten(0, 2).expand(b, -1, -1)
    coords = torch.nn.functional.pad(coords, (0, 1)).gather(1, order.expand(-1, -1, 4))
    values = lines.gather(1, order.expand(-1, -1, lines.shape[-1]))
    if bool((counts == longest).all()):
        return Samples(values, coords, None)
    return Samples(values, coords, torch.arange(longest, device=lines.device) < counts.unsqueeze(1))
