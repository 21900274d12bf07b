"""The only Fourier transform of kwise: centred, orthonormal, over an image or along one of its axes.

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


def fft1c(x: Tensor, dim: int) -> Tensor:
    """The transform of `fft2c` along one axis, complex64."""
    shifted = torch.fft.ifftshift(_complex(x), dim=dim)
    return torch.fft.fftshift(torch.fft.fft(shifted, dim=dim, norm="ortho"), dim=dim)


def ifft1c(x: Tensor, dim: int) -> Tensor:
    """The inverse and adjoint of `fft1c`."""
    shifted = torch.fft.ifftshift(_complex(x), dim=dim)
    return torch.fft.fftshift(torch.fft.ifft(shifted, dim=dim, norm="ortho"), dim=dim)


def _complex(x: Tensor) -> Tensor:
    return x if x.is_complex() else x.to(torch.float32).to(torch.complex64)
