"""Sizes of the heart's chambers from a segmentation, with units in the names.

Axis names: z slice, t frame, y and x image. Classes by short name as in `STRUCTURES`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.types import IGNORE

STRUCTURES = {"LV": 1, "myo": 2, "RV": 3, "LA": 4, "RA": 5}  # short name -> class index
MYOCARDIUM_G_PER_ML = 1.05


@dataclass(frozen=True)
class Phenotype:
    """One number about a case: `name` ends with its unit as in LVEDV_mL, `unit` says it again in full.

    `low` and `high` bound its 95 % interval, NaN where nobody estimated one; `about` says in a few words how
    it was measured.
    """

    name: str
    value: float
    unit: str
    low: float = math.nan
    high: float = math.nan
    about: str = ""


def structure_sizes(labels: Tensor, element_size: float, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Size (t,) float64 of each named structure in every frame: pixels of all slices times `element_size`.

    `labels` (z, t, y, x) or (t, y, x) int64. A frame with a slice nobody labelled (all IGNORE) is NaN. With
    a voxel's volume as `element_size` these are volumes, with a pixel's area they are areas.
    """
    if labels.ndim not in (3, 4):
        shape = tuple(labels.shape)
        raise ValueError(f"measuring structures: got labels {shape}; wanted (z, t, y, x) or (t, y, x)")
    unknown = [name for name in names if name not in STRUCTURES]
    if unknown:
        raise ValueError(f"measuring structures: got {unknown}; wanted names among {list(STRUCTURES)}")
    stack = labels if labels.ndim == 4 else labels.unsqueeze(0)
    unlabelled = (stack == IGNORE).flatten(2).all(dim=2).any(dim=0)

    def size(name: str) -> Tensor:
        counts = (stack == STRUCTURES[name]).sum(dim=(0, 2, 3)).double()
        return torch.where(unlabelled, torch.nan, counts * element_size)

    return {name: size(name) for name in names}


def cavity_areas(
    labels: Tensor, spacing_mm: tuple[float, float, float], names: tuple[str, ...] = ("LV", "myo", "RV")
) -> dict[str, Tensor]:
    """Area (t,) in mm^2 of each structure in every frame, summed over slices.

    `labels` (z, t, y, x) or (t, y, x) int64; `spacing_mm` (z, y, x). NaN in frames nobody labelled.
    """
    return structure_sizes(labels, spacing_mm[1] * spacing_mm[2], names)


def simpson_volumes(
    labels: Tensor, spacing_mm: tuple[float, float, float], names: tuple[str, ...] = ("LV", "myo", "RV")
) -> dict[str, Tensor]:
    """Volume (t,) in mL of each structure in every frame: area of every slice times the slice pitch, summed.

    `labels` (z, t, y, x) int64; `spacing_mm` (z, y, x), z the pitch from slice to slice. Simpson's rule as
    cardiac software uses it (Schulz-Menger et al., JCMR 2020): what lies beyond the first and the last slice
    is not counted.
    """
    z, y, x = spacing_mm
    return structure_sizes(labels, z * y * x / 1000, names)


def ventricular_phenotypes(volumes: Mapping[str, Tensor], ed: int, es: int) -> dict[str, float]:
    """LVEDV_mL, LVESV_mL, LVSV_mL, LVEF_percent, LVM_g (at ED) and the RV's, of `volumes` (t,) in mL.

    What has no volumes is left out. Both ventricles are measured at the LV's `ed` and `es`.
    """
    found: dict[str, float] = {}
    for name in ("LV", "RV"):
        if name in volumes:
            at_ed, at_es = float(volumes[name][ed]), float(volumes[name][es])
            found |= {f"{name}EDV_mL": at_ed, f"{name}ESV_mL": at_es, f"{name}SV_mL": at_ed - at_es}
            found[f"{name}EF_percent"] = ejection_fraction(at_ed, at_es)
    if "myo" in volumes:
        found["LVM_g"] = float(volumes["myo"][ed]) * MYOCARDIUM_G_PER_ML
    return found


def ed_es(areas: Mapping[str, Tensor]) -> tuple[int, int]:
    """End-diastolic and end-systolic frame: largest and smallest finite LV size, the first of equal ones.

    Errors: no frame with a known LV size.
    """
    lv = areas["LV"]
    known = torch.isfinite(lv)
    if not bool(known.any()):
        raise ValueError("finding ED and ES: got no known LV size; wanted at least one labelled frame")
    largest = torch.where(known, lv, -math.inf).argmax()
    smallest = torch.where(known, lv, math.inf).argmin()
    return int(largest), int(smallest)


def ejection_fraction(ed_size: float, es_size: float) -> float:
    """(ED - ES) / ED in percent; NaN where the ED size is 0 or unknown."""
    return 100.0 * (ed_size - es_size) / ed_size if ed_size > 0 else math.nan


def area_ejection_fraction(areas: Mapping[str, Tensor]) -> float:
    """Area ejection fraction in percent between the LV area curve's own maximum and minimum; NaN if there
    is no LV.

    Maximum and minimum over noisy frames overestimate it: compare at fixed frames with `ejection_fraction`
    as well.
    """
    ed, es = ed_es(areas)
    return ejection_fraction(float(areas["LV"][ed]), float(areas["LV"][es]))
