"""Intervals of one answered case as columns of its row, and whether the truth lay inside them."""

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from kwise.checkpoint import fingerprint
from kwise.phenotypes import area_ejection_fraction, cavity_areas, ed_es
from kwise.predict.bounds import seen_acceleration
from kwise.study.bench import Answered
from kwise.study.scores import Row
from kwise.uncertainty import Calibration, at_rate, frame_evidence, intervals, read_calibration


@lru_cache(maxsize=8)
def load_calibration(checkpoint: Path) -> Calibration | None:
    """The calibration beside a checkpoint; None where it was never calibrated."""
    return read_calibration(checkpoint, fingerprint(checkpoint))


def evidence_of(found: Answered, calibration: Calibration | None) -> Tensor:
    """`frame_evidence` (4, z, t) of an answer at the calibrated temperature; at 1 without a calibration."""
    rate = seen_acceleration(found.seen)
    temperature = 1.0 if calibration is None else at_rate(calibration, calibration.temperature, rate)
    return frame_evidence(found.logits, temperature)


def interval_columns(found: Answered, calibration: Calibration) -> Row:
    """Bounds of ED area, ES area and area EF, the share of labelled frames whose area lies in the band, and
    the flag.

    `*_inside` is 1 where the truth lies between the bounds, 0 where not, NaN where nobody knows the truth.
    `error_of_mean_heart` is the largest error of the three relative to the mean heart's: the flag is
    right where it is 1 or more.
    """
    spacing = found.scan.spacing_mm
    pixel_mm2 = spacing[1] * spacing[2]
    evidence = evidence_of(found, calibration)
    told = intervals(evidence, pixel_mm2, seen_acceleration(found.seen), calibration)
    said, true = evidence[0].sum(dim=0) * pixel_mm2, cavity_areas(found.truth, spacing, ("LV",))["LV"]
    row: Row = {
        "lv_area_ed_low_mm2": told.ed[0], "lv_area_ed_high_mm2": told.ed[1],
        "lv_area_es_low_mm2": told.es[0], "lv_area_es_high_mm2": told.es[1],
        "area_ef_low_percent": told.ef[0], "area_ef_high_percent": told.ef[1],
        "expected_error": told.expected, "strangeness": told.strangeness, "flagged": float(bool(told.flags)),
    }  # fmt: skip
    known = true.isfinite()
    if not bool(known.any()):
        return row
    inside = (true >= told.curve[0]) & (true <= told.curve[1])
    row["frames_inside"] = float(inside[known].double().mean())
    ed, es = ed_es({"LV": true})
    truths = {"ed": float(true[ed]), "es": float(true[es]) if int(known.sum()) > 1 else math.nan}
    truths["ef"] = area_ejection_fraction({"LV": true}) if int(known.sum()) > 1 else math.nan
    for name, (low, high) in {"ed": told.ed, "es": told.es, "ef": told.ef}.items():
        row[f"{name}_inside"] = (
            float(low <= truths[name] <= high) if math.isfinite(truths[name]) else math.nan
        )
    row["error_of_mean_heart"] = relative_error(said, truths, calibration.spread, found.truth.shape[0])
    return row


def relative_error(
    said: Tensor, truths: Mapping[str, float], spread: Mapping[str, float], n_slices: int
) -> float:
    """The largest of |said - true| of ED area, ES area and area EF, each over the mean heart's error; inf
    without an LV.
    """
    if float(said.max()) <= 0:
        return math.inf
    ours = {"ed": float(said.max()), "es": float(said.min()), "ef": area_ejection_fraction({"LV": said})}
    per_slice = {"ed": n_slices, "es": n_slices, "ef": 1}
    parts = [
        abs(ours[k] - truths[k]) / per_slice[k] / spread[k]
        for k in ours
        if math.isfinite(truths.get(k, math.nan))
    ]
    return max(parts) if parts else math.nan


def soft_error(logits: Tensor, truth: Tensor, temperature: float) -> float:
    """Mean negative log-likelihood of the truth per labelled pixel: what a temperature is chosen by."""
    flat = logits.float().flatten(1).T / temperature
    known = truth.flatten() >= 0
    return float(torch.nn.functional.cross_entropy(flat[known], truth.flatten()[known]))
