"""Rows of a table: a trained recipe, how it is scored, where its scores lie, and making what is missing.

Scores stand in results/<table>/<row>/seed<k>/; weights in runs/<recipe>-seed<k>/checkpoint.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kwise.atomic import write_atomically
from kwise.recipes.recipe import Recipe
from kwise.recipes.run import source
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.recipes.trained import trained
from kwise.report.table import Table
from kwise.tasks import Task


@dataclass(frozen=True)
class Row:
    """One row: a trained recipe, and how it is scored on `n` cases (None: all) of a split.

    `table` is the folder of its scores. `suffix` ends the names of its files, where several runs share a row
    because every R has a model of its own. `asked` is the recipe by whose data set and acquisition it is
    scored. It, `rates` and `task` are the recipe's own where None; `make`, for a
    row that no network stands behind, writes its scores into a folder.
    """

    name: str
    recipe: Recipe
    table: str
    control: str | None = None
    true_centre: bool = False
    suffix: str = ""
    split: str = "test"
    n: int | None = 100
    rates: tuple[float, ...] | None = None
    task: Task | None = None
    asked: Recipe | None = None
    make: "Callable[[Row, Path, Path], object] | None" = None

    @property
    def run(self) -> str:
        """The run folder of its recipe."""
        return f"{self.recipe.name}-seed{self.recipe.seed}"

    @property
    def place(self) -> Path:
        """The folder of its scores below results/."""
        return Path(self.table) / self.name / f"seed{self.recipe.seed}"


@dataclass(frozen=True)
class PaperTable:
    """The table of one paper at several scales, as a few functions of the scale.

    `rows(scale)` in the order of the table; `tables(scale, results)` are its parts, from committed scores;
    `figures(scale, results, runs, folder)` draws what belongs to it and names the files.
    """

    scales: tuple[str, ...]
    rows: Callable[[str], Iterator[Row]]
    tables: Callable[[str, Path], Sequence[Table]]
    figures: Callable[[str, Path, Path, Path], list[Path]]


def no_scores(table: str, scale: str, where: Path) -> ValueError:
    """The error of a table that has no scores, such as those `where` would be."""
    wanted = f"them (kwise table {table} --scale {scale} --rerun makes them)"
    return ValueError(f"printing a table: got no scores such as {where}; wanted {wanted}")


def row_names(rows: Iterable[Row]) -> list[str]:
    """Names of all rows, each once, in order."""
    return list(dict.fromkeys(row.name for row in rows))


def regenerate(
    rows: Iterable[Row],
    results: Path,
    runs: Path = Path("runs"),
    *,
    only: str | None = None,
    train: bool = True,
) -> None:
    """Score what has no scores yet, training it first where it has no weights, after what it begins with;
    `only` names one row.
    """
    for row in rows:
        scored = results / row.place
        if (only is not None and row.name != only) or (scored / f"scores{row.suffix}.csv").exists():
            continue
        if row.make is not None:
            row.make(row, scored, runs)
            continue
        folder = runs / row.run
        if not train and not (folder / "checkpoint").exists():
            continue
        score_row(row, trained(row.recipe, folder), scored)
        if row.asked is not None:
            _say_what_was_asked(row, row.asked, scored)
        for kept in (Path("recipe.json"), Path("log.jsonl")):
            if (folder / kept).exists() and row.control is None:
                shutil.copy(folder / kept, scored / f"{kept.stem}{row.suffix}{kept.suffix}")


def _say_what_was_asked(row: Row, asked: Recipe, folder: Path) -> None:
    """asked.json beside the scores: the recipe there is the one of the training."""
    about = {"dataset": asked.dataset, "split": row.split, "acquisition": asdict(asked.acquisition)}
    path = folder / f"asked{row.suffix}.json"
    write_atomically(path, lambda place: place.write_text(json.dumps(about, indent=1)))


def score_row(row: Row, checkpoint: Path, folder: Path, rates: Sequence[float] | None = None) -> Path:
    """Score a row's checkpoint at all rates of its recipe."""
    asked = row.asked or row.recipe
    return evaluate_checkpoint(
        checkpoint,
        folder,
        rates or row.rates or asked.acquisition.accelerations,
        data=source(asked),
        acquisition=asked.acquisition,
        task=row.recipe.task if row.task is None else row.task,
        split=row.split,
        n=row.n,
        control=row.control,
        true_centre=row.true_centre,
        fully_sampled=row.recipe.fully_sampled,
        suffix=row.suffix,
    )
