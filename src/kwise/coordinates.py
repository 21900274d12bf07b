"""Positions with DC at 0, and the moves between the k-space grid and the set of acquired samples."""

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
        raise ValueError("gathering readout lines: got a non-Cartesian trajectory; wanted a Cartesian grid")
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
