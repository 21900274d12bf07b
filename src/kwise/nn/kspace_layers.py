"""Pre-norm transformer layers over k-space tokens, waves as encodings of positions, and a small residual
CNN.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def wave_encoding(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines of positions (..., axes), interleaved, axis after axis: (..., width).

    Angular frequencies are 10000^(-j / n), j = 0 .. n - 1, with n = width / (2 axes). ValueError for a width
    that is no multiple of 2 axes.
    """
    axes = positions.shape[-1]
    if width % (2 * axes):
        raise ValueError(f"encoding positions: got width {width}; wanted a multiple of {2 * axes}")
    n = width // (2 * axes)
    j = torch.arange(n, device=positions.device, dtype=torch.float32)
    phases = positions.unsqueeze(-1) * torch.exp(-math.log(10000.0) / n * j)
    return torch.stack([phases.sin(), phases.cos()], dim=-1).flatten(-3)


class SharedNormAttention(nn.Module):
    """x + attention(LN x, LN context), where one LayerNorm serves queries, keys and values; no biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            got = f"width {width} and {heads} heads"
            raise ValueError(f"building attention: got {got}; wanted heads that divide the width")
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, context: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """(b, q, width); without a context (b, n, width) to itself; `valid` (b, n) bool, False = padding."""
        normed = self.norm(x)
        seen = normed if context is None else self.norm(context)
        key, value = self.key_value(seen).chunk(2, dim=-1)
        query = self.query(normed)
        # A boolean mask rules out the fastest kernel, so it is built only where something is padded.
        mask = None if valid is None else valid[:, None, None, :]
        answer = functional.scaled_dot_product_attention(
            self._split(query), self._split(key), self._split(value), attn_mask=mask
        )
        return x + self.out(answer.transpose(1, 2).flatten(2))

    def weights(
        self, x: Tensor, row: int, context: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """(b, heads, n) weights of one query, softmax(q k^T / sqrt d); `forward` never stores any."""
        seen = self.norm(x if context is None else context)
        query = self._split(self.query(self.norm(x[:, row : row + 1])))
        key = self._split(self.key_value(seen).chunk(2, dim=-1)[0])
        logits = (query @ key.transpose(-1, -2))[:, :, 0] / query.shape[-1] ** 0.5
        if valid is not None:
            logits = logits.masked_fill(~valid.unsqueeze(1), float("-inf"))
        return logits.softmax(dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class KSpaceLayer(nn.Module):
    """A layer that may read a memory (cross-attention), then may mix its tokens (self-attention), then feeds
    forward.
    """

    def __init__(self, width: int, heads: int, ffn: int, *, reads: bool, mixes: bool) -> None:
        super().__init__()
        self.read = SharedNormAttention(width, heads) if reads else None
        self.mix = SharedNormAttention(width, heads) if mixes else None
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, ffn), nn.ReLU(), nn.Linear(ffn, width))

    def forward(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        memory: Tensor | None = None,
        memory_valid: Tensor | None = None,
    ) -> Tensor:
        """Tokens (b, n, width) -> (b, n, width); `valid` (b, n) of them, `memory_valid` (b, m) of memory."""
        if self.read is not None:
            x = self.read(x, memory, memory_valid)
        if self.mix is not None:
            x = self.mix(x, None, valid)
        return x + self.feed_forward(self.feed_forward_norm(x))


def value_head(width: int, outputs: int = 2) -> nn.Sequential:
    """LN, then width -> width -> ReLU -> outputs."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


def value_embedding(inputs: int, width: int) -> nn.Sequential:
    """inputs -> width -> ReLU -> width."""
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))


class ResidualConvs(nn.Module):
    """x + a stack of 3 x 3 convolutions of `channels`, (n, 2, y, x) -> (n, 2, y, x), zero padding.

    `middle` convolutions lie between the first and the last; the last has `last_kernel` and no activation;
    `slope` of the leaky ReLU (0: ReLU).
    """

    def __init__(self, channels: int, middle: int = 3, *, last_kernel: int = 3, slope: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (2, *[channels] * middle):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.LeakyReLU(slope)]
        layers.append(nn.Conv2d(channels, 2, last_kernel, padding=last_kernel // 2))
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 2, y, x)."""
        return x + self.convs(x)


def kspace_layers(n: int, width: int, heads: int, ffn: int, *, reads: bool, mixes: bool) -> nn.ModuleList:
    """A stack of `n` equal layers."""
    return nn.ModuleList(KSpaceLayer(width, heads, ffn, reads=reads, mixes=mixes) for _ in range(n))
