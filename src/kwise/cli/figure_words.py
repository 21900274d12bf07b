"""The options of `kwise figure`: which figure, which slice, which layer."""

import argparse
from functools import partial
from pathlib import Path

from kwise.cli.words import Verb, offset, positive, whole, word_of

FIGURES = ("errors", "steps", "attention")


def figure_verb(verb: Verb) -> None:
    """Add `kwise figure` to the verbs."""

    def run(options: argparse.Namespace) -> None:
        from kwise.cli.recipes import run_figure

        run_figure(options)

    about = "draw a figure of the K-Space Transformer's paper from trained weights"
    parser = verb("figure", about, "kwise figure errors --family 2d --acceleration 5 -o errors.png", run)
    add = parser.add_argument
    add("figure", type=partial(word_of, FIGURES), metavar="FIGURE", help=", ".join(FIGURES))
    add("--case", help="a slice of the data set slices; default: a brain of the test split")
    add("--family", default="2d", type=partial(word_of, ("1d", "2d")), help="lines or points; default: 2d")
    add("--acceleration", type=positive, default=5.0, metavar="R", help="default: 5")
    add("--layer", type=whole, default=0, metavar="N", help="attention: the layer, from 0; default: 0")
    add(
        "--at",
        type=offset,
        nargs=2,
        default=[3, 4],
        metavar=("KY", "KX"),
        help="attention: who looks, from DC",
    )
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run folders; default: runs")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="the PNG file to write")
