"""D5C5: a cascade of five small CNNs with the measured samples put back after each.

Schlemper et al., A Deep Cascade of Convolutional Neural Networks for Dynamic MR Image Reconstruction, IEEE
TMI 37 (2018) 491-503. Defaults are the authors' released weights: 64 filters, ReLU, 565,770 parameters. With
several coils (ours) the CNNs see their joint image, and each coil's samples are put back through its map.
"""

from torch import nn

from kwise.models.answer import EVERYTHING
from kwise.models.grids import finish_images, on_channels
from kwise.models.sense import fold_sense
from kwise.nn.kspace_layers import ResidualConvs
from kwise.types import Measurement, Prediction, Query


class D5C5(nn.Module):
    """D5C5: `cascades` times five convolutions with a residual, then data consistency, weights not shared.

    `noise_weight` v mixes measured and predicted samples as (predicted + v measured) / (1 + v), Eq. 6 of the
    paper; None puts the measured ones back as they are.
    """

    def __init__(
        self, *, cascades: int = 5, channels: int = 64, middle: int = 3, noise_weight: float | None = None
    ) -> None:
        super().__init__()
        if noise_weight is not None and noise_weight <= 0:
            raise ValueError(
                f"building d5c5: got noise_weight={noise_weight}; wanted a positive one, or None"
            )
        self.noise_weight = noise_weight
        self.cascades = nn.ModuleList(ResidualConvs(channels, middle) for _ in range(cascades))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Complex images (b, z, f, y, x), or (b, z, q) at queried points, in the units measured."""
        grids = fold_sense(measurement, query)
        image = grids.zero_filled()
        for convs in self.cascades:
            image = grids.consistent(on_channels(convs, image), self.noise_weight)
        return finish_images(grids.in_units(image), measurement, query)
