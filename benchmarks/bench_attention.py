"""K-Space Transformer with fused attention against the same weights and maths with stored attention matrices.

One image, 5-fold lines, fp32, 2 threads; `KWISE_SIDE=128` is the size of the claim, 32 the default of a quick
look. Each way runs in a process of its own, which reports core time and how far its peak memory grew. The
outputs of both are compared. Stored matrices live here alone: the library never makes one.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kwise.models.kspace_transformer import KSpaceTransformer
from kwise.nn import kspace_layers
from kwise.seeding import generator
from kwise.types import Measurement

SIDE = int(os.environ.get("KWISE_SIDE", "32"))
WAYS = ("stored", "fused")


def stored_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt d) v, with the matrix of queries by keys in memory."""
    weights = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if attn_mask is not None:
        weights = weights.masked_fill(~attn_mask, float("-inf"))
    return weights.softmax(dim=-1) @ value


class StoredKernels:
    """Stands where the layers look for torch.nn.functional."""

    scaled_dot_product_attention = staticmethod(stored_attention)


def measurement(side: int) -> Measurement:
    """Random k-space, int(side / 5) random lines."""
    lines = torch.zeros(side, dtype=torch.bool)
    lines[torch.randperm(side, generator=generator("bench lines"))[: side // 5]] = True
    kspace = torch.randn(side, side, dtype=torch.complex64, generator=generator("bench kspace"))
    mask = lines.view(-1, 1).expand(side, side)
    return Measurement(kspace[None, None, None, None], mask[None, None, None])


def run(way: str, learn: bool, side: int) -> dict[str, float]:
    """Core seconds and MB of one forward, or one forward and backward, at the published sizes."""
    torch.set_num_threads(2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = KSpaceTransformer()
    if way == "stored":
        kspace_layers.functional = StoredKernels  # type: ignore[assignment]
    with torch.no_grad():
        model(measurement(8))  # kernels are loaded before anything is measured
    measured = measurement(side)
    before, start = _peak_mb(), time.process_time()
    with torch.set_grad_enabled(learn):
        image = model(measured).image
    assert image is not None
    if learn:
        image.abs().square().mean().backward()
    seconds = time.process_time() - start
    return {"seconds": seconds, "mb": _peak_mb() - before, "sum": float(image.detach().abs().sum())}


def measure(way: str, learn: bool) -> dict[str, float]:
    """`run` in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), way, str(int(learn)), str(SIDE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("learn", [False, True], ids=["forward", "training"])
def test_fused_attention(benchmark, learn: bool) -> None:
    stored = measure("stored", learn)
    fused = benchmark.pedantic(measure, ("fused", learn), rounds=1)
    assert fused["sum"] == pytest.approx(stored["sum"], rel=1e-4)
    faster, smaller = stored["seconds"] / fused["seconds"], fused["mb"] / max(stored["mb"], 1e-9)
    benchmark.extra_info.update(times_faster=faster, share_of_memory=smaller)
    what = "training step" if learn else "forward"
    print(
        f"\n  {SIDE} x {SIDE} {what}: stored {stored['seconds']:.1f} core s, {stored['mb']:.0f} MB; "
        f"fused {fused['seconds']:.1f} core s, {fused['mb']:.0f} MB; "
        f"{faster:.2f} times faster, {smaller:.2f} of the memory"
    )


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2] == "1", int(sys.argv[3]))))
