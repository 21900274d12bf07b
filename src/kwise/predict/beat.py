"""Beats as models know them: told the phase of the cycle they take frame 0 for end-diastole and look for
motion between frames; files do not always begin there, and some hold end-diastole and end-systole alone.
"""

from dataclasses import replace

import torch
from torch import Tensor

from kwise.phenotypes import STRUCTURES
from kwise.types import Scan

APART = 0.15  # of a beat: further from frame 0 the largest LV is no matter of noise
STILL = 0.05  # a pool that loses less of itself does not beat
_TIME_AXES = {"image": 1, "kspace": 2, "mask": 1, "labels": 1, "trajectory": 1}


def begun_at(scan: Scan, frame: int) -> Scan:
    """The same cyclic cine, but `frame` of it comes first."""
    if frame == 0:
        return scan
    n = scan.shape[1]
    ed, es = (None if known is None else (known - frame) % n for known in (scan.ed, scan.es))
    return replace(_of_frames(scan, (torch.arange(n) + frame) % n), ed=ed, es=es)


def pair_held(scan: Scan, n_frames: int) -> Scan:
    """Two frames as a beat of `n_frames`: each is held for half of it, the first around frame 0. Asked of the
    two as they are, models of motion blur one into the other (benchmarks/late_start.py).
    """
    second = (torch.arange(n_frames) >= n_frames // 4) & (torch.arange(n_frames) < n_frames - n_frames // 4)
    return replace(_of_frames(scan, second.long()), ed=0, es=n_frames // 2)


def _of_frames(scan: Scan, frames: Tensor) -> Scan:
    """The scan of these frames, in this order."""
    taken = {
        name: x if x.shape[axis] == 1 else x.index_select(axis, frames)
        for name, axis in _TIME_AXES.items()
        if (x := getattr(scan, name)) is not None
    }
    return replace(scan, **taken)


def late_start(labels: Tensor) -> int | None:
    """The frame of the largest LV pool in labels (z, t, y, x), where it is further from frame 0, either way
    round, than a gated cine's; None where nothing beats.
    """
    pool = lv_pool(labels)
    n, largest = len(pool), int(pool.argmax())
    apart = min(largest, n - largest) > APART * n
    return largest if apart and _lost(labels) > STILL else None


def beats_more(labels: Tensor, others: Tensor) -> bool:
    """Whether the LV pool loses more of itself in the first labels (z, t, y, x) than in the `others`: told a
    wrong phase, a model flattens the beat.
    """
    return _lost(labels) > _lost(others)


def _lost(labels: Tensor) -> float:
    pool = lv_pool(labels)
    return 1 - float(pool.min()) / max(1, int(pool.max()))


def lv_pool(labels: Tensor) -> Tensor:
    """(t,) pixels of the LV pool in labels (z, t, y, x), over all slices."""
    return (labels == STRUCTURES["LV"]).sum(dim=(0, 2, 3))
