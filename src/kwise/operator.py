"""The measurement operator A = mask . FFT . coils, its adjoint, data consistency and k-space resizing, on the
grid and along trajectories.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from kwise.fourier import along_trajectory, fft2c, from_trajectory, ifft2c
from kwise.gridding import gridded
from kwise.types import Measurement


def forward_operator(
    image: Tensor, mask: Tensor, coil_maps: Tensor | None = None, trajectory: Tensor | None = None
) -> Tensor:
    """A x: image (b, z, t, y, x) -> k-space (b, c, z, t, ky, kx), zero outside `mask` (b, z, t, ky, kx).

    With a `trajectory` (b, z, t, ky, kx, 2) of positions in cycles per pixel, ky and kx count spokes and
    points.
    """
    coils = image.unsqueeze(1)
    if coil_maps is not None:
        coils = coils * coil_maps.unsqueeze(3)
    if trajectory is None:
        return fft2c(coils) * mask.unsqueeze(1)
    folded = coils.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)  # (b * z * t, c, y, x)
    samples = along_trajectory(folded, trajectory.flatten(3, 4).flatten(0, 2))
    kspace = samples.unflatten(-1, trajectory.shape[3:5]).unflatten(0, trajectory.shape[:3])
    return kspace.permute(0, 3, 1, 2, 4, 5) * mask.unsqueeze(1)


def adjoint_operator(
    kspace: Tensor,
    mask: Tensor,
    coil_maps: Tensor | None = None,
    trajectory: Tensor | None = None,
    shape: tuple[int, int] | None = None,
) -> Tensor:
    """A^H y: k-space (b, c, z, t, ky, kx) -> image (b, z, t, y, x); without maps the coils are summed.

    With a `trajectory`, `shape` (y, x) is that of the image; no density compensation is in the adjoint.
    """
    acquired = kspace * mask.unsqueeze(1)
    if trajectory is None:
        coils = ifft2c(acquired)
    else:
        assert shape is not None
        samples = acquired.permute(0, 2, 3, 1, 4, 5).flatten(4).flatten(0, 2)
        folded = from_trajectory(samples, trajectory.flatten(3, 4).flatten(0, 2), shape)
        coils = folded.unflatten(0, trajectory.shape[:3]).permute(0, 3, 1, 2, 4, 5)
    if coil_maps is None:
        return coils.sum(dim=1)
    return (coils * coil_maps.conj().unsqueeze(3)).sum(dim=1)


def zero_filled(measurement: Measurement) -> Tensor:
    """The adjoint reconstruction (b, z, t, y, x) complex64; of a trajectory, that of its gridded k-space."""
    grid = gridded(measurement)
    return adjoint_operator(grid.kspace, grid.mask, grid.coil_maps)


def data_consistency(kspace: Tensor, measurement: Measurement, noise_weight: float | None = None) -> Tensor:
    """Put the measured values back into a predicted k-space (b, c, z, t, ky, kx).

    `noise_weight` v None replaces them (hard); otherwise (predicted + v * measured) / (1 + v) where acquired
    (Schlemper et al., TMI 2018, Eq. 6).
    """
    measured = measurement.kspace
    if noise_weight is not None:
        measured = (kspace + noise_weight * measured) / (1 + noise_weight)
    return torch.where(measurement.mask.unsqueeze(1), measured, kspace)


def crop_centre(x: Tensor, shape: tuple[int, int], value: float = 0.0) -> Tensor:
    """Crop or pad the last two axes to `shape` so that index n//2 stays index n//2."""
    for axis, wanted in zip((-2, -1), shape):
        have = x.shape[axis]
        before = wanted // 2 - have // 2
        after = wanted - have - before
        pads = [0, 0, 0, 0]
        pads[(-1 - axis) * 2 : (-1 - axis) * 2 + 2] = [before, after]
        if x.dtype == torch.bool:
            x = functional.pad(x.to(torch.uint8), pads, value=value).bool()
        else:
            x = functional.pad(x, pads, value=value)
    return x


def resize_kspace(measurement: Measurement, shape: tuple[int, int]) -> Measurement:
    """The same field of view on a grid of `shape` (ky, kx): outer k-space is cut, or left unacquired.

    Image intensity is kept: the orthonormal FFT of a smaller grid has smaller values by sqrt(area ratio).
    Along a trajectory positions are counted in the new pixels, and samples beyond their band limit are given
    up.
    """
    ky, kx = measurement.shape[-2:]
    if (ky, kx) == shape:
        return measurement
    factor = (shape[0] * shape[1] / (ky * kx)) ** 0.5
    maps = measurement.coil_maps
    if maps is not None:
        maps = ifft2c(crop_centre(fft2c(maps), shape)) * factor
    spacing = measurement.spacing_mm
    if spacing is not None:
        spacing = spacing * torch.tensor([1.0, ky / shape[0], kx / shape[1]], device=spacing.device)
    if measurement.trajectory is None:
        path = None
        kspace, mask = crop_centre(measurement.kspace, shape), crop_centre(measurement.mask, shape)
    else:
        ratio = torch.tensor([ky / shape[0], kx / shape[1]], device=measurement.trajectory.device)
        path = measurement.trajectory * ratio
        inside = ((path >= -0.5) & (path < 0.5)).all(dim=-1)
        # What is given up must not lie outside the range of positions either.
        kspace, mask, path = measurement.kspace, measurement.mask & inside, path.clamp(-0.5, 0.5 - 1e-6)
    return replace(
        measurement,
        kspace=kspace * factor,
        mask=mask,
        coil_maps=maps,
        trajectory=path,
        image_shape=shape,
        spacing_mm=spacing,
    )
