"""Another number of frames for a cine: cases of different length in one batch, ED and ES kept exactly."""

from dataclasses import replace

import torch
from torch import Tensor

from kwise.types import IGNORE, Scan


def resample_frames(scan: Scan, n_frames: int) -> Scan:
    """The cine on `n_frames` frames from ED to ED, cyclic, linear between neighbours.

    Time is stretched piecewise so that ED is the new frame 0 and ES falls on a frame: their images and labels
    stay exact. Labels of other frames are those of the nearest frame where it is hit exactly, IGNORE
    otherwise. A two-frame stack (ED, ES) becomes a cross-fade: anatomy without real motion.
    """
    have = scan.shape[1]
    assert scan.image is not None
    if have == n_frames and not scan.ed:
        return scan
    if have == 1:
        return replace(scan, image=scan.image.expand(-1, n_frames, -1, -1), labels=_first(scan, n_frames))
    times, new_es = _times(scan, n_frames)
    low = times.floor()
    weight = (times - low)[:, None, None]
    before, after = low.long() % have, (low.long() + 1) % have
    image = scan.image[:, before] * (1 - weight) + scan.image[:, after] * weight
    labels = scan.labels
    if labels is not None:
        exact = ((times - times.round()).abs() < 1e-4)[:, None, None]
        labels = torch.where(exact, labels[:, times.round().long() % have], IGNORE)
    return replace(scan, image=image, labels=labels, ed=0, es=new_es)


def _times(scan: Scan, n_frames: int) -> tuple[Tensor, int]:
    """(t,) positions of the new frames in old frames, and the new index of ES."""
    have = scan.shape[1]
    ed = scan.ed or 0
    es = scan.es if scan.es is not None else ed + have // 3
    systole = (es - ed) % have or have // 2
    new_es = min(n_frames - 1, max(1, round(systole / have * n_frames)))
    contracting = torch.linspace(0, systole, new_es + 1)[:-1]
    relaxing = torch.linspace(systole, have, n_frames - new_es + 1)[:-1]
    return torch.cat([contracting, relaxing]) + ed, new_es


def _first(scan: Scan, n_frames: int) -> Tensor | None:
    return None if scan.labels is None else scan.labels.expand(-1, n_frames, -1, -1)
