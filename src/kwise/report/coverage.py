"""Scores of a study -> how often its intervals held the truth, and how often its flag was right."""

from collections.abc import Mapping, Sequence

import numpy as np

from kwise.report.statistics import share_interval

Row = Mapping[str, float | str]
PARTS = {"ef": "area EF", "ed": "LV area ED", "es": "LV area ES"}


def coverage_rows(rows: Sequence[Row]) -> list[dict[str, float | str]]:
    """A row per checkpoint, mask and R, then one over everything: measured coverage with its 95 % interval,
    widths, flags.

    Empty without interval columns. Coverage is the share of cases whose truth lay between the bounds; of
    frames, the mean share over cases. A false alarm is a flag on an answer better than the mean heart, a miss
    the reverse.
    """
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        if np.isfinite(float(row.get("expected_error", np.nan))) or float(row.get("flagged", 0)) == 1:
            key = (str(row["checkpoint"]), str(row["mask"]), float(row["acceleration"]))
            groups.setdefault(key, []).append(row)
    if not groups:
        return []
    found = [
        _one({"checkpoint": c, "mask": m, "R": f"{r:.3g}"}, group) for (c, m, r), group in groups.items()
    ]
    for model in dict.fromkeys(c for c, _, _ in groups):
        everything = [row for (c, _, _), group in groups.items() if c == model for row in group]
        found.append(_one({"checkpoint": model, "mask": "all", "R": "all"}, everything))
    return found


def _one(head: dict[str, float | str], rows: Sequence[Row]) -> dict[str, float | str]:
    told = head | {"n": float(len(rows))}
    for key, name in PARTS.items():
        inside = _column(rows, f"{key}_inside")
        low, high = share_interval(int(inside.sum()), len(inside))
        told[name] = f"{_percent(inside)} ({100 * low:.0f} to {100 * high:.0f})" if len(inside) else "-"
    told["frames"] = _percent(_column(rows, "frames_inside"))
    told["EF width, points"] = _mean(_width(rows, "area_ef", "percent"))
    told["ED width, mm2"] = _mean(_width(rows, "lv_area_ed", "mm2"))
    flagged, useless = _both(rows)
    told["flagged"] = _percent(flagged)
    told["no better than mean heart"] = _percent(useless)
    told["false alarms"] = _percent(flagged[useless == 0])
    told["misses"] = _percent(1 - flagged[useless == 1])
    return told


def _both(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Flag and truth of the flag, 0 or 1, of the cases where both are known."""
    known = [row for row in rows if not np.isnan(float(row.get("error_of_mean_heart", np.nan)))]
    flagged = np.array([float(row["flagged"]) for row in known])
    return flagged, np.array([float(float(row["error_of_mean_heart"]) >= 1) for row in known])


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    values = np.array([float(row.get(name, np.nan)) for row in rows])
    return values[np.isfinite(values)]


def _width(rows: Sequence[Row], name: str, unit: str) -> np.ndarray:
    low = np.array([float(row.get(f"{name}_low_{unit}", np.nan)) for row in rows])
    widths = np.array([float(row.get(f"{name}_high_{unit}", np.nan)) for row in rows]) - low
    return widths[np.isfinite(widths)]


def _percent(shares: np.ndarray) -> str:
    return f"{100 * shares.mean():.0f} %" if len(shares) else "-"


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.3g}" if len(values) else "-"
