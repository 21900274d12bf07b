"""Who of a cohort can be studied: every stored case is read once before anything is simulated, and who cannot
be is left out, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kwise.data.acquisition import Acquisition, cropped
from kwise.sampling import load_mask
from kwise.study.cohort import Cohort
from kwise.types import Scan


@dataclass(frozen=True)
class Roll:
    """`cases` that are studied, and in sentences which files are `left_out`, and why.

    `measured` are those of the cases that hold k-space as it was measured: nothing is simulated of them.
    `whole` are images that are not cropped to the field the model learned from, because a mask file has the
    lines of all of the image; `cropped` those that are.
    """

    cases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    cropped: tuple[str, ...] = ()


def call_roll(
    cohort: Cohort, stored: bool, mask_files: Sequence[str], fields_mm: Sequence[float | None]
) -> Roll:
    """The roll of a cohort under masks from files, for models that learned from `fields_mm` (None: from all
    of an image); of cases that are drawn from their name the first stands for all.

    ValueError where nobody is left, or where the masks do not fit cases that are drawn.
    """
    if not stored:
        every = tuple(cohort.cases)
        whole = mask_files and is_whole(cohort.read(every[0]), mask_files, fields_mm)
        return Roll(every, whole=every if whole else ())
    cases, kinds, left_out = [], _Kinds([], [], []), list(cohort.left_out)
    for case in cohort.cases:
        try:
            scan = cohort.read(case)
            whole = is_whole(scan, mask_files, fields_mm)
        except (ValueError, OSError) as error:
            left_out.append(f"{case}: {error}")
            continue
        cases.append(case)
        if scan.kspace is not None:
            kinds.measured.append(case)
        elif whole:
            kinds.whole.append(case)
        elif any(_crop(scan, fov).shape != scan.shape for fov in fields_mm):
            kinds.cropped.append(case)
    if not cases:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        got = f"nobody who can be studied; wanted one at least: {left_out[0]}{more}"
        raise ValueError(f"studying {cohort.about}: got {got}")
    return Roll(tuple(cases), tuple(left_out), *map(tuple, kinds))


class _Kinds(NamedTuple):
    """Cases by what is done to them before they are measured."""

    measured: list[str]
    whole: list[str]
    cropped: list[str]


def is_whole(scan: Scan, mask_files: Sequence[str], fields_mm: Sequence[float | None]) -> bool:
    """Whether an image has to be measured uncropped for all mask files to fit; False for k-space, which is
    never cropped.

    ValueError where a file has neither the lines and frames of the whole nor those of its centre of
    `fields_mm`.
    """
    cut = [_crop(scan, fov) for fov in fields_mm]
    try:
        _fit(cut, mask_files)
    except ValueError as error:
        smaller = [(c.shape[2], fov) for c, fov in zip(cut, fields_mm) if c.shape != scan.shape]
        lines = ", ".join(f"{n} ({fov:g} mm)" for n, fov in smaller)
        if not lines:
            raise
        try:
            _fit([scan], mask_files)
        except ValueError as whole:
            raise ValueError(f"{whole}, or the lines of its centre that models see: {lines}") from error
        return True
    return False


def _crop(scan: Scan, fov_mm: float | None) -> Scan:
    return scan if scan.image is None else cropped(scan, Acquisition(fov_mm=fov_mm))


def _fit(scans: Sequence[Scan], mask_files: Sequence[str]) -> None:
    for scan in scans:
        for file in mask_files:
            load_mask(file, scan.shape[2], scan.shape[1])
