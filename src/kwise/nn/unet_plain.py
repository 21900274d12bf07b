"""A U-Net without normalisation that corrects its input: two channels in, the same two channels out."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from kwise.nn.conv import double, halve, pad_to_multiple


class PlainUNet(nn.Module):
    """x + U-Net(x) on (n, 2, y, x) of any size: `convs` 3 x 3 convolutions with ReLU a level, nearest
    upsampling.

    Ronneberger et al., MICCAI 2015, in the form of Souza et al., Magn. Reson. Imaging 71 (2020): one entry
    of `channels` a level, no normalisation, a 1 x 1 convolution at the end.
    """

    def __init__(self, channels: Sequence[int] = (48, 64, 128, 256), convs: int = 3) -> None:
        super().__init__()
        self.levels = len(channels)
        self.down = nn.ModuleList(_block(a, b, convs) for a, b in pairwise([2, *channels]))
        pairs = list(pairwise(channels))[::-1]
        self.up = nn.ModuleList(_block(shallow + deep, shallow, convs) for shallow, deep in pairs)
        self.head = nn.Conv2d(channels[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 2, y, x)."""
        size, inside = x.shape[-2:], pad_to_multiple(x, 2 ** (self.levels - 1))
        skips: list[Tensor] = []
        for block in self.down:
            inside = block(inside if not skips else halve(inside))
            skips.append(inside)
        for block, skip in zip(self.up, skips[-2::-1]):
            inside = block(torch.cat([skip, double(inside)], dim=1))
        return x + self.head(inside)[..., : size[0], : size[1]]


def _block(inputs: int, outputs: int, convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, *[outputs] * (convs - 1)):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)
