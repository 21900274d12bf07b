"""Numbers that a patient's name draws, in named groups."""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from kwise.phantom.contours import HARMONICS
from kwise.seeding import generator


class Draws:
    """Uniform numbers of one named group, so that a new group never disturbs the others."""

    def __init__(self, case: str, group: str) -> None:
        self.generator = generator("heart phantom", case, group)
        self._numbers = iter(torch.rand(64, generator=self.generator).tolist())

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * next(self._numbers)

    def log_between(self, low: float, high: float) -> float:
        """Uniform in the logarithm."""
        return math.exp(self.between(math.log(low), math.log(high)))

    def normal(self, mean: float = 0.0, sd: float = 1.0, limit: float = 2.6) -> float:
        """Normal, pulled in to `limit` standard deviations: a virtual patient has to be possible."""
        z = NormalDist().inv_cdf(min(max(next(self._numbers), 1e-9), 1 - 1e-9))
        return mean + sd * min(max(z, -limit), limit)

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return next(self._numbers) < probability

    def shape(self, *amplitudes: float) -> Tensor:
        """Fourier coefficients (1, cos, sin, cos 2, sin 2, ...), each order below the amplitude given."""
        rows = [1.0]
        for amplitude in amplitudes:
            size, turn = self.between(0.0, amplitude), self.between(0.0, 2 * math.pi)
            rows += [size * math.cos(turn), size * math.sin(turn)]
        rows += [0.0] * (1 + 2 * HARMONICS - len(rows))
        return torch.tensor(rows)
