"""Harmonic U-Net: ours, the best model of any kind for Cartesian cine.

Every ky line is a periodic signal of time, sampled here and there. A Bayesian harmonic regression with
learned prior spectra gives its best linear estimate at every frame: exact kriging instead of a kernel mean,
so wide sharing does not blur what narrow sharing could have known. The inverse FFT of several such estimates,
phase-referenced, and the amplitude of motion go to a U-Net with one head shared by all frames. Fourier prior:
the inverse FFT. Learned: spectra and U-Net.

Where single points were acquired, and not whole lines, every cell of k-space is such a signal, with the prior
of its distance from DC; trajectories are gridded first, frame by frame.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.coordinates import line_radius
from kwise.fourier import ifft2c
from kwise.gridding import gridded
from kwise.models.answer import (
    EVERYTHING,
    N_CONTEXT,
    acquisition_context,
    finish_answer,
    query_frames,
    robust_scale,
)
from kwise.nn.conv import UNet, pad_to_multiple
from kwise.nn.harmonics import HarmonicRegression, harmonic_basis
from kwise.types import Measurement, Prediction, Query


class HarmonicUNet(nn.Module):
    """Harmonic view sharing -> images -> U-Net on `block` x `block` pixels, for the queried frames alone.

    `context` also tells it the phase of the cycle a frame stands for and how much was sampled: where samples
    are few, when the heart contracts has to come from what is known of hearts.
    """

    def __init__(
        self,
        *,
        n_classes: int = 4,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        n_banks: int = 3,
        n_harmonics: int = 5,
        block: int = 1,
        context: bool = True,
    ) -> None:
        super().__init__()
        self.block, self.context = block, context
        self.regression = HarmonicRegression(n_banks, n_harmonics)
        inputs = 2 * n_banks + 5 + (N_CONTEXT if context else 0)
        self.net = UNet(inputs * block**2, n_classes * block**2, channels)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points."""
        folded, asked = gridded(measurement.fold_slices()), query.repeat_slices(measurement.n_slices)
        frames = query_frames(asked, folded.kspace.shape[0], measurement.n_frames, folded.kspace.device)
        logits = self.segment(self.images(folded, frames).flatten(0, 1))
        return Prediction(
            finish_answer(logits.unflatten(0, frames.shape).transpose(1, 2), measurement, query)
        )

    def segment(self, images: Tensor) -> Tensor:
        """Images (n, channel, y, x) -> logits (n, k, y, x)."""
        size = images.shape[-2:]
        blocks = functional.pixel_unshuffle(pad_to_multiple(images, self.block), self.block)
        return functional.pixel_shuffle(self.net(blocks), self.block)[..., : size[0], : size[1]]

    def images(self, measurement: Measurement, frames: Tensor) -> Tensor:
        """What the U-Net sees of the queried frames (b, f): (b, f, channel, y, x), one slice."""
        coefficients = self.coefficients(measurement)  # (b, h, m, c, y, x)
        n = (coefficients.shape[2] - 1) // 2
        phases = harmonic_basis(frames / measurement.n_frames, max(n, 2)).to(coefficients.dtype)  # (b, f, m)
        banks = torch.einsum("bfm,bhmcyx->bfhcyx", phases[..., : 2 * n + 1], coefficients)
        # The most mobile bank: its first two harmonics, relative to the queried frame.
        moving = coefficients[:, 0]
        pairs = functional.pad(moving, (0, 0) * 3 + (0, max(0, 4 - 2 * n)))[:, 1:5].unflatten(1, (2, 2))
        now = phases[:, :, 1:5].unflatten(2, (2, 2))
        in_phase = torch.einsum("bfnp,bnpcyx->bfncyx", now, pairs)
        ahead = torch.stack([now[..., 1], -now[..., 0]], dim=-1)
        quadrature = torch.einsum("bfnp,bnpcyx->bfncyx", ahead, pairs)
        motion = moving[:, 1:].abs().square().sum(dim=(1, 2)).sqrt()
        mean = coefficients[:, -1, 0]  # (b, c, y, x)
        signed = torch.cat([banks, in_phase, quadrature], dim=2)
        level = mean.abs().square().sum(dim=1).mean(dim=(-2, -1)).sqrt()[:, None, None, None, None] + 1e-12
        real = referenced(signed, mean) / level
        modulus = (banks.abs().square().sum(dim=3) + 1e-12).sqrt() / level
        energy = motion[:, None, None].expand(-1, frames.shape[1], -1, -1, -1) / level
        seen = torch.cat([real, modulus, energy], dim=2)
        if not self.context:
            return seen
        told = acquisition_context(measurement, frames)[..., None, None].expand(-1, -1, -1, *seen.shape[-2:])
        return torch.cat([seen, told], dim=2)

    def coefficients(self, measurement: Measurement) -> Tensor:
        """Images of the harmonic coefficients (b, h, m, c, y, x)."""
        kspace = measurement.kspace[:, :, 0] / robust_scale(measurement).squeeze(2)  # (b, c, t, ky, kx)
        nx = kspace.shape[-1]
        radius, mask = line_radius(measurement), measurement.mask[:, 0]
        if radius.shape[-1] == 1:  # whole lines: one signal for all of kx
            values = kspace.permute(0, 2, 3, 1, 4).flatten(3)  # (b, t, ky, c * kx)
            fitted = self.regression(values, mask.any(dim=-1), radius[..., 0])
            return ifft2c(fitted.unflatten(-1, (-1, nx)).permute(0, 1, 3, 4, 2, 5))
        values = kspace.permute(0, 2, 3, 4, 1).flatten(2, 3)  # (b, t, ky * kx, c)
        fitted = self.regression(values, mask.flatten(2), radius.flatten(1))  # (b, h, ky * kx, m, c)
        return ifft2c(fitted.unflatten(2, (-1, nx)).permute(0, 1, 4, 5, 2, 3))


def referenced(images: Tensor, mean: Tensor) -> Tensor:
    """Real part of images (b, f, h, c, y, x) relative to the phase of the time mean (b, c, y, x), coils
    combined.
    """
    power = mean.abs().square().sum(dim=1, keepdim=True)
    weights = mean.conj() * torch.rsqrt(power + 1e-2 * power.mean(dim=(-2, -1), keepdim=True) + 1e-12)
    return (images * weights[:, None, None]).sum(dim=3).real
