"""Sampling by name: which readout lines (t, ky), or points (t, ky, kx), are acquired at an acceleration R, or
along which trajectory.
"""

from collections.abc import Callable

from torch import Generator, Tensor

from kwise.nearest import nearest, one_of
from kwise.sampling.budget import achieved_acceleration
from kwise.sampling.files import lines_in_words, load_mask, save_mask
from kwise.sampling.kt import kt_variable_density
from kwise.sampling.lines import equispaced_lines, gaussian_lines, random_lines, uniform_lines
from kwise.sampling.planes import gaussian_2d, gaussian_2d_centre, uniform_1d, uniform_1d_centre
from kwise.sampling.trajectories import Trajectory, golden_angle_radial, spiral

__all__ = [
    "FLAT",
    "MASKS",
    "PLANE_MASKS",
    "TRAJECTORIES",
    "Trajectory",
    "achieved_acceleration",
    "draw_mask",
    "draw_plane_mask",
    "draw_trajectory",
    "lines_in_words",
    "load_mask",
    "save_mask",
]

# Whole readout lines: (n_lines, n_frames, R, generator) -> (t, ky).
MASKS: dict[str, Callable[[int, int, float, Generator], Tensor]] = {
    "gaussian_lines": gaussian_lines,
    "uniform": uniform_lines,
    "equispaced": equispaced_lines,
    "random": random_lines,
    "kt_variable_density": kt_variable_density,
    "uniform_1d": uniform_1d,
    "uniform_1d_centre": uniform_1d_centre,
}
FLAT = ("uniform", "uniform_1d")  # of these families every line is equally likely; others favour the centre

# Single points, as where both axes are phase encoding: ((ky, kx), n_frames, R, generator) -> (t, ky, kx).
PLANE_MASKS: dict[str, Callable[[tuple[int, int], int, float, Generator], Tensor]] = {
    "gaussian_2d": gaussian_2d,
    "gaussian_2d_centre": gaussian_2d_centre,
}

# Off the grid: ((y, x), n_frames, R, generator) -> Trajectory, (t, spokes, points, 2).
TRAJECTORIES: dict[str, Callable[[tuple[int, int], int, float, Generator], Trajectory]] = {
    "golden_angle_radial": golden_angle_radial,
    "spiral": spiral,
}


def draw_mask(name: str, n_lines: int, n_frames: int, acceleration: float, generator: Generator) -> Tensor:
    """(t, ky) bool of the mask family `name`, True = acquired; ValueError for an unknown name or an
    impossible R.
    """
    if name not in MASKS:
        raise ValueError(
            f"drawing a mask: got the name {name!r}; wanted one of MASKS, nearest {nearest(name, MASKS)}"
        )
    return MASKS[name](n_lines, n_frames, acceleration, generator)


def draw_plane_mask(
    name: str, shape: tuple[int, int], n_frames: int, acceleration: float, generator: Generator
) -> Tensor:
    """(t, ky, kx) bool of a family of points, (t, ky, 1) of a family of whole lines, on a grid of `shape`
    (ky, kx); ValueError as `draw_mask`.
    """
    if name in PLANE_MASKS:
        return PLANE_MASKS[name](shape, n_frames, acceleration, generator)
    if name not in MASKS:
        near = nearest(name, [*MASKS, *PLANE_MASKS])
        raise ValueError(
            f"drawing a mask: got the name {name!r}; wanted a line or plane mask, nearest {near}"
        )
    return MASKS[name](shape[0], n_frames, acceleration, generator).unsqueeze(-1)


def draw_trajectory(
    name: str, shape: tuple[int, int], n_frames: int, acceleration: float, generator: Generator
) -> Trajectory:
    """The trajectory of that name for images of `shape` (y, x), with the samples a Cartesian mask of the same
    R would have; ValueError for an unknown name or an impossible R.
    """
    if name not in TRAJECTORIES:
        raise ValueError(
            f"drawing a trajectory: got the name {name!r}; wanted {one_of(name, TRAJECTORIES)}"
        )
    return TRAJECTORIES[name](shape, n_frames, acceleration, generator)
