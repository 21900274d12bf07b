"""ResNet-50 on all views and frames as channels of one image, for phenotypes or diseases.

He et al., CVPR 2016; k-MTR's baseline RN50 (arXiv 2603.09945, Table 1). The network is MONAI's, 2-D, without
pretraining, and with group normalisation (Wu and He, ECCV 2018): batches of a few subjects have no
statistics.
"""

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from kwise.models.answer import EVERYTHING, query_frames
from kwise.models.kmtr_encoders import (
    as_real_channels,
    compressed,
    on_grid,
    scale_of,
    scaled_magnitude,
    single_coil,
)
from kwise.models.kmtr_heads import DiseaseHead, PhenotypeHead
from kwise.models.vit import VECTOR_HEADS
from kwise.types import Measurement, Prediction, Query, Targets

SEES = ("images", "kspace")


class ResNet50(nn.Module):
    """`sees` "images": zero-filled magnitudes, (views x frames) channels; "kspace": zero-filled k-space,
    compressed, real and imaginary parts.

    Built for at most `n_views` and `n_frames`; what a measurement lacks is zero. `channels` of the first
    block, 64 in ResNet-50.
    """

    def __init__(
        self,
        *,
        head: str = "phenotypes",
        sees: str = "images",
        n_views: int = 9,
        n_frames: int = 5,
        channels: int = 64,
    ) -> None:
        super().__init__()
        if head not in VECTOR_HEADS or sees not in SEES:
            got = f"head={head!r}, sees={sees!r}"
            raise ValueError(
                f"building resnet50: got {got}; wanted {' or '.join(VECTOR_HEADS)}, and {' or '.join(SEES)}"
            )
        self.sees, self.n_views, self.n_frames = sees, n_views, n_frames
        inputs = n_views * n_frames * (2 if sees == "kspace" else 1)
        self.net = _resnet50(inputs, channels)
        width = 4 * 8 * channels  # of the last block
        self.head = (PhenotypeHead if head == "phenotypes" else DiseaseHead)(width, 256)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """phenotypes (b, p), or diseases (b, q)."""
        query_frames(query, len(measurement.kspace), measurement.n_frames, measurement.kspace.device)
        return self.head(self.net(self.channels(on_grid(measurement))))

    def channels(self, measurement: Measurement) -> Tensor:
        """(b, channels, y, x); ValueError for more views or frames than the network was built for."""
        z, t = measurement.n_slices, measurement.n_frames
        if z > self.n_views or t > self.n_frames:
            got = f"{z} views x {t} frames"
            raise ValueError(
                f"reading with resnet50: got {got}; wanted at most {self.n_views} x {self.n_frames}"
            )
        if self.sees == "images":
            x = scaled_magnitude(measurement).unsqueeze(1)
        else:
            x = as_real_channels(compressed(single_coil(measurement) / scale_of(measurement)))
        padded = functional.pad(x, (0, 0, 0, 0, 0, self.n_frames - t, 0, self.n_views - z))
        return padded.flatten(1, 3)

    def calibrate(self, answers: Iterable[tuple[Prediction, Targets]]) -> None:
        """Fit what the head keeps from validation cases."""
        self.head.calibrate(answers)


def _resnet50(inputs: int, channels: int) -> nn.Module:
    from monai.networks.nets.resnet import ResNet  # seconds to import

    return ResNet(
        "bottleneck",
        [3, 4, 6, 3],
        [channels * 2**i for i in range(4)],
        spatial_dims=2,
        n_input_channels=inputs,
        conv1_t_stride=2,
        feed_forward=False,
        norm=("group", {"num_groups": max(1, channels // 4)}),
    )
