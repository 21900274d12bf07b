"""K-Space Transformer: unacquired k-space positions are queries that read the acquired samples.

Zhao et al., K-Space Transformer for Undersampled MRI Reconstruction, BMVC 2022 (arXiv 2206.06947).
Defaults are the trained sizes. An encoder mixes the samples, a low-resolution (LR) decoder fills a grid of
half the size, a high-resolution (HR) decoder reads it at every position that was not acquired; after each
HR layer a CNN refines the image, and measured samples are put back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.coordinates import gather_samples
from kwise.fourier import fft2c, ifft2c
from kwise.models.answer import EVERYTHING, output_shape
from kwise.models.grids import (
    Grids,
    answer_images,
    as_channels,
    as_complex,
    fold_grids,
    on_channels,
    unfold_images,
)
from kwise.nn.kspace_layers import ResidualConvs, kspace_layers, value_embedding, value_head, wave_encoding
from kwise.operator import crop_centre
from kwise.types import Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]
POSITION_SCALE = 250.0  # positions in [0, 1] are multiplied by it before they are encoded
EARLY_WEIGHT = 0.3  # of the loss after every layer of a decoder but the last


@dataclass(frozen=True)
class Steps:
    """Complex images (n, y, x) after each layer: `lr` of half the size, `hr` before and `refined` after the
    CNN.
    """

    lr: list[Tensor] = field(default_factory=list)
    hr: list[Tensor] = field(default_factory=list)
    refined: list[Tensor] = field(default_factory=list)

    @property
    def last(self) -> Tensor:
        """The answer: the last image of the last stage that ran."""
        return (self.refined or self.hr or self.lr)[-1]


@dataclass(frozen=True)
class Missing:
    """The grid to fill: measured k-space and mask on it, which positions are missing, where they lie.

    `kspace`, `mask` (n, y, x); `index` (n, q) flat positions, those of acquired samples where a case has
    fewer to fill; `encoded` (n, q, width); `factor` from the units of the measured grid to those of this
    one.
    """

    kspace: Tensor
    mask: Tensor
    index: Tensor
    encoded: Tensor
    factor: float

    def values(self, kspace: Tensor) -> Tensor:
        """K-space (n, y, x) at the missing positions, (n, q, 2) in the units of the measured grid."""
        return torch.view_as_real(kspace.flatten(1).gather(1, self.index)) / self.factor

    def filled(self, values: Tensor) -> Tensor:
        """Values (n, q, 2) put beside the measured samples: k-space (n, y, x)."""
        found = torch.view_as_complex(values.float().contiguous()) * self.factor
        flat = torch.zeros_like(self.kspace).flatten(1).scatter(1, self.index, found)
        return self.measured_back(flat.view_as(self.kspace))

    def measured_back(self, kspace: Tensor) -> Tensor:
        """K-space (n, y, x) with the measured samples as they are."""
        return torch.where(self.mask, self.kspace, kspace)


class KSpaceTransformer(nn.Module):
    """K-Space Transformer as published; `refine` and `lowres` switch off what its Table 3 leaves out.

    Without `lowres` the HR decoder reads the encoder, and its queries are positions alone. `scale` "acquired"
    gives images an rms of about 1 from the acquired samples, "none" takes k-space as it is. A `resolution`
    beyond the measured grid asks for k-space that was never on it; the field of view stays.
    """

    stages: tuple[str, ...] = ("lr", "hr", "refine")

    def __init__(
        self,
        *,
        width: int = 256,
        heads: int = 4,
        ffn: int = 1024,
        encoder_layers: int = 4,
        lr_layers: int = 4,
        hr_layers: int = 6,
        refine_channels: int = 64,
        refine_convs: int = 3,
        lowres: bool = True,
        refine: bool = True,
        scale: str = "acquired",
    ) -> None:
        super().__init__()
        if scale not in ("acquired", "none"):
            raise ValueError(f"building kspace_transformer: got scale {scale!r}; wanted 'acquired' or 'none'")
        self.width, self.scale = width, scale
        self.embed = value_embedding(2, width)
        self.encoder = kspace_layers(encoder_layers, width, heads, ffn, reads=False, mixes=True)
        lr_layers = lr_layers if lowres else 0
        self.lr_decoder = kspace_layers(lr_layers, width, heads, ffn, reads=True, mixes=True)
        self.lr_heads = nn.ModuleList(value_head(width) for _ in range(lr_layers))
        self.hr_embed = value_embedding(2, width) if lowres or refine else None
        self.hr_decoder = kspace_layers(hr_layers, width, heads, ffn, reads=True, mixes=False)
        self.hr_heads = nn.ModuleList(value_head(width) for _ in range(hr_layers))
        self.refine = nn.ModuleList(
            ResidualConvs(refine_channels, refine_convs, last_kernel=1, slope=0.1)
            for _ in range(hr_layers if refine else 0)
        )
        self.stages = tuple(
            s for s in type(self).stages if (lowres or s != "lr") and (refine or s != "refine")
        )
        _xavier(self)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Complex images (b, z, f, y, x), or (b, z, q) at queried points, in the units measured."""
        grids = fold_grids(measurement, query, scaled=self.scale == "acquired")
        steps = self.reconstruct(grids, output_shape(measurement, query))
        return answer_images(steps.last, grids, measurement, query)

    def reconstruct(self, grids: Grids, shape: tuple[int, int], stage: str = "refine") -> Steps:
        """The images after every layer on a grid of `shape`, up to a stage; the measurement itself where
        nothing is missing.
        """
        missing = self._missing(grids, shape)
        if missing.index.shape[1] == 0:
            return Steps(refined=[ifft2c(missing.kspace)])
        memory, valid = self._encode(grids)
        steps = Steps()
        if len(self.lr_decoder):
            memory, valid = self._decode_lr(grids.shape, memory, valid, steps), None
        if stage != "lr":
            self._decode_hr(missing, memory, valid, steps, refine=stage == "refine")
        return steps

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """The loss of every layer that the stage trains: 0.3 each, 1 the last of each kind; ValueError for
        another stage.
        """
        if stage not in self.stages:
            raise ValueError(f"training: got stage {stage!r}; wanted one of {', '.join(self.stages)}")
        if targets.image is None:
            raise ValueError("training: got targets without an image; wanted the image to reconstruct")
        grids = fold_grids(measurement, targets.query, scaled=self.scale == "acquired")
        shape = (targets.image.shape[-2], targets.image.shape[-1])
        steps = self.reconstruct(grids, shape, stage)
        low = replace(targets, image=_pooled(targets.image, lr_shape(grids.shape)))
        total = torch.zeros((), device=targets.image.device)
        for images, truth in ((steps.lr, low), (steps.hr, targets), (steps.refined, targets)):
            for i, image in enumerate(images):
                weight = 1.0 if i == len(images) - 1 else EARLY_WEIGHT
                whole = Prediction(image=unfold_images(image, grids))
                total = total + weight * task_loss(whole, truth)
        return total

    def encode_positions(self, positions: Tensor) -> Tensor:
        """(..., 2) positions (ky, kx) in the paper's [0, 1] -> (..., width)."""
        return wave_encoding(POSITION_SCALE * positions, self.width)

    def _encode(self, grids: Grids) -> tuple[Tensor, Tensor | None]:
        """The samples as tokens (n, m, width) that have seen each other, and which of them are real."""
        samples = gather_samples(grids.single)
        positions = paper_positions(samples.coords[..., 2:], grids.shape)
        x = self.embed(torch.view_as_real(samples.values[..., 0])) + self.encode_positions(positions)
        for layer in self.encoder:
            x = layer(x, samples.valid)
        return x, samples.valid

    def _decode_lr(
        self, shape: tuple[int, int], memory: Tensor, valid: Tensor | None, steps: Steps
    ) -> Tensor:
        """The LR tokens (n, l, width) that have read the samples; their images go to `steps.lr`."""
        low = lr_shape(shape)
        axes = [torch.linspace(0, 1, n, device=memory.device) for n in low]
        positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
        x = self.encode_positions(positions).expand(len(memory), -1, -1)
        for layer, head in zip(self.lr_decoder, self.lr_heads):
            x = layer(x, memory=memory, memory_valid=valid)
            steps.lr.append(ifft2c(torch.view_as_complex(head(x).float()).unflatten(1, low)))
        return x

    def _decode_hr(
        self, missing: Missing, memory: Tensor, valid: Tensor | None, steps: Steps, *, refine: bool
    ) -> None:
        """Fill the missing positions layer by layer; images go to `steps.hr` and `steps.refined`."""
        x = missing.encoded
        if steps.lr:
            shape = (missing.mask.shape[-2], missing.mask.shape[-1])
            x = x + self._embedded(missing.values(fft2c(upsampled(steps.lr[-1], shape))))
        for i, (layer, head) in enumerate(zip(self.hr_decoder, self.hr_heads)):
            x = layer(x, memory=memory, memory_valid=valid)
            image = ifft2c(missing.filled(head(x)))
            steps.hr.append(image)
            if refine and len(self.refine):
                kspace = missing.measured_back(fft2c(on_channels(self.refine[i], image)))
                steps.refined.append(ifft2c(kspace))
                if i + 1 < len(self.hr_decoder):
                    x = x + self._embedded(missing.values(kspace))

    def _embedded(self, values: Tensor) -> Tensor:
        assert self.hr_embed is not None
        return self.hr_embed(values)

    def _missing(self, grids: Grids, shape: tuple[int, int]) -> Missing:
        factor = (shape[0] * shape[1] / (grids.shape[0] * grids.shape[1])) ** 0.5
        mask = crop_centre(grids.mask, shape)
        index = _unacquired(mask.flatten(1))
        grid = [(torch.arange(n, device=mask.device) - n // 2) / m for n, m in zip(shape, grids.shape)]
        coords = torch.stack(torch.meshgrid(*grid, indexing="ij"), dim=-1).flatten(0, 1)
        encoded = self.encode_positions(paper_positions(coords[index], grids.shape))
        return Missing(crop_centre(grids.kspace, shape) * factor, mask, index, encoded, factor)


def paper_positions(coords: Tensor, shape: tuple[int, int]) -> Tensor:
    """Our coordinates (..., 2) of (ky, kx) around DC -> the paper's, 0 at the first and 1 at the last
    index of the measured grid.
    """
    size = torch.tensor(shape, device=coords.device, dtype=coords.dtype)
    return (coords * size + size.div(2, rounding_mode="floor")) / (size - 1).clamp(min=1)


def lr_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """The LR grid (y, x) of a measured grid: half of it, rounded up."""
    return -(-shape[0] // 2), -(-shape[1] // 2)


def _unacquired(mask: Tensor) -> Tensor:
    """(n, q) positions of False in (n, m), in order, filled up with positions of True in shorter cases."""
    longest = int((~mask).sum(dim=1).max())
    return torch.argsort(mask.to(torch.uint8), dim=1, stable=True)[:, :longest]


def upsampled(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Complex images (n, y, x) on a finer grid, bicubic, as the LR image seeds the HR queries."""
    larger = functional.interpolate(as_channels(image), shape, mode="bicubic", align_corners=False)
    return as_complex(larger)


def _pooled(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Images (..., y, x), complex or real, averaged over the pixels of a coarser grid."""
    flat = image.reshape(-1, *image.shape[-2:])
    channels = as_channels(flat) if image.is_complex() else flat.unsqueeze(1)
    pooled = functional.adaptive_avg_pool2d(channels, shape)
    coarse = as_complex(pooled) if image.is_complex() else pooled.squeeze(1)
    return coarse.reshape(*image.shape[:-2], *shape)


def _xavier(model: nn.Module) -> None:
    """Xavier-uniform for every matrix and kernel; keys and values as the two matrices they are."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            for part in parameter.data.chunk(2 if "key_value" in name else 1):
                nn.init.xavier_uniform_(part)
