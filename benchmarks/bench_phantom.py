"""The phantoms as training sets: hearts and virtual subjects a second on one core, and on two at once."""

import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from kwise.phantom import examination, heart_scan

HEARTS = 12
SUBJECTS = 4
SIZES = {"128 x 128 x 25": (25, (128, 128)), "64 x 64 x 5": (5, (64, 64))}


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


def draw_subjects(start: int, size: str) -> float:
    """Core seconds of SUBJECTS examinations, nine views with labels each."""
    torch.set_num_threads(1)
    n_frames, shape = SIZES[size]
    began = time.process_time()
    for i in range(start, start + SUBJECTS):
        examination(f"population-bench-{i:06d}", n_frames=n_frames, shape=shape)
    return time.process_time() - began


@pytest.mark.parametrize("size", SIZES)
def test_subjects_on_one_core(benchmark, size: str) -> None:
    draw_subjects(0, size)
    benchmark.pedantic(draw_subjects, (0, size), rounds=5)
    if benchmark.stats is not None:
        each = benchmark.stats.stats.median / SUBJECTS
        print(f"\n  {size}, one process: {1 / each:.1f} subjects per core second ({1e3 * each:.0f} ms each)")


@pytest.mark.parametrize("size", SIZES)
def test_subjects_on_two_cores(benchmark, size: str) -> None:
    """Core seconds by the workers' own clocks, as above, and the memory a worker ever held."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(draw_subjects, (0, 1), (size, size)))  # the imports of every worker

        def both() -> float:
            return max(pool.map(draw_subjects, (0, SUBJECTS), (size, size)))

        seconds = min(both() for _ in range(3))
        benchmark.pedantic(both, rounds=1)
        held = max(pool.map(peak_mb, range(2)))
    rate = 2 * SUBJECTS / seconds
    print(f"\n  {size}, two processes: {rate:.1f} subjects per second, each on a core; at most {held} MB")


def peak_mb(_: int) -> int:
    """The largest memory this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
