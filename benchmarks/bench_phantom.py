"""The phantom as a training set: hearts a second on one core, and on two at once."""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from kwise.phantom import heart_scan

HEARTS = 12


def draw_hearts(start: int) -> float:
    """Core seconds of drawing HEARTS cines of 64 x 64 x 12."""
    torch.set_num_threads(1)
    began = time.process_time()
    for i in range(start, start + HEARTS):
        heart_scan(f"heart-bench-{i:06d}")
    return time.process_time() - began


def test_one_core(benchmark) -> None:
    draw_hearts(0)
    benchmark.pedantic(draw_hearts, (0,), rounds=5)
    if benchmark.stats is not None:
        seconds = benchmark.stats.stats.median
        rate, each = HEARTS / seconds, 1e3 * seconds / HEARTS
        print(f"\n  one process: {rate:.0f} hearts per core second ({each:.1f} ms each)")


@pytest.mark.parametrize("processes", [2])
def test_two_processes(benchmark, processes: int) -> None:
    """Core seconds by the workers' own clocks: what they pay for sharing caches."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(draw_hearts, range(processes)))  # the imports of every worker

        def both() -> float:
            return max(pool.map(draw_hearts, [i * HEARTS for i in range(processes)]))

        seconds = min(both() for _ in range(3))
        benchmark.pedantic(both, rounds=3)
    print(
        f"\n  two processes: {processes * HEARTS / seconds:.0f} hearts per second, each on a core of its own"
    )
