"""An nnU-Net-style 2-D network on single frames: the upper bound when it is given fully sampled measurements.

Isensee et al., nnU-Net, Nature Methods 2021. The network is MONAI's DynUNet with nnU-Net's plain blocks,
without deep supervision; nnU-Net itself (planning, augmentation, ensembling) is another program.
"""

import torch
from torch import Tensor, nn

from kwise.models.answer import EVERYTHING, finish_answer, scaled_frames, select_frames
from kwise.nn.conv import pad_to_multiple
from kwise.types import Measurement, Prediction, Query


class NNUNetStyle(nn.Module):
    """DynUNet on the zero-filled magnitude of each frame alone, z-scored per slice; `channels` one entry a
    level.
    """

    def __init__(self, *, n_classes: int = 4, channels: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        if len(channels) < 3:
            raise ValueError(f"building nnunet_style: got {len(channels)} levels; wanted at least 3")
        self.multiple = 2 ** (len(channels) - 1)
        self.net = _dynamic_unet(n_classes, channels)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points; each frame is on its own."""
        frames = standardised(scaled_frames(measurement).flatten(0, 1).abs())
        chosen = select_frames(frames.unsqueeze(1), query.repeat_slices(measurement.n_slices))
        y, x = chosen.shape[-2:]
        logits = self.net(pad_to_multiple(chosen.transpose(1, 2).flatten(0, 1), self.multiple))[..., :y, :x]
        logits = logits.unflatten(0, (len(chosen), -1)).transpose(1, 2)
        return Prediction(logits=finish_answer(logits, measurement, query))


def standardised(frames: Tensor) -> Tensor:
    """Frames (b, t, y, x) with mean 0 and standard deviation 1 over each case's whole cine."""
    spread, mean = torch.std_mean(frames, dim=(1, 2, 3), keepdim=True)
    return (frames - mean) / spread.clamp(min=1e-6)


def _dynamic_unet(n_classes: int, channels: tuple[int, ...]) -> nn.Module:
    from monai.networks.nets import DynUNet  # seconds to import

    strides = [1] + [2] * (len(channels) - 1)
    return DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=n_classes,
        kernel_size=[3] * len(channels),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=list(channels),
        deep_supervision=False,
    )
