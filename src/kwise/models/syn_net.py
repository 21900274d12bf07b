"""Syn-Net: a U-Net from zero-filled frames straight to segmentations.

Schlemper et al., Cardiac MR Segmentation from Undersampled k-space Using Deep Latent Representation Learning,
MICCAI 2018, pp. 259-267. The layer table is not public: `frames_as="joint"` with channels (32, 64, 128, 256,
512) is the 2D+t U-Net taken for the published one; the default channels train on two CPU cores.
"""

from torch import Tensor, nn

from kwise.models.answer import (
    EVERYTHING,
    finish_answer,
    frame_images,
    rolled_frames,
    scaled_frames,
    select_frames,
)
from kwise.nn.conv import UNet
from kwise.types import Measurement, Prediction, Query


class SynNet(nn.Module):
    """A U-Net on zero-filled frames.

    `frames_as` "joint": real and imaginary parts of the whole cine, 3 x 3 x 3 kernels, time never pooled.
    "rolled": for each queried frame alone, the magnitudes of `n_frames` frames in cyclic order starting at
    it, 2-D kernels, one head shared by all frames: no output can stay dead, and only queried frames cost
    time.
    """

    def __init__(
        self,
        *,
        n_classes: int = 4,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        frames_as: str = "joint",
        n_frames: int = 12,
        norm: str = "group",
    ) -> None:
        super().__init__()
        if frames_as not in ("joint", "rolled"):
            raise ValueError(f"building syn_net: got frames_as={frames_as!r}; wanted 'joint' or 'rolled'")
        self.frames_as, self.n_frames = frames_as, n_frames
        inputs, dims = (2, 3) if frames_as == "joint" else (n_frames, 2)
        self.net = UNet(inputs, n_classes, channels, dims, norm)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points; slices are cases."""
        frames = scaled_frames(measurement).flatten(0, 1)
        asked = query.repeat_slices(measurement.n_slices)
        answer = self._joint if self.frames_as == "joint" else self._rolled
        return Prediction(logits=finish_answer(answer(frames, asked), measurement, query))

    def _joint(self, frames: Tensor, query: Query) -> Tensor:
        return select_frames(self.net(frame_images(frames)), query)

    def _rolled(self, frames: Tensor, query: Query) -> Tensor:
        rolled = rolled_frames(frames.abs(), query, self.n_frames)
        logits = self.net(rolled.flatten(0, 1))
        return logits.unflatten(0, rolled.shape[:2]).transpose(1, 2)
