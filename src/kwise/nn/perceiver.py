"""Perceiver encoder and decoder with post-norm layers and one latent array per depth.

Jaegle et al., Perceiver IO, ICLR 2022; the pairing of decoder layer i with encoder layer i and the residual
around every layer are DiSK's (arXiv 2406.00192).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kwise.nn.attention import Attention


class PostNormLayer(nn.Module):
    """x <- LN(x + attention(x, context)), then x <- LN(x + feed-forward(x)), with one ReLU."""

    def __init__(self, width: int, heads: int = 1, ffn: int = 128) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, ffn), nn.ReLU(), nn.Linear(ffn, width))
        self.feed_forward_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, context: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """(b, q, width); without a context (b, n, width) the elements of x attend to each other."""
        seen = x if context is None else context
        x = self.attention_norm(x + self.attention(x, seen, valid))
        return self.feed_forward_norm(x + self.feed_forward(x))


class PerceiverEncoder(nn.Module):
    """Learned latents read a set of tokens by cross-attention, then each other by self-attention, in turn."""

    def __init__(self, n_latents: int, width: int, layers: int = 4, heads: int = 1, ffn: int = 128) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(n_latents, width))
        self.cross_layers = nn.ModuleList(PostNormLayer(width, heads, ffn) for _ in range(layers))
        self.self_layers = nn.ModuleList(PostNormLayer(width, heads, ffn) for _ in range(layers))

    def forward(self, tokens: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """Tokens (b, n, width), `valid` (b, n) or None -> the latents (b, m, width) after each layer."""
        x = self.latents.expand(len(tokens), -1, -1)
        after = []
        for cross, inner in zip(self.cross_layers, self.self_layers):
            x = x + cross(x, tokens, valid)
            x = x + inner(x)
            after.append(x)
        return after


class PerceiverDecoder(nn.Module):
    """Queries read the encoder by cross-attention: decoder layer i the latents after encoder layer i."""

    def __init__(self, width: int, layers: int = 4, heads: int = 1, ffn: int = 128) -> None:
        super().__init__()
        self.cross_layers = nn.ModuleList(PostNormLayer(width, heads, ffn) for _ in range(layers))

    def forward(self, queries: Tensor, latents: Sequence[Tensor]) -> Tensor:
        """Queries (b, q, width), latents one (b, m, width) a layer -> (b, q, width)."""
        for cross, seen in zip(self.cross_layers, latents, strict=True):
            queries = queries + cross(queries, seen)
        return queries
