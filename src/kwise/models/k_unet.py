"""K-UNet: UNet's network on zero-filled k-space itself (arXiv 2206.06947, Tables 1 and 2)."""

from torch import Tensor

from kwise.fourier import ifft2c
from kwise.models.grids import on_channels
from kwise.models.unet import ImageUNet


class KUNet(ImageUNet):
    """K-UNet: real and imaginary k-space in, whole k-space out; the image comes after the network."""

    def _corrected(self, kspace: Tensor) -> Tensor:
        return ifft2c(on_channels(self.net, kspace))
