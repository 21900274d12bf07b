"""Bayesian harmonic regression on a circle: the best linear guess of a periodic signal from a few noisy
samples.
"""

import math

import torch
from torch import Tensor, nn


def harmonic_basis(times: Tensor, n_harmonics: int) -> Tensor:
    """(..., 2 n + 1) values of 1, sqrt2 cos(2 pi m s), sqrt2 sin(2 pi m s), m = 1..n; `times` s in cycles."""
    angles = 2 * math.pi * times.unsqueeze(-1) * torch.arange(1, n_harmonics + 1, device=times.device)
    waves = torch.stack([angles.cos(), angles.sin()], dim=-1).flatten(-2) * math.sqrt(2.0)
    return torch.cat([torch.ones_like(times).unsqueeze(-1), waves], dim=-1)


class HarmonicRegression(nn.Module):
    """Posterior mean of harmonic coefficients per row (here: per ky), with learned prior spectra.

    A bank h believes that harmonic m at row position k has variance s_hm(|k|), learned as a piecewise linear
    function of |k|, against unit sample noise. Rows are independent; rows without any sample return zero.
    Exact ridge regression (kriging with a cyclic kernel), so the estimate is normalised by what was sampled
    by construction.
    """

    def __init__(self, n_banks: int = 3, n_harmonics: int = 5, n_knots: int = 9) -> None:
        super().__init__()
        self.n_harmonics, self.n_knots = n_harmonics, n_knots
        roughness = torch.linspace(0.5, 3.0, n_banks)
        order = torch.arange(n_harmonics + 1)
        start = 4.0 - roughness[:, None] * order
        self.log_variance = nn.Parameter(start.unsqueeze(-1).repeat(1, 1, n_knots))

    def log_prior(self, rows: Tensor) -> Tensor:
        """(h, ..., r, 2 n + 1) log variances at row positions `rows` (..., r) in [-0.5, 0.5]."""
        place = rows.abs() * 2 * (self.n_knots - 1)
        low = place.floor().clamp(max=self.n_knots - 2).long()
        weight = place - low
        table = self.log_variance[..., low] * (1 - weight) + self.log_variance[..., low + 1] * weight
        pairs = torch.cat([table[:, :1], table[:, 1:].repeat_interleave(2, dim=1)], dim=1)
        return pairs.movedim(1, -1)

    def forward(self, values: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        """`values` (b, t, r, d) complex, zero where `mask` (b, t, r) is False -> coefficients (b, h, r, 2 n +
        1, d). `rows` (r,), or (b, r) where they differ between cases.
        """
        with torch.autocast(values.device.type, enabled=False):  # Cholesky needs float32
            return self._posterior_mean(values, mask, rows)

    def _posterior_mean(self, values: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        n_frames = values.shape[1]
        n = min(self.n_harmonics, (n_frames - 1) // 2)
        times = torch.arange(n_frames, device=values.device) / n_frames
        basis = harmonic_basis(times, n)  # (t, m)
        weight = mask.to(basis.dtype)
        gram = torch.einsum("btr,tm,tn->brmn", weight, basis, basis)
        moments = torch.einsum("tm,btrd->brmd", basis.to(values.dtype), values)
        log_prior = self.log_prior(rows)[..., : 2 * n + 1]
        if rows.ndim == 2:
            log_prior = log_prior.transpose(0, 1)  # (b, h, r, m)
        # S^1/2 (S^1/2 G S^1/2 + I)^-1 S^1/2: well conditioned for any prior.
        root = (0.5 * log_prior).exp()
        system = gram.unsqueeze(1) * (root.unsqueeze(-1) * root.unsqueeze(-2))
        system = system + torch.eye(2 * n + 1, device=values.device)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(system))
        gain = root.unsqueeze(-1) * inverse * root.unsqueeze(-2)
        return torch.einsum("bhrmn,brnd->bhrmd", gain.to(values.dtype), moments)
