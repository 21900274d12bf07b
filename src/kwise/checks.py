"""Checks of shapes, types and values; their errors say what was checked, what came in, what was wanted."""

import torch
from torch import Tensor


def wanted(doing: str, got: object, wish: str) -> ValueError:
    """The error to raise: what was being done, what came in, what was wanted."""
    return ValueError(f"{doing}: got {got}; wanted {wish}")


def check_rank(name: str, x: Tensor, axes: str) -> None:
    """Refuses a tensor without exactly the named axes ("z t y x"), or with an empty one."""
    if x.ndim != len(axes.split()):
        raise wanted(f"checking {name}", f"shape {tuple(x.shape)}", f"axes ({axes.replace(' ', ', ')})")
    if 0 in x.shape:
        empty = axes.split()[list(x.shape).index(0)]
        raise wanted(f"checking {name}", f"shape {tuple(x.shape)}", f"at least one element along {empty}")


def check_finite(name: str, x: Tensor) -> None:
    """Refuses NaN and Inf."""
    # One sum is NaN or Inf as soon as one element is: far cheaper than a look at every element.
    if not bool(torch.isfinite(x.sum())) and not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise wanted(f"checking {name}", f"{bad} NaN or Inf values", "finite numbers only")


def check_mask(name: str, mask: Tensor, axes: str) -> None:
    """Refuses a mask that is not boolean: an integer mask silently means something else when it indexes."""
    if mask.dtype != torch.bool:
        raise wanted(f"checking {name}", f"dtype {mask.dtype}", "torch.bool with True = acquired")
    check_rank(name, mask, axes)


def check_kspace(name: str, kspace: Tensor, axes: str) -> None:
    """Refuses real-valued k-space and missing axes."""
    if not kspace.is_complex():
        raise wanted(f"checking {name}", f"dtype {kspace.dtype}", "complex64 k-space")
    check_rank(name, kspace, axes)


def fit_mask(name: str, mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mask on the whole grid; refuses one that does not broadcast, or that acquired nothing."""
    if any(m not in (1, n) for m, n in zip(mask.shape, shape)):
        raise wanted(f"checking {name}", f"shape {tuple(mask.shape)}", f"a shape that broadcasts to {shape}")
    if not bool(mask.any()):
        raise wanted(f"checking {name}", "a mask without a single acquired sample", "at least one True")
    return mask.expand(shape)


def check_shape(name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    """Refuses any other shape."""
    if tuple(x.shape) != shape:
        raise wanted(f"checking {name}", f"shape {tuple(x.shape)}", f"{shape}, as the rest of the scan")
