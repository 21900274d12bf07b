"""Where tokens of several views stand, coarsely: what is usual in each cell, and a vector of a case to which
every cell speaks through a map of its own.

A class token weighs all tokens by one map of their values. That suits images, where a patch of blood means
blood wherever it lies; of k-space every place means something else. Letters: b case, z view, n token, d
width, f feature.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

GRID = (4, 4)  # cells (y, x) of a view
SHORT_AXIS = 6  # places in a stack; the other kinds of view have one each
N_CELLS = (SHORT_AXIS + 3) * GRID[0] * GRID[1]


def kind_ranks(kinds: Tensor) -> Tensor:
    """(b, z): how many views of the same kind come before each: which of the short-axis slices it is."""
    same = (kinds.unsqueeze(2) == kinds.unsqueeze(1)).long()
    return same.tril(diagonal=-1).sum(dim=2)


def cells_of(kinds: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """(b, z * t * y * x) int64 in 0 to N_CELLS - 1: the cell of every element of `grid` (t, y, x) in views of
    `kinds` (b, z).

    A stack of any number of slices is spread over the same places; frames share a cell.
    """
    in_stack = (kinds == 0).sum(dim=1, keepdim=True).clamp(min=1)
    place = torch.where(kinds == 0, kind_ranks(kinds) * SHORT_AXIS // in_stack, SHORT_AXIS - 1 + kinds)
    t, y, x = grid
    row, column = (
        (2 * torch.arange(n, device=kinds.device) + 1) * c // (2 * n) for n, c in zip((y, x), GRID)
    )
    cell = (row.unsqueeze(1) * GRID[1] + column).expand(t, y, x).flatten()
    return (place.unsqueeze(2) * (GRID[0] * GRID[1]) + cell).flatten(1)


class CellSum(nn.Module):
    """The sum over cells of a linear map of each, of the mean of its tokens in `narrow` channels; a cell
    without tokens adds nothing.
    """

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(width, narrow)
        self.widen = nn.Linear(N_CELLS * narrow, width)

    def forward(self, tokens: Tensor, valid: Tensor | None, cells: Tensor) -> Tensor:
        """Tokens (b, n, d), which of them are real (b, n) (None: all) and their cells (b, n) -> (b, d)."""
        said = self.narrow(tokens)
        real = torch.ones_like(said[..., :1]) if valid is None else valid.unsqueeze(-1).to(said.dtype)
        total = said.new_zeros(len(said), N_CELLS, said.shape[-1] + 1)
        index = cells.unsqueeze(-1).expand(-1, -1, total.shape[-1])
        total = total.scatter_add(1, index, torch.cat([said * real, real], dim=-1))
        return self.widen((total[..., :-1] / total[..., -1:].clamp(min=1.0)).flatten(1))


class CellLinear(nn.Module):
    """A linear map of how tokens differ from what is usual in their cell, which is 0 before `whiten`."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(N_CELLS, n_in))

    def forward(self, values: Tensor, cells: Tensor) -> Tensor:
        """Values (b, n, f) and cells (b, n) -> (b, n, d)."""
        usual = nn.functional.linear(self.centre, self.linear.weight)
        return self.linear(values) - usual[cells]


@torch.no_grad()
def whiten(layer: CellLinear, seen: Iterable[object], size: float = 0.5) -> None:
    """Set what is usual in each cell, and the map to the principal axes of the differences from it, each of
    standard deviation `size`: a start from which a transformer learns in far fewer steps (docs/LOG.md).

    `seen` is walked once; each of its steps has to call `layer`.
    """
    n = layer.centre.shape[1]
    count, total = torch.zeros(N_CELLS, 1), torch.zeros(N_CELLS, n)
    square = torch.zeros(n, n, dtype=torch.float64)

    def observe(_: nn.Module, inputs: tuple[Tensor, Tensor]) -> None:
        values, cells = inputs[0].flatten(0, 1).float().cpu(), inputs[1].flatten().cpu()
        count.index_add_(0, cells, torch.ones(len(cells), 1))
        total.index_add_(0, cells, values)
        square.add_(values.T @ values)

    handle = layer.register_forward_pre_hook(observe)
    try:
        for _ in seen:
            pass
    finally:
        handle.remove()
    if not bool(count.any()):
        raise ValueError("whitening tokens: got no tokens; wanted at least one batch")
    mean = total / count.clamp(min=1)
    covariance = (square - (total.T @ mean).double()) / count.sum()
    spread, axes = torch.linalg.eigh(covariance.float())
    kept = min(n, layer.linear.out_features)
    spread, axes = spread.flip(0)[:kept].clamp(min=0), axes.flip(1)[:, :kept]
    # Axes along which nothing differs are not blown up; outputs beyond the number of inputs stay as drawn.
    scaled = axes * size / (spread + 1e-3 * spread[0] + 1e-12).sqrt()
    layer.centre.copy_(mean)
    layer.linear.weight[:kept] = scaled.T.to(layer.linear.weight)
    layer.linear.bias.zero_()
