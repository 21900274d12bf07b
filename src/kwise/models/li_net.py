"""LI-Net: latent interpolation. A label autoencoder, then a predictor of its latent vectors from zero-filled
frames.

Schlemper et al., Cardiac MR Segmentation from Undersampled k-space Using Deep Latent Representation Learning,
MICCAI 2018, pp. 259-267. Trained in three stages: the autoencoder on labels alone, the predictor on its
latents, both jointly. The layer table is not public; convolutions, a bottleneck of 256 a frame and the latent
weight 1e-3 are kwise's choice.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kwise.models.answer import (
    EVERYTHING,
    finish_answer,
    frame_images,
    gather_points,
    resize_answer,
    rolled_frames,
    scaled_frames,
    select_frames,
    unfold_slices,
)
from kwise.nn.conv import BottleneckDecoder, BottleneckEncoder
from kwise.types import Measurement, Prediction, Query, Targets

TaskLoss = Callable[[Prediction, Targets], Tensor]


class LiNet(nn.Module):
    """A predictor (zero-filled frames -> latent) and a label autoencoder (labels -> latent -> labels), frame
    by frame.

    `frames_as` "rolled" shows the predictor the magnitudes of `n_frames` frames in cyclic order from the
    queried one, "single" the real and imaginary parts of the queried frame alone. Inside, images have the
    size `matrix` (y, x).
    """

    stages = ("autoencoder", "predictor", "joint")

    def __init__(
        self,
        *,
        n_classes: int = 4,
        latent: int = 256,
        matrix: tuple[int, int] = (64, 64),
        channels: tuple[int, ...] = (16, 32, 64, 64),
        frames_as: str = "rolled",
        n_frames: int = 12,
        latent_weight: float = 1e-3,
    ) -> None:
        super().__init__()
        if frames_as not in ("rolled", "single"):
            raise ValueError(f"building li_net: got frames_as={frames_as!r}; wanted 'rolled' or 'single'")
        self.n_classes, self.matrix, self.latent_weight = n_classes, (matrix[0], matrix[1]), latent_weight
        self.frames_as, self.n_frames = frames_as, n_frames
        inputs = n_frames if frames_as == "rolled" else 2
        self.predictor = BottleneckEncoder(inputs, latent, self.matrix, channels)
        self.label_encoder = BottleneckEncoder(n_classes, latent, self.matrix, channels)
        self.decoder = BottleneckDecoder(latent, n_classes, self.matrix, channels)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points; latents (b, z * f, latent)."""
        latents = self.predict_latents(measurement, query)
        folded = self.decode(latents).flatten(0, 1)
        logits = finish_answer(folded, measurement, query)
        return Prediction(logits=logits, latents=latents.flatten(1, 2))

    def predict_latents(self, measurement: Measurement, query: Query = EVERYTHING) -> Tensor:
        """Latents (b, z, f, latent) of the queried frames from the zero-filled cine."""
        frames = scaled_frames(measurement).flatten(0, 1)
        images = self._predictor_input(frames, query.repeat_slices(measurement.n_slices))
        inside = resize_answer(images, self.matrix)
        latents = self.predictor(inside.flatten(0, 1))
        return latents.unflatten(0, (*measurement.shape[:2], -1))

    def encode_labels(self, labels: Tensor) -> Tensor:
        """Latents (b, z, f, latent) of labels (b, z, f, y, x); pixels to ignore belong to no class."""
        classes = torch.arange(self.n_classes, device=labels.device)[:, None, None]
        one_hot = (labels.unsqueeze(-3) == classes).float()
        return self.label_encoder(resize_answer(one_hot.flatten(0, 2), self.matrix)).unflatten(
            0, labels.shape[:3]
        )

    def decode(self, latents: Tensor) -> Tensor:
        """Class logits (b, z, k, f, y, x) on `matrix` from latents (b, z, f, latent)."""
        return self.decoder(latents.flatten(0, 2)).unflatten(0, latents.shape[:3]).transpose(2, 3)

    def stage_loss(
        self, stage: str, measurement: Measurement, targets: Targets, task_loss: TaskLoss
    ) -> Tensor:
        """The scalar loss of one of `stages`; ValueError for another name."""
        if stage == "autoencoder":
            return task_loss(self._reconstruction(targets), targets)
        if stage == "predictor":
            return self._latent_distance(self.predict_latents(measurement, targets.query), targets)
        if stage == "joint":
            answer = self(measurement, targets.query)
            assert answer.latents is not None
            latents = answer.latents.unflatten(1, targets.labels.shape[1:3])
            return task_loss(answer, targets) + self.latent_weight * self._latent_distance(latents, targets)
        raise ValueError(f"training li_net: got stage {stage!r}; wanted one of {', '.join(self.stages)}")

    def _reconstruction(self, targets: Targets) -> Prediction:
        """The autoencoder's answer to the labels themselves."""
        folded = self.decode(self.encode_labels(targets.labels)).flatten(0, 1)
        y, x = targets.labels.shape[-2:]
        logits = unfold_slices(resize_answer(folded, (y, x)), targets.labels.shape[1])
        return Prediction(logits=gather_points(logits, targets.query))

    def _latent_distance(self, latents: Tensor, targets: Targets) -> Tensor:
        """Mean over labelled frames of the squared distance to the autoencoder's latents, which stay as they
        are.
        """
        with torch.no_grad():
            wanted = self.encode_labels(targets.labels)
        labelled = (targets.labels >= 0).all(dim=(-2, -1))
        distance = (latents - wanted).square().sum(dim=-1)
        return (distance * labelled).sum() / labelled.sum().clamp(min=1)

    def _predictor_input(self, frames: Tensor, query: Query) -> Tensor:
        """(b * z, f, c, y, x) images from complex frames (b * z, t, y, x)."""
        if self.frames_as == "rolled":
            return rolled_frames(frames.abs(), query, self.n_frames)
        return select_frames(frame_images(frames), query).transpose(1, 2)
