"""Coils read together: one image for all coils, with the measured samples of every coil put back through its
map.

E x = mask . FFT . maps x with sum over coils of |map|^2 = 1 (Pruessmann et al., SENSE, MRM 1999). With one
coil all of this is `Grids`. Axis names: b case, c coil, z slice, f queried frame, n = b * z * f.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kwise.coils import with_maps
from kwise.fourier import fft2c
from kwise.gridding import gridded
from kwise.models.answer import query_frames, robust_scale
from kwise.operator import adjoint_operator, data_consistency
from kwise.types import Measurement, Query


@dataclass(frozen=True)
class SenseGrids:
    """The coils' k-spaces of every case, slice and queried frame.

    `coils` is a measurement (n, c, 1, 1, ky, kx) whose image has an rms of about 1, with `coil_maps` where
    there are several coils; `scale` (n, 1, 1) brings an image back to the units measured; `layout` is (b, z,
    f).
    """

    coils: Measurement
    scale: Tensor
    layout: tuple[int, int, int]

    def zero_filled(self) -> Tensor:
        """(n, y, x) complex64 images E^H y of what was acquired alone."""
        return self._joined(self.coils.kspace)

    def consistent(self, image: Tensor, noise_weight: float | None = None) -> Tensor:
        """Images (n, y, x) with the measured samples back in every coil's k-space, hard or weighted, joined.

        One coil: exact. Several: x + E^H (y - E x), a step towards all coils that need not reach all.
        """
        coils = image[:, None, None, None]
        if self.coils.coil_maps is not None:
            coils = coils * self.coils.coil_maps.unsqueeze(3)
        return self._joined(data_consistency(fft2c(coils), self.coils, noise_weight))

    def in_units(self, image: Tensor) -> Tensor:
        """Images (n, y, x) -> (b, z, f, y, x) in the units measured."""
        return (image * self.scale).unflatten(0, self.layout)

    def _joined(self, kspace: Tensor) -> Tensor:
        everything = torch.ones((), dtype=torch.bool, device=kspace.device).expand(len(kspace), 1, 1, 1, 1)
        return adjoint_operator(kspace, everything, self.coils.coil_maps)[:, 0, 0]


def fold_sense(measurement: Measurement, query: Query) -> SenseGrids:
    """The queried frames with their coils, trajectories gridded, missing coil maps estimated."""
    folded = with_maps(gridded(measurement.fold_slices()))
    frames = query_frames(query, len(measurement.kspace), measurement.n_frames, folded.kspace.device)
    layout = (len(measurement.kspace), measurement.n_slices, frames.shape[1])
    index = frames.repeat_interleave(measurement.n_slices, dim=0)
    case = torch.arange(len(index), device=index.device).unsqueeze(1)
    kspace = folded.kspace[:, :, 0].transpose(1, 2)[case, index].flatten(0, 1)  # (n, c, ky, kx)
    maps = folded.coil_maps
    coils = Measurement(
        kspace[:, :, None, None],
        folded.mask[:, 0][case, index].flatten(0, 1)[:, None, None],
        None if maps is None else maps.repeat_interleave(frames.shape[1], dim=0),
    )
    scale = robust_scale(coils)
    return SenseGrids(replace(coils, kspace=coils.kspace / scale), scale[:, 0, 0, 0], layout)
