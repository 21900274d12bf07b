"""k-GIN: masked lines of k-space are interpolated from the sampled ones, then three transformers refine the
result.

Pan et al., Global k-Space Interpolation for Dynamic MRI Reconstruction using Masked Image Modeling, MICCAI
2023: an encoder of sampled (t, ky) lines, a decoder with mask tokens, k-space iterative refinement over yt-x
lines, xt-y lines and xy patches with all frames; measured values put back before each and at the end; an
inverse FFT. The losses are L1 of the interpolation and a high-dynamic-range loss of the three refinements.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.fourier import fft2c, ifft2c
from kwise.models.answer import EVERYTHING, robust_scale, select_frames, unfold_slices
from kwise.models.grids import finish_images
from kwise.models.kmtr_encoders import (
    as_complex_grid,
    as_real_channels,
    on_grid,
    single_coil,
    views_seen,
)
from kwise.nn.kspace_layers import wave_encoding
from kwise.nn.patches import choose_tokens, from_patches, pick_tokens, to_patches
from kwise.nn.transformer import Transformer
from kwise.operator import crop_centre
from kwise.types import Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]
WEIGHTS = (1.0, 0.36, 0.6, 1.0)  # of the interpolation and the three refinements, from the authors' code


class LineRefiner(nn.Module):
    """k-space (n, 2, t, a, u) -> a correction of it: a transformer over the lines (t, a), each of 2 u
    values.
    """

    def __init__(self, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.enter, self.leave = nn.Linear(2 * length, width), nn.Linear(width, 2 * length)
        self.transformer = Transformer(width, layers, heads, ratio=4)

    def forward(self, kspace: Tensor) -> Tensor:
        """(n, 2, t, a, u) -> the same."""
        t, a = kspace.shape[2:4]
        tokens = self.enter(lines_of(kspace)) + line_places(t, a, self.width, kspace.device)
        said = self.leave(self.transformer(tokens))
        return lines_back(said, t)


class PatchRefiner(nn.Module):
    """k-space (n, 2, t, ky, kx) -> a correction of it: a transformer over 4 x 4 patches, each with all
    frames.
    """

    def __init__(self, n_frames: int, width: int, layers: int, heads: int, patch: int = 4) -> None:
        super().__init__()
        self.patch, self.width = (patch, patch), width
        values = 2 * n_frames * patch**2
        self.enter, self.leave = nn.Linear(values, width), nn.Linear(width, values)
        self.transformer = Transformer(width, layers, heads, ratio=4)

    def forward(self, kspace: Tensor) -> Tensor:
        """(n, 2, t, ky, kx) -> the same."""
        t, ky, kx = kspace.shape[2:]
        grid = kspace.flatten(1, 2)
        places = line_places(ky // self.patch[0], kx // self.patch[1], self.width, kspace.device)
        said = self.leave(self.transformer(self.enter(to_patches(grid, self.patch)) + places))
        return from_patches(said, self.patch, (ky, kx)).unflatten(1, (2, t))


class KGin(nn.Module):
    """Every view on its own, on a k-space of `matrix` (ky, kx) and `n_frames`; what lies outside is measured
    or zero.

    The paper's sizes are width 512, 12 encoder, 8 decoder and 8 refinement layers, 16 heads.
    """

    stages = ("train",)

    def __init__(
        self,
        *,
        matrix: tuple[int, int] = (64, 64),
        n_frames: int = 5,
        width: int = 128,
        layers: int = 3,
        decoder_layers: int = 2,
        refine_layers: int = 1,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if matrix[0] % 4 or matrix[1] % 4:
            raise ValueError(f"building k_gin: got matrix {matrix}; wanted multiples of 4")
        self.matrix, self.n_frames, self.width = (matrix[0], matrix[1]), n_frames, width
        self.enter, self.leave = nn.Linear(2 * matrix[1], width), nn.Linear(width, 2 * matrix[1])
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.encoder = Transformer(width, layers, heads, ratio=4)
        self.decoder = Transformer(width, decoder_layers, heads, ratio=4)
        self.over_yt = LineRefiner(matrix[1], width, refine_layers, heads)
        self.over_xt = LineRefiner(matrix[0], width, refine_layers, heads)
        self.over_xy = PatchRefiner(n_frames, width, refine_layers, heads)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """The complex image (b, z, f, y, x) in the units measured."""
        measurement = on_grid(measurement)
        kspace = self.restore(measurement)[-1] * slice_scales(measurement)
        chosen = select_frames(
            ifft2c(kspace).flatten(0, 1).unsqueeze(1), query.repeat_slices(measurement.n_slices)
        )
        image = unfold_slices(chosen, measurement.n_slices).squeeze(1)
        return finish_images(image, measurement, query)

    def restore(self, measurement: Measurement) -> list[Tensor]:
        """K-space (b, z, t, ky, kx) at the model's scale: interpolated, then refined three times, measured
        values in the last.
        """
        whole = single_coil(measurement) / slice_scales(measurement)
        mask = measurement.mask
        inner = self.framed(whole).flatten(0, 1)
        seen = self.framed(mask).flatten(0, 1)
        found = [self.interpolate(inner, seen)]
        for refine in (self.over_yt, self.over_xt, self.over_xy):
            consistent = as_real_channels(torch.where(seen, inner, found[-1]))
            turned = consistent.transpose(3, 4) if refine is self.over_xt else consistent
            correction = refine(turned)
            correction = correction.transpose(3, 4) if refine is self.over_xt else correction
            found.append(as_complex_grid(consistent + correction))
        grids = [self.unframed(x.unflatten(0, whole.shape[:2]), whole) for x in found]
        return [*grids[:-1], torch.where(mask, whole, grids[-1])]

    def interpolate(self, kspace: Tensor, seen: Tensor) -> Tensor:
        """Complex (n, t, ky, kx) of sampled lines -> all lines."""
        t, ky = kspace.shape[1:3]
        lines = lines_of(as_real_channels(kspace))
        places = line_places(t, ky, self.width, kspace.device)
        sampled = seen.any(dim=-1).flatten(1)
        # A missing view has no sampled line: its first one, which is zero, stands for it.
        sampled = sampled | (
            ~sampled.any(dim=1, keepdim=True) & (torch.arange(t * ky, device=seen.device) == 0)
        )
        index, valid = choose_tokens(sampled)
        encoded = self.encoder(pick_tokens(self.enter(lines) + places, index), valid)
        if valid is not None:  # padding goes to one spare place that is cut off again
            index = torch.where(valid, index, torch.full_like(index, t * ky))
        everywhere = self.mask_token.to(encoded.dtype).expand(len(lines), t * ky + 1, -1)
        full = everywhere.scatter(1, index.unsqueeze(-1).expand(-1, -1, self.width), encoded)[:, :-1]
        return as_complex_grid(lines_back(self.leave(self.decoder(full + places)), t))

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """L1 of the interpolated and high-dynamic-range losses of the refined k-space; needs the whole
        image.
        """
        if stage not in self.stages:
            raise ValueError(f"training k_gin: got stage {stage!r}; wanted one of {', '.join(self.stages)}")
        if targets.image is None or not targets.image.is_complex():
            raise ValueError("training k_gin: got no complex image; wanted acquisition.reference=true")
        if targets.image.shape[2] != measurement.n_frames:
            raise ValueError("training k_gin: got some of the frames; wanted frames=none")
        measurement = on_grid(measurement)
        truth = fft2c(targets.image) / slice_scales(measurement)
        there = views_seen(measurement)[:, :, None, None, None].expand(truth.shape)
        found = self.restore(measurement)
        first = (found[0] - truth).abs()[there].mean()
        rest = [w * high_dynamic_range_loss(x[there], truth[there]) for w, x in zip(WEIGHTS[1:], found[1:])]
        return WEIGHTS[0] * first + torch.stack(rest).sum()

    def framed(self, x: Tensor) -> Tensor:
        """(b, z, t, ky, kx) cut or padded to the model's matrix and frames; ValueError for more frames."""
        missing = self.n_frames - x.shape[2]
        if missing < 0:
            raise ValueError(f"reading with k_gin: got {x.shape[2]} frames; wanted at most {self.n_frames}")
        cut = crop_centre(x, self.matrix)
        pads = (0, 0, 0, 0, 0, missing)
        if x.dtype == torch.bool:
            return functional.pad(cut.to(torch.uint8), pads).bool()
        return functional.pad(cut, pads)

    def unframed(self, x: Tensor, like: Tensor) -> Tensor:
        """The inverse of `framed`."""
        return crop_centre(x[:, :, : like.shape[2]], (like.shape[-2], like.shape[-1]))


def slice_scales(measurement: Measurement) -> Tensor:
    """(b, z, 1, 1, 1): every view at its own scale."""
    return robust_scale(measurement, each_slice=True).squeeze(1)


def high_dynamic_range_loss(guess: Tensor, truth: Tensor, epsilon: float = 0.5) -> Tensor:
    """Scalar mean |guess - truth|^2 / (|guess| + epsilon)^2 of complex values, the denominator without
    gradient (k-GIN; Mildenhall et al., NeRF in the dark, 2022).
    """
    size = (guess.detach().abs() + epsilon).square()
    return ((guess - truth).abs().square() / size).mean()


def lines_of(x: Tensor) -> Tensor:
    """(n, 2, t, a, u) -> lines (n, t * a, 2 * u)."""
    return x.permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)


def lines_back(lines: Tensor, t: int) -> Tensor:
    """The inverse of `lines_of`."""
    return lines.unflatten(1, (t, -1)).unflatten(3, (2, -1)).permute(0, 3, 1, 2, 4)


def line_places(t: int, a: int, width: int, device: torch.device) -> Tensor:
    """(t * a, width) waves of the position (t, a), a counted from its centre."""
    axes = torch.arange(t, device=device), torch.arange(a, device=device) - a // 2
    positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()
    return wave_encoding(positions, width).flatten(0, 1)
