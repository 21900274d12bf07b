"""Endpoints by name: what a study judges a case by, from the columns of its scores."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

Row = Mapping[str, float | str]


@dataclass(frozen=True)
class Endpoint:
    """A clinical number and how wrong it may be.

    With a `true` column the error of a case is |predicted - true| in `unit`, in percent of the truth where
    `relative`; without one `predicted` is itself the score, and more is better (Dice). `tolerance` is where a
    study draws the line unless told otherwise.
    """

    about: str
    unit: str
    predicted: str
    true: str | None
    tolerance: float
    relative: bool = False

    @property
    def higher_is_better(self) -> bool:
        """True for an overlap, False for an error."""
        return self.true is None

    def known(self, row: Row) -> bool:
        """True where the truth of this case can be known: others do not count."""
        if self.true is None:
            return math.isfinite(_number(row, self.predicted))
        return math.isfinite(_number(row, self.true)) and not (self.relative and _number(row, self.true) == 0)

    def signed(self, row: Row) -> float:
        """Predicted minus true, in `unit`; the score itself without a truth column. NaN: no answer."""
        value = _number(row, self.predicted)
        if self.true is None:
            return value
        true = _number(row, self.true)
        return 100 * (value - true) / true if self.relative else value - true

    def value(self, row: Row) -> float:
        """What is judged: the absolute error, or the score."""
        return self.signed(row) if self.true is None else abs(self.signed(row))


def _number(row: Row, column: str) -> float:
    return float(row.get(column, math.nan))


def _overlap(about: str, column: str, tolerance: float) -> Endpoint:
    return Endpoint(about, "Dice", column, None, tolerance)


# The tolerances are places to start from: 5 points of EF and 10 % of an area are about what two readers of
# the same images differ by. The question at hand decides.
ENDPOINTS: dict[str, Endpoint] = {
    "area_ef": Endpoint("area ejection fraction", "points", "area_ef_percent", "area_ef_true_percent", 5.0),
    "lv_area_ed": Endpoint(
        "LV area at end-diastole", "% of the true area", "lv_area_ed_mm2", "lv_area_ed_true_mm2", 10.0, True
    ),
    "lv_area_es": Endpoint(
        "LV area at end-systole", "% of the true area", "lv_area_es_mm2", "lv_area_es_true_mm2", 10.0, True
    ),
    "lvef": Endpoint("LV ejection fraction (Simpson)", "points", "lvef_percent", "lvef_true_percent", 5.0),
    "dice": _overlap("foreground Dice", "dice", 0.85),
    "dice_LV": _overlap("Dice of the LV pool", "dice_LV", 0.9),
    "dice_myo": _overlap("Dice of the LV myocardium", "dice_myo", 0.8),
    "dice_RV": _overlap("Dice of the RV pool", "dice_RV", 0.85),
}
GROUPS = {"lv_area": ("lv_area_ed", "lv_area_es"), "dice_classes": ("dice_LV", "dice_myo", "dice_RV")}
DEFAULT = ("area_ef", "lv_area", "dice")


def expand(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names of ENDPOINTS, groups such as lv_area taken apart, each once."""
    every = [single for name in names for single in GROUPS.get(name, (name,))]
    return tuple(dict.fromkeys(every))
