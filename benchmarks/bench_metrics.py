"""Hausdorff distances of a cine of 12 frames of 64 x 64: a hundred cases should take 20 s at most."""

import torch

from kwise.metrics import frame_distances

N_CLASSES = 4


def test_distances_of_a_case(benchmark) -> None:
    torch.set_num_threads(1)
    ys, xs = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    radius = torch.hypot(ys - 32.0, xs - 30.0)
    truth = (torch.bucketize(radius, torch.tensor([8.0, 12.0, 18.0])) + 1) % N_CLASSES
    frames = truth.expand(12, 64, 64)
    moved = frames.roll(2, -1)
    benchmark.pedantic(frame_distances, args=(moved, frames, N_CLASSES), rounds=5, warmup_rounds=1)
    print(f"\n  distances of a case: {1e3 * benchmark.stats.stats.median:.1f} core ms")
