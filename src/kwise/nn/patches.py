"""Grids as sets of patches and back."""

import torch
from torch import Tensor
from torch.nn import functional


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
    index, valid = choose_tokens(wanted)
    return pick_tokens(tokens, index), valid


def choose_tokens(wanted: Tensor) -> tuple[Tensor, Tensor | None]:
    """Index (n, q) of the tokens `wanted` (n, m) bool, and which are real, as `gather_tokens` has them."""
    counts = wanted.sum(dim=1)
    longest = int(counts.max())
    order = torch.argsort(wanted.to(torch.uint8), dim=1, descending=True, stable=True)[:, :longest]
    if bool((counts == longest).all()):
        return order, None
    return order, torch.arange(longest, device=wanted.device) < counts.unsqueeze(1)


def pick_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """The tokens (n, m, d) at `index` (n, q): (n, q, d)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def pad_to_patches(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """Zeros (or False) around (..., t, y, x) until patches fit: after the last frame, and on both sides of y
    and x so that the centre n // 2 begins a patch.
    """
    pads: list[int] = []
    for size, step in ((x.shape[-1], patch[2]), (x.shape[-2], patch[1])):
        pads += [-(size // 2) % step, -(size - size // 2) % step]
    pads += [0, -x.shape[-3] % patch[0]]
    if x.dtype == torch.bool:
        return functional.pad(x.to(torch.uint8), pads).bool()
    return functional.pad(x, pads)


def cut_patches(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """(b, c, z, t, y, x) -> (b, z, nt, ny, nx, c * pt * py * px), padded as `pad_to_patches` does."""
    pt, py, px = patch
    cut = pad_to_patches(x, patch).unflatten(-1, (-1, px)).unflatten(-3, (-1, py)).unflatten(-5, (-1, pt))
    return cut.permute(0, 2, 3, 5, 7, 1, 4, 6, 8).flatten(5)


def join_patches(tokens: Tensor, patch: tuple[int, int, int], shape: tuple[int, int, int]) -> Tensor:
    """The inverse of `cut_patches` for a grid of `shape` (t, y, x): (b, c, z, t, y, x)."""
    cut = tokens.unflatten(-1, (-1, *patch)).permute(0, 5, 1, 2, 6, 3, 7, 4, 8)
    grid = cut.flatten(7, 8).flatten(5, 6).flatten(3, 4)
    t, y, x = shape
    top, left = -(y // 2) % patch[1], -(x // 2) % patch[2]
    return grid[..., :t, top : top + y, left : left + x]


def patch_grid(shape: tuple[int, int, int], patch: tuple[int, int, int]) -> tuple[int, int, int]:
    """How many patches (nt, ny, nx) cover a grid of `shape` (t, y, x)."""
    t, (y, py), (x, px) = shape[0], (shape[1], patch[1]), (shape[2], patch[2])
    return (
        -(-t // patch[0]),
        -(-(y // 2) // py) - (-(y - y // 2) // py),
        -(-(x // 2) // px) - (-(x - x // 2) // px),
    )


def patch_positions(
    shape: tuple[int, int, int], patch: tuple[int, int, int], device: torch.device | None = None
) -> Tensor:
    """(nt, ny, nx, 3): the index of every patch, y and x counted from the one that begins at the centre."""
    nt, ny, nx = patch_grid(shape, patch)
    first = (0, -(-(shape[1] // 2) // patch[1]), -(-(shape[2] // 2) // patch[2]))
    axes = [torch.arange(n, device=device, dtype=torch.float32) - f for n, f in zip((nt, ny, nx), first)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
