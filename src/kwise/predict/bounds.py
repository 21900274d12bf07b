"""Bounds of an answer: what a calibrated checkpoint adds to areas and area EF, and when it says not to
believe them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kwise.phenotypes import Phenotype
from kwise.types import CLASS_NAMES, Measurement
from kwise.uncertainty import LV, Calibration, Intervals, at_rate, frame_evidence, intervals


class Watch:
    """Looks at the logits of an answer while they exist and keeps what its intervals need; a new look starts
    anew.

    Without a calibration it keeps nothing and bounds nothing.
    """

    def __init__(self, calibration: Calibration | None) -> None:
        self.calibration = calibration
        self.parts: list[Tensor] = []
        self.rate, self.temperature, self.pixel_mm2 = math.nan, 1.0, math.nan

    def start(self, measurement: Measurement, pixel_mm: Sequence[float]) -> None:
        """Of what enters the model, and the pixel (y, x) in mm of the grid it answers on."""
        if self.calibration is not None:
            self.parts = []
            self.rate = seen_acceleration(measurement)
            self.temperature = at_rate(self.calibration, self.calibration.temperature, self.rate)
            self.pixel_mm2 = pixel_mm[0] * pixel_mm[1]

    def see(self, logits: Tensor) -> None:
        """Logits (k, z, t, y, x) of the next frames."""
        if self.calibration is not None:
            self.parts.append(frame_evidence(logits, self.temperature))

    def intervals(self, frames: Tensor) -> Intervals | None:
        """The intervals of these frames (t,) of what was seen since the start, in this order."""
        if self.calibration is None or not self.parts:
            return None
        seen = torch.cat(self.parts, dim=2)[:, :, frames]
        return intervals(seen, self.pixel_mm2, self.rate, self.calibration)


def bounded(phenotypes: Sequence[Phenotype], told: Intervals) -> tuple[Phenotype, ...]:
    """Phenotypes with the bounds of those that have any."""
    spans = {"LV_ED_area_mm2": told.ed, "LV_ES_area_mm2": told.es, "LV_area_EF_percent": told.ef}
    return tuple(_bounded(p, spans.get(p.name), told.level) for p in phenotypes)


def _bounded(p: Phenotype, span: tuple[float, float] | None, level: float) -> Phenotype:
    if span is None or not math.isfinite(span[0]):
        return p
    share = f"{100 * level:.0f} % interval of the calibration"
    about = f"{p.about}; {share}" if p.about else share
    return replace(p, low=span[0], high=span[1], about=about)


def seen_acceleration(measurement: Measurement) -> float:
    """R of what entered a model: positions of the image grid over acquired samples, all slices and frames."""
    return math.prod(measurement.shape) / int(measurement.mask.sum())


def bound_columns(told: Intervals | None) -> dict[str, list[float]]:
    """Columns of areas.csv: bounds of the LV pool in each frame, and of the area EF in every row."""
    if told is None:
        return {}
    name = CLASS_NAMES[LV].replace(" ", "_")
    low, high = (bound.tolist() for bound in told.curve)
    ef_low, ef_high = ([bound] * len(low) for bound in told.ef)
    ends = {f"{name}_low_mm2": low, f"{name}_high_mm2": high}
    return ends | {"LV_area_EF_low_percent": ef_low, "LV_area_EF_high_percent": ef_high}


def bands(told: Intervals | None) -> Mapping[str, tuple[list[float], list[float]]]:
    """Of the curves of the report page: class name -> lower and upper bound per frame."""
    if told is None:
        return {}
    low, high = told.curve
    return {CLASS_NAMES[LV]: (low.tolist(), high.tolist())}


def bound_facts(told: Intervals | None) -> dict[str, str]:
    """What the page's table says of the intervals."""
    if told is None:
        return {}
    share = f"{100 * told.level:.0f} % interval"
    facts = {f"LV area ED, {share}": f"{told.ed[0]:.0f} to {told.ed[1]:.0f} mm²"}
    facts[f"LV area ES, {share}"] = f"{told.es[0]:.0f} to {told.es[1]:.0f} mm²"
    if math.isfinite(told.ef[0]):
        facts[f"area ejection fraction, {share}"] = f"{told.ef[0]:.0f} to {told.ef[1]:.0f} %"
    facts["error to expect"] = f"{told.expected:.2f} of that of who reports the mean heart"
    return facts


def bound_lines(told: Intervals | None) -> list[str]:
    """What the terminal says of the intervals, a line each."""
    if told is None:
        return []
    lines = []
    if math.isfinite(told.ef[0]):
        ed, es = (f"{low:.0f} to {high:.0f}" for low, high in (told.ed, told.es))
        share = f"{100 * told.level:.0f} % intervals"
        lines.append(
            f"{share}: area EF {told.ef[0]:.0f} to {told.ef[1]:.0f} %, LV area ED {ed} mm², ES {es} mm²"
        )
        lines.append("  (fitted to virtual hearts: on real ones too narrow, docs/study.md)")
    return lines
