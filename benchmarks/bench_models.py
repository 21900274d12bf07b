"""Every model of the small table: core time of one answer, all 12 frames of a 64 x 64 cine at R = 8."""

from collections.abc import Iterator
from copy import copy

import pytest
import torch

from kwise.data.loader import evaluation_batches
from kwise.phantom import heart_scan
from kwise.recipes import RECIPES
from kwise.recipes.disk import SMALL
from kwise.recipes.run import build
from kwise.types import Batch

CASES = 4


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Four hearts at R = 8."""
    torch.set_num_threads(1)
    acquisition = RECIPES["disk_small"]().acquisition
    cases = [f"heart-bench-{i:06d}" for i in range(CASES)]
    return next(iter(evaluation_batches(cases, heart_scan, acquisition, 8.0, CASES)))


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, int, float]]]:
    """Rows (model, parameters, seconds), printed at the end."""
    rows: list[tuple[str, int, float]] = []
    yield rows
    print("\n  recipe                       parameters  core ms/case")
    for name, n, seconds in rows:
        print(f"  {name:27}  {n:10,}  {1e3 * seconds / CASES:12.1f}")


@pytest.mark.parametrize("name", [make.__name__ for make in SMALL])
def test_answer(benchmark, batch: Batch, table: list, name: str) -> None:
    model = build(RECIPES[name]()).eval()
    with torch.inference_mode():
        # A copy each time: harmonic_unet remembers what it joined of a measurement.
        benchmark.pedantic(lambda: model(copy(batch.measurement)), rounds=3, warmup_rounds=1)
    if benchmark.stats is not None:
        size = sum(parameter.numel() for parameter in model.parameters())
        table.append((name, size, benchmark.stats.stats.median))
