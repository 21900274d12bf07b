"""The options of `kwise train`, `kwise evaluate` and `kwise table`: from words to recipes and scores."""

import argparse
from functools import partial
from pathlib import Path

from kwise.cli.words import Verb, count, positive, whole, word_of

PAPERS = ("disk", "kspace_transformer", "raw", "kmtr")
SCALES = ("small", "wide", "acdc", "folds", "unseen", "paper")


def add_learning(verb: Verb) -> None:
    """Add `kwise train`, `kwise evaluate` and `kwise table` to the verbs."""
    _train(verb)
    _evaluate(verb)
    _table(verb)


def _train(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.recipes import run_train

        run_train(options.recipe, options.set, options.output, options.seed, options.devices, options.scale)

    example = "kwise train disk_plus_small --set stages.steps=200 -o runs/try"
    parser = verb("train", "train a recipe, or go on where it was stopped", example, run)
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a name (kwise list recipes), or kmtr: all its stages and heads"
    )
    parser.add_argument(
        "--scale", default="small", metavar="SCALE", help="of a chain: small (default) or paper"
    )
    change = "change a field of the recipe, e.g. acquisition.accelerations=4,8"
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=change)
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="run folder; default: runs/RECIPE-seedN"
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="default: 0")
    parser.add_argument("--devices", type=count, default=1, metavar="N", help="default: 1")


def _evaluate(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.recipes import run_evaluate

        run_evaluate(
            options.checkpoint,
            options.output,
            options.dataset,
            options.split,
            options.acceleration,
            options.n,
            options.control,
            options.mask,
            options.root,
            options.native,
        )

    about = "score a checkpoint on the cases of a split: a row per case"
    example = "kwise evaluate runs/try/checkpoint --acceleration 4 8 16 --n 100 -o runs/try"
    parser = verb("evaluate", about, example, run)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a checkpoint folder, a run folder, or demo")
    add("--dataset", help="a name (kwise list datasets); default: the one it was trained on")
    add("--split", default="test", type=partial(word_of, ("train", "val", "test")), help="default: test")
    add("--root", metavar="DIR", help="where the data set lies; default: $KWISE_DATA")
    masks = "a name (kwise list masks); default: the first it was trained with"
    add("--mask", metavar="NAME", help=masks)
    rates = "one or more; default: 8, or all it was trained at where 8 is not among them"
    add("--acceleration", type=positive, nargs="+", metavar="R", help=rates)
    add("--native", action="store_true", help="score on the images' own grid, not on the one models see")
    add("--n", type=count, default=100, metavar="N", help="at most so many cases; default: 100")
    add(
        "--control",
        metavar="NAME",
        help="shuffled_kspace or centre_only: what would be scored without the evidence",
    )
    add(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for scores.csv and frames.csv"
    )


def _table(verb: Verb) -> None:
    def run(options: argparse.Namespace) -> None:
        from kwise.cli.recipes import run_table

        run_table(
            options.paper,
            options.scale,
            options.rerun,
            options.only,
            options.results,
            options.figures,
            options.markdown,
        )

    example = "kwise table disk --scale small"
    parser = verb("table", "print a paper's table: ours beside the published numbers", example, run)
    add = parser.add_argument
    add("paper", type=partial(word_of, PAPERS), metavar="PAPER", help=" or ".join(PAPERS))
    scales = (
        "small (default), paper; of disk and kmtr acdc (real hearts); of disk folds (cross-validated), wide "
        "(longer, on wider hearts) and unseen (real hearts, trained on phantoms alone)"
    )
    add("--scale", default="small", type=partial(word_of, SCALES), help=scales)
    add(
        "--rerun",
        action="store_true",
        help="first train and score whatever has no scores yet",
    )
    add("--markdown", action="store_true", help="print GitHub Markdown")
    add("--only", metavar="ROW", help="with --rerun: this row alone, such as disk_plus")
    add(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="committed scores (default: results)",
    )
    add("--figures", type=Path, metavar="DIR", help="also draw the table's figures into this folder")
