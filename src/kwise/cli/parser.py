"""Words of the command line -> the call they mean. Imports nothing heavy: `kwise --help` answers at once."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from kwise import __version__
from kwise.cli.cohort import add_cohort, add_phenotypes
from kwise.cli.figure_words import figure_verb
from kwise.cli.learning import add_learning
from kwise.cli.serving import add_serve
from kwise.cli.studying import add_calibrate, add_study
from kwise.cli.words import Verb, count, positive, positive_or_none, slices, whole, word_of
from kwise.nearest import one_of

Run = Callable[[], None]
AXES = 'axes of a numpy array, e.g. "t c ky kx"'
ALSO = ("dicom", "mrd", "parquet")  # of kwise.predict.OUTPUTS, which is too slow to import for --help
SLICES = "some slices alone, from 0: 3, or 2:5; no more of the file is read"
SECTIONS = ("models", "masks", "datasets", "recipes", "phases")


def parse(words: Sequence[str]) -> Run:
    """What to run; ValueError in one line, with the nearest valid words, for words nobody understands."""
    parser, verbs = build()
    if not words:
        words = ["--help"]
    if words[0] not in verbs and not words[0].startswith("-"):
        raise ValueError(f"reading the command line: got {words[0]!r}; wanted {one_of(words[0], verbs)}")
    known = [] if words[0] not in verbs else _options_of(verbs[words[0]], words[1:])
    # Before argparse does: it may take the value of a misspelt option for something else.
    unknown = [word for word in words[1:] if word.startswith("--") and word.split("=")[0] not in known]
    options, rest = parser.parse_known_args(words) if not unknown else (argparse.Namespace(), unknown)
    if rest:
        wish = one_of(rest[0], [word for word in known if word.startswith("--")])
        raise ValueError(f"reading the command line: got {rest[0]!r}; wanted {wish}")
    return partial(options.run, options)


def _options_of(verb: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """The options a verb knows, or those of the word below it (`simulate cohort`) where that comes first."""
    below = [action for action in verb._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        if words and words[0] in action.choices:
            return list(action.choices[words[0]]._option_string_actions)
    return list(verb._option_string_actions)


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are ValueErrors of one line instead of a usage page."""

    def error(self, message: str) -> "None":  # type: ignore[override]
        lacking = "the following arguments are required: "
        if message.startswith(lacking):
            missing = message.removeprefix(lacking)
            message = f"got no {missing}; wanted {'it' if ',' not in missing else 'all of these'}"
        raise ValueError(f"reading the command line: {message} (see {self.prog} --help)")


def build() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of `kwise`, and those of its verbs by name."""
    about = (
        "Answers straight from undersampled k-space: a segmented heart from a fraction of its measurement."
    )
    parser = _Parser("kwise", description=about, epilog="kwise VERB --help explains a verb, with an example.")
    parser.add_argument("--version", action="version", version=f"kwise {__version__}")
    group = parser.add_subparsers(metavar="VERB", required=True)
    verbs: dict[str, argparse.ArgumentParser] = {}

    def verb(
        name: str, about: str, example: str, run: Callable[[argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        made = group.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        made.set_defaults(run=run)
        verbs[name] = made
        return made

    _demo(verb)
    _simulate(verb)
    _predict(verb)
    _info(verb)
    _convert(verb)
    _list(verb)
    add_learning(verb)
    figure_verb(verb)
    add_serve(verb)
    add_phenotypes(verb)
    add_study(verb)
    add_calibrate(verb)
    return parser, verbs


# -- verbs: their options, and the call they make ----------------------------------------------------------


def _demo(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.demo import run_demo

        run_demo(options.output)

    parser = verb("demo", "segment a virtual patient at R = 8 beside truth and baselines", "kwise demo", run)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("kwise_demo"), metavar="DIR", help="default: kwise_demo"
    )


def _simulate(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.simulating import Wish, run_simulate

        own_rate = Path(options.mask).is_file()  # a pattern has its own R
        if (options.acceleration is None and not own_rate) or options.output is None:
            lacking = "-o/--output" if options.acceleration is not None or own_rate else "--acceleration"
            raise ValueError(
                f"reading the command line: got no {lacking}; wanted it (see kwise simulate --help)"
            )
        wish = Wish(
            options.source, options.case, options.acceleration, options.mask, options.phase, options.coils,
            options.snr, options.fov, options.seed,
        )  # fmt: skip
        run_simulate(wish, options.output)

    about = "write a k-space file from a virtual heart or a cine of your own, or a whole virtual cohort"
    example = "kwise simulate --from ../shared/data/acdc-cine/patient002 --acceleration 8 -o p.h5"
    parser = verb("simulate", about, example, run)
    add = parser.add_argument
    add(
        "--from",
        dest="source",
        metavar="PATH",
        help="a patient's folder in the ACDC layout, or a 4-D NIfTI cine",
    )
    add(
        "--case",
        default="heart-test-000000",
        help="without --from: a virtual heart, or wide-test-000000 (in any pose), or population-000000",
    )
    add("--acceleration", type=positive, metavar="R", help="nominal R, e.g. 8; a mask file has its own")
    add(
        "--mask",
        default="gaussian_lines",
        help="a name (kwise list masks), or a .txt, .npy, .npz file of ky x t",
    )
    add("--phase", default="smooth", help="phase model (kwise list phases); default: smooth")
    add("--coils", type=count, default=1, metavar="N", help="receive coils; default: 1")
    add(
        "--snr",
        type=positive_or_none,
        default=30.0,
        metavar="SNR",
        help="of the images, or none; default: 30",
    )
    add(
        "--fov",
        type=positive,
        default=160.0,
        metavar="MM",
        help="largest side of the centre crop; default: 160",
    )
    add("--seed", type=whole, default=0, help="another phase, noise and mask; default: 0")
    add("-o", "--output", type=Path, metavar="FILE", help="the k-space file (.h5) to write")
    add_cohort(parser)


def _predict(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.predicting import run_predict

        pixel = None if options.pixel_mm is None else tuple(options.pixel_mm)
        given = (options.also, options.workers, pixel, options.axes)
        run_predict(options.path, options.output, options.checkpoint, *given)

    about = "answer a scan, or a folder of scans: NIfTI, CSV, JSON and a report; --also for more"
    parser = verb("predict", about, "kwise predict p.h5 -o out --also dicom mrd parquet", run)
    add = parser.add_argument
    add("path", type=Path, metavar="PATH", help="a file of any format kwise info reads, or a folder of them")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the answers")
    add("--checkpoint", type=Path, metavar="DIR", help="default: the one that comes with kwise")
    more = f"{', '.join(ALSO)}: files beside those always written"
    formats = partial(word_of, ALSO)
    add("--also", type=formats, nargs="+", action="extend", default=[], metavar="FORMAT", help=more)
    size = "size of a pixel, for files that do not tell it"
    add("--pixel-mm", type=positive, nargs=2, metavar=("Y", "X"), help=size)
    add("--axes", metavar="NAMES", help=AXES)
    add("--workers", type=count, default=1, metavar="N", help="of a folder, scans at a time; default: 1")


def _info(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.showing import show_info

        show_info(options.path, options.slices)

    about = "tell what a file of any format kwise reads, or a checkpoint folder, holds; draws the mask"
    parser = verb("info", about, "kwise info scan.mrd", run)
    parser.add_argument("path", type=Path, metavar="PATH", help="raw data, images, or a checkpoint folder")
    parser.add_argument("--slices", type=slices, metavar="N", help=SLICES)


def _convert(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.converting import run_convert

        given = (options.axes, options.mask, options.coils, options.slices)
        run_convert(options.source, options.target, options.to, *given)

    about = "write a file of any format kwise reads as kwise's own k-space file, or as MRD"
    parser = verb("convert", about, "kwise convert cine_sax.mat p.h5 --mask mask_Uniform8.mat --coils 4", run)
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="raw data or images, a file or a folder (docs/formats.md)")
    add("target", type=Path, metavar="OUT", help="the file to write")
    layouts = partial(word_of, ("kwise", "mrd"))
    add("--to", type=layouts, metavar="LAYOUT", help="kwise or mrd; default: mrd for a name with .mrd in it")
    add("--axes", metavar="NAMES", help=AXES)
    add("--mask", type=Path, metavar="FILE", help="a CMRxRecon mask file to undersample with")
    add("--coils", type=count, metavar="N", help="compress to N virtual coils; default: keep all")
    add("--slices", type=slices, metavar="N", help=SLICES)


def _list(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.showing import show_list

        show_list(options.section)

    parser = verb("list", f"list what has a name: {', '.join(SECTIONS)}", "kwise list models", run)
    kind = partial(word_of, SECTIONS)
    parser.add_argument(
        "section", nargs="?", type=kind, metavar="WHAT", help=f"{', '.join(SECTIONS)}; default: all"
    )
