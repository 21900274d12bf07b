"""ADMM-Net in its complex form, ADMM-CSNet: an optimisation with learned steps, unrolled.

Yang, Sun, Li and Xu, ADMM-CSNet: A Deep Learning Approach for Image Compressive Sensing, IEEE TPAMI 42 (2020)
521-538. Which form the K-Space Transformer's paper compared with is not said; this one reads complex images,
its real and imaginary parts through the same real convolutions. The public implementation counts 19,715
parameters; ours, written from the paper, 19,459.
"""

import torch
from torch import Tensor, nn

from kwise.fourier import fft2c, ifft2c
from kwise.models.answer import EVERYTHING
from kwise.models.grids import Grids, answer_images, as_channels, as_complex, fold_grids
from kwise.nn.piecewise import PiecewiseLinear
from kwise.types import Measurement, Prediction, Query

INSIDE = 0.2  # images have an rms of about 1 and go in at this one: control points lie on [-1, 1]


class AdmmNet(nn.Module):
    """Minimises |mask F x - y|^2 / 2 + a learned penalty of x, by `stages_unrolled` steps with shared
    weights.

    Each step: x fits the samples and z - b; z = u - W2(f(W1 u)) with u = x + b, f piecewise linear; b
    gathers x - z. Then x once more, and the measured samples back as they are.
    """

    def __init__(
        self, *, stages_unrolled: int = 10, channels: int = 128, kernel: int = 5, knots: int = 101
    ) -> None:
        super().__init__()
        self.n_steps = stages_unrolled
        self.analysis = nn.Conv2d(1, channels, kernel, padding=kernel // 2)
        self.shrink = PiecewiseLinear(channels, knots)
        self.synthesis = nn.Conv2d(channels, 1, kernel, padding=kernel // 2)
        self.penalty = nn.Parameter(torch.tensor(0.1))
        self.rate = nn.Parameter(torch.tensor(1.0))
        for layer in (self.analysis, self.synthesis):
            nn.init.normal_(layer.weight, std=0.025)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Complex images (b, z, f, y, x), or (b, z, q) at queried points, in the units measured."""
        grids = fold_grids(measurement, query)
        image = grids.consistent(self._solved(grids) / INSIDE)
        return answer_images(image, grids, measurement, query)

    def _solved(self, grids: Grids) -> Tensor:
        measured = grids.kspace * INSIDE
        z = torch.zeros_like(measured)
        b = torch.zeros_like(measured)
        for _ in range(self.n_steps):
            x = self._fitted(measured, grids.mask, z - b)
            u = x + b
            z = u - self._penalised(u)
            b = b + self.rate * (x - z)
        return self._fitted(measured, grids.mask, z - b)

    def _fitted(self, measured: Tensor, mask: Tensor, near: Tensor) -> Tensor:
        """The image that fits the samples and lies near another: (y + rho F near) / (mask + rho) in
        k-space.
        """
        rho = self.penalty.abs() + 1e-6
        return ifft2c((measured + rho * fft2c(near)) / (mask + rho))

    def _penalised(self, image: Tensor) -> Tensor:
        parts = as_channels(image)
        single = parts.flatten(0, 1).unsqueeze(1)
        return as_complex(self.synthesis(self.shrink(self.analysis(single))).view_as(parts))
