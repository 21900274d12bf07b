"""Convolution blocks and a U-Net for images, or for stacks of frames, of any size."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

_CONVOLUTIONS: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}


def convolution(dims: int, inputs: int, outputs: int, kernel: int = 3, *, bias: bool = False) -> nn.Module:
    """A size-keeping convolution over (y, x) for `dims` 2, over (t, y, x) for `dims` 3."""
    if dims not in _CONVOLUTIONS:
        raise ValueError(f"building a convolution: got {dims} dimensions; wanted 2 or 3")
    return _CONVOLUTIONS[dims](inputs, outputs, kernel, padding=kernel // 2, bias=bias)


def normalisation(kind: str, dims: int, channels: int) -> nn.Module:
    """`group` (groups of at least two channels, so that one pixel is enough) or `instance` normalisation."""
    if kind == "group":
        return nn.GroupNorm(math.gcd(channels, 8) if channels > 8 else max(channels // 2, 1), channels)
    if kind == "instance":
        layer = nn.InstanceNorm2d if dims == 2 else nn.InstanceNorm3d
        return layer(channels, affine=True)
    raise ValueError(f"building a normalisation: got {kind!r}; wanted 'group' or 'instance'")


class ConvBlock(nn.Sequential):
    """Twice: convolution, normalisation, leaky ReLU."""

    def __init__(self, dims: int, inputs: int, outputs: int, norm: str = "group") -> None:
        super().__init__()
        for i, channels in enumerate((inputs, outputs)):
            self.add_module(f"conv{i}", convolution(dims, channels, outputs))
            self.add_module(f"norm{i}", normalisation(norm, dims, outputs))
            self.add_module(f"act{i}", nn.LeakyReLU(0.01))


class UNet(nn.Module):
    """A U-Net (Ronneberger et al., MICCAI 2015) over the last two axes of its input, of any size.

    `dims` 2 takes (n, c, y, x); `dims` 3 takes (n, c, t, y, x) with 3 x 3 x 3 kernels, and never pools over
    t. `channels` has one entry a level.
    """

    def __init__(
        self, inputs: int, outputs: int, channels: Sequence[int] = (16, 32, 64, 128), dims: int = 2,
        norm: str = "group",
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [inputs, *channels]
        self.channels, self.levels = tuple(channels), len(channels)
        self.down = nn.ModuleList(ConvBlock(dims, a, b, norm) for a, b in pairwise(widths))
        pairs = list(pairwise(channels))[::-1]
        self.up = nn.ModuleList(ConvBlock(dims, shallow + deep, shallow, norm) for shallow, deep in pairs)
        self.head = convolution(dims, channels[0], outputs, kernel=1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, ..., y, x) -> (n, outputs, ..., y, x)."""
        size = x.shape[-2:]
        x = pad_to_multiple(x, 2 ** (self.levels - 1))
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x if not skips else halve(x))
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1]):
            x = block(torch.cat([skip, double(x)], dim=1))
        return self.head(x)[..., : size[0], : size[1]]

    def begin_from(self, shallower: "UNet") -> None:
        """Take the weights of a U-Net whose levels are the upper ones of this; the others keep their own.

        ValueError where they are not.
        """
        if self.channels[: shallower.levels] != shallower.channels:
            got, wanted = shallower.channels, self.channels
            raise ValueError(f"deepening a U-Net: got channels {got}; wanted those that {wanted} begin with")
        pairs = [*zip(self.down, shallower.down), *zip(self.up[::-1], shallower.up[::-1])]
        for mine, its in (*pairs, (self.head, shallower.head)):
            mine.load_state_dict(its.state_dict())


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Append zero rows and columns to (..., y, x) until both sizes are multiples of `multiple`."""
    return functional.pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple))


def halve(x: Tensor) -> Tensor:
    """The maximum of each 2 x 2 pixels of (n, c, y, x) or (n, c, t, y, x)."""
    return functional.max_pool2d(x, 2) if x.ndim == 4 else functional.max_pool3d(x, (1, 2, 2))


def double(x: Tensor) -> Tensor:
    """Every pixel of (..., y, x) repeated 2 x 2."""
    return x.repeat_interleave(2, dim=-2).repeat_interleave(2, dim=-1)


class BottleneckEncoder(nn.Module):
    """Images (n, c, y, x) of a fixed size -> latent vectors (n, latent): blocks that halve, then one linear
    layer.
    """

    def __init__(self, inputs: int, latent: int, size: tuple[int, int], channels: Sequence[int]) -> None:
        super().__init__()
        widths = [inputs, *channels]
        self.blocks = nn.ModuleList(ConvBlock(2, a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(math.prod(_coarsest(size, channels)), latent)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = halve(block(x))
        return self.out(x.flatten(1))


class BottleneckDecoder(nn.Module):
    """Latent vectors (n, latent) -> images (n, outputs, y, x) of a fixed size: the mirror of
    `BottleneckEncoder`.
    """

    def __init__(self, latent: int, outputs: int, size: tuple[int, int], channels: Sequence[int]) -> None:
        super().__init__()
        self.coarsest = _coarsest(size, channels)
        widths = list(channels)[::-1]
        self.enter = nn.Linear(latent, math.prod(self.coarsest))
        self.blocks = nn.ModuleList(ConvBlock(2, a, b) for a, b in zip(widths, [*widths[1:], widths[-1]]))
        self.head = convolution(2, widths[-1], outputs, kernel=1, bias=True)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.enter(latents).unflatten(1, self.coarsest)
        for block in self.blocks:
            x = block(double(x))
        return self.head(x)


def _coarsest(size: tuple[int, int], channels: Sequence[int]) -> tuple[int, int, int]:
    factor = 2 ** len(channels)
    if size[0] % factor or size[1] % factor:
        got = f"size {tuple(size)} and {len(channels)} levels"
        raise ValueError(f"building a bottleneck: got {got}; wanted sizes that are multiples of {factor}")
    return channels[-1], size[0] // factor, size[1] // factor
