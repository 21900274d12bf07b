"""Closed contours as low-order Fourier series in the angle."""

import math

import torch
from torch import Tensor

HARMONICS = 4


def harmonics(cosine: Tensor, sine: Tensor) -> Tensor:
    """Fourier basis (1 + 2 * HARMONICS, n) of n unit vectors: 1, cos, sin, cos 2, sin 2, ..."""
    basis = cosine.new_empty(1 + 2 * HARMONICS, cosine.numel())
    basis[0] = 1
    basis[1], basis[2] = cosine.flatten(), sine.flatten()
    for k in range(2, HARMONICS + 1):
        torch.sub(basis[1] * basis[2 * k - 3], basis[2] * basis[2 * k - 2], out=basis[2 * k - 1])
        torch.add(basis[1] * basis[2 * k - 2], basis[2] * basis[2 * k - 3], out=basis[2 * k])
    return basis


def ring(n: int) -> Tensor:
    """The basis (1 + 2 * HARMONICS, n) at n equally spaced angles of a whole turn."""
    angles = torch.arange(n) * (2 * math.pi / n)
    return harmonics(angles.cos(), angles.sin())
