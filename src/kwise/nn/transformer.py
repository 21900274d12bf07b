"""A pre-norm transformer over tokens, on fused attention."""

from torch import Tensor, nn
from torch.nn import functional


class TransformerLayer(nn.Module):
    """x + attention(LN x), then x + MLP(LN x); tokens on axis -2, any leading axes."""

    def __init__(self, width: int, n_heads: int, ratio: int = 2) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_qkv, self.to_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(..., n, d) -> (..., n, d); `valid` (..., n) bool, False = padding that nobody attends to."""
        qkv = self.to_qkv(self.norm_attention(x)).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = (part.transpose(-3, -2) for part in qkv.unbind(-3))
        # A boolean mask rules out the fastest kernel, so it is built only where something is padded.
        mask = None if valid is None else valid.unsqueeze(-2).unsqueeze(-2)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.to_out(mixed.transpose(-3, -2).flatten(-2))
        return x + self.mlp(self.norm_mlp(x))


class Transformer(nn.Module):
    """A stack of layers with a closing norm."""

    def __init__(self, width: int, n_layers: int, n_heads: int, ratio: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(width, n_heads, ratio) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(..., n, d) -> (..., n, d); `valid` (..., n) as in `TransformerLayer`."""
        return self.states(x, valid)[-1]

    def states(self, x: Tensor, valid: Tensor | None = None) -> list[Tensor]:
        """What goes into every layer but the first, then the normed output: `n_layers` tensors."""
        inputs = []
        for layer in self.layers:
            x = layer(x, valid)
            inputs.append(x)
        return [*inputs[:-1], self.norm(x)]
