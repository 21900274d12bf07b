"""k-MTR, Stage II: class tokens of undersampled k-space learn to lie where those of the fully sampled image
lie.

Zhang et al., arXiv 2603.09945, Eq. 2: two-layer projectors to 128 numbers, a symmetric contrastive loss over
a batch of subjects. Temperature .1, weight .5 and half of the image patches hidden as in ViTa (Zhang et al.,
Medical Image Analysis 2025).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kwise.models.answer import EVERYTHING, query_frames
from kwise.models.image_mae import hidden_patches
from kwise.models.kmtr_encoders import (
    ImageEncoder,
    KSpaceEncoder,
    kinds_of,
    on_grid,
    preset_of,
    views_seen,
)
from kwise.nn.contrastive import embed_in_chunks, gather_embeddings, symmetric_contrast
from kwise.types import Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]


class KmtrAlign(nn.Module):
    """Both encoders with their projectors. `chunk` cases are embedded at a time, whatever the batch."""

    stages = ("align",)

    def __init__(
        self,
        *,
        preset: str = "small",
        tokens: str = "patches",
        mask_channel: bool = True,
        embedding: int = 128,
        temperature: float = 0.1,
        weight: float = 0.5,
        hide: float = 0.5,
        chunk: int = 16,
    ) -> None:
        super().__init__()
        sizes = preset_of(preset)
        if not (temperature > 0 and 0 <= weight <= 1):
            got = f"temperature={temperature}, weight={weight}"
            raise ValueError(
                f"building kmtr_align: got {got}; wanted a temperature above 0 and a weight in 0 to 1"
            )
        self.temperature, self.weight, self.hide, self.chunk = temperature, weight, hide, chunk
        self.patch = sizes.patch
        self.image_encoder = ImageEncoder(sizes)
        self.kspace_encoder = KSpaceEncoder(sizes, tokens, mask_channel=mask_channel)
        self.image_projector = _projector(sizes.width, embedding)
        self.kspace_projector = _projector(sizes.width, embedding)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """latents (b, 1, embedding): where undersampled k-space lies among the subjects."""
        query_frames(query, len(measurement.kspace), measurement.n_frames, measurement.kspace.device)
        encoded = self.kspace_encoder(on_grid(measurement))
        return Prediction(latents=self.kspace_projector(encoded.summary).unsqueeze(1))

    def embed_image(self, image: Tensor, measurement: Measurement) -> Tensor:
        """(b, embedding) of fully sampled images (b, z, t, y, x), complex or magnitudes."""
        magnitude = image.abs()
        there = views_seen(measurement)[:, :, None, None, None]
        magnitude = torch.where(there, magnitude, 0.0)
        rms = (magnitude.square().mean(dim=(1, 2, 3, 4), keepdim=True) / there.float().mean(1, True)).sqrt()
        magnitude = magnitude / torch.where(rms > 0, rms, torch.ones_like(rms))
        hidden = hidden_patches(magnitude, self.patch, self.hide, told=self.training) if self.hide else None
        encoded = self.image_encoder(magnitude, views_seen(measurement), kinds_of(measurement), hidden)
        return self.image_projector(encoded.summary)

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """The contrastive loss over the batch, and over the batches of all processes together.

        ValueError for another stage, or without the fully sampled image of all frames.
        """
        if stage not in self.stages:
            raise ValueError(
                f"training kmtr_align: got stage {stage!r}; wanted one of {', '.join(self.stages)}"
            )
        if targets.image is None or targets.image.shape[2] != measurement.n_frames:
            raise ValueError(
                "training kmtr_align: got no fully sampled image of all frames; wanted "
                "acquisition.reference=true and frames=none"
            )
        image, measurement = targets.image, on_grid(measurement)

        def from_image(start: int, stop: int) -> Tensor:
            return self.embed_image(image[start:stop], some_cases(measurement, start, stop))

        def from_kspace(start: int, stop: int) -> Tensor:
            return self.kspace_projector(self.kspace_encoder(some_cases(measurement, start, stop)).summary)

        a, b = (embed_in_chunks(embed, len(image), self.chunk) for embed in (from_image, from_kspace))
        return symmetric_contrast(gather_embeddings(a), gather_embeddings(b), self.temperature, self.weight)


def some_cases(measurement: Measurement, start: int, stop: int) -> Measurement:
    """The cases `start` to `stop` of a batch."""
    names = ("kspace", "mask", "coil_maps", "trajectory", "spacing_mm", "views")
    parts = {name: getattr(measurement, name) for name in names}
    return replace(measurement, **{n: x[start:stop] for n, x in parts.items() if x is not None})


def _projector(width: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, embedding))
