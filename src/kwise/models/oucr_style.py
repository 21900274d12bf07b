"""OUCR-style: a wide-angle and a close-up recurrent CNN, side by side, and the measured samples after
each.

After Guo et al., Over-and-Under Complete Convolutional RNN for MRI Reconstruction, MICCAI 2021. Its layer
table is not public to us: widths are those of the first author's next network, and the parameters
(582,600) are about half of what is reported for OUCR. So it is *OUCR-style*, not OUCR.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.models.answer import EVERYTHING
from kwise.models.grids import Grids, answer_images, as_channels, as_complex, fold_grids
from kwise.nn.conv import pad_to_multiple
from kwise.types import Measurement, Prediction, Query


class ResidualBlock(nn.Module):
    """x + conv(ReLU(conv x)), 3 x 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            _conv(channels, channels), nn.ReLU(), _conv(channels, channels)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, y, x)."""
        return x + self.convs(x)


class RecurrentUnit(nn.Module):
    """hidden = PReLU(encode(x) + carry(hidden)), answer = decode(hidden); how it scales is up to its kind.

    `under`: encodes to half the size by a strided convolution. Not `under` (overcomplete): encodes on a grid
    1.5 times finer, so that deep layers see small neighbourhoods.
    """

    def __init__(self, channels: int, *, under: bool) -> None:
        super().__init__()
        self.under = under
        self.enter = _conv(2, channels)
        self.encode = nn.Conv2d(channels, channels, 4, 2, 1) if under else _conv(channels, channels)
        self.carry = nn.Sequential(ResidualBlock(channels), ResidualBlock(channels))
        self.activate = nn.PReLU()
        self.decode = nn.ConvTranspose2d(channels, channels, 4, 2, 1) if under else _conv(channels, channels)
        self.leave = nn.ConvTranspose2d(channels, 2, 3, 1, 1) if under else _conv(channels, 2)

    def forward(self, x: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor]:
        """Images (n, 2, y, x) and the hidden state of the last iteration -> both anew."""
        size = x.shape[-2:]
        encoded = self.encode(self._entered(x))
        hidden = self.activate(encoded if hidden is None else encoded + self.carry(hidden))
        decoded = self.decode(hidden)
        if not self.under:
            decoded = functional.interpolate(decoded, size, mode="nearest")
        return self.leave(functional.relu(decoded))[..., : size[0], : size[1]], hidden

    def _entered(self, x: Tensor) -> Tensor:
        if self.under:
            return functional.relu(self.enter(pad_to_multiple(x, 2)))
        finer = (-(-3 * x.shape[-2] // 2), -(-3 * x.shape[-1] // 2))
        return functional.interpolate(functional.relu(self.enter(x)), finer, mode="nearest")


class OucrStyle(nn.Module):
    """OUCR-style: both units see the image, their answers are joined by a small CNN, `iterations` times with
    the same weights; measured samples are put back after every unit and after the join.
    """

    def __init__(self, *, channels: int = 64, iterations: int = 5) -> None:
        super().__init__()
        self.iterations = iterations
        self.over = RecurrentUnit(channels, under=False)
        self.under = RecurrentUnit(channels, under=True)
        self.join = nn.Sequential(
            _conv(4, channels), nn.ReLU(), _conv(channels, channels), nn.ReLU(),
            _conv(channels, channels), _conv(channels, 2),
        )  # fmt: skip

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Complex images (b, z, f, y, x), or (b, z, q) at queried points, in the units measured."""
        grids = fold_grids(measurement, query)
        x = as_channels(grids.zero_filled())
        over = under = None
        for _ in range(self.iterations):
            wide, over = self.over(x, over)
            close, under = self.under(x, under)
            both = torch.cat([_consistent(wide, grids), _consistent(close, grids)], dim=1)
            x = _consistent(self.join(both), grids)
        return answer_images(as_complex(x), grids, measurement, query)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _consistent(channels: Tensor, grids: Grids) -> Tensor:
    return as_channels(grids.consistent(as_complex(channels)))
