"""At the door of a checkpoint: a scan becomes the measurement that its model can take.

Coils are compressed to the number it learned from. Pixels keep the size it learned from, however wide the
field of view: a scanner's field is wider than the crop around the heart that training saw.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from kwise.coils import coil_maps_from_acs, compress_coils
from kwise.data.raw_checks import acquired_samples
from kwise.operator import resize_kspace
from kwise.types import VIEWS, Measurement, Scan

WIDER = 1.15  # times the field a model learned from: below that the field counts as its own
STRETCHED = 1.25  # ratio of the sides of a pixel above which it is no longer what a model learned from


def as_acquired(scan: Scan) -> Scan:
    """The scan with a mask where it has none, is Cartesian, and whole lines (ky) of its k-space are zero:
    these were not acquired, as in files that hold no mask. `notes["mask"]` says so.

    A line nobody measured would else be believed to be dark, and the answer would be wrong without a caution.
    """
    if scan.kspace is None or scan.mask is not None or scan.trajectory is not None:
        return scan
    mask = acquired_samples(scan.kspace)
    lines = mask.any(dim=-1)
    if bool(lines.all()):
        return scan
    empty = int((~lines).sum())
    note = {"mask": f"not told: {empty} of {lines.numel()} lines hold zeros alone and count as not acquired"}
    return replace(scan, mask=mask, notes=scan.notes | note)


def measurement_of(scan: Scan, matrix: tuple[int, int] | None = None) -> Measurement:
    """What the scanner acquired, as a batch of one, on the whole grid or cut to the central `matrix` (ky,
    kx).
    """
    if scan.kspace is None:
        raise ValueError(f"measuring {scan.case}: got an image; wanted k-space")
    mask = torch.ones(scan.kspace.shape[1:], dtype=torch.bool) if scan.mask is None else scan.mask
    measurement = Measurement(
        scan.kspace.unsqueeze(0),
        mask.unsqueeze(0),
        None if scan.coil_maps is None else scan.coil_maps.unsqueeze(0),
        None if scan.trajectory is None else scan.trajectory.unsqueeze(0),
        spacing_mm=torch.tensor([scan.spacing_mm]),
        image_shape=(scan.shape[-2], scan.shape[-1]),
        views=None if scan.views is None else torch.tensor([[VIEWS.index(view) for view in scan.views]]),
    )
    return measurement if matrix is None else resize_kspace(measurement, matrix)


def acceleration_of(measurement: Measurement) -> float:
    """The achieved R: k-space positions of the grid over acquired samples."""
    return math.prod(measurement.shape) / int(measurement.mask.sum())


def matrix_of(preprocessing: Mapping[str, Any]) -> tuple[int, int] | None:
    """The central k-space (ky, kx) a checkpoint wants to see; None for all of it."""
    matrix = preprocessing.get("matrix")
    if matrix is None:
        return None
    if len(matrix) != 2 or not all(isinstance(n, int) and n > 0 for n in matrix):
        raise ValueError(
            f"reading the preprocessing of a checkpoint: got matrix {matrix}; wanted two whole numbers"
        )
    return matrix[0], matrix[1]


def learned_pixel_mm(preprocessing: Mapping[str, Any]) -> tuple[float, float] | None:
    """(y, x) size of the pixels a checkpoint learned from, at its widest field; None where not told."""
    matrix, fov = matrix_of(preprocessing), preprocessing.get("fov_mm")
    return None if matrix is None or not fov else (fov / matrix[0], fov / matrix[1])


def is_wide(scan: Scan, preprocessing: Mapping[str, Any]) -> bool:
    """Whether a scan's field of view is wider than the one a checkpoint learned from; False if unknown."""
    if learned_pixel_mm(preprocessing) is None or scan.in_pixels or scan.trajectory is not None:
        return False
    return max(n * mm for n, mm in zip(scan.shape[2:], scan.spacing_mm[1:])) > WIDER * preprocessing["fov_mm"]


def matrix_for(scan: Scan, preprocessing: Mapping[str, Any]) -> tuple[int, int] | None:
    """The central k-space (ky, kx) of this scan whose pixels are like those the checkpoint learned from.

    Of their size where the field is wider than in training. In any other field the checkpoint's own matrix,
    but for square pixels where that would stretch them; a scan that does not tell its pixel size is taken to
    have square ones. Never more than was measured.
    """
    matrix, pixel = matrix_of(preprocessing), learned_pixel_mm(preprocessing)
    if matrix is None or scan.trajectory is not None:
        return matrix
    sizes = [n * mm for n, mm in zip(scan.shape[2:], scan.spacing_mm[1:])]
    if pixel is None or not is_wide(scan, preprocessing):
        own = [size / n for size, n in zip(sizes, matrix)]
        if max(own) <= STRETCHED * min(own):
            return matrix
        pixel = pixel if pixel is not None and not scan.in_pixels else (min(own), min(own))
    ky, kx = (min(n, max(2, round(size / mm))) for n, size, mm in zip(scan.shape[2:], sizes, pixel))
    return ky, kx


def with_pixel_size(scan: Scan, pixel_mm: tuple[float, float] | None) -> Scan:
    """The scan with pixels of `pixel_mm` (y, x) where its file does not tell; ValueError where it does.

    The slice pitch stays unknown, so no volume is measured: `notes["pixel size"]` says where it came from.
    """
    if pixel_mm is None:
        return scan
    if not scan.in_pixels:
        told = " x ".join(f"{mm:g}" for mm in scan.spacing_mm[1:])
        got = f"a pixel size for a file that says {told} mm"
        raise ValueError(f"measuring {scan.case}: got {got}; wanted it for files that tell none")
    notes = {key: value for key, value in scan.notes.items() if key != "spacing"}
    notes["pixel size"] = f"{pixel_mm[0]:g} x {pixel_mm[1]:g} mm, told by the user; slice pitch unknown"
    return replace(scan, spacing_mm=(scan.spacing_mm[0], *pixel_mm), notes=notes)


def with_virtual_coils(scan: Scan, n: int) -> Scan:
    """The scan with `n` virtual coils; coil maps are left out, for they belong to the coils there were."""
    assert scan.kspace is not None
    note = {"virtual coils": f"{n} from {len(scan.kspace)}, by SVD"}
    return replace(scan, kspace=compress_coils(_acquired(scan), n), coil_maps=None, notes=scan.notes | note)


def with_coils_for(scan: Scan, preprocessing: Mapping[str, Any]) -> Scan:
    """The scan with the virtual coils (`preprocessing["virtual_coils"]`) and, where "coil_maps" says so, the
    coil maps a checkpoint wants; as it is where it wants nothing.

    Fewer coils than wanted are filled up with empty ones. ValueError for another number than a whole one, and
    where maps are wanted and the centre of k-space was not acquired.
    """
    wanted = preprocessing.get("virtual_coils")
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        got = f"virtual_coils {wanted!r}"
        raise ValueError(f"reading the preprocessing of a checkpoint: got {got}; wanted a number")
    assert scan.kspace is not None
    # As many coils as wanted are compressed too: training saw the strongest first, and no true maps.
    if wanted is not None and max(wanted, len(scan.kspace)) > 1:
        scan = with_virtual_coils(scan, wanted)
    if preprocessing.get("coil_maps") and scan.coil_maps is None and scan.trajectory is None:
        assert scan.kspace is not None
        mask = torch.ones(scan.shape, dtype=torch.bool) if scan.mask is None else scan.mask
        note = {"coil maps": "estimated from the centre of k-space"}
        maps = coil_maps_from_acs(scan.kspace, mask.expand(scan.shape))
        scan = replace(scan, coil_maps=maps, notes=scan.notes | note)
    return scan


def _acquired(scan: Scan) -> torch.Tensor:
    assert scan.kspace is not None
    return scan.kspace if scan.mask is None else torch.where(scan.mask, scan.kspace, 0)
