"""Syn-Net shared: the honest rival, a U-Net behind a learned view sharing over time.

Per ky, every frame borrows the lines of its neighbours: a learned temporal kernel, several widths, normalised
by what was sampled; inverse FFT; modulus; a U-Net with one head shared by all frames. Not published: ours, as
a baseline.
"""

import math

import torch
from torch import Tensor, nn

from kwise.coordinates import line_radius
from kwise.fourier import ifft2c
from kwise.gridding import gridded
from kwise.models.answer import (
    EVERYTHING,
    N_CONTEXT,
    finish_answer,
    query_frames,
    robust_scale,
    with_context,
)
from kwise.nn.conv import UNet
from kwise.types import Measurement, Prediction, Query


class ViewSharing(nn.Module):
    """Kernel-weighted means of the frames around a queried frame, per ky and window.

    Weight exp(-s^2 / 2 sigma^2) at cyclic distance s (cycles), sigma a learned log-linear function of |ky|
    (of the distance from DC for points); divided by the weights of the lines really sampled plus a learned
    shrinkage.
    """

    def __init__(self, n_windows: int = 5) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.logspace(math.log10(0.03), math.log10(1.0), n_windows).log())
        self.slope = nn.Parameter(torch.zeros(n_windows))
        self.log_shrinkage = nn.Parameter(torch.full((n_windows,), math.log(0.05)))

    def forward(self, kspace: Tensor, mask: Tensor, frames: Tensor, radius: Tensor) -> Tensor:
        """kspace (b, c, t, ky, kx), mask (b, t, ky, kx or 1), frames (b, f), radius (b, ky, kx or 1) -> (b,
        f, w, c, ky, kx).
        """
        n_frames = mask.shape[1]
        sigma = (self.log_sigma[:, None, None] + self.slope[:, None, None] * radius.unsqueeze(1)).exp()
        distance = (frames.unsqueeze(-1) - torch.arange(n_frames, device=mask.device)) / n_frames
        distance = (distance - distance.round())[:, :, None, :, None, None]  # (b, f, 1, t, 1, 1)
        weights = torch.exp(-0.5 * (distance / sigma[:, None, :, None]) ** 2) * mask[:, None, None]
        shrinkage = self.log_shrinkage.exp()[:, None, None, None]
        weights = weights / (weights.sum(dim=3, keepdim=True) + shrinkage)  # (b, f, w, t, ky, kx)
        return torch.einsum("bfwtyx,bctyx->bfwcyx", weights.to(kspace.dtype), kspace)


class SynNetShared(nn.Module):
    """View sharing, inverse FFT, root sum of squares over coils, U-Net on the queried frames alone.

    With `context` it is told, as harmonic_unet is, the phase of the cycle of a frame, and how much was
    sampled.
    """

    def __init__(
        self,
        *,
        n_classes: int = 4,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        n_windows: int = 5,
        context: bool = False,
    ) -> None:
        super().__init__()
        self.context = context
        self.sharing = ViewSharing(n_windows)
        self.net = UNet(n_windows + (N_CONTEXT if context else 0), n_classes, channels)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points."""
        folded, asked = gridded(measurement.fold_slices()), query.repeat_slices(measurement.n_slices)
        kspace = (folded.kspace / robust_scale(folded)).squeeze(2)
        frames = query_frames(asked, len(kspace), measurement.n_frames, kspace.device)
        radius, mask = line_radius(folded), folded.mask[:, 0]
        mask = mask.any(dim=-1, keepdim=True) if radius.shape[-1] == 1 else mask
        shared = self.sharing(kspace, mask, frames, radius)
        images = ifft2c(shared).abs().square().sum(dim=3)
        seen = (images + 1e-8).sqrt()  # (b, f, w, y, x)
        if self.context:
            seen = with_context(seen, folded, frames)
        logits = self.net(seen.flatten(0, 1))
        return Prediction(
            finish_answer(logits.unflatten(0, frames.shape).transpose(1, 2), measurement, query)
        )
