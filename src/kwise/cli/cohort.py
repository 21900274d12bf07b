"""`kwise simulate cohort` and `kwise phenotypes`: a virtual cohort on disk, hearts measured from labels."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from kwise.cli.words import count, word_of

Verb = Callable[[str, str, str, Callable[[argparse.Namespace], None]], argparse.ArgumentParser]
SPLITS = ("train", "val", "test", "all")


def add_cohort(simulate: argparse.ArgumentParser) -> None:
    """`cohort`, below the verb `simulate`."""
    about = "write a virtual cohort to a folder: nine views per subject, and a manifest. It is synthetic"
    parser = simulate.add_subparsers(metavar="cohort", title="more").add_parser(
        "cohort",
        help=about,
        description=about[0].upper() + about[1:] + ".",
        epilog="example:\n  kwise simulate cohort -o cohort --n 100",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=_run_cohort)
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="goes on where it was stopped")
    add("--n", type=count, metavar="N", help="at most so many subjects; default: all of the split")
    add("--split", default="all", type=partial(word_of, SPLITS), help="train, val, test or all; default: all")
    add("--frames", type=count, default=25, metavar="T", help="frames of a cycle; default: 25")
    add("--size", type=count, default=128, metavar="PIXELS", help="of 230.4 mm, a side; default: 128")
    add("--sheet", type=Path, metavar="PNG", help="also draw three telling subjects, every view at ED and ES")
    add("--processes", type=count, default=1, metavar="N", help="subjects at a time; default: 1")


def add_phenotypes(verb: Verb) -> None:
    """The verb `phenotypes`."""
    about = "measure the hearts of a data set from its labels: a row per case, a summary per diagnosis group"
    parser = verb("phenotypes", about, "kwise phenotypes acdc_stack -o phenotypes.csv", _run_phenotypes)
    add = parser.add_argument
    add("dataset", metavar="DATASET", help="a data set whose scans are short-axis stacks at ED and ES")
    add("--root", type=Path, metavar="DIR", help="where it lies; default: $KWISE_DATA")
    add("--split", default="all", type=partial(word_of, SPLITS), help="train, val, test or all; default: all")
    add("--n", type=count, metavar="N", help="at most so many cases; default: all")
    add("-o", "--output", type=Path, metavar="FILE", help="also write a CSV, a row per case")


def _run_cohort(options: argparse.Namespace) -> None:
    from kwise.data import DATASETS
    from kwise.data.cohort_write import write_cohort

    split = None if options.split == "all" else options.split
    cases = DATASETS["population"].cases(None, split, options.n)

    def tell(done: int) -> None:
        if done % 100 == 0 or done == len(cases):
            print(f"{done} of {len(cases)} subjects", flush=True)

    shape = (options.size, options.size)
    write_cohort(
        options.output, cases, n_frames=options.frames, shape=shape, n_processes=options.processes, tell=tell
    )
    if options.sheet is not None:
        from kwise.cli.cohort_sheet import draw_sheet

        draw_sheet(DATASETS["population"].cases(None, split), options.sheet)
        print(f"wrote {options.sheet}")
    print(f"wrote {options.output / 'manifest.csv'}: a synthetic cohort, no patient is in it")


def _run_phenotypes(options: argparse.Namespace) -> None:
    from kwise.cli.measuring import measure_hearts

    split = None if options.split == "all" else options.split
    measure_hearts(options.dataset, options.root, split, options.n, options.output)
