"""Answers on disk: a segmentation as 4-D NIfTI and areas as CSV, in units and geometry that other tools
read.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.types import CLASS_NAMES, Scan


def write_segmentation(path: Path, labels: Tensor, scan: Scan) -> None:
    """Write labels (z, t, y, x) as NIfTI (x, y, z, t) uint8, in mm and ms, where `scan` lies in the scanner.

    Without an affine voxel (0, 0, 0) is the origin. pixdim[4] is the frame time; 1 without a unit where
    nobody knows it.
    """
    image = _nifti(labels.to(torch.uint8), scan)
    image.header["descrip"] = b"kwise: 0 background, 1 LV pool, 2 LV myocardium, 3 RV pool"
    image.header["cal_max"] = len(CLASS_NAMES) - 1
    _save(image, path)


def write_image(path: Path, magnitude: Tensor, scan: Scan) -> None:
    """Write a magnitude (z, t, y, x) as NIfTI (x, y, z, t) float32, placed like the segmentation."""
    image = _nifti(magnitude.to(torch.float32), scan)
    image.header["descrip"] = b"kwise: magnitude image, arbitrary units"
    _save(image, path)


def _nifti(array: Tensor, scan: Scan) -> Any:
    import nibabel

    affine = _affine(scan)
    values = array.permute(3, 2, 0, 1).contiguous().numpy()
    image = nibabel.Nifti1Image(values, affine)  # type: ignore[attr-defined]
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    z, y, x = scan.spacing_mm
    image.header.set_zooms((x, y, z, scan.frame_ms or 1.0))
    image.header.set_xyzt_units("mm", "msec" if scan.frame_ms else "unknown")
    return image


def _save(image: Any, path: Path) -> None:
    import nibabel

    nibabel.save(image, path)  # type: ignore[attr-defined]


def _affine(scan: Scan) -> np.ndarray:
    if scan.affine is not None:
        return scan.affine.to(torch.float64).numpy()
    z, y, x = scan.spacing_mm
    return np.diag([x, y, z, 1.0])


def write_areas(
    path: Path,
    areas: Mapping[str, Sequence[float]],
    ed: int,
    es: int,
    ejection_fraction: float,
    frame_ms: float | None,
) -> None:
    """Write one row a frame: frame (from 0), time_ms, an area column per structure, ED and ES (1 on that
    frame, else 0).

    `areas` column name -> mm^2 per frame, summed over slices. The last column, the area ejection fraction in
    percent, is of the whole cine and the same in every row. Unknown numbers are left empty.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frame", "time_ms", *areas, "ED", "ES", "LV_area_EF_percent"])
        for frame, values in enumerate(zip(*areas.values())):
            time = None if frame_ms is None else frame * frame_ms
            writer.writerow(
                [
                    frame,
                    *map(_number, (time, *values)),
                    int(frame == ed),
                    int(frame == es),
                    _number(ejection_fraction),
                ]
            )


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.2f}"
