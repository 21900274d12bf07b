"""The only Fourier transform of kwise: centred, orthonormal, over an image, along an axis or a trajectory.

DC lies at index n // 2 of each axis in both domains, so that sum |image|^2 = sum |kspace|^2 (Parseval).
Along a trajectory: samples(k) = sum_r image(r) exp(-2 pi i k . r) / sqrt(y x), k in cycles per pixel, r in
pixels from the centre, so a trajectory over the grid's own positions gives what the grid gives.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_AXES = (-2, -1)
# Pixels times samples of one frame up to which the sum itself is faster than gridding, and exact.
_EXACT_WORK = 2**24
_TABLE = 2**12  # oversampling of the interpolation table: its error is then below 1e-4 of the largest sample


def fft2c(image: Tensor) -> Tensor:
    """Image (..., y, x) -> k-space (..., ky, kx), complex64; kept in float32 even under autocast."""
    shifted = torch.fft.ifftshift(_complex(image), dim=_AXES)
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=_AXES)


def ifft2c(kspace: Tensor) -> Tensor:
    """K-space (..., ky, kx) -> image (..., y, x), complex64; the inverse and adjoint of `fft2c`."""
    shifted = torch.fft.ifftshift(_complex(kspace), dim=_AXES)
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=_AXES)


def fft1c(x: Tensor, dim: int) -> Tensor:
    """The transform of `fft2c` along one axis, complex64."""
    shifted = torch.fft.ifftshift(_complex(x), dim=dim)
    return torch.fft.fftshift(torch.fft.fft(shifted, dim=dim, norm="ortho"), dim=dim)


def ifft1c(x: Tensor, dim: int) -> Tensor:
    """The inverse and adjoint of `fft1c`."""
    shifted = torch.fft.ifftshift(_complex(x), dim=dim)
    return torch.fft.fftshift(torch.fft.ifft(shifted, dim=dim, norm="ortho"), dim=dim)


def along_trajectory(image: Tensor, positions: Tensor, exact: bool | None = None) -> Tensor:
    """Images (m, c, y, x) -> samples (m, c, n) complex64 at `positions` (m, n, 2) of (ky, kx), cycles per
    pixel.

    `exact` True sums, False grids by torchkbnufft (the extra `noncartesian`; Fessler and Sutton, IEEE TSP
    2003), None takes the sum where it is the faster one. Both are differentiable in the image.
    """
    shape = (image.shape[-2], image.shape[-1])
    if _sums(positions, shape, exact):
        rows, columns = _waves(positions, shape)
        partial = rows.unsqueeze(1) @ _complex(image)  # (m, c, n, x)
        return (partial * columns.unsqueeze(1)).sum(dim=-1) / math.sqrt(shape[0] * shape[1])
    samples = _gridding(shape, image.device).forward(_complex(image), _radians(positions))
    return samples / math.sqrt(shape[0] * shape[1])


def from_trajectory(
    samples: Tensor, positions: Tensor, shape: tuple[int, int], exact: bool | None = None
) -> Tensor:
    """Samples (m, c, n) at `positions` (m, n, 2) -> images (m, c, *shape): the adjoint of `along_trajectory`.
    """
    if _sums(positions, shape, exact):
        rows, columns = _waves(positions, shape)
        spread = _complex(samples).unsqueeze(-1) * columns.conj().unsqueeze(1)  # (m, c, n, x)
        return rows.mH.unsqueeze(1) @ spread / math.sqrt(shape[0] * shape[1])
    image = _gridding(shape, samples.device, adjoint=True).forward(_complex(samples), _radians(positions))
    return image / math.sqrt(shape[0] * shape[1])


def _sums(positions: Tensor, shape: tuple[int, int], exact: bool | None) -> bool:
    return positions.shape[-2] * shape[0] * shape[1] <= _EXACT_WORK if exact is None else exact


def _waves(positions: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """exp(-2 pi i k r) along y (m, n, y) and along x (m, n, x)."""
    found = []
    for k, n in zip(positions.unbind(-1), shape):
        angle = -2 * math.pi * k.unsqueeze(-1) * (torch.arange(n, device=k.device) - n // 2)
        found.append(torch.polar(torch.ones_like(angle), angle))
    return found[0], found[1]


def _radians(positions: Tensor) -> Tensor:
    return 2 * math.pi * positions.transpose(-2, -1).contiguous()


@lru_cache(maxsize=16)
def _gridding(shape: tuple[int, int], device: torch.device, adjoint: bool = False) -> Any:
    """torchkbnufft's operator for images of `shape`; ValueError in one line without the library."""
    try:
        import torchkbnufft
    except ImportError as error:
        raise ValueError(
            "transforming along a trajectory: got no torchkbnufft; wanted it for grids of this size: "
            "pip install 'kwise[noncartesian]'"
        ) from error
    made = torchkbnufft.KbNufftAdjoint if adjoint else torchkbnufft.KbNufft
    return made(shape, table_oversamp=_TABLE, device=device)


def _complex(x: Tensor) -> Tensor:
    return x if x.is_complex() else x.to(torch.float32).to(torch.complex64)
