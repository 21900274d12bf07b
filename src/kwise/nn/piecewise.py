"""A learned piecewise-linear function for every channel."""

import torch
from torch import Tensor, nn


class PiecewiseLinear(nn.Module):
    """One function a channel, linear between `knots` equally spaced control points on [-reach, reach],
    straight on beyond the ends; it starts as a ReLU.
    """

    def __init__(self, channels: int, knots: int = 101, reach: float = 1.0) -> None:
        super().__init__()
        if knots < 2:
            raise ValueError(f"building a piecewise-linear function: got {knots} knots; wanted at least 2")
        self.reach = reach
        self.table = nn.Parameter(torch.linspace(-reach, reach, knots).relu().repeat(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, y, x) -> the same shape."""
        channels, knots = self.table.shape
        place = (x + self.reach) * ((knots - 1) / (2 * self.reach))
        left = place.detach().floor().clamp(0, knots - 2)
        first = torch.arange(channels, device=x.device).view(1, -1, 1, 1) * knots
        index = left.long() + first
        low, high = self.table.flatten()[index], self.table.flatten()[index + 1]
        return low + (high - low) * (place - left)
