"""Multi-head attention on the fused kernel: no attention weights are ever stored."""

import math

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Queries (b, q, width) attend to a context (b, n, width); or to themselves (self-attention)."""

    def __init__(self, width: int, heads: int = 1) -> None:
        super().__init__()
        if width % heads:
            got = f"width {width} and {heads} heads"
            raise ValueError(f"building attention: got {got}; wanted heads that divide the width")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self._initialise(width)

    def _initialise(self, width: int) -> None:
        # Xavier over the packed (3 width, width) projection, as torch.nn.MultiheadAttention starts.
        bound = math.sqrt(6 / (4 * width))
        for layer in (self.query, self.key_value):
            nn.init.uniform_(layer.weight, -bound, bound)
        for layer in (self.query, self.key_value, self.out):
            nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """(b, q, width); `valid` (b, n) bool, False = a padded element of the context that nobody may see."""
        key, value = self.key_value(context).chunk(2, dim=-1)
        # A boolean mask rules out the flash kernel, so it is built only where something is padded.
        mask = None if valid is None else valid[:, None, None, :]
        answer = functional.scaled_dot_product_attention(
            self._split(self.query(queries)), self._split(key), self._split(value), attn_mask=mask
        )
        return self.out(answer.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
