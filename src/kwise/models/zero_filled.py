"""Zero-filled: the floor of every reconstruction, the adjoint of what was measured and nothing else."""

from torch import nn

from kwise.models.answer import EVERYTHING
from kwise.models.grids import answer_images, fold_grids
from kwise.types import Measurement, Prediction, Query


class ZeroFilled(nn.Module):
    """Zero-filled: positions that were not acquired stay zero. Nothing is learned."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Complex images (b, z, f, y, x), or (b, z, q) at queried points, in the units measured."""
        grids = fold_grids(measurement, query)
        return answer_images(grids.zero_filled(), grids, measurement, query)
