"""Measurement -> image: a reconstruction on the scan's own grid, from everything that was measured."""

import math

import torch
from torch import Tensor, nn

from kwise.checkpoint import Loaded
from kwise.operator import zero_filled
from kwise.predict.answer import PIXELS_AT_ONCE, Answer
from kwise.predict.cautions import file_cautions
from kwise.predict.door import matrix_of, measurement_of, with_coils_for
from kwise.types import Measurement, Query, Scan

SAME = 1.05  # times the grid a model learned on: up to that it counts as the same


def reconstruct(scan: Scan, loaded: Loaded) -> Answer:
    """The image of a checkpoint: magnitude and phase (z, t, y, x); coil maps are estimated where several
    coils have none.

    The model sees all of k-space, whatever grid it learned on: cutting it would throw measured samples away.
    A full measurement is its own answer.
    """
    assert scan.kspace is not None
    told = {**loaded.preprocessing, "coil_maps": len(scan.kspace) > 1}
    measurement = measurement_of(with_coils_for(scan, told))
    if measurement.trajectory is None and bool(measurement.mask.all()):
        image, seen = zero_filled(measurement)[0], "nothing: all of k-space was acquired"
    else:
        image, seen = images(loaded.model, measurement), "all of k-space"
    cautions = (*file_cautions(scan, told, {}, seen), *_grid_caution(scan, loaded))
    return Answer(scan, image=image.abs(), phase=image.angle(), cautions=cautions, seen=seen)


@torch.inference_mode()
def images(model: nn.Module, measurement: Measurement) -> Tensor:
    """Complex images (z, t, y, x) of a measurement of one case, a few frames at a time; ValueError for a
    model that does not reconstruct.
    """
    _, _, _, y, x = measurement.shape
    at_once = max(1, PIXELS_AT_ONCE // (measurement.n_slices * y * x))
    parts = []
    for some in torch.arange(measurement.n_frames).split(at_once):
        image = model(measurement, Query(frames=some.unsqueeze(0))).image
        if image is None:
            raise ValueError(
                f"reconstructing: got no image from {type(model).__name__}; wanted a reconstruction model"
            )
        parts.append(image[0].to(torch.complex64))
    return torch.cat(parts, dim=1)


def _grid_caution(scan: Scan, loaded: Loaded) -> tuple[str, ...]:
    """A sentence where the grid is finer or wider than the one a checkpoint learned on."""
    matrix = matrix_of(loaded.preprocessing)
    if matrix is None or math.prod(scan.shape[2:]) <= SAME * math.prod(matrix):
        return ()
    y, x = scan.shape[2:]
    return (
        f"This k-space has {y} x {x} positions; the model learned on {matrix[0]} x {matrix[1]}, and nothing "
        "is known of its answers beyond the frequencies it saw.",
    )
