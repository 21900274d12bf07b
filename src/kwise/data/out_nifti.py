"""Segmentations and images as 4-D NIfTI, in the units and geometry that other tools read."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kwise.data.out_geometry import affine_of
from kwise.types import CLASS_NAMES, Scan


def write_segmentation(path: Path, labels: Tensor, scan: Scan) -> None:
    """Write labels (z, t, y, x) as NIfTI (x, y, z, t) uint8, in mm and ms, where `scan` lies in the scanner.

    Without an affine voxel (0, 0, 0) is the origin, and the code is 2: these are not the scanner's axes.
    pixdim[4] is the frame time; 1 without a unit where nobody knows it. Units are unknown, and not mm, where
    nobody told the pixel size.
    """
    image = _nifti(labels.to(torch.uint8), scan)
    image.header["descrip"] = b"kwise: 0 background, 1 LV pool, 2 LV myocardium, 3 RV pool, 4 LA, 5 RA"
    image.header["cal_max"] = len(CLASS_NAMES) - 1
    _save(image, path)


def write_image(
    path: Path, values: Tensor, scan: Scan, about: str = "magnitude image, arbitrary units"
) -> None:
    """Write real values (z, t, y, x) as NIfTI (x, y, z, t) float32, placed like the segmentation."""
    image = _nifti(values.to(torch.float32), scan)
    image.header["descrip"] = f"kwise: {about}".encode()
    _save(image, path)


def _nifti(array: Tensor, scan: Scan) -> Any:
    import nibabel

    affine = affine_of(scan)
    values = array.permute(3, 2, 0, 1).contiguous().numpy()
    image = nibabel.Nifti1Image(values, affine)  # type: ignore[attr-defined]
    code = 2 if scan.affine is None else 1  # 1: the scanner's own axes
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    z, y, x = scan.spacing_mm
    image.header.set_zooms((x, y, z, scan.frame_ms or 1.0))
    lengths = "unknown" if scan.in_pixels else "mm"
    image.header.set_xyzt_units(lengths, "msec" if scan.frame_ms else "unknown")
    return image


def _save(image: Any, path: Path) -> None:
    import nibabel

    nibabel.save(image, path)  # type: ignore[attr-defined]
