"""The one Fourier transform, against its formula written out as matrices."""

import math

import numpy as np
import pytest
import torch

from kwise.fourier import fft2c, ifft2c

SHAPES = [(4, 4), (5, 5), (4, 7), (7, 4), (1, 6), (8, 3)]


def centred_dft(n: int) -> np.ndarray:
    """F[k, x] = exp(-2 pi i (k - n//2)(x - n//2) / n) / sqrt(n)."""
    position = np.arange(n) - n // 2
    return np.exp(-2j * math.pi * np.outer(position, position) / n) / math.sqrt(n)


@pytest.mark.parametrize("shape", SHAPES)
def test_matches_the_formula(shape: tuple[int, int], make_complex) -> None:
    image = make_complex(2, 3, *shape)
    wanted = centred_dft(shape[0]) @ image.numpy() @ centred_dft(shape[1]).T
    np.testing.assert_allclose(fft2c(image).numpy(), wanted, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_inverse_undoes_it(shape: tuple[int, int], make_complex) -> None:
    image = make_complex(2, *shape)
    torch.testing.assert_close(ifft2c(fft2c(image)), image, atol=2e-6, rtol=0)
    torch.testing.assert_close(fft2c(ifft2c(image)), image, atol=2e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_centres_meet(shape: tuple[int, int]) -> None:
    """A constant image lies at DC alone, index n//2; a point at index n//2 has a flat, real spectrum."""
    ny, nx = shape
    dc = torch.zeros(shape, dtype=torch.complex64)
    dc[ny // 2, nx // 2] = math.sqrt(ny * nx)
    torch.testing.assert_close(fft2c(torch.ones(shape)), dc, atol=2e-6, rtol=0)
    torch.testing.assert_close(fft2c(dc), torch.ones(shape, dtype=torch.complex64), atol=2e-6, rtol=0)


def test_shift_is_a_phase_ramp() -> None:
    image = torch.zeros(6, 8)
    image[3 + 1, 4 - 2] = 1
    ky, kx = torch.meshgrid((torch.arange(6) - 3) / 6, (torch.arange(8) - 4) / 8, indexing="ij")
    ramp = torch.polar(torch.full((6, 8), 1 / math.sqrt(48)), -2 * math.pi * (ky * 1 - kx * 2))
    torch.testing.assert_close(fft2c(image), ramp, atol=2e-6, rtol=0)


def test_stays_single_precision_under_autocast(make_complex) -> None:
    image = make_complex(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fft2c(image.real.bfloat16()).dtype == torch.complex64
        torch.testing.assert_close(ifft2c(fft2c(image)), image, atol=2e-6, rtol=0)


def test_gradient_is_the_adjoint(make_complex) -> None:
    image = make_complex(5, 4).requires_grad_()
    cotangent = make_complex(5, 4, seed=1)
    (gradient,) = torch.autograd.grad(fft2c(image), image, cotangent)
    torch.testing.assert_close(gradient, ifft2c(cotangent), atol=2e-6, rtol=0)
