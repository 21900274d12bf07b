"""What reconstruction models share: two-dimensional k-spaces at one scale in, images of any case, frame
and resolution out.

Axis names: b case, c coil, z slice, f queried frame, n = b * c * z * f. Coils are reconstructed one by one
and combined by their maps.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kwise.coils import with_maps
from kwise.fourier import fft2c, ifft2c
from kwise.gridding import gridded
from kwise.models.answer import gather_points, output_shape, query_frames, robust_scale
from kwise.operator import crop_centre, data_consistency
from kwise.types import Measurement, Prediction, Query


@dataclass(frozen=True)
class Grids:
    """One k-space (ky, kx) for every case, coil, slice and queried frame.

    `single` is a measurement (n, 1, 1, 1, ky, kx) whose image has an rms of about 1; `scale` (n, 1, 1) brings
    it back to the units measured; `layout` is (b, c, z, f); `coil_maps` (b, c, z, y, x), None for one coil.
    """

    single: Measurement
    scale: Tensor
    layout: tuple[int, int, int, int]
    coil_maps: Tensor | None = None

    @property
    def kspace(self) -> Tensor:
        """(n, ky, kx) complex64, zero where not acquired."""
        return self.single.kspace[:, 0, 0, 0]

    @property
    def mask(self) -> Tensor:
        """(n, ky, kx) bool, True = acquired."""
        return self.single.mask[:, 0, 0]

    @property
    def shape(self) -> tuple[int, int]:
        """(ky, kx)."""
        return self.single.shape[-2], self.single.shape[-1]

    def zero_filled(self) -> Tensor:
        """(n, y, x) complex64 images of what was acquired alone."""
        return ifft2c(self.kspace)

    def consistent(self, image: Tensor, noise_weight: float | None = None) -> Tensor:
        """Images (n, y, x) with the measured samples back in their k-space, hard or weighted by
        `noise_weight`.
        """
        kspace = fft2c(image)[:, None, None, None]
        return ifft2c(data_consistency(kspace, self.single, noise_weight)[:, 0, 0, 0])


def fold_grids(measurement: Measurement, query: Query, *, scaled: bool = True) -> Grids:
    """The queried frames as single k-spaces, trajectories gridded, missing coil maps estimated."""
    measurement = with_maps(gridded(measurement))
    b, c, z, t = measurement.kspace.shape[:4]
    frames = query_frames(query, b, t, measurement.kspace.device)
    case = torch.arange(b, device=frames.device).unsqueeze(1)
    kspace = measurement.kspace.permute(0, 3, 1, 2, 4, 5)[case, frames].permute(0, 2, 3, 1, 4, 5)
    mask = measurement.mask.transpose(1, 2)[case, frames].transpose(1, 2)
    layout = (b, c, z, frames.shape[1])
    mask = mask.unsqueeze(1).expand(*layout, -1, -1).flatten(0, 3)
    single = Measurement(kspace.flatten(0, 3)[:, None, None, None], mask[:, None, None])
    scale = robust_scale(single) if scaled else torch.ones(len(mask), 1, 1, 1, 1, 1, device=mask.device)
    folded = replace(single, kspace=single.kspace / scale)
    return Grids(folded, scale[:, 0, 0, 0], layout, measurement.coil_maps)


def unfold_images(images: Tensor, grids: Grids) -> Tensor:
    """Images (n, y, x) of single coils -> (b, z, f, y, x) complex64 in the units measured, on any grid."""
    coils = (images * grids.scale).unflatten(0, grids.layout)
    if grids.coil_maps is None:
        return coils[:, 0]
    maps = resize_image(grids.coil_maps, (images.shape[-2], images.shape[-1]))
    return (coils * maps.conj().unsqueeze(3)).sum(dim=1)


def finish_images(images: Tensor, measurement: Measurement, query: Query) -> Prediction:
    """Images (b, z, f, y, x) -> a prediction on the grid asked, or (b, z, q) at queried points."""
    on_grid = resize_image(images, output_shape(measurement, query))
    return Prediction(image=gather_points(on_grid.unsqueeze(1), query).squeeze(1))


def answer_images(images: Tensor, grids: Grids, measurement: Measurement, query: Query) -> Prediction:
    """`unfold_images`, then `finish_images`."""
    return finish_images(unfold_images(images, grids), measurement, query)


def resize_image(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Complex images (..., y, x) on another grid of the same field of view, by cutting or padding k-space."""
    have = image.shape[-2:]
    if tuple(have) == tuple(shape):
        return image
    factor = (shape[0] * shape[1] / (have[0] * have[1])) ** 0.5
    return ifft2c(crop_centre(fft2c(image), shape)) * factor


def as_channels(image: Tensor) -> Tensor:
    """Complex (n, y, x) -> real and imaginary parts (n, 2, y, x)."""
    return torch.view_as_real(image).movedim(-1, 1)


def as_complex(channels: Tensor) -> Tensor:
    """Real and imaginary parts (n, 2, y, x) -> complex (n, y, x)."""
    return torch.view_as_complex(channels.movedim(1, -1).float().contiguous())


def on_channels(net: nn.Module, image: Tensor) -> Tensor:
    """A network of two channels applied to complex images (n, y, x)."""
    return as_complex(net(as_channels(image)))
