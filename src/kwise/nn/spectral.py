"""Attention that knows the Fourier basis: positioned latents read rotated k-space values, and answer at any
coordinate.

Letters: b case, j sample, u readout position, f frame, w temporal window, g spectral profile, p latent
position, d width.
"""

import math

import torch
from torch import Tensor, nn


def hat_weights(place: Tensor, n_knots: int) -> Tensor:
    """(..., n_knots) linear interpolation weights of `place` (...) in [0, 1] on equally spaced knots."""
    knots = torch.linspace(0, 1, n_knots, device=place.device)
    return (1 - (place.unsqueeze(-1) - knots).abs() * (n_knots - 1)).clamp(min=0)


class SpectralProfiles(nn.Module):
    """G complex functions of one k-space coordinate: what an attention head listens to.

    Tables over k in cycles per field of view, |k| <= `reach`, linear between knots; head 0 is a fixed low-
    pass that serves as the phase reference of its latent.
    """

    def __init__(
        self, n_profiles: int, n_knots: int, reach: float, low_pass: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_knots, self.reach = n_knots, reach
        self.low_pass: Tensor
        knots = torch.linspace(-reach, reach, n_knots)
        self.register_buffer("low_pass", torch.exp(-0.5 * (knots / low_pass) ** 2), persistent=False)
        start = torch.zeros(n_profiles - 1, n_knots, 2)
        # Gaussian bands with a random sub-cell shift: a spread of local filters to start from.
        for g in range(n_profiles - 1):
            width = reach * (0.25 + 0.75 * (g + 1) / (n_profiles - 1))
            drawn = torch.empty((), device=generator.device).uniform_(-0.5, 0.5, generator=generator)
            shift = float(drawn) / (2 * low_pass)
            angle = 2 * math.pi * knots * shift * 0.5
            bell = torch.exp(-0.5 * (knots / width) ** 2)
            start[g] = torch.stack([bell * angle.cos(), bell * angle.sin()], dim=-1)
        self.table = nn.Parameter(start)

    def forward(self, k: Tensor) -> Tensor:
        """Positions k (...) in cycles per field of view -> complex (..., g)."""
        weights = hat_weights((k / self.reach).clamp(-1, 1) * 0.5 + 0.5, self.n_knots)
        parts = torch.einsum("...n,gnc->...gc", weights, self.table)
        learned = torch.view_as_complex(parts.float().contiguous())  # there is no complex bfloat16
        first = (weights @ self.low_pass).unsqueeze(-1)
        return torch.cat([first.to(learned.dtype), learned], dim=-1)

    def at_knots(self) -> Tensor:
        """(n, g) complex64 values at the knots."""
        learned = torch.view_as_complex(self.table.float().contiguous()).T
        return torch.cat([self.low_pass.unsqueeze(-1).to(learned.dtype), learned], dim=-1)

    def knots(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """The two knots (j, 2) on either side of positions k (j,), and their linear weights (j, 2)."""
        place = ((k / self.reach).clamp(-1, 1) * 0.5 + 0.5) * (self.n_knots - 1)
        low = place.floor().clamp(max=self.n_knots - 2)
        above = place - low
        return torch.stack([low, low + 1], dim=-1).long(), torch.stack([1 - above, above], dim=-1)


def heard_sums(
    values: Tensor, k_y: Tensor, k_x: Tensor, profiles_y: SpectralProfiles, profiles_x: SpectralProfiles
) -> Tensor:
    """(gy, gx, m): sum over samples j of profile_y(k_y j) profile_x(k_x j) values (j, m), k (j,) in cycles.

    The profiles are linear between knots, so samples are first gathered at their four knots by a sparse
    product, and the profiles then read there: the same sum at a fraction of the arithmetic.
    """
    (rows, by_row), (columns, by_column) = profiles_y.knots(k_y), profiles_x.knots(k_x)
    index = (rows.unsqueeze(-1) * profiles_x.n_knots + columns.unsqueeze(-2)).flatten(1)  # (j, 4)
    share = (by_row.unsqueeze(-1) * by_column.unsqueeze(-2)).flatten(1).to(values.real.dtype)
    sample = torch.arange(len(k_y), device=k_y.device).unsqueeze(-1).expand_as(index)
    size = (profiles_y.n_knots * profiles_x.n_knots, len(k_y))
    places = torch.stack([index.flatten(), sample.flatten()])
    gather = torch.sparse_coo_tensor(places, share.flatten(), size, check_invariants=False)
    sums = torch.sparse.mm(gather, torch.view_as_real(values).flatten(1)).unflatten(1, (-1, 2))
    at_knots = torch.view_as_complex(sums).unflatten(0, (profiles_y.n_knots, -1))  # (ny, nx, m)
    across = torch.tensordot(profiles_x.at_knots(), at_knots, dims=([0], [1]))  # (gx, ny, m)
    return torch.tensordot(profiles_y.at_knots(), across, dims=([0], [1]))


def rotation(k: Tensor, positions: Tensor) -> Tensor:
    """exp(i 2 pi k r) (..., p): k (...) in cycles per field of view, positions r (p,) in [-0.5, 0.5)."""
    angle = 2 * math.pi * k.unsqueeze(-1) * positions
    return torch.polar(torch.ones_like(angle), angle)


class TemporalKernel(nn.Module):
    """Attention weights from a queried frame to the samples of every frame, normalised by what was sampled
    there.

    Window w gives a sample at cyclic distance s the weight exp(-s^2 / 2 sigma_w(|k|)^2), sigma log-linear in
    |k|, divided by the sum over all samples of the same k-space cell plus a learned shrinkage: nothing is
    counted twice.
    """

    def __init__(self, n_windows: int = 3) -> None:
        super().__init__()
        sigma = torch.logspace(math.log10(0.06), math.log10(1.0), n_windows)
        self.log_sigma = nn.Parameter(sigma.log())
        self.slope = nn.Parameter(torch.zeros(n_windows))
        self.log_shrinkage = nn.Parameter(torch.full((n_windows,), math.log(0.05)))

    def forward(
        self, frames: Tensor, times: Tensor, k: Tensor, cells: Tensor, n_cells: int, valid: Tensor | None
    ) -> Tensor:
        """frames (b, f), times (b, j) in cycles; |k| (b, j); cells (b, j) -> weights (b, f, w, j)."""
        distance = frames.unsqueeze(-1) - times.unsqueeze(1)
        distance = distance - distance.round()
        sigma = (self.log_sigma + self.slope * k.unsqueeze(-1)).exp()  # (b, j, w)
        logits = -0.5 * (distance.unsqueeze(2) / sigma.transpose(1, 2).unsqueeze(1)) ** 2
        weights = logits.exp()
        if valid is not None:
            weights = weights * valid[:, None, None, :]
        index = cells[:, None, None, :].expand_as(weights)
        total = torch.zeros(*weights.shape[:3], n_cells, device=weights.device).scatter_add(3, index, weights)
        return weights / (total.gather(3, index) + self.log_shrinkage.exp()[:, None])


class CoordinateDecoder(nn.Module):
    """Positioned latents answer at any coordinate: each speaks for its neighbourhood in a smooth local basis.

    logits(r) = sum_p hat(r - r_p) sum_ij C_p[i, j] cos(i ..) cos(j ..): a partition of unity, so any grid can
    be asked.
    """

    def __init__(self, width: int, n_outputs: int, n_basis: int = 6) -> None:
        super().__init__()
        self.n_outputs, self.n_basis = n_outputs, n_basis
        self.head = nn.Linear(width, n_outputs * n_basis * n_basis)

    def rows(self, coords: Tensor, n_positions: int) -> Tensor:
        """Basis values (q, p * i) of coordinates (q,) in [-0.5, 0.5)."""
        cell = (
            (coords.unsqueeze(-1) + 0.5) * n_positions - torch.arange(n_positions, device=coords.device) - 0.5
        )
        edge = cell.clone()  # the outermost latents also speak for the border, alone
        edge[:, 0] = edge[:, 0].clamp(min=0)
        edge[:, -1] = edge[:, -1].clamp(max=0)
        hat = (1 - edge.abs()).clamp(min=0)
        phase = math.pi * (cell.clamp(-1, 1) + 1) / 2
        waves = torch.cos(phase.unsqueeze(-1) * torch.arange(self.n_basis, device=coords.device))
        return (hat.unsqueeze(-1) * waves).flatten(1)

    def forward(self, latents: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """latents (b, py, px, d), grid coordinates y (Y,), x (X,) -> (b, k, Y, X)."""
        py, px = latents.shape[1:3]
        rows, columns = self.rows(y, py), self.rows(x, px)
        spoken = self.head(latents).unflatten(-1, (self.n_outputs, self.n_basis, self.n_basis))
        spoken = spoken.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)  # (b, k, py * i, px * j)
        return rows @ (spoken @ columns.T)


def cell_centres(n: int) -> Tensor:
    """(n,) centres of n equal cells of [-0.5, 0.5)."""
    return (torch.arange(n) + 0.5) / n - 0.5
