"""Frequency features of positions and values."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def frequency_encoding(x: Tensor, octaves: Sequence[int]) -> Tensor:
    """Raw numbers, then all sines, then all cosines of 2^o pi x, octave by octave within each axis.

    `x` (..., d) and one number of octaves per axis give (..., d + 2 * sum(octaves)) (Mildenhall et al., NeRF,
    ECCV 2020, Eq. 4). An axis with zero octaves keeps its raw number alone.
    """
    if len(octaves) != x.shape[-1]:
        raise ValueError(
            f"encoding frequencies: got {len(octaves)} octaves; wanted {x.shape[-1]}, one an axis"
        )
    phases = torch.cat([x[..., i : i + 1] * (_powers(n, x) * math.pi) for i, n in enumerate(octaves)], dim=-1)
    return torch.cat([x, phases.sin(), phases.cos()], dim=-1)


def encoding_width(octaves: Sequence[int]) -> int:
    """How many channels `frequency_encoding` gives."""
    return len(octaves) + 2 * sum(octaves)


def pad_channels(x: Tensor, width: int) -> Tensor:
    """Append zero channels to `x` (..., d) until it has `width`; ValueError where d is already more."""
    missing = width - x.shape[-1]
    if missing < 0:
        raise ValueError(f"padding channels: got {x.shape[-1]} features; wanted at most the width, {width}")
    return functional.pad(x, (0, missing))


def _powers(n: int, like: Tensor) -> Tensor:
    return 2.0 ** torch.arange(n, device=like.device, dtype=like.dtype)
