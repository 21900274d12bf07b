"""UNet: one network from a zero-filled image to the whole one.

The K-Space Transformer's paper (arXiv 2206.06947, Tables 1 and 2) cites Ronneberger et al. and gives no
sizes; these are those of Souza et al., Magn. Reson. Imaging 71 (2020): 3,000,674 parameters.
"""

from torch import Tensor, nn

from kwise.fourier import ifft2c
from kwise.models.answer import EVERYTHING
from kwise.models.grids import answer_images, fold_grids, on_channels
from kwise.nn.unet_plain import PlainUNet
from kwise.types import Measurement, Prediction, Query


class ImageUNet(nn.Module):
    """UNet: corrects the zero-filled image; then the measured samples are put back, unless `consistency` is
    False (the paper does not say).
    """

    def __init__(
        self, *, channels: tuple[int, ...] = (48, 64, 128, 256), convs: int = 3, consistency: bool = True
    ) -> None:
        super().__init__()
        self.consistency = consistency
        self.net = PlainUNet(channels, convs)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Complex images (b, z, f, y, x), or (b, z, q) at queried points, in the units measured."""
        grids = fold_grids(measurement, query)
        image = self._corrected(grids.kspace)
        if self.consistency:
            image = grids.consistent(image)
        return answer_images(image, grids, measurement, query)

    def _corrected(self, kspace: Tensor) -> Tensor:
        """The image (n, y, x) from zero-filled k-space (n, ky, kx)."""
        return on_channels(self.net, ifft2c(kspace))
