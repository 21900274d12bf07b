"""How far an answer may be off: calibrated probabilities, intervals for areas and area EF, and when not to
believe it.

Pure functions of a model's logits and of numbers fitted beforehand on hearts of their own (`kwise
calibrate`). Axis names: k class, z slice, t frame, y and x image. Split-conformal intervals (Vovk et al.,
2005; normalised residuals as in Lei et al., JASA 2018), their quantiles a function of log R; temperature
scaling as in Guo et al., ICML 2017.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kwise.atomic import write_atomically
from kwise.phenotypes import STRUCTURES, ejection_fraction

CALIBRATION = "calibration.json"  # beside the weights of a checkpoint
LV = STRUCTURES["LV"]
TARGETS = ("frame", "ed", "es", "ef")  # LV area of a frame, at ED, at ES (mm^2); area EF (points)
LEAST_DOUBT = 1e-3  # mm^2 or points: the logarithm needs a number above 0
FEATURES = ("log ED area", "log ES area", "log myocardium", "log RV pool", "area EF / 100")  # of `usual`


@dataclass(frozen=True)
class Target:
    """Of one number: log(scale) = `weights` . (1, log doubt, log R); true - said lies between `low` and
    `high` scales.

    `low` and `high` stand at the accelerations of the calibration. `inflation` is the mean of |true - said|
    in scales.
    """

    weights: tuple[float, float, float]
    low: tuple[float, ...]
    high: tuple[float, ...]
    inflation: float


@dataclass(frozen=True)
class Calibration:
    """What `kwise calibrate` found out about a checkpoint; `level` is the nominal coverage of its intervals.

    `temperature` stands at `accelerations` like the quantiles. `spread` is, per target, the mean absolute
    deviation over hearts: the error of who answers every heart with the mean heart. `threshold`: of the
    expected error relative to it, above which an answer carries too little. `centre`, `covariance` and
    `limit` describe the usual heart in FEATURES.
    """

    level: float
    accelerations: tuple[float, ...]
    temperature: tuple[float, ...]
    targets: Mapping[str, Target]
    spread: Mapping[str, float]
    threshold: float
    centre: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    limit: float
    notes: Mapping[str, object]


@dataclass(frozen=True)
class Intervals:
    """Bounds of one answer: `curve` (low, high), each (t,) mm^2 over all slices; `ed`, `es` mm^2; `ef`
    points.

    `expected` is the error to expect relative to that of the mean heart; `strangeness` the distance from the
    hearts of the calibration, 1 at its limit; `flags` says in sentences why not to believe the answer, empty:
    nothing found.
    """

    level: float
    curve: tuple[Tensor, Tensor]
    ed: tuple[float, float]
    es: tuple[float, float]
    ef: tuple[float, float]
    expected: float
    strangeness: float
    flags: tuple[str, ...]


def frame_evidence(logits: Tensor, temperature: float) -> Tensor:
    """(4, z, t) in pixels, of logits (k, z, t, y, x): LV pool, doubt about it, myocardium, RV pool.

    Doubt is the sum of p (1 - p) with p the calibrated probability of the LV pool: pixels that could as well
    be others.
    """
    labels = logits.argmax(dim=0)
    p = (logits.float() / temperature).softmax(dim=0)[LV]
    sizes = [(labels == k).sum(dim=(-1, -2)).double() for k in (LV, STRUCTURES["myo"], STRUCTURES["RV"])]
    return torch.stack([sizes[0], (p * (1 - p)).sum(dim=(-1, -2)).double(), *sizes[1:]])


def at_rate(calibration: Calibration, values: tuple[float, ...], acceleration: float) -> float:
    """A value given at the accelerations of a calibration, linear in log R between them, constant beyond."""
    x = math.log(max(acceleration, 1e-9))
    knots = [math.log(r) for r in calibration.accelerations]
    if x <= knots[0]:
        return values[0]
    for (a, b), (u, v) in zip(pairwise(knots), pairwise(values)):
        if x <= b:
            return u + (v - u) * (x - a) / (b - a)
    return values[-1]


def ef_doubt(ed: float, es: float, doubt_ed: float, doubt_es: float) -> float:
    """Doubt about an area EF in points, by the delta method from areas and doubts in mm^2."""
    return 100 * math.hypot(doubt_es / ed, es * doubt_ed / ed**2) if ed > 0 else math.nan


def scale_of(target: Target, doubt: float, acceleration: float) -> float:
    """The size of the error to expect, up to a factor."""
    a, b, c = target.weights
    return math.exp(a + b * math.log(max(doubt, LEAST_DOUBT)) + c * math.log(max(acceleration, 1.0)))


def usual_features(evidence: Tensor, pixel_mm2: float) -> Tensor:
    """(5,) FEATURES of the middle slice; NaN for the EF of a cine of fewer than four frames."""
    lv, _, myo, rv = (row[evidence.shape[1] // 2] * pixel_mm2 + 1.0 for row in evidence)  # 1 mm^2: log of 0
    fraction = ejection_fraction(float(lv.max()), float(lv.min())) / 100 if len(lv) > 3 else math.nan
    logs = [float(x.log()) for x in (lv.max(), lv.min(), myo.mean(), rv.mean())]
    return torch.tensor([*logs, fraction], dtype=torch.float64)


def strangeness(features: Tensor, calibration: Calibration) -> float:
    """Mahalanobis distance of FEATURES from the usual heart relative to the calibration's limit; unknown ones
    are left out.
    """
    known = features.isfinite()
    away = (features - torch.tensor(calibration.centre, dtype=torch.float64))[known]
    covariance = torch.tensor(calibration.covariance, dtype=torch.float64)[known][:, known]
    return math.sqrt(float(away @ torch.linalg.solve(covariance, away))) / calibration.limit


def intervals(evidence: Tensor, pixel_mm2: float, acceleration: float, calibration: Calibration) -> Intervals:
    """The intervals of one answer from its `frame_evidence` (4, z, t) and the R the model saw.

    Slices are bounded one by one and their bounds added, as if all were wrong together: stacks get wide
    intervals.
    """
    lv, doubt = evidence[0] * pixel_mm2, evidence[1] * pixel_mm2  # (z, t)

    def bounds(name: str, said: float, doubts: list[float], top: float = math.inf) -> tuple[float, float]:
        target = calibration.targets[name]
        scale = sum(scale_of(target, d, acceleration) for d in doubts)
        low, high = (at_rate(calibration, q, acceleration) for q in (target.low, target.high))
        return min(top, max(0.0, said + low * scale)), min(top, max(0.0, said + high * scale))

    curve = lv.sum(dim=0)
    ed, es = int(curve.argmax()), int(curve.argmin())
    band = [bounds("frame", float(curve[t]), doubt[:, t].tolist()) for t in range(len(curve))]
    fraction, of_ef = ejection_fraction(float(curve[ed]), float(curve[es])), math.nan
    sums = float(doubt[:, ed].sum()), float(doubt[:, es].sum())
    if curve[ed] > 0 and len(curve) > 1:
        of_ef = ef_doubt(float(curve[ed]), float(curve[es]), *sums)
    found = Intervals(
        calibration.level,
        (torch.tensor([low for low, _ in band]), torch.tensor([high for _, high in band])),
        bounds("ed", float(curve[ed]), doubt[:, ed].tolist()),
        bounds("es", float(curve[es]), doubt[:, es].tolist()),
        bounds("ef", fraction, [of_ef], 100.0) if math.isfinite(of_ef) else (math.nan, math.nan),
        expected_error(lv, doubt, acceleration, calibration),
        strangeness(usual_features(evidence, pixel_mm2), calibration),
        (),
    )
    return _flagged(found, calibration)


def expected_error(lv: Tensor, doubt: Tensor, acceleration: float, calibration: Calibration) -> float:
    """The largest, of ED area, ES area and EF, of the errors to expect, each relative to the mean heart's;
    (z, t) in mm^2.

    Infinite where no LV pool was found.
    """
    curve, sums = lv.mean(dim=0), doubt.mean(dim=0)  # per slice: the spread over hearts is that of a slice
    ed, es = int(curve.argmax()), int(curve.argmin())
    if float(curve[ed]) <= 0:
        return math.inf
    doubts = {"ed": float(sums[ed]), "es": float(sums[es])}
    doubts["ef"] = ef_doubt(float(curve[ed]), float(curve[es]), doubts["ed"], doubts["es"])
    if len(curve) < 2:  # a single frame has no fraction
        del doubts["ef"]
    relative = [
        calibration.targets[k].inflation
        * scale_of(calibration.targets[k], d, acceleration)
        / calibration.spread[k]
        for k, d in doubts.items()
    ]
    return max(relative)


def _flagged(found: Intervals, calibration: Calibration) -> Intervals:
    """The same intervals with what speaks against the answer, in sentences."""
    flags = []
    if math.isinf(found.expected):
        flags.append("No LV pool was found: nothing can be said about areas and ejection fraction.")
    elif found.expected >= calibration.threshold:
        flags.append(
            "This acquisition carries too little to answer: more likely than not LV area or EF is no "
            "nearer to the truth than that of the mean heart."
        )
    if found.strangeness > 1:
        flags.append(
            "These areas are unlike any heart the model was calibrated on: its intervals cannot be trusted "
            "here."
        )
    return replace(found, flags=tuple(flags))


def write_calibration(folder: Path, calibration: Calibration) -> Path:
    """Write calibration.json beside the weights of a checkpoint, whole or not at all."""
    text = json.dumps({"format": "kwise calibration", "version": 1, **asdict(calibration)}, indent=1)
    write_atomically(folder / CALIBRATION, lambda part: part.write_text(text + "\n"))
    return folder / CALIBRATION


def read_calibration(folder: Path, weights: str) -> Calibration | None:
    """The calibration beside a checkpoint, None where there is none, or one of other `weights`; ValueError
    for a broken file.
    """
    file = folder / CALIBRATION
    if not file.is_file():
        return None
    doing = f"reading {file}"
    try:
        told = json.loads(file.read_text())
        assert isinstance(told, dict) and (told.pop("format"), told.pop("version")) == (
            "kwise calibration",
            1,
        )
        told["targets"] = {name: Target(**_tuples(t)) for name, t in told["targets"].items()}
        found = Calibration(**_tuples(told))
        assert set(found.targets) == set(TARGETS) and len(found.temperature) == len(found.accelerations)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        why = " ".join(str(error).split()) or "another layout"
        raise ValueError(f"{doing}: got {why}; wanted a file that kwise calibrate wrote") from None
    return found if found.notes.get("weights") == weights else None


def _tuples(told: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples."""

    def fixed(value: Any) -> Any:
        return tuple(map(fixed, value)) if isinstance(value, list) else value

    return {key: fixed(value) for key, value in told.items()}
