"""Harmonic U-Net: ours, the best model of any kind for Cartesian cine.

Every ky line is a periodic signal of time, sampled here and there. A Bayesian harmonic regression with
learned prior spectra gives its best linear estimate at every frame: exact kriging instead of a kernel mean,
so wide sharing does not blur what narrow sharing could have known. Several such banks, of calmer and of more
mobile priors, are transformed, phase-referenced, and go with the amplitude of motion to a U-Net with one head
shared by all frames. One bank gives way to the support regression, which finds out where things are, what
moves and which phase they have, and joins all ky lines in one linear system. Fourier prior: the inverse FFT.
Learned: spectra and U-Net.

Three stages of training: "net" trains banks and U-Net on labels, without the support regression, whose linear
systems cost more than all the rest; "prior" fits its priors by predicting acquired lines that were held out,
no image and no label; "refined" puts it in its place, and the U-Net goes on with what it sees.

Where single points were acquired, and not whole lines, every cell of k-space is such a signal, with the prior
of its distance from DC, and no bank gives way. Trajectories are gridded first, frame by frame.
"""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.coordinates import line_radius, whole_lines
from kwise.fourier import ifft1c, ifft2c
from kwise.gridding import gridded
from kwise.models.answer import (
    EVERYTHING,
    N_CONTEXT,
    finish_answer,
    query_frames,
    robust_scale,
    with_context,
)
from kwise.models.support_regression import SupportRegression
from kwise.nn.conv import UNet, pad_to_multiple
from kwise.nn.harmonics import HarmonicRegression, harmonic_basis
from kwise.types import Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]
# Of a case that the support regression joins: its cost grows with their cube, and where so many were acquired
# every ky line alone knows nearly as much.
_MOST_LINES = 400
_GIVES_WAY = 1  # the bank that the support regression replaces: neither the most mobile nor the calmest


class HarmonicUNet(nn.Module):
    """Harmonic view sharing -> images -> U-Net on `block` x `block` pixels, for the queried frames alone.

    `context` also tells it the phase of the cycle a frame stands for and how much was sampled: where samples
    are few, when the heart contracts has to come from what is known of hearts. `n_passes` of the support
    regression; 0 leaves it out, and every ky line alone.
    """

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
        self.stages = ("net", "prior", "refined") if n_passes else ("net",)
        inputs = 2 * n_banks + 5 + (N_CONTEXT if context else 0)
        self.net = UNet(inputs * block**2, n_classes * block**2, channels)
        self._last: tuple[weakref.ref[Measurement], int, Tensor] | None = None

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points."""
        return self.answer(measurement, query, refine=self.support is not None)

    def answer(self, measurement: Measurement, query: Query, *, refine: bool) -> Prediction:
        """The same with or without the support regression."""
        folded, asked = gridded(measurement.fold_slices()), query.repeat_slices(measurement.n_slices)
        frames = query_frames(asked, folded.kspace.shape[0], measurement.n_frames, folded.kspace.device)
        kspace = folded.kspace[:, :, 0] / robust_scale(folded).squeeze(2)  # (b, c, t, ky, kx)
        coefficients = self.alone(kspace, folded.mask[:, 0], line_radius(folded))
        if refine:
            place = min(_GIVES_WAY, coefficients.shape[1] - 1)
            joined = self.joined_once(measurement, kspace, folded, coefficients[:, place])
            coefficients = torch.cat(
                [coefficients[:, :place], joined.unsqueeze(1), coefficients[:, place + 1 :]], dim=1
            )
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
        level = level_of(coefficients)[:, None, None, None, None]
        real = referenced(signed, mean) / level
        modulus = (banks.abs().square().sum(dim=3) + 1e-12).sqrt() / level
        energy = motion[:, None, None].expand(-1, frames.shape[1], -1, -1, -1) / level
        seen = torch.cat([real, modulus, energy], dim=2)
        return with_context(seen, measurement, frames) if self.context else seen

    @torch.no_grad()
    def joined_once(
        self, measurement: Measurement, kspace: Tensor, folded: Measurement, bank: Tensor
    ) -> Tensor:
        """`joined` of a measurement, remembered: callers ask for a few frames at a time."""
        assert self.support is not None
        # The regression's too: its bank answers where lines are not joined.
        learned = [*self.regression.parameters(), *self.support.parameters()]
        # Weights loaded in inference mode have no version: they cannot change.
        version = sum(0 if parameter.is_inference() else parameter._version for parameter in learned)
        if self._last is None or self._last[0]() is not measurement or self._last[1] != version:
            found = self.joined(kspace, folded.mask[:, 0].any(dim=-1), whole_lines(folded), bank)
            self._last = weakref.ref(measurement), version, found
        return self._last[2]

    def joined(self, kspace: Tensor, mask: Tensor, whole: Tensor, bank: Tensor) -> Tensor:
        """All ky lines together: (b, m, c, y, x); `bank` where a case has not acquired `whole` (b,) lines, or
        more of them than can be joined.
        """
        assert self.support is not None
        whole = whole & (mask.flatten(1).sum(dim=1) <= _MOST_LINES)
        if not bool(whole.any()):
            return bank
        c = kspace.shape[1]
        lines = ifft1c(kspace[whole], -1).flatten(0, 1)
        found = self.support(lines, mask[whole].repeat_interleave(c, dim=0))
        return bank.index_put((whole,), found.unflatten(0, (-1, c)).transpose(1, 2))

    def alone(self, kspace: Tensor, mask: Tensor, radius: Tensor) -> Tensor:
        """Every ky line alone, or every point: kspace (b, c, t, ky, kx), mask (b, t, ky, kx), radius (b, ky,
        1) for whole lines, (b, ky, kx) for points -> (b, h, m, c, y, x).
        """
        nx = kspace.shape[-1]
        if radius.shape[-1] == 1:
            values = kspace.permute(0, 2, 3, 1, 4).flatten(3)  # (b, t, ky, c * kx)
            fitted = self.regression(values, mask.any(dim=-1), radius[..., 0])
            return ifft2c(fitted.unflatten(-1, (-1, nx)).permute(0, 1, 3, 4, 2, 5))
        values = kspace.permute(0, 2, 3, 4, 1).flatten(2, 3)  # (b, t, ky * kx, c)
        fitted = self.regression(values, mask.flatten(2), radius.flatten(1))  # (b, h, ky * kx, m, c)
        return ifft2c(fitted.unflatten(2, (-1, nx)).permute(0, 1, 4, 5, 2, 3))

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """The scalar loss of one of `stages`; ValueError for another name, and for points in stage prior."""
        if stage not in self.stages:
            wanted = ", ".join(self.stages)
            raise ValueError(f"training harmonic_unet: got stage {stage!r}; wanted one of {wanted}")
        if stage == "prior":
            return self._held_out_error(measurement.fold_slices())
        return task_loss(self.answer(measurement, targets.query, refine=stage == "refined"), targets)

    def _held_out_error(self, measurement: Measurement) -> Tensor:
        assert self.support is not None
        if measurement.trajectory is not None or not bool(whole_lines(measurement).all()):
            wish = "whole lines; with n_passes=0 the stage net alone trains on points"
            raise ValueError(f"training harmonic_unet: got points or a trajectory; wanted {wish}")
        kspace = measurement.kspace[:, :, 0] / robust_scale(measurement).squeeze(2)
        mask, coils = measurement.mask[:, 0].any(dim=-1), kspace.shape[1]
        return self.support.held_out_error(
            ifft1c(kspace, -1).flatten(0, 1), mask.repeat_interleave(coils, dim=0)
        )


def level_of(coefficients: Tensor) -> Tensor:
    """(b,) rms of the time mean of coefficients (b, h, m, c, y, x): the unit of what the U-Net sees."""
    return coefficients[:, -1, 0].abs().square().sum(dim=1).mean(dim=(-2, -1)).sqrt() + 1e-12


def referenced(images: Tensor, mean: Tensor) -> Tensor:
    """Real part of images (b, f, h, c, y, x) relative to the phase of the time mean (b, c, y, x), coils
    combined.
    """
    power = mean.abs().square().sum(dim=1, keepdim=True)
    weights = mean.conj() * torch.rsqrt(power + 1e-2 * power.mean(dim=(-2, -1), keepdim=True) + 1e-12)
    return (images * weights[:, None, None]).sum(dim=3).real
