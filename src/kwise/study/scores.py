"""One row of a study: what `kwise predict` would say about a case, beside the truth."""

import math
from collections.abc import Sequence

from torch import Tensor

from kwise.metrics import dice
from kwise.phenotypes import area_ejection_fraction, cavity_areas, ed_es, ejection_fraction, structure_sizes
from kwise.types import IGNORE

SIMPSON_SLICES = 6  # fewer slices do not cover a ventricle: no volumes are made of them
Row = dict[str, float | str]


def case_scores(
    labels: Tensor,
    truth: Tensor,
    spacing_mm: tuple[float, float, float],
    known: Sequence[int],
    n_classes: int,
) -> Row:
    """Scores of one case from `labels` and `truth` (z, t, y, x) int64; NaN for what nobody can know.

    Areas and fractions as reported without a truth: at the largest and smallest LV pool of the predicted
    curve itself; `*_true_frames` are taken at the true ED and ES. `known` are the classes the truth tells
    apart.
    """
    row = _overlaps(labels, truth, known, n_classes)
    sizes = {"": cavity_areas(labels, spacing_mm, ("LV",)), "_true": cavity_areas(truth, spacing_mm, ("LV",))}
    if not bool(sizes["_true"]["LV"].isfinite().any()):
        return row | {"area_ef_percent": area_ejection_fraction(sizes[""])}
    when = ed_es(sizes["_true"])
    for ending, curve in sizes.items():
        ed, es = ed_es(curve)
        row[f"lv_area_ed{ending}_mm2"], row[f"lv_area_es{ending}_mm2"] = (
            float(curve["LV"][ed]),
            float(curve["LV"][es]),
        )
        row[f"area_ef{ending}_percent"] = area_ejection_fraction(curve)
    own = sizes[""]["LV"]
    row["lv_area_ed_true_frames_mm2"], row["lv_area_es_true_frames_mm2"] = (
        float(own[when[0]]),
        float(own[when[1]]),
    )
    row["area_ef_true_frames_percent"] = ejection_fraction(float(own[when[0]]), float(own[when[1]]))
    if int(sizes["_true"]["LV"].isfinite().sum()) < 2:  # one labelled frame has no fraction
        row["area_ef_true_percent"] = row["lv_area_es_true_mm2"] = math.nan
    return row | _volumes(labels, truth, spacing_mm)


def _overlaps(labels: Tensor, truth: Tensor, known: Sequence[int], n_classes: int) -> Row:
    names = {1: "LV", 2: "myo", 3: "RV"}
    if 0 not in known or not bool((truth != IGNORE).any()):  # without a known background Dice has no meaning
        return dict.fromkeys(("dice", *(f"dice_{name}" for name in names.values())), math.nan)
    values = dice(labels, truth, max(4, n_classes)).tolist()
    shown = [k for k in names if k in known and k < n_classes]
    row: Row = {"dice": sum(values[k] for k in shown) / len(shown) if shown else math.nan}
    return row | {f"dice_{name}": values[k] if k in shown else math.nan for k, name in names.items()}


def _volumes(labels: Tensor, truth: Tensor, spacing_mm: tuple[float, float, float]) -> Row:
    """LVEF by Simpson's rule, slices x spacing, where there are slices enough."""
    voxel_ml = math.prod(spacing_mm) / 1000
    if labels.shape[0] < SIMPSON_SLICES:
        return {"lvef_percent": math.nan, "lvef_true_percent": math.nan}
    ours, true = (structure_sizes(x, voxel_ml, ("LV",)) for x in (labels, truth))
    return {"lvef_percent": area_ejection_fraction(ours), "lvef_true_percent": area_ejection_fraction(true)}
