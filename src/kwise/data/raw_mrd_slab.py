"""A 3-D scan of one slab: partitions, encoded along the slice direction, become slices by one Fourier
transform.
"""

from pathlib import Path

import torch
from torch import Tensor

from kwise.data.raw_checks import refused
from kwise.fourier import ifft1c


def slices_of_slab(path: Path, kspace: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, dict[str, str]]:
    """K-space (c, z, t, ky, kx) whose z is encoded, DC at z//2, and what was acquired (z, t, ky, kx) -> the
    same of slices, and notes.

    The same partitions have to be acquired of every line: then the transform mixes nothing that was acquired
    with something that was not. Partitions of which no line was acquired (partial Fourier) stay zero.
    ValueError where lines differ in their partitions.
    """
    there = mask.flatten(1).any(dim=1)  # (z,)
    lines = mask.any(dim=0)
    if not torch.equal(mask, there[:, None, None, None] & lines):
        got = "a 3-D scan that is undersampled along its partitions too"
        raise refused(path, got, "the same partitions of every line (no plane of masks is read yet)")
    n, acquired = len(there), int(there.sum())
    notes = {"3-D": f"{n} partitions transformed to slices"}
    if acquired < n:
        notes["3-D"] += f"; {n - acquired} of them not acquired, so slices are blurred into each other"
    return ifft1c(kspace, 1), lines.expand(mask.shape).clone(), notes
