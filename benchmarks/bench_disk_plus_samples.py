"""DiSK+ on a set of points: core time and memory over the number of samples, one frame asked.

The paper's cine (80 x 80 x 50) at R = 64, 16, 4 and 1 has 5,000 to 320,000 samples. Memory is the growth of
the process's peak over its peak after one small answer, each size in a process of its own. Nothing is
asserted about time: the table tells whether cost per sample stays the same.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kwise.models.disk_plus import DiskPlus
from kwise.seeding import generator
from kwise.types import Measurement, Query

SIZES = (5_000, 20_000, 80_000, 320_000)
FRAMES, SIDE = 50, 80
ONE_FRAME = Query(frames=torch.tensor([[7]]))


def measurement(n_samples: int) -> Measurement:
    """The paper's grid with `n_samples` samples at random places."""
    mask = torch.zeros(FRAMES * SIDE * SIDE, dtype=torch.bool)
    mask[torch.randperm(len(mask), generator=generator("bench"))[:n_samples]] = True
    kspace = torch.randn(1, 1, 1, FRAMES, SIDE, SIDE, dtype=torch.complex64, generator=generator("kspace"))
    return Measurement(kspace, mask.view(1, 1, FRAMES, SIDE, SIDE))


def answer(model: DiskPlus, measured: Measurement, *, learn: bool) -> None:
    """One frame's logits, and their gradients where the model learns."""
    with torch.set_grad_enabled(learn):
        logits = model(measured, ONE_FRAME).logits
    if learn:
        logits.square().mean().backward()


def peak_mb() -> float:
    """Peak resident memory of this process alone; ru_maxrss would start at its parent's."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def grown_mb(n_samples: int, learn: bool) -> float:
    """How much one answer to `n_samples` samples adds to the peak memory of a fresh process, in MB."""
    command = [sys.executable, str(Path(__file__).resolve()), str(n_samples), str(int(learn))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[int, bool, float, float]]]:
    """Rows (samples, learning, seconds, MB), printed at the end."""
    rows: list[tuple[int, bool, float, float]] = []
    yield rows
    print("\n  samples  what      core s  us/sample  ratio  peak over baseline MB")
    for learn in (False, True):
        chosen = [row for row in rows if row[1] == learn]
        for n, _, seconds, mb in chosen:
            each, first = seconds / n, chosen[0][2] / chosen[0][0]
            what = "training" if learn else "answer"
            print(f"  {n:7,}  {what:8}  {seconds:6.3f}  {1e6 * each:9.2f}  {each / first:5.2f}  {mb:8.0f}")


@pytest.mark.parametrize("learn", [False, True], ids=["answer", "training"])
@pytest.mark.parametrize("n_samples", SIZES)
def test_points(benchmark, table: list, n_samples: int, learn: bool) -> None:
    torch.set_num_threads(1)
    model, measured = DiskPlus(tokens="points"), measurement(n_samples)
    benchmark.pedantic(answer, (model, measured), {"learn": learn}, rounds=3, warmup_rounds=1)
    mb = grown_mb(n_samples, learn)
    benchmark.extra_info["peak_over_baseline_mb"] = mb
    if benchmark.stats is not None:
        table.append((n_samples, learn, benchmark.stats.stats.median, mb))


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, learn = DiskPlus(tokens="points"), bool(int(sys.argv[2]))
    answer(model, measurement(1000), learn=learn)
    measured = measurement(int(sys.argv[1]))
    before = peak_mb()
    answer(model, measured, learn=learn)
    print(peak_mb() - before)
