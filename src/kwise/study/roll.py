"""Who of a cohort can be studied: every stored case is read once before anything is simulated, and who cannot
be is left out, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kwise.sampling import load_mask
from kwise.study.cohort import Cohort
from kwise.types import Scan


@dataclass(frozen=True)
class Roll:
    """`cases` that are studied, and in sentences which files are `left_out`, and why.

    `measured` are those of the cases that hold k-space as it was measured: nothing is simulated of them.
    """

    cases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()


def call_roll(cohort: Cohort, stored: bool, mask_files: Sequence[str]) -> Roll:
    """The roll of a cohort under masks from files; of cases that are drawn from their name the first stands
    for all.

    ValueError where nobody is left, or where the masks do not fit cases that are drawn.
    """
    if not stored:
        if mask_files:
            check_masks(cohort.read(cohort.cases[0]), mask_files)
        return Roll(tuple(cohort.cases))
    cases, measured, left_out = [], [], list(cohort.left_out)
    for case in cohort.cases:
        try:
            scan = cohort.read(case)
            check_masks(scan, mask_files)
        except (ValueError, OSError) as error:
            left_out.append(f"{case}: {error}")
            continue
        cases.append(case)
        if scan.kspace is not None:
            measured.append(case)
    if not cases:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        got = f"nobody who can be studied; wanted one at least: {left_out[0]}{more}"
        raise ValueError(f"studying {cohort.about}: got {got}")
    return Roll(tuple(cases), tuple(left_out), tuple(measured))


def check_masks(scan: Scan, mask_files: Sequence[str]) -> None:
    """ValueError where a mask file has other lines or frames than a scan."""
    for file in mask_files:
        load_mask(file, scan.shape[2], scan.shape[1])
