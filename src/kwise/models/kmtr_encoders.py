"""The two encoders of k-MTR: undersampled k-space, or fully sampled images, of several views -> a class token
and tokens.

Zhang et al., No Image, No Problem: End-to-End Multi-Task Cardiac Analysis from Undersampled k-Space, arXiv
2603.09945. Tokens of all views stand in one sequence. What the paper leaves open is decided in
docs/decisions/035-kmtr-tokens.md. Letters: b case, z view, n token (the class token first), d width.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kwise.coils import with_maps
from kwise.fourier import fft2c
from kwise.gridding import gridded
from kwise.models.answer import robust_scale
from kwise.nn.cells import CellSum, whiten
from kwise.nn.patches import choose_tokens, pick_tokens
from kwise.nn.tokens import LineTokens, PatchTokens, SpectralTokens, Tokens
from kwise.nn.transformer import Transformer
from kwise.operator import zero_filled
from kwise.types import Batch, Measurement

KINDS_OF_TOKENS = ("patches", "lines", "spectral")


@dataclass(frozen=True)
class Preset:
    """Sizes of an encoder and of what is built on it; `patch` (t, y, x) cuts k-space and images alike.

    `readout` is the length of a line token; `places` (y, x), `profiles` and `n_frames` belong to spectral
    tokens; `features` are UNETR's, of one view, at its coarsest grid. `by_place` channels of every token
    reach the summary through a map of its cell; with 0 it is the class token alone, as published.
    """

    width: int
    heads: int
    layers: int
    ratio: int
    patch: tuple[int, int, int]
    decoder_layers: int = 2
    features: int = 64
    hidden: int = 256
    readout: int = 64
    places: tuple[int, int] = (4, 4)
    profiles: int = 4
    n_frames: int = 5
    by_place: int = 0


PRESETS: dict[str, Preset] = {
    "tiny": Preset(16, 2, 3, 2, (2, 4, 4), 1, 16, 8, 8, (2, 2), 2, 3, 2),
    "small": Preset(192, 6, 4, 2, (5, 16, 16), by_place=16),
    "paper": Preset(1025, 5, 6, 4, (5, 8, 8), readout=128, places=(8, 8), profiles=6),
}


def preset_of(name: str) -> Preset:
    """The sizes of that name; ValueError where there are none."""
    if name not in PRESETS:
        raise ValueError(f"choosing a preset: got {name!r}; wanted one of {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass(frozen=True)
class Encoded:
    """What an encoder says: `states` (b, 1 + n, d) after every layer, the last one normed; which of them are
    real (`valid` (b, 1 + n), None: all); the `kinds` (b, z) of the views; the `summary` (b, d) of a case: the
    class token, and what the cells add to it.
    """

    states: list[Tensor]
    valid: Tensor | None
    kinds: Tensor
    summary: Tensor

    @property
    def depths(self) -> list[Tensor]:
        """Three depths, deepest first, as UNETR reads them."""
        n = len(self.states)
        return [self.states[-1], self.states[max(0, 2 * n // 3 - 1)], self.states[max(0, n // 3 - 1)]]


class TokenEncoder(nn.Module):
    """A class token and a pre-norm transformer over the tokens that hold something; the others are never
    computed.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(preset.width) * 0.02)
        self.transformer = Transformer(preset.width, preset.layers, preset.heads, preset.ratio)
        self.cells = CellSum(preset.width, preset.by_place) if preset.by_place else None

    def forward(self, tokens: Tokens, kinds: Tensor) -> Encoded:
        """Tokens of (b, n) -> Encoded."""
        index, valid = choose_tokens(tokens.seen)
        chosen = pick_tokens(tokens.values, index)
        x = torch.cat([self.class_token.expand(len(chosen), 1, -1), chosen], dim=1)
        real = valid
        if valid is not None:
            valid = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
        states = self.transformer.states(x, valid)
        summary = states[-1][:, 0]
        if self.cells is not None:
            summary = summary + self.cells(states[-1][:, 1:], real, tokens.cells.gather(1, index))
        return Encoded(states, valid, kinds, summary)


class KSpaceEncoder(nn.Module):
    """Undersampled k-space -> Encoded. `tokens` is a word of KINDS_OF_TOKENS; `mask_channel` tells patches
    which of their values were acquired.
    """

    def __init__(self, preset: Preset, tokens: str = "patches", *, mask_channel: bool = True) -> None:
        super().__init__()
        if tokens not in KINDS_OF_TOKENS:
            got = f"tokens={tokens!r}"
            raise ValueError(f"building an encoder: got {got}; wanted one of {', '.join(KINDS_OF_TOKENS)}")
        self.kind, self.mask_channel = tokens, mask_channel
        self.tokens: PatchTokens | LineTokens | SpectralTokens
        if tokens == "patches":
            self.tokens = PatchTokens(3 if mask_channel else 2, preset.patch, preset.width)
        elif tokens == "lines":
            self.tokens = LineTokens(2, preset.readout, preset.width)
        else:
            self.tokens = SpectralTokens(preset.n_frames, preset.places, preset.profiles, preset.width)
        self.encoder = TokenEncoder(preset)

    def forward(self, measurement: Measurement) -> Encoded:
        """A measurement `on_grid`; several coils are combined first."""
        kspace, kinds = single_coil(measurement) / scale_of(measurement), kinds_of(measurement)
        if self.kind == "spectral":
            return self.encoder(self.tokens(kspace, measurement.mask, kinds), kinds)
        values = as_real_channels(compressed(kspace))
        if self.kind == "patches" and self.mask_channel:
            values = torch.cat([values, measurement.mask.unsqueeze(1).to(values.dtype)], dim=1)
        return self.encoder(self.tokens(values, measurement.mask, kinds), kinds)


class ImageEncoder(nn.Module):
    """Image magnitudes -> Encoded; `hidden` patches are left out, as a masked autoencoder wants."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.tokens = PatchTokens(1, preset.patch, preset.width)
        self.encoder = TokenEncoder(preset)

    def forward(self, image: Tensor, views: Tensor, kinds: Tensor, hidden: Tensor | None = None) -> Encoded:
        """Magnitudes (b, z, t, y, x), which views (b, z) there are, their kinds; `hidden` (b, n) of the
        patches.
        """
        seen = views[:, :, None, None, None].expand(image.shape)
        tokens = self.tokens(image.unsqueeze(1), seen, kinds)
        if hidden is not None:
            shown = tokens.seen & ~hidden
            # A case whose every patch is hidden would show nothing: it keeps them all.
            shown = torch.where(shown.any(dim=1, keepdim=True), shown, tokens.seen)
            tokens = replace(tokens, seen=shown)
        return self.encoder(tokens, kinds)


class Whitening(nn.Module):
    """A model with one encoder of tokens, whose stage "whiten" fits their embedding to training batches."""

    fitted_stages = ("whiten",)

    @torch.no_grad()
    def fit(self, batches: Iterable[Batch]) -> None:
        """Whiten the embedding; every batch is answered once on the way."""
        (encoder,) = (part for part in self.children() if isinstance(part, (KSpaceEncoder, ImageEncoder)))
        whiten(encoder.tokens.embed, (self(batch.measurement) for batch in batches))


def on_grid(measurement: Measurement) -> Measurement:
    """What every model of this family reads: a trajectory gridded, and coil maps estimated, slice by slice,
    where several coils have none.

    Then coils have no order and no common phase. Nothing changes in a grid of one coil.
    """
    return with_maps(gridded(measurement))


def kinds_of(measurement: Measurement) -> Tensor:
    """(b, z) int64 index into VIEWS; short axis where nobody told."""
    if measurement.views is not None:
        return measurement.views
    shape = measurement.kspace.shape
    return torch.zeros(shape[0], shape[2], dtype=torch.int64, device=measurement.kspace.device)


def views_seen(measurement: Measurement) -> Tensor:
    """(b, z) bool: views of which something was acquired."""
    return measurement.mask.flatten(2).any(dim=2)


def scale_of(measurement: Measurement) -> Tensor:
    """(b, 1, 1, 1, 1) of `robust_scale`: one scale for all views of a case, as if missing ones were not
    there.
    """
    share = views_seen(measurement).float().mean(dim=1).reshape(-1, 1, 1, 1, 1)
    return robust_scale(measurement).squeeze(1) / share.sqrt()


def single_coil(measurement: Measurement) -> Tensor:
    """K-space (b, z, t, ky, kx) of a measurement `on_grid`: of one coil, or of the combined zero-filled
    image.
    """
    if measurement.kspace.shape[1] == 1:
        return measurement.kspace[:, 0]
    return fft2c(zero_filled(measurement))


def scaled_magnitude(measurement: Measurement) -> Tensor:
    """Zero-filled magnitudes (b, z, t, y, x) of a measurement `on_grid`, one scale a case; 0 in missing
    views.
    """
    return zero_filled(measurement).abs() / scale_of(measurement)


def compressed(kspace: Tensor) -> Tensor:
    """z asinh|z| / |z|: the phase stays, the range of k-space becomes one a network can take."""
    size = kspace.abs()
    return kspace * (torch.asinh(size) / size.clamp(min=1e-12))


def expanded(kspace: Tensor) -> Tensor:
    """The inverse of `compressed`; sizes beyond sinh 12 are cut."""
    size = kspace.abs()
    return kspace * (torch.sinh(size.clamp(max=12.0)) / size.clamp(min=1e-12))


def as_real_channels(x: Tensor) -> Tensor:
    """Complex (b, ...) -> real and imaginary parts (b, 2, ...)."""
    return torch.stack([x.real, x.imag], dim=1)


def as_complex_grid(x: Tensor) -> Tensor:
    """Real and imaginary parts (b, 2, ...) -> complex (b, ...)."""
    return torch.complex(x[:, 0].float(), x[:, 1].float())
