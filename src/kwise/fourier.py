"""The only Fourier transform of kwise: two-dimensional, centred, orthonormal.

DC lies at index n // 2 of each axis in both domains, so that sum |image|^2 = sum |kspace|^2 (Parseval).
"""

import torch
from torch import Tensor

_AXES = (-2, -1)


def fft2c(image: Tensor) -> Tensor:
    """Image (..., y, x) -> k-space (..., ky, kx), complex64; kept in float32 even under autocast."""
    shifted = torch.fft.ifftshift(_complex(image), dim=_AXES)
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=_AXES)


def ifft2c(kspace: Tensor) -> Tensor:
    """K-space (..., ky, kx) -> image (..., y, x), complex64; the inverse and adjoint of `fft2c`."""
    shifted = torch.fft.ifftshift(_complex(kspace), dim=_AXES)
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=_AXES)


def _complex(x: Tensor) -> Tensor:
    return x if x.is_complex() else x.to(torch.float32).to(torch.complex64)
