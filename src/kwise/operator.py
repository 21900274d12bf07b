"""The measurement operator A = mask . FFT . coils, its adjoint, data consistency and k-space resizing."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from kwise.fourier import fft2c, ifft2c
from kwise.types import Measurement


def forward_operator(image: Tensor, mask: Tensor, coil_maps: Tensor | None = None) -> Tensor:
    """A x: image (b, z, t, y, x) -> k-space (b, c, z, t, ky, kx), zero outside `mask` (b, z, t, ky, kx)."""
    coils = image.unsqueeze(1)
    if coil_maps is not None:
        coils = coils * coil_maps.unsqueeze(3)
    return fft2c(coils) * mask.unsqueeze(1)


def adjoint_operator(kspace: Tensor, mask: Tensor, coil_maps: Tensor | None = None) -> Tensor:
    """A^H y: k-space (b, c, z, t, ky, kx) -> image (b, z, t, y, x); without maps the coils are summed."""
    coils = ifft2c(kspace * mask.unsqueeze(1))
    if coil_maps is None:
        return coils.sum(dim=1)
    return (coils * coil_maps.conj().unsqueeze(3)).sum(dim=1)


def zero_filled(measurement: Measurement) -> Tensor:
    """The adjoint reconstruction (b, z, t, y, x) complex64 of a Cartesian measurement."""
    return adjoint_operator(measurement.kspace, measurement.mask, measurement.coil_maps)


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
    """
    if measurement.trajectory is not None:
        raise ValueError("resizing k-space: got a non-Cartesian trajectory; wanted a Cartesian grid")
    ky, kx = measurement.kspace.shape[-2:]
    if (ky, kx) == shape:
        return measurement
    factor = (shape[0] * shape[1] / (ky * kx)) ** 0.5
    maps = measurement.coil_maps
    if maps is not None:
        maps = ifft2c(crop_centre(fft2c(maps), shape)) * factor
    spacing = measurement.spacing_mm
    if spacing is not None:
        spacing = spacing * torch.tensor([1.0, ky / shape[0], kx / shape[1]], device=spacing.device)
    return replace(
        measurement,
        kspace=crop_centre(measurement.kspace, shape) * factor,
        mask=crop_centre(measurement.mask, shape),
        coil_maps=maps,
        image_shape=shape,
        spacing_mm=spacing,
    )
