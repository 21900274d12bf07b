"""Harmonic U-Net: ours, the best model of any kind for Cartesian cine.

Every ky line is a periodic signal of time, sampled here and there. A Bayesian harmonic regression with
learned prior spectra gives its best linear estimate at every frame: exact kriging instead of a kernel mean,
so wide sharing does not blur what narrow sharing could have known. From that first guess a second regression
(`SupportRegression`) learns where things are, what moves and which phase they have, and joins all ky lines in
one linear system. The inverse FFT of these estimates, phase-referenced, and the amplitude of motion go to a
U-Net with one head shared by all frames. Fourier prior: the inverse FFT. Learned: spectra and U-Net.

Two stages of training: "prior" fits both regressions by predicting acquired lines that were held out, no
image and no label; "net" trains the U-Net on labels, the regressions fixed.
"""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.coordinates import axis_coords
from kwise.fourier import fft1c, ifft1c, ifft2c
from kwise.models.answer import (
    EVERYTHING,
    N_CONTEXT,
    acquisition_context,
    finish_answer,
    query_frames,
    robust_scale,
)
from kwise.models.support_regression import SupportRegression
from kwise.nn.conv import UNet, pad_to_multiple
from kwise.nn.harmonics import HarmonicRegression, harmonic_basis
from kwise.types import Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]
_HOLD_OUT = 4  # one acquired line in so many is predicted from the others


class HarmonicUNet(nn.Module):
    """Harmonic view sharing -> images -> U-Net on `block` x `block` pixels, for the queried frames alone.

    `context` also tells it the phase of the cycle a frame stands for and how much was sampled: where samples
    are few, when the heart contracts has to come from what is known of hearts. `n_passes` of the support
    regression; 0 leaves it out, and every ky line alone.
    """

    stages = ("prior", "net")

    def __init__(
        self,
        *,
        n_classes: int = 4,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        n_banks: int = 3,
        n_harmonics: int = 5,
        block: int = 1,
        n_passes: int = 2,
        context: bool = True,
    ) -> None:
        super().__init__()
        self.block, self.context = block, context
        self.regression = HarmonicRegression(n_banks, n_harmonics)
        self.support = SupportRegression(n_harmonics, n_passes) if n_passes else None
        inputs = 2 * (n_banks + (n_passes > 0)) + 5 + (N_CONTEXT if context else 0)
        self.net = UNet(inputs * block**2, n_classes * block**2, channels)
        self._last: tuple[weakref.ref[Measurement], int, Tensor] | None = None

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points."""
        folded, asked = measurement.fold_slices(), query.repeat_slices(measurement.n_slices)
        frames = query_frames(asked, folded.kspace.shape[0], measurement.n_frames, folded.kspace.device)
        learned = self.support is None
        coefficients = self.coefficients(folded) if learned else self.fixed_coefficients(measurement)
        logits = self.segment(self.images(coefficients, folded, frames).flatten(0, 1))
        return Prediction(
            finish_answer(logits.unflatten(0, frames.shape).transpose(1, 2), measurement, query)
        )

    def segment(self, images: Tensor) -> Tensor:
        """Images (n, channel, y, x) -> logits (n, k, y, x)."""
        size = images.shape[-2:]
        blocks = functional.pixel_unshuffle(pad_to_multiple(images, self.block), self.block)
        return functional.pixel_shuffle(self.net(blocks), self.block)[..., : size[0], : size[1]]

    def images(self, coefficients: Tensor, measurement: Measurement, frames: Tensor) -> Tensor:
        """What the U-Net sees of the queried frames (b, f): (b, f, channel, y, x), from coefficients
        (b, h, m, c, y, x) of one slice.
        """
        n = (coefficients.shape[2] - 1) // 2
        phases = harmonic_basis(frames / measurement.n_frames, max(n, 2)).to(coefficients.dtype)  # (b, f, m)
        banks = torch.einsum("bfm,bhmcyx->bfhcyx", phases[..., : 2 * n + 1], coefficients)
        # The support regression, or the most mobile bank: first two harmonics relative to the queried frame.
        moving = coefficients[:, 0]
        pairs = functional.pad(moving, (0, 0) * 3 + (0, max(0, 4 - 2 * n)))[:, 1:5].unflatten(1, (2, 2))
        now = phases[:, :, 1:5].unflatten(2, (2, 2))
        in_phase = torch.einsum("bfnp,bnpcyx->bfncyx", now, pairs)
        ahead = torch.stack([now[..., 1], -now[..., 0]], dim=-1)
        quadrature = torch.einsum("bfnp,bnpcyx->bfncyx", ahead, pairs)
        motion = moving[:, 1:].abs().square().sum(dim=(1, 2)).sqrt()
        mean = coefficients[:, -1 if self.support is None else 0, 0]  # (b, c, y, x)
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
        """Images of the harmonic coefficients (b, h, m, c, y, x); the support regression's come first."""
        kspace = measurement.kspace[:, :, 0] / robust_scale(measurement).squeeze(2)  # (b, c, t, ky, kx)
        mask = measurement.mask[:, 0].any(dim=-1)
        banks = self.independent(kspace, mask)
        if self.support is None:
            return banks
        return torch.cat([self.refined(kspace, mask, banks).unsqueeze(1), banks], dim=1)

    @torch.no_grad()
    def fixed_coefficients(self, measurement: Measurement) -> Tensor:
        """The same of a measurement of any number of slices, remembered: frames are asked a few at a time."""
        assert self.support is not None
        version = sum(p._version for p in [*self.regression.parameters(), *self.support.parameters()])
        if self._last is None or self._last[0]() is not measurement or self._last[1] != version:
            self._last = weakref.ref(measurement), version, self.coefficients(measurement.fold_slices())
        return self._last[2]

    def independent(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Every ky line alone: kspace (b, c, t, ky, kx), mask (b, t, ky) -> (b, h, m, c, y, x)."""
        b, c, t, ny, nx = kspace.shape
        values = kspace.permute(0, 2, 3, 1, 4).reshape(b, t, ny, c * nx)
        rows = axis_coords(ny).to(kspace.device)
        fitted = self.regression(values, mask, rows)  # (b, h, ky, m, c * kx)
        return ifft2c(fitted.unflatten(-1, (c, nx)).permute(0, 1, 3, 4, 2, 5))

    def refined(self, kspace: Tensor, mask: Tensor, banks: Tensor) -> Tensor:
        """All ky lines together: (b, m, c, y, x). The first guess is the mean of the calmest bank and the
        motion of the one before it.
        """
        assert self.support is not None
        guess = torch.cat([banks[:, -1, :1], banks[:, max(0, banks.shape[1] - 2), 1:]], dim=1)
        b, c = kspace.shape[:2]
        lines = ifft1c(kspace, -1).flatten(0, 1)
        answer = self.support(lines, mask.repeat_interleave(c, dim=0), guess.transpose(1, 2).flatten(0, 1))
        return answer.unflatten(0, (b, c)).transpose(1, 2)

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """The scalar loss of one of `stages`; ValueError for another name."""
        if stage == "prior":
            return self.held_out_error(measurement.fold_slices())
        if stage == "net":
            return task_loss(self(measurement, targets.query), targets)
        wanted = ", ".join(self.stages)
        raise ValueError(f"training harmonic_unet: got stage {stage!r}; wanted one of {wanted}")

    def held_out_error(self, measurement: Measurement) -> Tensor:
        """Energy of the error with which held-out lines are predicted from the others, relative to theirs.

        Every fourth acquired line of a case is held out; ky lines next to DC carry most of the energy.
        """
        kspace = measurement.kspace[:, :, 0] / robust_scale(measurement).squeeze(2)
        mask = measurement.mask[:, 0].any(dim=-1)
        order = mask.flatten(1).cumsum(dim=1).view_as(mask)
        hidden = mask & (order % _HOLD_OUT == 0)
        kept = mask & ~hidden
        seen = kspace * kept[:, None, :, :, None]
        banks = self.independent(seen, kept)
        images = torch.cat([banks, self.refined(seen, kept, banks).unsqueeze(1)], dim=1)
        times = torch.arange(measurement.n_frames, device=images.device) / measurement.n_frames
        basis = harmonic_basis(times, (images.shape[2] - 1) // 2)
        cines = torch.einsum("tm,bhmcyx->bhctyx", basis.to(images), images)
        weight = hidden[:, None, None, :, :, None]
        true = ifft1c(kspace, -1).unsqueeze(1)
        error = ((fft1c(cines, -2) - true) * weight).abs().square()
        energy = (true * weight).abs().square()
        return (error.sum(dim=(2, 3, 4, 5)) / (energy.sum(dim=(2, 3, 4, 5)) + 1e-12)).mean()


def referenced(images: Tensor, mean: Tensor) -> Tensor:
    """Real part of images (b, f, h, c, y, x) relative to the phase of the time mean (b, c, y, x), coils
    combined.
    """
    power = mean.abs().square().sum(dim=1, keepdim=True)
    weights = mean.conj() * torch.rsqrt(power + 1e-2 * power.mean(dim=(-2, -1), keepdim=True) + 1e-12)
    return (images * weights[:, None, None]).sum(dim=3).real
