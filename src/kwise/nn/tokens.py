"""Cines of several views as tokens: patches, readout lines, or positioned latents that know the Fourier
basis; and what tells a token where it is.

Letters: b case, c real channel, z view, n token, d width; grids are (t, y, x) whether of k-space or of
images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kwise.nn.cells import CellLinear, cells_of, kind_ranks
from kwise.nn.kspace_layers import wave_encoding
from kwise.nn.patches import cut_patches, patch_positions
from kwise.nn.spectral import SpectralProfiles, cell_centres, rotation

N_KINDS = 4  # kinds of view a token can belong to


@dataclass(frozen=True)
class Tokens:
    """A set of tokens: `values` (b, n, d); `seen` (b, n) bool, False where nothing of one was acquired;
    `cells` (b, n) int64, the cell of `kwise.nn.cells` each stands in.
    """

    values: Tensor
    seen: Tensor
    cells: Tensor


class Places(nn.Module):
    """What is added to a token: waves of its position (t, y, x) and of its number among views of its kind,
    and a learned vector of the kind.

    Kind 0 is short axis: a width that leaves a channel over (1025 = 1024 + 1) has its flag there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.kinds = nn.Parameter(torch.randn(N_KINDS, width) * 0.02)

    def forward(self, positions: Tensor, kinds: Tensor) -> Tensor:
        """Positions (..., 3) and kinds (b, z) -> (b, z, ..., d)."""
        waved = self.width // 8 * 8
        where = positions.expand(*kinds.shape, *positions.shape)
        ranks = kind_ranks(kinds).float().reshape(*kinds.shape, *[1] * positions.ndim)
        ranks = ranks.expand(*where.shape[:-1], 1)
        waves = wave_encoding(torch.cat([ranks, where], dim=-1), waved)
        flag = (kinds == 0).float().reshape(*kinds.shape, *[1] * positions.ndim)
        rest = flag.expand(*where.shape[:-1], self.width - waved)
        learned = self.kinds[kinds].reshape(*kinds.shape, *[1] * (positions.ndim - 1), -1)
        return torch.cat([waves, rest], dim=-1) + learned


class PatchTokens(nn.Module):
    """A token for every patch (t, y, x) of every view, each one linear map of its values (Dosovitskiy et al.,
    ICLR 2021).
    """

    def __init__(self, channels: int, patch: Sequence[int], width: int) -> None:
        super().__init__()
        self.patch = (patch[0], patch[1], patch[2])
        self.embed = CellLinear(channels * math.prod(self.patch), width)
        self.places = Places(width)

    def forward(self, x: Tensor, seen: Tensor, kinds: Tensor) -> Tokens:
        """x (b, c, z, t, y, x) and seen (b, z, t, y, x) bool -> all tokens of all views."""
        positions = patch_positions((x.shape[3], x.shape[4], x.shape[5]), self.patch, x.device)
        nt, ny, nx = positions.shape[:3]
        cells = cells_of(kinds, (nt, ny, nx))
        values = self.embed(cut_patches(x, self.patch).flatten(1, 4), cells)
        values = values + self.places(positions, kinds).flatten(1, 4)
        held = cut_patches(seen.unsqueeze(1), self.patch).any(dim=-1)
        return Tokens(values, held.flatten(1), cells)


class LineTokens(nn.Module):
    """A token for every readout line (t, ky) of every view, one linear map of its `readout` central values
    (Pan et al., k-GIN, MICCAI 2023).
    """

    def __init__(self, channels: int, readout: int, width: int) -> None:
        super().__init__()
        self.readout = readout
        self.embed = CellLinear(channels * readout, width)
        self.places = Places(width)

    def forward(self, x: Tensor, seen: Tensor, kinds: Tensor) -> Tokens:
        """x (b, c, z, t, ky, kx) and seen (b, z, t, ky, kx) bool -> all lines of all views."""
        lines = central(x, self.readout).permute(0, 2, 3, 4, 1, 5).flatten(4)
        positions = patch_positions((x.shape[3], x.shape[4], 1), (1, 1, 1), x.device)[:, :, 0]
        cells = cells_of(kinds, (x.shape[3], x.shape[4], 1))
        values = self.embed(lines.flatten(1, 3), cells) + self.places(positions, kinds).flatten(1, 3)
        return Tokens(values, seen.any(dim=-1).flatten(1), cells)


def central(x: Tensor, n: int) -> Tensor:
    """The last axis cut, or padded by zeros, to `n` elements, its centre at n // 2."""
    before = n // 2 - x.shape[-1] // 2
    return nn.functional.pad(x, (before, n - x.shape[-1] - before))


class SpectralTokens(nn.Module):
    """A token for every place of a coarse grid over every view: it hears learned bands of k-space, turned to
    where it stands.

    It hears head g at time t as sum_k P_g(k) exp(i 2 pi k r) s_t(k), where s shares samples among frames by a
    learned kernel that counts no cell twice. Told about the Fourier transform are the turning factors exp(i 2
    pi k r) alone. Head 0 is a low-pass: all are given relative to its phase, so a smooth phase of the image
    is gone. As in DiSK+ (`kwise.models.disk_plus`), on grids.
    """

    def __init__(
        self, n_frames: int, places: tuple[int, int], n_profiles: int, width: int, n_windows: int = 2
    ) -> None:
        super().__init__()
        self.n_frames, self.grid = n_frames, places
        reach, draw = 32.0, torch.Generator().manual_seed(0)
        self.profiles_y = SpectralProfiles(n_profiles, 33, reach, places[0] / 4, draw)
        self.profiles_x = SpectralProfiles(n_profiles, 33, reach, places[1] / 4, draw)
        self.log_sigma = nn.Parameter(torch.linspace(math.log(0.1), math.log(1.0), n_windows))
        self.log_shrinkage = nn.Parameter(torch.full((n_windows,), math.log(0.05)))
        self.embed = CellLinear(2 * n_frames * n_windows * n_profiles**2, width)
        self.places = Places(width)

    def forward(self, kspace: Tensor, seen: Tensor, kinds: Tensor) -> Tokens:
        """kspace (b, z, t, ky, kx) complex, zero where not `seen` -> tokens of places (y, x) of all views."""
        shared = self.share(kspace, seen)
        left, right = (
            self._axis(p, n, places, kspace)
            for p, n, places in zip((self.profiles_y, self.profiles_x), kspace.shape[-2:], self.grid)
        )
        # Along the contiguous axis first, which is then short.
        heard = left.flatten(1).T @ (shared @ right.flatten(1))  # (b, z, w, t, p * g, q * h)
        heard = heard.unflatten(5, right.shape[1:]).unflatten(4, left.shape[1:])
        heard = heard.permute(0, 1, 4, 6, 2, 3, 5, 7)  # (b, z, p, q, w, t, g, h)
        # The widest window's low-pass, of all frames together: the phase of a view does not move.
        low = heard[:, :, :, :, -1:, :, :1, :1].mean(dim=5, keepdim=True)
        heard = heard * (low.conj() / low.abs().clamp(min=1e-6)).detach()
        values = torch.view_as_real(heard).flatten(4)
        y, x = (torch.arange(n, device=values.device, dtype=torch.float32) - n // 2 for n in self.grid)
        positions = torch.stack(torch.meshgrid(torch.zeros(1, device=y.device), y, x, indexing="ij"), dim=-1)[
            0
        ]
        cells = cells_of(kinds, (1, *self.grid))
        tokens = self.embed(values.flatten(1, 3), cells) + self.places(positions, kinds).flatten(1, 3)
        held = seen.flatten(2).any(dim=2)[:, :, None].expand(-1, -1, self.grid[0] * self.grid[1])
        return Tokens(tokens, held.flatten(1), cells)

    def share(self, kspace: Tensor, seen: Tensor) -> Tensor:
        """(b, z, w, f, ky, kx): every cell at `n_frames` even moments, from all frames that acquired it."""
        t = kspace.shape[2]
        moments = torch.arange(self.n_frames, device=kspace.device) / self.n_frames
        distance = moments[:, None] - torch.arange(t, device=kspace.device) / t
        distance = distance - distance.round()
        weights = (-0.5 * (distance / self.log_sigma.exp()[:, None, None]) ** 2).exp()  # (w, f, t)
        # In real numbers, for complex division is several times as slow, and in float32: k-space has too wide
        # a range for bfloat16.
        with torch.autocast(kspace.device.type, enabled=False):
            total = torch.einsum("wft,bztkl->bzwfkl", weights, seen.float())
            parts = torch.einsum("wft,bztn->bzwfn", weights, torch.view_as_real(kspace).flatten(3))
        share = (total + self.log_shrinkage.exp()[:, None, None, None]).reciprocal()
        return torch.view_as_complex(parts.unflatten(-1, (*kspace.shape[-2:], 2)) * share.unsqueeze(-1))

    def _axis(self, profiles: SpectralProfiles, n: int, places: int, like: Tensor) -> Tensor:
        """(k, p, g) complex: what place p hears of line k of an axis of n, over sqrt(n)."""
        k = (torch.arange(n, device=like.device) - n // 2).float()
        turned = rotation(k, cell_centres(places).to(like.device))
        return turned.unsqueeze(-1) * profiles(k).unsqueeze(-2) / math.sqrt(n)
