"""Sampling masks by name: which readout lines (t, ky) of a cine are acquired at an acceleration R."""

import difflib
from collections.abc import Callable

from torch import Generator, Tensor

from kwise.sampling.budget import achieved_acceleration
from kwise.sampling.files import load_mask
from kwise.sampling.kt import kt_variable_density
from kwise.sampling.lines import equispaced_lines, gaussian_lines, random_lines, uniform_lines

__all__ = ["MASKS", "achieved_acceleration", "draw_mask", "load_mask"]

MASKS: dict[str, Callable[[int, int, float, Generator], Tensor]] = {
    "gaussian_lines": gaussian_lines,
    "uniform": uniform_lines,
    "equispaced": equispaced_lines,
    "random": random_lines,
    "kt_variable_density": kt_variable_density,
}


def draw_mask(name: str, n_lines: int, n_frames: int, acceleration: float, generator: Generator) -> Tensor:
    """(t, ky) bool of the mask family `name`, True = acquired; ValueError for an unknown name or an
    impossible R.
    """
    if name not in MASKS:
        near = difflib.get_close_matches(name, MASKS, n=3, cutoff=0.3) or list(MASKS)
        raise ValueError(
            f"drawing a mask: got the name {name!r}; wanted one of MASKS, nearest {', '.join(near)}"
        )
    return MASKS[name](n_lines, n_frames, acceleration, generator)
