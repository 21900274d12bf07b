"""`kwise study` and `kwise calibrate`: their options, and the calls they mean."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kwise.cli.words import Verb, count, positive, word_of
from kwise.nearest import one_of

if TYPE_CHECKING:
    from kwise.study.plan import Cell, Judgement



def add_study(verb: Verb) -> None:
    """The verb `study`."""
    about = "find how far an acquisition may be accelerated before an answer is wrong by more than you allow"
    example = (
        "kwise study --acceleration 2 4 8 16 --mask gaussian_lines uniform --tolerance area_ef=5 -o study"
    )
    parser = verb("study", about, example, run_study_verb)
    words = "folders, or names of shipped ones; default: demo"
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT", help=words)
    _whom(parser.add_argument)
    _by_what(parser.add_argument)
    _where(parser.add_argument)


def _whom(add: Callable[..., object]) -> None:
    """What is measured: cohort, masks, R."""
    add(
        "--dataset",
        default="heart",
        metavar="NAME",
        help="heart, acdc, ..., or a folder of files; default: heart",
    )
    add("--root", metavar="DIR", help="where the data set lies; default: $KWISE_DATA")
    add("--split", metavar="SPLIT", help="default: study for the phantom, val for stored data sets")
    add("--n", type=count, default=60, metavar="N", help="at most so many cases; default: 60")
    add("--acceleration", type=_rate, nargs="+", metavar="R", help="default: 2 4 8 16 32 64")
    masks = "names (kwise list masks), or files of ky x t, which have their own R; default: three families"
    add("--mask", nargs="+", metavar="MASK", help=masks)
    add("--control", metavar="NAME", help="shuffled_kspace or centre_only: answers without the evidence")
    add("--snr", type=positive, metavar="SNR", help="of every case; default: drawn per case, 15 to 60")


def _by_what(add: Callable[..., object]) -> None:
    """What is judged."""
    endpoints = "area_ef, lv_area, lvef, dice, dice_classes; default: area_ef lv_area dice"
    add("--endpoint", nargs="+", metavar="NAME", help=endpoints)
    add("--tolerance", nargs="+", default=[], metavar="NAME=VALUE", help="e.g. area_ef=5 lv_area=10 dice=0.9")
    add("--statistic", default="mean", type=partial(word_of, ("mean", "median")), help="default: mean")
    add("--grid", type=_grid, metavar="LINESxFRAMES", help="of the mask to write; default: the cohort's")
    add("--coverage", action="store_true", help="also print how often the intervals held the truth")


def _where(add: Callable[..., object]) -> None:
    """Where it goes."""
    add("--processes", type=count, default=2, metavar="N", help="default: 2")
    figures = "also draw README's figures there: the curve, and a real heart at R = 8"
    add("--figure", type=Path, metavar="DIR", help=figures)
    output = "default: study; what is done there already is not run again"
    add("-o", "--output", type=Path, default=Path("study"), metavar="DIR", help=output)


def add_calibrate(verb: Verb) -> None:
    """The verb `calibrate`."""
    about = (
        "fit the intervals and the honest flag of a checkpoint on validation hearts: writes "
        "its calibration.json"
    )
    parser = verb("calibrate", about, "kwise calibrate runs/try/checkpoint", run_calibrate_verb)
    add = parser.add_argument
    add(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint folder; the file is written into it"
    )
    add("--n", type=count, default=200, metavar="N", help="validation hearts, 20 at least; default: 200")
    add("--dataset", metavar="DATASET", help="heart or heart_wide; default: the one of the training")
    add("--mask", nargs="+", metavar="MASK", help="families to cover (kwise list masks); default: five")
    add(
        "--level",
        type=positive,
        default=0.9,
        metavar="SHARE",
        help="nominal coverage of the intervals; default: 0.9",
    )


def run_study_verb(options: argparse.Namespace) -> None:
    """Run, or go on with, a study; print a line per cell, then its verdicts."""
    from kwise.checkpoint import find_checkpoint
    from kwise.study.deliver import deliver, left_out_words
    from kwise.study.plan import ACCELERATIONS, FAMILIES, Judgement, Plan, check_plan
    from kwise.study.run import run_study

    wish = Judgement(
        _endpoints(options.endpoint), _tolerances(options.tolerance), options.statistic, options.grid
    )
    plan = check_plan(
        Plan(
            tuple(options.checkpoints) or (find_checkpoint(),),
            options.dataset,
            options.root,
            options.split,
            options.n,
            tuple(options.acceleration or ACCELERATIONS),
            tuple(options.mask or FAMILIES),
            options.snr,
            options.control,
        )
    )
    folder = options.output
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"writing a study to {folder}: got a file of that name; wanted a folder, new or not")
    for sentence in left_out_words(plan):
        print(sentence)
    rows = run_study(plan, folder, options.processes, partial(_tell, wish, len(plan.cells), [0]))
    for sentence in deliver(plan, rows, wish, folder):
        print(sentence)
    if options.coverage:
        _print_coverage(rows)
    print(f"wrote {folder / 'study.html'}, study.csv, scores.csv and a figure per endpoint")
    if options.figure is not None:
        from kwise.study.figure import draw_figures

        for made in draw_figures(plan, folder, wish.endpoints[0], options.figure):
            print(f"wrote {made}")


def run_calibrate_verb(options: argparse.Namespace) -> None:
    """Calibrate a checkpoint and say what came of it."""
    from kwise.checkpoint import find_checkpoint
    from kwise.study.calibrate import FAMILIES, calibrate

    if not 0 < options.level < 1:
        raise ValueError(f"calibrating: got level {options.level}; wanted a share below 1, e.g. 0.9")
    families = tuple(options.mask or FAMILIES)
    folder = find_checkpoint(options.checkpoint)
    print(f"wrote {calibrate(folder, options.n, families, options.level, data=options.dataset)}")


def _tell(wish: "Judgement", total: int, done: list[int], cell: "Cell", rows: list, seconds: float) -> None:
    """A line per cell, as it is done."""
    from kwise.report.endpoints import ENDPOINTS
    from kwise.report.study import study_lines
    from kwise.report.study_page import counted_from

    done[0] += 1
    name = wish.endpoints[0]
    point = study_lines(rows, [name], {}, wish.statistic)[0].points[0]
    off = "" if ENDPOINTS[name].higher_is_better else "off by "
    found = f"{ENDPOINTS[name].about} {off}{point.centre:.3g} ({point.low:.3g} to {point.high:.3g})"
    took = f"{seconds:.0f} s" if seconds else "was there"
    where = f"[{done[0]}/{total}] {cell.label}, {cell.mask_name}, R = {point.acceleration:.3g}"
    against = counted_from(rows)
    told = f"{found} {ENDPOINTS[name].unit}{' ' if against else ''}{against}"
    print(f"{where}: {told}, {point.n} cases, {took}", flush=True)


def _print_coverage(rows: Sequence[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    from kwise.report.coverage import coverage_rows

    found = coverage_rows(rows)
    if not found:
        print("no coverage: the checkpoint was never calibrated (kwise calibrate CHECKPOINT)")
        return
    table = Table(
        title="How often the intervals held the truth (nominal: see calibration.json), and the flag"
    )
    for column in found[0]:
        table.add_column(column)
    for row in found:
        table.add_row(*(v if isinstance(v, str) else f"{v:g}" for v in row.values()))
    Console(width=220).print(table)


def _endpoints(names: Sequence[str] | None) -> tuple[str, ...]:
    from kwise.report.endpoints import DEFAULT, ENDPOINTS, GROUPS, expand

    asked = tuple(names or DEFAULT)
    for name in asked:
        if name not in ENDPOINTS and name not in GROUPS:
            raise ValueError(
                f"choosing an endpoint: got {name!r}; wanted {one_of(name, [*ENDPOINTS, *GROUPS])}"
            )
    return expand(asked)


def _tolerances(words: Sequence[str]) -> dict[str, float]:
    """`area_ef=5` -> {"area_ef": 5.0}; a group gives its value to each of its own."""
    found: dict[str, float] = {}
    for word in words:
        name, equals, text = word.partition("=")
        try:
            value = positive(text)
        except argparse.ArgumentTypeError:
            equals = ""
        if not equals:
            raise ValueError(
                f"reading a tolerance: got {word!r}; wanted NAME=VALUE with a number above 0, e.g. area_ef=5"
            )
        found |= dict.fromkeys(_endpoints([name]), value)
    return found


def _rate(text: str) -> float:
    """An acceleration: a number from 1."""
    value = positive(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted a number from 1")
    return value


def _grid(text: str) -> tuple[int, int]:
    """156x25 -> (156, 25)."""
    lines, times, frames = text.partition("x")
    if not times:
        raise argparse.ArgumentTypeError(f"got {text!r}; wanted LINESxFRAMES, e.g. 156x25")
    return count(lines), count(frames)
