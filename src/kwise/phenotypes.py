"""Sizes of the heart's chambers from a segmentation, with units in the names.

Ventricles by summing the slices of a short-axis stack, atria by the area-length rule on long-axis views, as
ukbb_cardiac defines them (Bai et al., JCMR 2018).

Axis names: z slice, t frame, y and x image. Classes by short name as in `STRUCTURES`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kwise.types import IGNORE

STRUCTURES = {"LV": 1, "myo": 2, "RV": 3, "LA": 4, "RA": 5}  # short name -> class index
MYOCARDIUM_G_PER_ML = 1.05

# What is measured of a heart, in the order of `Targets.phenotypes`: name -> (mean, sd) among adults, the
# scale on which errors of different units are compared. Men and women of Petersen et al., JCMR 2017, pooled;
# the atria from the spreads of Hudsmith et al., JCMR 2005. Rounded: a scale, no reference values.
PHENOTYPES: dict[str, tuple[float, float]] = {
    "LVEDV_mL": (145.0, 35.0),
    "LVESV_mL": (59.0, 19.0),
    "LVSV_mL": (86.0, 20.0),
    "LVEF_percent": (59.0, 6.0),
    "LVM_g": (88.0, 24.0),
    "RVEDV_mL": (155.0, 40.0),
    "RVESV_mL": (70.0, 24.0),
    "RVSV_mL": (86.0, 20.0),
    "RVEF_percent": (56.0, 6.5),
    "LASV_mL": (40.0, 13.0),
    "LAEF_percent": (60.0, 8.0),
    "RASV_mL": (34.0, 12.0),
    "RAEF_percent": (42.0, 9.0),
}
DISEASES = ("CAD", "high_blood_pressure", "hypertension")  # in the order of `Targets.diseases`


@dataclass(frozen=True)
class Phenotype:
    """One number about a case: `name` ends with its unit as in LVEDV_mL, `unit` says it again in full.

    `low` and `high` bound its interval, NaN where nobody estimated one; `about` says in a few words how it
    was measured, and the share of truths such intervals are made to hold.
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


def area_length_volume(areas_mm2: Sequence[float], lengths_mm: Sequence[float]) -> float:
    """Volume in mL of an atrium by the area-length rule, 8 / (3 pi) x A x A' / L.

    One view: A = A'. Two views (two- and four-chamber): L is the mean of their lengths. NaN without a
    length.
    """
    if len(areas_mm2) not in (1, 2) or len(areas_mm2) != len(lengths_mm):
        got = f"{len(areas_mm2)} areas and {len(lengths_mm)} lengths"
        raise ValueError(
            f"applying the area-length rule: got {got}; wanted one of each view, one or two views"
        )
    length = sum(lengths_mm) / len(lengths_mm)
    product = areas_mm2[0] * areas_mm2[-1]
    return 8 / (3 * math.pi) * product / length / 1000 if length > 0 else math.nan


def area_and_length(
    inside: Tensor, spacing_mm: tuple[float, float], axis: tuple[float, float]
) -> tuple[float, float]:
    """Area (mm^2) and length (mm) of the largest connected part of a mask (y, x) bool of one atrium.

    `axis` (y, x) is the direction of the LV long axis in the image. The length is the chord, inside the mask,
    of the line through the centroids of its first and last third along that axis. (0, 0) for an empty mask.
    """
    from scipy import ndimage

    parts, n_parts = ndimage.label(inside.numpy())
    if n_parts == 0:
        return 0.0, 0.0
    largest = torch.from_numpy(parts == np.bincount(parts.ravel())[1:].argmax() + 1)
    scale = torch.tensor(spacing_mm, dtype=torch.float64)
    places = largest.nonzero().double() * scale
    along = places @ torch.tensor(axis, dtype=torch.float64)
    ranked = places[along.argsort()]
    third = max(len(ranked) // 3, 1)
    first, last = ranked[:third].mean(0), ranked[-third:].mean(0)
    area = len(places) * spacing_mm[0] * spacing_mm[1]
    way = last - first
    if float(way.norm()) == 0:
        return area, min(spacing_mm)
    step = 0.1 * min(spacing_mm)
    reach = float(scale.norm()) * max(inside.shape)
    steps = torch.arange(-reach, reach, step, dtype=torch.float64)
    line = ((first + last) / 2 + steps[:, None] * way / way.norm()) / scale
    pixels = line.round().long()
    within = ((pixels >= 0) & (pixels < torch.tensor(inside.shape))).all(dim=1)
    return area, float(largest[pixels[within, 0], pixels[within, 1]].sum()) * step


def atrial_volumes(
    views: Sequence[Tensor],
    spacing_mm: tuple[float, float],
    axes: Sequence[tuple[float, float]],
    name: str,
) -> Tensor:
    """Volume (t,) in mL of the atrium `name` (LA or RA) by the area-length rule on one or two views.

    `views` hold labels (t, y, x) int64, `axes` the direction (y, x) of the LV long axis in each. NaN in
    frames where a view shows none.
    """
    volumes = []
    for frames in zip(*views):
        found = [area_and_length(f == STRUCTURES[name], spacing_mm, a) for f, a in zip(frames, axes)]
        volumes.append(area_length_volume([area for area, _ in found], [length for _, length in found]))
    return torch.tensor(volumes, dtype=torch.float64)


def atrial_phenotypes(volumes_ml: Tensor, name: str) -> dict[str, float]:
    """Stroke volume and ejection fraction of an atrium from its volumes (t,) in mL, NaN frames left out."""
    known = volumes_ml[torch.isfinite(volumes_ml)]
    if not len(known):
        return {f"{name}SV_mL": math.nan, f"{name}EF_percent": math.nan}
    largest, smallest = float(known.max()), float(known.min())
    return {f"{name}SV_mL": largest - smallest, f"{name}EF_percent": ejection_fraction(largest, smallest)}
