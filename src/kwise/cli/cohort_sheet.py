"""`kwise simulate cohort --sheet`: three telling virtual subjects, every view at ED and ES."""

from collections.abc import Sequence
from pathlib import Path

from kwise.atomic import write_atomically
from kwise.data import DATASETS
from kwise.phantom import ORDER, Subject, draw_subject
from kwise.report.views_sheet import views_sheet

AMONG = 400  # subjects looked through for the telling ones
TITLE = "Virtual population (synthetic): outlines of LV pool, myocardium, RV, LA and RA"


def draw_sheet(cases: Sequence[str], path: Path) -> None:
    """Draw the first subject without any disease, the largest loss of wall motion, and the thickest wall."""
    rows = {}
    for why, subject in telling(cases).items():
        scan = DATASETS["population"].read(None, subject.case)
        assert scan.image is not None and scan.labels is not None and scan.es is not None
        for phase, frame in (("ED", 0), ("ES", scan.es)):
            caption = f"{phase} of {subject.case} ({why}): {_facts(subject)}"
            rows[caption] = scan.image[:, frame].numpy(), scan.labels[:, frame].numpy()
    write_atomically(path, lambda part: views_sheet(rows, ORDER, TITLE, part))


def telling(cases: Sequence[str]) -> dict[str, Subject]:
    """What is seen -> the subject who shows it best, among the first few hundred."""
    subjects = [draw_subject(case) for case in cases[:AMONG]]

    def thickness(s: Subject) -> float:
        return s.phenotypes["LVM_g"] / s.phenotypes["LVEDV_mL"]

    scarred = max(subjects, key=lambda s: s.scar)
    return {
        "no disease": min(subjects, key=lambda s: sum(s.diseases.values())),
        f"wall motion lost where the {scarred.territory} feeds": scarred,
        "thick wall": max(subjects, key=thickness),
    }


def _facts(subject: Subject) -> str:
    who = "man" if subject.covariates["sex_male"] else "woman"
    p = subject.phenotypes
    ill = ", ".join(name for name, value in subject.diseases.items() if value) or "none"
    return (
        f"{who}, {subject.covariates['age_years']:.0f} years, LVEDV {p['LVEDV_mL']:.0f} mL, "
        f"LVEF {p['LVEF_percent']:.0f} %, LVM {p['LVM_g']:.0f} g, diseases drawn: {ill}"
    )
