"""From encoded tokens to grids: queries that know their place read the tokens, and speak as patches, or as
pixels through convolutions.

Letters: b case, z view, n token, d width; grids are (t, y, x). A query never needs a token of its own place,
so tokens may be of k-space and the grid of an image: no Fourier transform lies in between.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from kwise.nn.conv import ConvBlock, convolution, double
from kwise.nn.kspace_layers import KSpaceLayer, kspace_layers
from kwise.nn.patches import join_patches, patch_grid, patch_positions
from kwise.nn.tokens import Places

Shape = tuple[int, int, int]


class PatchDecoder(nn.Module):
    """A decoder of masked autoencoders (He et al., CVPR 2022): a query for every patch reads the encoded
    tokens, mixes with the other queries, and says its patch.

    Reading by cross-attention as in CrossMAE (Fu et al., 2024) frees the patches said from the tokens read.
    """

    def __init__(
        self, width: int, n_layers: int, heads: int, patch: Sequence[int], outputs: int, memory: int
    ) -> None:
        super().__init__()
        self.patch = (patch[0], patch[1], patch[2])
        self.places = Places(width)
        self.enter = nn.Linear(memory, width) if memory != width else nn.Identity()
        self.layers = kspace_layers(n_layers, width, heads, 2 * width, reads=True, mixes=True)
        self.norm = nn.LayerNorm(width)
        self.speak = nn.Linear(width, outputs * math.prod(self.patch))

    def forward(self, memory: Tensor, valid: Tensor | None, kinds: Tensor, shape: Shape) -> Tensor:
        """Tokens (b, n, memory) -> (b, outputs, z, t, y, x) for views of `kinds` (b, z) and a grid of
        `shape`.
        """
        queries = self.places(patch_positions(shape, self.patch, memory.device), kinds)
        x, seen = queries.flatten(1, 4), self.enter(memory)
        for layer in self.layers:
            x = layer(x, None, seen, valid)
        said = self.speak(self.norm(x)).unflatten(1, queries.shape[1:5])
        return join_patches(said, self.patch, shape)


class UnetrDecoder(nn.Module):
    """The decoder of UNETR (Hatamizadeh et al., WACV 2022): three depths of an encoder become grids, which
    meet on the way up to full resolution.

    UNETR takes the tokens as they lie; here queries of every patch of the image first read them (`reads`),
    for tokens of k-space lie elsewhere. `features` of the coarsest grid are halved at every doubling. A
    patch's frames are channels of its pixels.
    """

    def __init__(
        self, width: int, heads: int, patch: Sequence[int], outputs: int, features: int, *, reads: bool = True
    ) -> None:
        super().__init__()
        self.patch = (patch[0], patch[1], patch[2])
        doublings = int(math.log2(patch[1]))
        if patch[1] != patch[2] or 2**doublings != patch[1] or doublings < 2:
            raise ValueError(
                f"building UNETR: got patch {self.patch}; wanted a square of 4, 8, 16 or 32 pixels"
            )
        self.places = Places(width)
        depths = 3
        self.readers = nn.ModuleList(
            KSpaceLayer(width, heads, 2 * width, reads=True, mixes=False)
            for _ in range(depths if reads else 0)
        )
        channels = [max(8, features // 2**level) for level in range(doublings + 1)]
        # The two shallower depths join after one and two doublings.
        self.enter = nn.ModuleList(nn.Linear(width, channels[level]) for level in range(depths))
        joins = [channels[level] if level in (1, 2) else 0 for level in range(1, doublings + 1)]
        self.blocks = nn.ModuleList(
            ConvBlock(2, before + joined, after) for (before, after), joined in zip(pairwise(channels), joins)
        )
        self.head = convolution(2, channels[-1], outputs * patch[0], kernel=1, bias=True)

    def forward(self, states: Sequence[Tensor], valid: Tensor | None, kinds: Tensor, shape: Shape) -> Tensor:
        """States [deepest, middle, shallow], each (b, n, d) -> (b, outputs, z, t, y, x)."""
        grids = [self._grid(i, state, valid, kinds, shape) for i, state in enumerate(states)]
        x = grids[0]
        for level, block in enumerate(self.blocks, start=1):
            x = double(x)
            if level < len(grids):
                skip = grids[level]
                for _ in range(level):
                    skip = double(skip)
                x = torch.cat([x, skip], dim=1)
            x = block(x)
        nt = patch_grid(shape, self.patch)[0]
        said = self.head(x).unflatten(1, (-1, self.patch[0]))  # (b * z * nt, k, pt, y, x)
        said = said.unflatten(0, (*kinds.shape, nt)).permute(0, 3, 1, 2, 4, 5, 6).flatten(3, 4)
        t, y, x_ = shape
        top, left = -(y // 2) % self.patch[1], -(x_ // 2) % self.patch[2]
        return said[..., :t, top : top + y, left : left + x_]

    def _grid(self, depth: int, state: Tensor, valid: Tensor | None, kinds: Tensor, shape: Shape) -> Tensor:
        """(b * z * nt, channels, ny, nx) of one depth."""
        layout = (*kinds.shape, *patch_grid(shape, self.patch))
        if self.readers:
            queries = self.places(patch_positions(shape, self.patch, state.device), kinds).flatten(1, 4)
            tokens = self.readers[depth](queries, None, state, valid)
        elif state.shape[1] == math.prod(layout[1:]) + 1 and valid is None:
            tokens = state[:, 1:]  # without the class token
        else:
            raise ValueError(
                f"decoding with UNETR: got {state.shape[1] - 1} tokens; wanted {math.prod(layout[1:])}, "
                "one for every patch of the image, or reads=True"
            )
        return self.enter[depth](tokens).unflatten(1, layout[1:]).flatten(0, 2).permute(0, 3, 1, 2)
