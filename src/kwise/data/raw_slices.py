"""Some slices of a scan: which ones were asked for, and where they lie in the scanner."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from kwise.data.raw_checks import refused
from kwise.types import Scan

Slices = slice | int | None  # as one indexes a list; None: all
Spacing = tuple[float, float, float]


def picked(path: Path, slices: Slices, n: int) -> range:
    """The numbers, from 0, of the slices asked for among `n`; ValueError where there are none of these."""
    if slices is None:
        return range(n)
    if isinstance(slices, int):
        found = range(slices, slices + 1)
        known = 0 <= slices < n
    else:
        found = range(*slices.indices(n)) if slices.step != 0 else range(0)
        known = len(found) > 0 and found.step > 0
    if not known:
        asked = slices if isinstance(slices, int) else f"{slices.start}:{slices.stop}:{slices.step}"
        raise refused(path, f"slices {asked} asked of {n}", f"some of 0 to {n - 1}, in that order")
    return found


def placed(spacing_mm: Spacing, affine: Tensor | None, chosen: range) -> tuple[Spacing, Tensor | None]:
    """Spacing (z, y, x) in mm and affine (4, 4) of the `chosen` slices of a scan."""
    z, y, x = spacing_mm
    step = chosen.step if len(chosen) > 1 else 1
    if affine is not None:
        affine = affine.clone()
        affine[:3, 3] += affine[:3, 2] * chosen.start
        affine[:3, 2] *= step
    return (z * step, y, x), affine


def cut_slices(path: Path, scan: Scan, slices: Slices) -> Scan:
    """The scan with the slices asked for alone, for readers that have read them all."""
    if slices is None:
        return scan
    chosen = picked(path, slices, scan.shape[0])

    def cut(array: Tensor | None, axis: int) -> Tensor | None:
        index = (slice(None),) * axis + (slice(chosen.start, chosen.stop, chosen.step),)
        return None if array is None else array[index].clone()

    spacing, affine = placed(scan.spacing_mm, scan.affine, chosen)
    return replace(
        scan,
        image=cut(scan.image, 0),
        kspace=cut(scan.kspace, 1),
        mask=cut(scan.mask, 0),
        labels=cut(scan.labels, 0),
        coil_maps=cut(scan.coil_maps, 1),
        trajectory=cut(scan.trajectory, 0),
        spacing_mm=spacing,
        affine=affine,
        views=None if scan.views is None else tuple(scan.views[z] for z in chosen),
    )
