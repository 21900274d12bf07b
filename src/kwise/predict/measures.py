"""What is measured on a segmentation: areas and, over several slices, volumes, each with its unit and how."""

import math
from collections.abc import Mapping

from torch import Tensor

from kwise.phenotypes import STRUCTURES, Phenotype, simpson_volumes, ventricular_phenotypes
from kwise.types import CLASS_NAMES, Scan

_UNITS = {"mL": "mL", "g": "g", "percent": "%", "mm2": "mm²", "pixels": "pixels"}


def area_unit(scan: Scan) -> str:
    """mm2, or pixels where nobody told the pixel size: the ending of every area's name."""
    return "pixels" if scan.in_pixels else "mm2"


def area_columns(areas: Mapping[str, Tensor], scan: Scan) -> dict[str, list[float]]:
    """Column name of areas.csv -> size per frame, from areas by CLASS_NAMES."""
    return {f"{name.replace(' ', '_')}_{area_unit(scan)}": area.tolist() for name, area in areas.items()}


def phenotypes_of(
    areas: Mapping[str, Tensor], labels: Tensor, scan: Scan, ed: int, es: int, ejection_fraction: float
) -> tuple[Phenotype, ...]:
    """Phenotypes of labels (z, t, y, x); `areas` by CLASS_NAMES, (t,). NaN where no LV pool was found.

    Areas are summed over slices. Volumes come with two slices or more and a known geometry.
    """
    n_slices, n_frames = scan.shape[:2]
    short = {short: CLASS_NAMES[k] for short, k in STRUCTURES.items() if CLASS_NAMES[k] in areas}
    found = bool((areas[short["LV"]] > 0).any())
    moments = {"ED": ed, "ES": es} if n_frames > 1 else {"": ed}
    about = "" if n_slices == 1 else f"areas of {n_slices} slices added"
    values: dict[str, tuple[float, str]] = {}
    for name, long in short.items():
        for moment, frame in moments.items():
            key = "_".join(part for part in (name, moment, "area", area_unit(scan)) if part)
            values[key] = float(areas[long][frame]), about
    if n_frames > 1:
        values["LV_area_EF_percent"] = ejection_fraction, "of areas, not of volumes"
    if n_slices > 1 and n_frames > 1 and knows_pitch(scan):
        volumes = simpson_volumes(labels, scan.spacing_mm, tuple(short))
        for key, value in ventricular_phenotypes(volumes, ed, es).items():
            values[key] = value, coverage(scan)
    return tuple(_phenotype(key, value if found else math.nan, how) for key, (value, how) in values.items())


def knows_pitch(scan: Scan) -> bool:
    """Whether slices have one known distance: not where the user had to tell the pixel size, nor unevenly."""
    return not scan.in_pixels and not {"pixel size", "slice distance"} & scan.notes.keys()


def coverage(scan: Scan) -> str:
    """How volumes were integrated, and how much of the heart the slices span."""
    z, pitch = scan.shape[0], scan.spacing_mm[0]
    return f"Simpson's rule over {z} slices at a pitch of {pitch:.4g} mm, {z * pitch:.4g} mm in all"


def _phenotype(name: str, value: float, about: str) -> Phenotype:
    return Phenotype(name, value, _UNITS[name.rpartition("_")[2]], about=about)
