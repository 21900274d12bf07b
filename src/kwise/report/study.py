"""Scores of a study -> its summary: error with intervals against R, and the largest R that a tolerance
allows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kwise.report.endpoints import ENDPOINTS, Endpoint
from kwise.report.statistics import bootstrap_interval

Row = Mapping[str, float | str]
STATISTICS = ("mean", "median")


@dataclass(frozen=True)
class Point:
    """One endpoint of one line (checkpoint and mask) at one R.

    `centre` is the mean or median of what is judged, `low` to `high` its 95 % bootstrap interval over cases;
    `spread` the 90th percentile of the errors (the 10th of a score); `bias` with its interval the mean signed
    error, NaN for a score. `n` cases had an answer, `failures` had a truth and got none.
    """

    acceleration: float
    achieved: float
    n: int
    failures: int
    centre: float
    low: float
    high: float
    spread: float
    bias: float
    bias_low: float
    bias_high: float


@dataclass(frozen=True)
class Line:
    """One endpoint over R for one checkpoint and mask; `allowed` is the largest R within the tolerance, None:
    none.
    """

    endpoint: str
    checkpoint: str
    mask: str
    tolerance: float
    points: tuple[Point, ...]
    allowed: float | None

    @property
    def censored(self) -> bool:
        """True where even the largest R tested is allowed: the limit lies beyond."""
        return self.allowed is not None and self.allowed == self.points[-1].acceleration

    def at(self, acceleration: float) -> Point:
        """The point at this R."""
        return next(p for p in self.points if p.acceleration == acceleration)


def study_lines(
    rows: Sequence[Row], endpoints: Sequence[str], tolerances: Mapping[str, float], statistic: str = "mean"
) -> list[Line]:
    """A line per endpoint, checkpoint and mask, in the order of the rows; ValueError where an endpoint has no
    case.
    """
    groups: dict[tuple[str, str], dict[float, list[Row]]] = {}
    for row in rows:
        line = groups.setdefault((str(row["checkpoint"]), str(row["mask"])), {})
        line.setdefault(float(row["acceleration"]), []).append(row)
    lines = []
    for name in endpoints:
        endpoint, tolerance = ENDPOINTS[name], tolerances.get(name, ENDPOINTS[name].tolerance)
        if not any(endpoint.known(row) for row in rows):
            raise ValueError(
                f"judging {name}: got no case with a known {endpoint.about}; wanted another endpoint"
            )
        for (checkpoint, mask), rates in groups.items():
            points = tuple(_point(endpoint, rate, rates[rate], statistic) for rate in sorted(rates))
            allowed = largest_allowed(points, tolerance, endpoint.higher_is_better)
            lines.append(Line(name, checkpoint, mask, tolerance, points, allowed))
    return lines


def largest_allowed(points: Sequence[Point], tolerance: float, higher_is_better: bool) -> float | None:
    """The largest R at which, and at every smaller R tested, the whole interval keeps to the tolerance.

    A case without an answer breaks any tolerance, and so does an R with fewer than two cases: it has no
    interval.
    """
    best = None
    for point in sorted(points, key=lambda p: p.acceleration):
        within = point.low >= tolerance if higher_is_better else point.high <= tolerance
        if point.failures or not within:  # NaN compares as False
            return best
        best = point.acceleration
    return best


def _point(endpoint: Endpoint, rate: float, rows: Sequence[Row], statistic: str) -> Point:
    known = [row for row in rows if endpoint.known(row)]
    signed = np.array([endpoint.signed(row) for row in known], dtype=float)
    signed = signed[np.isfinite(signed)]
    values = signed if endpoint.higher_is_better else np.abs(signed)
    low, high = bootstrap_interval(values, statistic=statistic)
    biased = not endpoint.higher_is_better
    bias_low, bias_high = bootstrap_interval(signed) if biased else (math.nan, math.nan)
    return Point(
        acceleration=rate,
        achieved=float(np.mean([float(row["achieved_acceleration"]) for row in rows])),
        n=len(values),
        failures=len(known) - len(values),
        centre=float(getattr(np, statistic)(values)) if len(values) else math.nan,
        low=low,
        high=high,
        spread=float(np.percentile(values, 90 if biased else 10)) if len(values) else math.nan,
        bias=float(signed.mean()) if biased and len(signed) else math.nan,
        bias_low=bias_low,
        bias_high=bias_high,
    )


def mean_heart_error(rows: Sequence[Row], name: str) -> float:
    """Mean error of who answers every case with the mean truth of all cases: what no measurement at all is
    worth.

    NaN for a score, which has no truth column.
    """
    endpoint = ENDPOINTS[name]
    if endpoint.true is None:
        return math.nan
    truths = {str(row["case"]): float(row[endpoint.true]) for row in rows if endpoint.known(row)}
    true = np.array(list(truths.values()))
    error = np.abs(true.mean() - true)
    return float((100 * error / true if endpoint.relative else error).mean())


def summary_rows(lines: Sequence[Line]) -> list[dict[str, float | str]]:
    """study.csv: a row per endpoint, checkpoint, mask and R."""
    return [
        {
            "endpoint": line.endpoint,
            "unit": ENDPOINTS[line.endpoint].unit,
            "checkpoint": line.checkpoint,
            "mask": line.mask,
            "acceleration": p.acceleration,
            "achieved_acceleration": round(p.achieved, 4),
            "n": p.n,
            "no_answer": p.failures,
            "centre": _short(p.centre),
            "low": _short(p.low),
            "high": _short(p.high),
            "worst_tenth": _short(p.spread),
            "bias": _short(p.bias),
            "bias_low": _short(p.bias_low),
            "bias_high": _short(p.bias_high),
            "tolerance": line.tolerance,
            "within": float(line.allowed is not None and p.acceleration <= line.allowed),
        }
        for line in lines
        for p in line.points
    ]


def best_line(lines: Sequence[Line]) -> Line | None:
    """Of the lines of one endpoint the one with the largest R allowed; of equals, the one with the better
    centre.
    """
    allowed = [line for line in lines if line.allowed is not None]
    if not allowed:
        return None
    higher = ENDPOINTS[allowed[0].endpoint].higher_is_better

    def worth(line: Line) -> tuple[float, float]:
        assert line.allowed is not None
        centre = line.at(line.allowed).centre
        return line.allowed, centre if higher else -centre

    return max(allowed, key=worth)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
