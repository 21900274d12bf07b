"""Rows of a study -> its files: scores.csv, study.csv, coverage.csv, a figure per endpoint, the mask,
study.html.
"""

from collections.abc import Sequence
from pathlib import Path

from kwise import __version__
from kwise.atomic import write_atomically
from kwise.checkpoint import fingerprint
from kwise.data import DATASETS
from kwise.evaluate import write_scores
from kwise.report.coverage import coverage_rows
from kwise.report.study import Line, mean_heart_error, study_lines, summary_rows
from kwise.report.study_figures import endpoint_figure
from kwise.report.study_page import StudyPage, counted_from, verdict, write_study_page
from kwise.study.cohort import open_cohort
from kwise.study.masks import joint_choice, write_mask
from kwise.study.plan import Judgement, Plan
from kwise.study.scores import Row

MASK_FILES = ("mask.txt", "mask.npy", "lines.txt")


def deliver(plan: Plan, rows: Sequence[Row], wish: Judgement, folder: Path) -> list[str]:
    """Write every file of a study; returns its verdicts, one sentence an endpoint, and what was written of
    the mask.
    """
    lines = study_lines(rows, wish.endpoints, wish.tolerances, wish.statistic)
    cohort = open_cohort(plan.dataset, plan.root, plan.split, plan.n)
    about = f"{cohort.about}, {len({row['case'] for row in rows})} cases"
    write_scores(folder / "scores.csv", rows)
    write_scores(folder / "study.csv", summary_rows(lines))
    figures, verdicts, against = {}, [], counted_from(rows)
    for name in wish.endpoints:
        mine = [line for line in lines if line.endpoint == name]
        picture = folder / f"{name}.png"
        endpoint_figure(mine, picture, about, wish.statistic, mean_heart_error(rows, name))
        figures[name] = picture.read_bytes()
        verdicts.append(verdict(mine, against))
    mask_words = _mask(plan, lines, wish, folder)
    coverage = coverage_rows(rows)
    if coverage:
        write_scores(folder / "coverage.csv", coverage)
    page = StudyPage(
        "How far can this acquisition be accelerated?", lines, figures, coverage, _facts(plan, about, wish),
        _cautions(rows, plan), mask_words, against,
    )  # fmt: skip
    write_atomically(folder / "study.html", lambda part: write_study_page(part, page))
    return [*verdicts, *mask_words]


def left_out_words(plan: Plan) -> list[str]:
    """How many files a study left out, then which and why, a sentence each; nothing where it took all."""
    out, n = plan.roll.left_out, len(plan.roll.cases)
    head = [f"Left out: {len(out)} of {len(out) + n} files of {plan.dataset}, which no number here knows of."]
    return [*head, *(f"Left out: {told}" for told in out)] if out else []


def _mask(plan: Plan, lines: Sequence[Line], wish: Judgement, folder: Path) -> list[str]:
    choice = joint_choice(lines)
    if choice is None:
        for name in MASK_FILES:  # of an earlier study with other tolerances
            (folder / name).unlink(missing_ok=True)
        return [
            "No mask was written: no R keeps to every tolerance. Ask for fewer endpoints or a wider "
            "tolerance."
        ]
    label, name, rate = choice
    told = f"Every tolerance at once allows R = {rate:.3g} with {name} ({label})."
    return [
        told,
        *write_mask(plan, folder, choice, wish),
    ]


def _facts(plan: Plan, about: str, wish: Judgement) -> dict[str, str]:
    files = zip(plan.labels, plan.checkpoints)
    return {
        "cohort": about,
        "noise": _noise(plan),
        **_field(plan),
        "judged by": f"the {wish.statistic} over cases with its 95 % bootstrap interval (2,000 resamples of "
        f"cases)",
        "allowed": "the largest R at which, and at every smaller R tested, the whole interval keeps to the "
        "tolerance",
        "areas and area EF": "at the largest and smallest LV pool of the predicted curve, as kwise predict "
        "reports them",
        "worst tenth": "the 90th percentile of the errors; of a Dice, the 10th",
        "checkpoints": "; ".join(f"{label}: weights {fingerprint(folder)}" for label, folder in files),
        "software": f"kwise {__version__}",
    }


def _field(plan: Plan) -> dict[str, str]:
    """What part of the images was measured, where that is not simply all of it."""
    parts = {
        "the centre of the image that the model learned from, on whose lines R counts": plan.roll.cropped,
        "all of the image, because a mask file has its lines": plan.roll.whole,
        "all that was measured": plan.roll.measured,
    }
    n = len(plan.roll.cases)
    told = [f"{about} ({len(cases)} of {n} cases)" for about, cases in parts.items() if cases]
    return {"field of view": "; ".join(told)} if told else {}


def _noise(plan: Plan) -> str:
    """What noise the measurements hold: that of the scanner where k-space was stored, else what was drawn."""
    drawn = "SNR drawn per case, 15 to 60" if plan.snr is None else f"SNR {plan.snr:g}"
    n, measured = len(plan.roll.cases), len(plan.roll.measured)
    if not measured:
        return drawn
    some = f" in {measured} of {n} cases; {drawn} in the others"
    return "as measured" + ("" if measured == n else some)


def _cautions(rows: Sequence[Row], plan: Plan) -> list[str]:
    sentences = []
    if plan.control is not None:
        sentences.append(f"Control {plan.control}: the model did not see the evidence it was asked about.")
    if plan.dataset in DATASETS and not DATASETS[plan.dataset].stored:
        sentences.append(
            "These hearts are synthetic: the limits compare masks and models, and say little of patients."
        )
    elif plan.dataset.startswith("acdc"):
        sentences.append(
            "ACDC holds magnitude images: their k-space was simulated (smooth phase, one coil, noise)."
        )
    everybody = {row["case"] for row in rows}
    own = {row["case"] for row in rows if float(row.get("own_truth", 0))}
    if own:
        who = "These files hold" if own == everybody else f"{len(own)} of {len(everybody)} files hold"
        sentences.append(
            f"{who} no labels: the truth is the model's own answer to all of k-space. What it gets wrong "
            f"there is not counted."
        )
    sentences += left_out_words(plan)
    sentences.append("The largest R of several masks is a choice after the fact: confirm it on other cases.")
    return sentences
