"""How near an image is to its truth, one value per slice: PSNR, SSIM, NMSE, on magnitudes and on complex
images.

Axis names: n slice (all leading axes), y and x image. The data range is max - min of the *true* magnitude
of that slice, never of the prediction: one bright pixel of a prediction must not raise its own score. A
perfect slice has PSNR inf, SSIM 1, NMSE 0. Scale is not fitted: images are compared in the units they come
in.
"""

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 7  # pixels a side of SSIM's uniform window
_K1, _K2 = 0.01, 0.03


def psnr(prediction: Tensor, truth: Tensor) -> Tensor:
    """(n,) dB, 10 log10(range^2 / mean |prediction - truth|^2) of images (..., y, x), real or complex.

    A slice whose truth is constant has no range: NaN, or inf where it is met exactly. ValueError for other
    shapes.
    """
    a, b = _slices(prediction, truth)
    error = (a - b).abs().square().mean(dim=(-2, -1))
    ratio = 10 * torch.log10(data_range(b).square() / error)
    return torch.where(error == 0, torch.inf, torch.where(data_range(b) > 0, ratio, torch.nan))


def nmse(prediction: Tensor, truth: Tensor) -> Tensor:
    """(n,) |prediction - truth|^2 / |truth|^2 of images (..., y, x), real or complex; inf for an empty truth
    that is not met.
    """
    a, b = _slices(prediction, truth)
    error, energy = ((x.abs().square().sum(dim=(-2, -1))) for x in (a - b, b))
    return torch.where(error == 0, torch.zeros_like(error), error / energy)


def ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """(n,) structural similarity of images (..., y, x), mean over all whole 7 x 7 uniform windows.

    Wang et al., IEEE TIP 2004, Eq. 13, with K1 0.01, K2 0.03 and sample covariances, as scikit-image's
    default. Complex images: the mean of the two values of real and imaginary parts, both with the range of
    the magnitude. NaN where the truth is constant and not met. ValueError for images below 7 x 7.
    """
    a, b = _slices(prediction, truth)
    if min(b.shape[-2:]) < WINDOW:
        raise ValueError(
            f"computing SSIM: got images {tuple(b.shape[-2:])}; wanted at least {WINDOW} x {WINDOW} pixels"
        )
    span = data_range(b)
    if a.is_complex() or b.is_complex():
        a, b = a.to(torch.complex128), b.to(torch.complex128)
        value = (_ssim(a.real, b.real, span) + _ssim(a.imag, b.imag, span)) / 2
    else:
        value = _ssim(a, b, span)
    met = (a == b).flatten(1).all(dim=1)
    return torch.where(met, torch.ones_like(value), torch.where(span > 0, value, torch.nan))


def data_range(truth: Tensor) -> Tensor:
    """(n,) max - min of the magnitude of each slice (n, y, x)."""
    magnitude = truth.abs().flatten(1)
    return magnitude.amax(dim=1) - magnitude.amin(dim=1)


def _ssim(a: Tensor, b: Tensor, span: Tensor) -> Tensor:
    """(n,) of real images (n, y, x)."""
    moments = torch.stack([a, b, a * a, b * b, a * b], dim=1)
    mean_a, mean_b, aa, bb, ab = functional.avg_pool2d(moments, WINDOW, stride=1).unbind(1)
    count = WINDOW**2
    sample = count / (count - 1)
    var_a, var_b = sample * (aa - mean_a**2), sample * (bb - mean_b**2)
    cov = sample * (ab - mean_a * mean_b)
    c1, c2 = ((k * span).square()[:, None, None] for k in (_K1, _K2))
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * cov + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean(dim=(-2, -1))


def _slices(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both as (n, y, x) in double precision, real where both are real."""
    if prediction.shape != truth.shape or truth.ndim < 2:
        got = f"shapes {tuple(prediction.shape)} and {tuple(truth.shape)}"
        raise ValueError(f"comparing an image with its truth: got {got}; wanted the same shape (..., y, x)")
    a, b = (x.to(torch.complex128 if x.is_complex() else torch.float64) for x in (prediction, truth))
    return a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
