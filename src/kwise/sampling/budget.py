"""How many readout lines an acceleration allows, how they are shared among frames, and what was achieved."""

import math

import torch
from torch import Tensor


def line_budget(n_lines: int, n_frames: int, acceleration: float) -> int:
    """Lines of a whole cine, int(n_lines * n_frames / acceleration) as DiSK counts them; ValueError for an
    impossible R.
    """
    doing = "drawing a mask"
    if n_lines < 1 or n_frames < 1:
        raise ValueError(f"{doing}: got {n_lines} lines x {n_frames} frames; wanted at least 1 x 1")
    full = n_lines * n_frames
    if not (math.isfinite(acceleration) and 1 <= acceleration <= full):
        raise ValueError(
            f"{doing}: got R {acceleration}; wanted 1 to {full} ({n_lines} lines x {n_frames} frames)"
        )
    return max(1, int(full / acceleration + 1e-9))  # 1e-9: 768 / 153.6 must count as 5


def frame_counts(total: int, n_frames: int) -> list[int]:
    """`total` lines shared among frames as evenly as integers allow, the odd ones spread over time."""
    return [(t + 1) * total // n_frames - t * total // n_frames for t in range(n_frames)]


def default_acs(n_lines: int, n_frames: int, acceleration: float) -> int:
    """Central lines kept in each frame: 0.32 / R of all (fastMRI: 8 % at R = 4, 4 % at R = 8), at least the
    DC line, at most half of a frame's lines (so none where a frame has a single line).
    """
    per_frame = line_budget(n_lines, n_frames, acceleration) // n_frames
    return min(max(1, round(0.32 * n_lines / acceleration)), per_frame // 2)


def acs_lines(n_lines: int, acs: int) -> Tensor:
    """(n_lines,) bool, True for the `acs` lines around DC at n_lines // 2."""
    lines = torch.zeros(n_lines, dtype=torch.bool)
    first = n_lines // 2 - acs // 2
    lines[first : first + acs] = True
    return lines


def check_acs(acs: int, per_frame: int) -> int:
    """`acs` if a frame of `per_frame` lines has room for it, else ValueError."""
    if not 0 <= acs <= per_frame:
        raise ValueError(
            f"drawing a mask: got acs={acs}; wanted 0 to {per_frame}, the lines of one frame at this R"
        )
    return acs


def achieved_acceleration(mask: Tensor) -> float:
    """All positions over acquired positions of a bool mask of any shape; ValueError where nothing is
    acquired.
    """
    if mask.dtype != torch.bool:
        raise ValueError(
            f"measuring acceleration: got dtype {mask.dtype}; wanted torch.bool with True = acquired"
        )
    acquired = int(mask.sum())
    if acquired == 0:
        raise ValueError(
            f"measuring acceleration: got mask {tuple(mask.shape)} all false; wanted one True at least"
        )
    return mask.numel() / acquired
