"""Grids as sets of patches and back."""

import torch
from torch import Tensor


def to_patches(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """(n, c, y, x) -> (n, tokens, c * py * px), patches in row order; ValueError where the patch does not
    divide the grid.
    """
    py, px = patch
    y, x_ = x.shape[-2:]
    if y % py or x_ % px:
        raise ValueError(f"cutting patches: got a grid {(y, x_)}; wanted multiples of {(py, px)}")
    cut = x.unflatten(-2, (-1, py)).unflatten(-1, (-1, px))  # (n, c, rows, py, columns, px)
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def from_patches(tokens: Tensor, patch: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """The inverse of `to_patches` for a grid of `shape` (y, x)."""
    py, px = patch
    cut = tokens.unflatten(1, (shape[0] // py, -1)).unflatten(-1, (-1, py, px))
    return cut.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def gather_tokens(tokens: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor | None]:
    """The tokens (n, m, d) that are `wanted` (n, m) bool, first come first, padded to the longest case:
    (n, q, d) and which are real (n, q), None where all are.
    """
    counts = wanted.sum(dim=1)
    longest = int(counts.max())
    order = torch.argsort(wanted.to(torch.uint8), dim=1, descending=True, stable=True)[:, :longest]
    chosen = tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
    if bool((counts == longest).all()):
        return chosen, None
    return chosen, torch.arange(longest, device=wanted.device) < counts.unsqueeze(1)
