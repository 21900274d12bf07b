"""Trajectories by name: where in k-space every sample of a frame lies when it does not lie on a grid.

The budget is the Cartesian one: at an acceleration R a trajectory has as many samples as a mask of whole
lines has, int(y * t / R) * x, less what does not fill a spoke. So tables compare samplings at equal sample
counts, and the achieved R is grid positions over samples, as for masks.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from kwise.sampling.budget import frame_counts, line_budget

GOLDEN_TURN = math.pi * (math.sqrt(5) - 1) / 2  # 111.25 degrees (Winkelmann et al., IEEE TMI 2007)
_ARM_TURNS = 4 / math.pi  # of a spiral arm of 2 n samples: neighbours on the arm are then 1/n apart
_ARM_STEPS = 4096  # of the table that turns lengths along the arm into angles


@dataclass(frozen=True)
class Trajectory:
    """Where samples lie: `positions` (t, spokes, points, 2) float32 of (ky, kx) in [-0.5, 0.5) cycles per
    pixel, `mask` (t, spokes) bool, False for spokes a frame does not have (frames may differ by one).
    """

    positions: Tensor
    mask: Tensor

    @property
    def n_samples(self) -> int:
        """Samples of the whole cine."""
        return int(self.mask.sum()) * self.positions.shape[2]

    def achieved_acceleration(self, shape: tuple[int, int]) -> float:
        """Positions of the Cartesian grid (y, x), all frames, over samples."""
        return shape[0] * shape[1] * len(self.mask) / self.n_samples


def golden_angle_radial(
    shape: tuple[int, int], n_frames: int, acceleration: float, generator: Generator
) -> Trajectory:
    """Spokes through DC, each turned by the golden angle of 111.25 degrees against the one before, on over
    the frames; the first angle is random. max(y, x) points a spoke, one of them DC (Winkelmann et al., 2007).
    """
    points = max(shape)
    radius = (torch.arange(points) - points // 2) / points
    mask = _spoke_mask(shape, n_frames, acceleration, points)
    start = math.pi * float(torch.rand((), generator=generator, dtype=torch.float64))
    angle = (start + GOLDEN_TURN * _number(mask)).remainder(math.pi)
    directions = torch.stack([angle.sin(), angle.cos()], dim=-1).float()
    return Trajectory(_wrapped(directions.unsqueeze(2) * radius.view(1, 1, -1, 1)), mask)


def spiral(shape: tuple[int, int], n_frames: int, acceleration: float, generator: Generator) -> Trajectory:
    """Archimedean arms from DC outwards at even steps along the arm, turned by the golden angle (of the whole
    circle, 137.5 degrees) from arm to arm and on over the frames; 2 max(y, x) points an arm of 4 / pi turns.

    Nyquist's density takes pi / 4 * max(y, x) / 2 arms. Gradient limits play no part.
    """
    points = 2 * max(shape)
    mask = _spoke_mask(shape, n_frames, acceleration, points)
    start = 2 * math.pi * float(torch.rand((), generator=generator, dtype=torch.float64))
    golden = 2 * math.pi * (1 - (math.sqrt(5) - 1) / 2)
    reach = _even_steps(points)
    angle = (start + golden * _number(mask)).unsqueeze(-1) + 2 * math.pi * _ARM_TURNS * reach
    arms = 0.5 * reach.unsqueeze(-1) * torch.stack([angle.sin(), angle.cos()], dim=-1)
    return Trajectory(_wrapped(arms.float()), mask)


def _spoke_mask(shape: tuple[int, int], n_frames: int, acceleration: float, points: int) -> Tensor:
    """(t, spokes) bool: the spokes that the Cartesian budget pays for, shared evenly among frames."""
    samples = line_budget(shape[0], n_frames, acceleration) * shape[1]
    counts = torch.tensor(frame_counts(max(1, samples // points), n_frames))
    return torch.arange(int(counts.max())) < counts.unsqueeze(1)


def _number(mask: Tensor) -> Tensor:
    """(t, spokes) float64: how many spokes of the cine came before each."""
    return (mask.flatten().cumsum(0).view(mask.shape) - 1).clamp(min=0).double()


def _even_steps(n: int) -> Tensor:
    """(n,) radii in [0, 1) of an Archimedean arm, at even lengths along it (constant speed)."""
    fine = torch.linspace(0, 1, _ARM_STEPS + 1, dtype=torch.float64)
    pace = (1 + (2 * math.pi * _ARM_TURNS * fine) ** 2).sqrt()
    length = torch.cat([fine.new_zeros(1), ((pace[1:] + pace[:-1]) / 2).cumsum(0)])
    asked = length[-1] * torch.arange(n, dtype=torch.float64) / n
    above = torch.searchsorted(length, asked, right=True).clamp(1, _ARM_STEPS)
    share = (asked - length[above - 1]) / (length[above] - length[above - 1])
    return fine[above - 1] + share * (fine[above] - fine[above - 1])


def _wrapped(positions: Tensor) -> Tensor:
    """Positions in [-0.5, 0.5): +0.5 is -0.5, for a sampled image knows no difference."""
    return torch.where(positions >= 0.5, positions - 1, positions).clamp(min=-0.5)
