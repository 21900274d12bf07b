"""K-Space Transformer plus: ours, the published idea at a twenty-fifth of its arithmetic.

Each change has an option that undoes it, so that it can be ablated. `aligned`: low-resolution (LR) tokens
stand at the frequencies they are (the published LR grid is stretched by two). `patch`: a token is a patch
of k-space or a piece of a line, not a point. `whiten`: values are divided by a learned mean spectrum and
compressed; a point near DC is ten thousand times one at the edge. `known`: every token shows what was
measured in its patch, and the LR k-space keeps it too (published: queries are positions alone).
`hr_reads_samples`: the high-resolution (HR) layers read the encoder as well. `refine_channels`: the image
is refined by a small U-Net, in fewer layers. `refine` and `lowres` leave a part out, as Table 3 of the paper.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kwise.fourier import fft2c, ifft2c
from kwise.models.answer import EVERYTHING, output_shape
from kwise.models.grids import (
    Grids,
    answer_images,
    as_channels,
    as_complex,
    fold_grids,
    on_channels,
    resize_image,
    unfold_images,
)
from kwise.nn.kspace_layers import kspace_layers, value_embedding, value_head, wave_encoding
from kwise.nn.patches import from_patches, gather_tokens, to_patches
from kwise.nn.unet_plain import PlainUNet
from kwise.operator import crop_centre
from kwise.types import Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]
EARLY_WEIGHT = 0.1  # of the loss of every image but the last


class Spectrum(nn.Module):
    """The mean magnitude of k-space over |f| in cycles per field of view, (1 + (|f| / f0)^2)^(-slope / 2),
    with learned f0 and slope, for images of rms 1.
    """

    def __init__(self, f0: float = 2.0, slope: float = 1.5) -> None:
        super().__init__()
        self.log_f0 = nn.Parameter(torch.tensor(f0).log())
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, shape: tuple[int, int], measured: tuple[int, int]) -> Tensor:
        """(y, x) on a grid of `shape`, scaled so that the energy on the `measured` grid is that of rms 1."""
        power = self._power(shape)
        whole = self._power(measured)
        return (power * (whole.numel() / whole.sum())).sqrt()

    def _power(self, shape: tuple[int, int]) -> Tensor:
        y, x = (torch.arange(n, device=self.slope.device) - n // 2 for n in shape)
        radius = (y.unsqueeze(1) ** 2 + x**2) / (2 * self.log_f0).exp()
        return (1 + radius) ** -self.slope


@dataclass(frozen=True)
class Plane:
    """K-space being filled: `measured` and `mask` (n, y, x) on the grid worked on, its mean `spectrum` (y,
    x), and `padded`, the grid of whole patches around it.
    """

    measured: Tensor
    mask: Tensor
    spectrum: Tensor
    padded: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) worked on."""
        return self.measured.shape[-2], self.measured.shape[-1]

    def measured_back(self, kspace: Tensor) -> Tensor:
        """K-space (n, y, x) with the measured samples as they are."""
        return torch.where(self.mask, self.measured, kspace)

    def cut(self, shape: tuple[int, int], padded: tuple[int, int]) -> "Plane":
        """The centre of it."""
        measured, mask = crop_centre(self.measured, shape), crop_centre(self.mask, shape)
        return Plane(measured, mask, crop_centre(self.spectrum, shape), padded)


class KSpaceTransformerPlus(nn.Module):
    """K-Space Transformer plus: patches of k-space read each other, then image and k-space are refined in
    turn.
    """

    stages = ("joint",)

    def __init__(
        self,
        *,
        width: int = 128,
        heads: int = 4,
        ffn: int = 256,
        encoder_layers: int = 2,
        lr_layers: int = 2,
        hr_layers: int = 6,
        patch: tuple[int, int] = (4, 4),
        refine_channels: tuple[int, ...] = (32, 64, 96),
        aligned: bool = True,
        whiten: bool = True,
        known: bool = True,
        hr_reads_samples: bool = True,
        lowres: bool = True,
        refine: bool = True,
    ) -> None:
        super().__init__()
        if not (lowres or hr_reads_samples):
            got = "lowres=False and hr_reads_samples=False"
            raise ValueError(f"building kspace_transformer_plus: got {got}; wanted one of them True")
        self.width, self.patch = width, (patch[0], patch[1])
        self.aligned, self.known, self.hr_reads_samples = aligned, known, hr_reads_samples
        points = patch[0] * patch[1]
        self.spectrum = Spectrum() if whiten else None
        self.embed = value_embedding(3 * points, width)
        self.encoder = kspace_layers(encoder_layers, width, heads, ffn, reads=False, mixes=True)
        self.lr_decoder = (
            kspace_layers(lr_layers, width, heads, ffn, reads=True, mixes=True) if lowres else None
        )
        self.lr_head = value_head(width, 2 * points) if lowres else None
        self.hr_decoder = kspace_layers(hr_layers, width, heads, ffn, reads=True, mixes=False)
        self.hr_heads = nn.ModuleList(value_head(width, 2 * points) for _ in range(hr_layers))
        refined = range(hr_layers if refine else 0)
        self.refine = nn.ModuleList(PlainUNet(refine_channels, 2) for _ in refined)
        for head in [*([] if self.lr_head is None else [self.lr_head]), *self.hr_heads]:
            last = head.get_submodule("3")  # of value_head
            nn.init.normal_(last.get_parameter("weight"), std=0.1 / width**0.5)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Complex images (b, z, f, y, x), or (b, z, q) at queried points, in the units measured."""
        grids = fold_grids(measurement, query)
        images = self.reconstruct(grids, output_shape(measurement, query))
        return answer_images(images[-1], grids, measurement, query)

    def reconstruct(self, grids: Grids, shape: tuple[int, int]) -> list[Tensor]:
        """Images (n, y, x): of the LR decoder, then after every HR layer, on the larger of both grids."""
        plane = self._plane(grids, shape)
        seen = self._tokens(plane, plane.measured)
        memory, valid = gather_tokens(seen, to_patches(_padded(plane.mask, plane), self.patch).any(dim=-1))
        for layer in self.encoder:
            memory = layer(memory, valid)
        kspace = plane.measured
        if self.lr_decoder is not None:
            low, lr_kspace = self._decode_lr(plane, grids.shape, memory, valid)
            kspace = plane.measured_back(crop_centre(lr_kspace, plane.shape))
            memory, valid = _joined(low, memory, valid) if self.hr_reads_samples else (low, None)
        # Images keep their intensity on a grid finer than measured.
        factor = (plane.mask[0].numel() / grids.mask[0].numel()) ** 0.5
        images = [ifft2c(kspace) * factor]
        x = self._tokens(plane, kspace)
        for i, (layer, head) in enumerate(zip(self.hr_decoder, self.hr_heads)):
            x = layer(x, memory=memory, memory_valid=valid)
            kspace = plane.measured_back(kspace + self._values(plane, head(x)))
            if len(self.refine):
                image = on_channels(self.refine[i], ifft2c(kspace) * factor)
                kspace = plane.measured_back(fft2c(image) / factor)
            images.append(ifft2c(kspace) * factor)
            if i + 1 < len(self.hr_decoder):
                x = x + self._shown(plane, kspace)
        return images

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """The loss of the last image, plus 0.1 of every earlier one; ValueError for another stage."""
        if stage not in self.stages:
            raise ValueError(f"training: got stage {stage!r}; wanted one of {', '.join(self.stages)}")
        if targets.image is None:
            raise ValueError("training: got targets without an image; wanted the image to reconstruct")
        grids = fold_grids(measurement, targets.query)
        shape = (targets.image.shape[-2], targets.image.shape[-1])
        images = self.reconstruct(grids, shape)
        total = torch.zeros((), device=targets.image.device)
        for i, image in enumerate(images):
            whole = resize_image(unfold_images(image, grids), shape)
            weight = 1.0 if i == len(images) - 1 else EARLY_WEIGHT
            total = total + weight * task_loss(Prediction(image=whole), targets)
        return total

    def _plane(self, grids: Grids, shape: tuple[int, int]) -> Plane:
        """The measured k-space on the larger of the measured and the asked grid."""
        inner = (max(shape[0], grids.shape[0]), max(shape[1], grids.shape[1]))
        if self.spectrum is None:
            spectrum = torch.ones(inner, device=grids.mask.device)
        else:
            spectrum = self.spectrum(inner, grids.shape)
        measured, mask = crop_centre(grids.kspace, inner), crop_centre(grids.mask, inner)
        return Plane(measured, mask, spectrum, self._whole_patches(inner))

    def _whole_patches(self, shape: tuple[int, int]) -> tuple[int, int]:
        """The smallest grid around `shape` on which DC is the first point of a patch."""
        y, x = (-(-n // (2 * p)) * 2 * p for n, p in zip(shape, self.patch))
        return y, x

    def _decode_lr(
        self, plane: Plane, measured: tuple[int, int], memory: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """LR tokens (n, l, width) that have read the samples, and the central half of k-space they give."""
        assert self.lr_decoder is not None and self.lr_head is not None
        half = (max(1, measured[0] // 2), max(1, measured[1] // 2))
        low = plane.cut(half, self._whole_patches(half))
        stretch = 1.0 if self.aligned else 2.0
        x = self._positions(low.padded, stretch, memory.device)
        x = x + self._shown(low, low.measured) if self.known else x.expand(len(memory), -1, -1)
        for layer in self.lr_decoder:
            x = layer(x, memory=memory, memory_valid=valid)
        kspace = self._values(low, self.lr_head(x))
        return x, low.measured_back(kspace) if self.known else kspace

    def _tokens(self, plane: Plane, kspace: Tensor) -> Tensor:
        """Every patch of k-space (n, y, x) as a token (n, tokens, width) that knows its place."""
        return self._shown(plane, kspace) + self._positions(plane.padded, 1.0, kspace.device)

    def _shown(self, plane: Plane, kspace: Tensor) -> Tensor:
        """What a patch holds: whitened, compressed values, and which of them were measured."""
        values = kspace / plane.spectrum
        size = values.abs()
        if self.spectrum is not None:
            values = values * (torch.asinh(size) / size.clamp(min=1e-6))
        shown = torch.cat([as_channels(values), plane.mask.unsqueeze(1).float()], dim=1)
        return self.embed(to_patches(crop_centre(shown, plane.padded), self.patch))

    def _values(self, plane: Plane, answers: Tensor) -> Tensor:
        """Head outputs (n, tokens, 2 * points) as k-space (n, y, x)."""
        grid = from_patches(answers, self.patch, plane.padded)
        return crop_centre(as_complex(grid), plane.shape) * plane.spectrum

    def _positions(self, padded: tuple[int, int], stretch: float, device: torch.device) -> Tensor:
        """(1, tokens, width): the encoded frequency, in cycles per field of view, of the middle of each
        patch.
        """
        axes = [
            torch.arange(0, n, p, device=device) - n // 2 + (p - 1) / 2 for n, p in zip(padded, self.patch)
        ]
        frequencies = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
        return wave_encoding(stretch * frequencies, self.width).unsqueeze(0)


def _padded(mask: Tensor, plane: Plane) -> Tensor:
    return crop_centre(mask, plane.padded).unsqueeze(1)


def _joined(low: Tensor, memory: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """LR tokens (all real) and samples as one memory."""
    if valid is not None:
        valid = torch.cat([valid.new_ones(low.shape[:2]), valid], dim=1)
    return torch.cat([low, memory], dim=1), valid
