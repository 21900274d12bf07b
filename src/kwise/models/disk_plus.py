"""DiSK+: ours, the heart from a set of k-space samples, without an inverse FFT, but not without Fourier.

A Perceiver whose latents sit at positions of the field of view. They attend to the acquired samples (or
readout lines) with a learned temporal kernel normalised by what was sampled, and each value is rotated by
exp(i 2 pi k . r) on its way to the latent at r: a relative position encoding, the k-space analogue of rotary
embeddings. Spectral profiles, kernel, self-attention and the coordinate decoder are learned.

The rotation is a Fourier prior, and a strong one: with the defaults, 8 positions times 8 profiles per axis
are 64 numbers for 64 lines, in effect a separable inverse DFT onto 8 x 8 places with learned filters, from
which the image could be computed back. No FFT and no image are formed, none is a target, and scattered points
work as well.
`rotate=False` takes the rotation out, and most of what the latents hear with it.
"""

import torch
from torch import Tensor, nn

from kwise.coordinates import axis_coords, gather_lines, gather_samples
from kwise.models.answer import (
    EVERYTHING,
    N_CONTEXT,
    acquisition_context,
    finish_answer,
    output_shape,
    query_frames,
)
from kwise.nn.spectral import (
    CoordinateDecoder,
    SpectralProfiles,
    TemporalKernel,
    cell_centres,
    heard_sums,
    rotation,
)
from kwise.nn.transformer import Transformer
from kwise.types import Measurement, Prediction, Query, Samples


class DiskPlus(nn.Module):
    """Set of k-space samples -> class logits at any coordinate and frame.

    `tokens` "lines" (all kx of one ky and frame; Cartesian) or "points" (anything, trajectories too;
    the same maths, slower);
    `context` tells the latents the cardiac phase of their frame beside how much was sampled;
    `n_positions` latents per axis; `n_profiles` spectral profiles per axis; `n_windows` temporal windows.
    """

    def __init__(
        self,
        n_classes: int = 4,
        width: int = 128,
        n_layers: int = 4,
        n_heads: int = 4,
        n_positions: int = 8,
        n_profiles: int = 8,
        n_windows: int = 3,
        tokens: str = "lines",
        rotate: bool = True,
        context: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if tokens not in ("lines", "points"):
            raise ValueError(f"building disk_plus: got tokens={tokens!r}; wanted 'lines' or 'points'")
        self.context = context
        self.tokens, self.rotate, self.n_positions, self.n_profiles = tokens, rotate, n_positions, n_profiles
        draw = torch.Generator().manual_seed(seed)
        self.profiles_y = SpectralProfiles(n_profiles, 33, 32.0, n_positions / 2, draw)
        self.profiles_x = SpectralProfiles(n_profiles, 33, 32.0, n_positions / 2, draw)
        self.kernel = TemporalKernel(n_windows)
        self.embed = nn.Linear(3 * n_windows * n_profiles**2 + (N_CONTEXT if context else 1), width)
        self.place = nn.Parameter(0.02 * torch.randn(n_positions**2, width, generator=draw))
        self.transformer = Transformer(width, n_layers, n_heads)
        self.decoder = CoordinateDecoder(width, n_classes)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Logits (b, k, z, f, y, x), or (b, k, z, q) at `query.points`."""
        folded, ask = measurement.fold_slices(), query.repeat_slices(measurement.n_slices)
        heads = self.read(folded, ask)
        frames = query_frames(ask, len(folded.kspace), folded.n_frames, folded.kspace.device)
        latents = self.transformer(self.embed(self.features(heads, folded, frames)) + self.place)
        logits = self.answer(latents, folded, ask)
        logits = finish_answer(logits, measurement, query)
        return Prediction(logits=logits, latents=latents.flatten(1, 2))

    def frame_times(self, measurement: Measurement, query: Query) -> Tensor:
        """(b, f) queried frames in cycles."""
        n = measurement.n_frames
        times = axis_coords(n).to(measurement.kspace.device)
        if query.frames is None:
            return times.expand(measurement.kspace.shape[0], n)
        return times[query.frames]

    def read(self, measurement: Measurement, query: Query) -> Tensor:
        """Cross-attention, samples -> (b, f, w, c, py, gy, px, gx) complex head outputs at the latents."""
        return (self._read_lines if self.tokens == "lines" else self._read_points)(measurement, query)

    def _axis(self, profiles: SpectralProfiles, k: Tensor) -> Tensor:
        """(..., p * g): profile times rotation, for k (...) in cycles per field of view."""
        return (self._turned(k).unsqueeze(-1) * profiles(k).unsqueeze(-2)).flatten(-2)

    def _turned(self, k: Tensor) -> Tensor:
        """(..., p): the rotation to every latent position."""
        positions = cell_centres(self.n_positions).to(k.device)
        return rotation(k if self.rotate else torch.zeros_like(k), positions)

    def _read_lines(self, measurement: Measurement, query: Query) -> Tensor:
        samples = gather_lines(measurement)
        _, c, _, _, ny, nx = measurement.kspace.shape
        k_line = samples.coords[..., 2] * ny
        readout = self._axis(self.profiles_x, axis_coords(nx).to(k_line.device) * nx)  # (u, px * gx)
        lines = (samples.values.unflatten(-1, (c, nx)) @ readout).flatten(2)
        cells = (k_line.round() + ny // 2).long()
        weights = self._weights(measurement, query, samples, k_line.abs() / ny, cells, ny)
        left = self._axis(self.profiles_y, k_line)
        rotated = left.transpose(1, 2)[:, None, None] * weights.unsqueeze(3)  # (b, f, w, py * gy, j)
        heads = rotated @ lines[:, None, None]  # (b, f, w, py * gy, c * px * gx)
        p, g = self.n_positions, self.n_profiles
        return heads.unflatten(-1, (c, p, g)).unflatten(3, (p, g)).permute(0, 1, 2, 5, 3, 4, 6, 7)

    def _read_points(self, measurement: Measurement, query: Query) -> Tensor:
        samples = gather_samples(measurement)
        ny, nx = measurement.shape[-2:]  # of the image: k-space axes may be spokes and readout points
        k_y, k_x = samples.coords[..., 2] * ny, samples.coords[..., 3] * nx
        row, column = (k_y.round() + ny // 2).clamp(0, ny - 1), (k_x.round() + nx // 2).clamp(0, nx - 1)
        cells = (row * nx + column).long()
        weights = self._weights(measurement, query, samples, k_y.abs() / ny, cells, ny * nx)
        turned = (self._turned(k_y).unsqueeze(-1) * self._turned(k_x).unsqueeze(-2)).flatten(2)
        heard = samples.values.unsqueeze(-1) * turned.unsqueeze(2)  # (b, j, c, py * px)
        # Frame by frame: the product of weights and turned values is the largest thing there is.
        cases = [
            [self._heard(heard[i], frame, k_y[i], k_x[i]) for frame in weights[i]] for i in range(len(k_y))
        ]
        return torch.stack([torch.stack(frames) for frames in cases])

    def _heard(self, heard: Tensor, weights: Tensor, k_y: Tensor, k_x: Tensor) -> Tensor:
        """Values (j, c, py * px) under weights (w, j) of one frame -> (w, c, py, gy, px, gx)."""
        spread = weights.T[:, :, None, None] * heard.unsqueeze(1)  # (j, w, c, py * px)
        sums = heard_sums(spread.flatten(1), k_y, k_x, self.profiles_y, self.profiles_x)
        p = self.n_positions
        return sums.unflatten(-1, (*spread.shape[1:3], p, p)).permute(2, 3, 4, 0, 5, 1)

    def _weights(
        self, measurement: Measurement, query: Query, samples: Samples, k: Tensor, cells: Tensor, n_cells: int
    ) -> Tensor:
        """(b, f, w, j): how much each frame listens to each sample."""
        asked, times = self.frame_times(measurement, query), samples.coords[..., 1]
        return self.kernel(asked, times, k, cells, n_cells, samples.valid)

    def features(self, heads: Tensor, measurement: Measurement, frames: Tensor) -> Tensor:
        """Heads -> (b, f, py * px, features): real, imaginary and modulus relative to the latent's own low-
        pass phase.
        """
        reference = heads[:, :, -1:, :, :, :1, :, :1]
        power = reference.abs().square().sum(dim=3, keepdim=True)
        level = power.sqrt().mean(dim=(4, 6), keepdim=True)
        turned = (heads * reference.conj()).sum(dim=3, keepdim=True) * torch.rsqrt(power + 1e-2 * level**2)
        loud = (heads.abs().square().sum(dim=3, keepdim=True) + 1e-4 * level**2).sqrt()
        parts = torch.stack([turned.real, turned.imag, loud], dim=-1) / level.unsqueeze(-1)
        # (b, f, w, 1, py, gy, px, gx, 3) -> (b, f, py * px, w * gy * gx * 3)
        tokens = parts.squeeze(3).permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(2, 3)
        told = acquisition_context(measurement, frames)[..., None if self.context else -1 :]
        return torch.cat([tokens, told.unsqueeze(2).expand(-1, -1, tokens.shape[2], -1)], dim=-1)

    def answer(self, latents: Tensor, measurement: Measurement, query: Query) -> Tensor:
        """Latents (b, f, p, d) -> logits (b, k, f, y, x) on the grid asked."""
        ny, nx = output_shape(measurement, query)
        b, f = latents.shape[:2]
        grid = latents.flatten(0, 1).unflatten(1, (self.n_positions, self.n_positions))
        y, x = axis_coords(ny).to(latents.device), axis_coords(nx).to(latents.device)
        return self.decoder(grid, y, x).unflatten(0, (b, f)).transpose(1, 2)
