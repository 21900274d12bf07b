"""What a K-Space Transformer looks at: the attention of one query of one layer, as a picture of k-space.

The model runs as always and stores no weights; the one layer asked for then runs again, for one query.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kwise.models.grids import fold_grids
from kwise.models.kspace_transformer import KSpaceTransformer, lr_shape
from kwise.nn.kspace_layers import KSpaceLayer, SharedNormAttention
from kwise.types import Measurement, Query

PARTS = ("encoder", "hr")


@dataclass(frozen=True)
class AttentionMap:
    """`weights` (heads, ky, kx) sum to 1 in every head, NaN where there is no token to look at; `query` is
    the position (ky, kx) that looked, on the measured grid.
    """

    weights: Tensor
    query: tuple[int, int]


@torch.no_grad()
def attention_map(
    model: KSpaceTransformer, measurement: Measurement, part: str, layer: int, at: tuple[int, int]
) -> AttentionMap:
    """Attention of the first slice and frame of a measurement of one case.

    `part` "encoder": the sample nearest to `at` (ky, kx) looks at all samples. "hr": the missing position
    nearest to it looks at the LR grid, or at the samples where the model has no LR decoder. ValueError for
    another part or layer, or where nothing is missing.
    """
    layers = _layers(model, part, layer)
    grids = fold_grids(_first(measurement), Query(), scaled=model.scale == "acquired")
    mask = grids.mask[0]
    looking = mask if part == "encoder" else ~mask
    if not bool(looking.any()):
        raise ValueError(f"drawing attention of {part}: got a full measurement; wanted missing positions")
    row, query = _nearest(looking, at)
    chosen = layers[layer]
    attention = chosen.mix if part == "encoder" else chosen.read
    assert isinstance(attention, SharedNormAttention)
    seen: list[tuple[Any, ...]] = []
    hook = attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    try:
        model.reconstruct(grids, grids.shape)
    finally:
        hook.remove()
    x, context, valid = seen[0]
    weights = attention.weights(x, row, context, valid)[0]
    if part == "hr" and len(model.lr_decoder):
        return AttentionMap(weights.unflatten(-1, lr_shape(grids.shape)), query)
    picture = torch.full((len(weights), *mask.shape), torch.nan)
    picture[:, mask] = weights
    return AttentionMap(picture, query)


def _layers(model: KSpaceTransformer, part: str, layer: int) -> list[KSpaceLayer]:
    if part not in PARTS:
        raise ValueError(f"drawing attention: got part {part!r}; wanted one of {', '.join(PARTS)}")
    layers = [
        x for x in (model.encoder if part == "encoder" else model.hr_decoder) if isinstance(x, KSpaceLayer)
    ]
    if not 0 <= layer < len(layers):
        raise ValueError(f"drawing attention of {part}: got layer {layer}; wanted 0 to {len(layers) - 1}")
    return layers


def _first(measurement: Measurement) -> Measurement:
    """The first slice and frame of the first coil of the first case."""
    return Measurement(measurement.kspace[:1, :1, :1, :1], measurement.mask[:1, :1, :1])


def _nearest(there: Tensor, at: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Which of the True positions (ky, kx), in order, lies nearest to `at`, and where that is."""
    places = there.nonzero()
    row = int((places - torch.tensor(at)).square().sum(dim=1).argmin())
    return row, (int(places[row, 0]), int(places[row, 1]))
