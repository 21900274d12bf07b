"""Folders of scores on disk -> rows in memory.

Layout: results/<table>/<model>/seed<k>/scores.csv, or several scores_<anything>.csv there, one per
acceleration for instance. Beside them frames.csv (or frames_<anything>.csv) may stand: Dice per frame and
class. Every row names its case and its acceleration; a case stands at most once per acceleration and seed.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

Row = dict[str, float | str]
Results = dict[str, dict[int, list[Row]]]  # model -> seed -> rows

TEXT_COLUMNS = ("case", "class", "checkpoint", "mask", "group", "group_answered")


def read_scores(path: Path | str) -> list[Row]:
    """The rows of a CSV of scores: `case`, `class`, `checkpoint` and `mask` are text, the rest numbers.

    Errors: no such file, no rows, a column that is missing, a cell that is not a number.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"reading scores: got no file {path}; wanted a scores.csv")
    with path.open(newline="") as file:
        rows = [_typed(line, f"{path}, row {i}") for i, line in enumerate(csv.DictReader(file), start=1)]
    if not rows or not {"case", "acceleration"} <= rows[0].keys():
        raise ValueError(
            f"reading {path}: got {len(rows)} rows; wanted rows with columns case and acceleration"
        )
    return rows


def read_results(folder: Path | str, kind: str = "scores") -> Results:
    """All rows below results/<table>: model -> seed -> rows; `kind` is "scores" or "frames".

    Errors: nothing found, or a case twice at one acceleration of one seed.
    """
    folder = Path(folder)
    results: Results = {}
    for path in sorted(folder.glob(f"*/seed*/{kind}*.csv")):
        model, seed = path.parts[-3], path.parts[-2].removeprefix("seed")
        if not seed.isdigit():
            raise ValueError(f"reading {path}: got seed {seed!r}; wanted folders seed0, seed1, ...")
        results.setdefault(model, {}).setdefault(int(seed), []).extend(read_scores(path))
    if not results:
        raise ValueError(f"reading results: got no {kind} in {folder}; wanted <model>/seed<k>/{kind}.csv")
    if kind == "scores":
        _refuse_twins(results)
    return results


def _typed(line: Mapping[str, str | None], where: str) -> Row:
    row: Row = {}
    for key, value in line.items():
        if key is None or value is None:
            raise ValueError(
                f"reading {where}: got a row of another length than the header; wanted one cell per column"
            )
        try:
            row[key] = value if key in TEXT_COLUMNS else float(value)
        except ValueError:
            raise ValueError(f"reading {where}: got {value!r} in column {key}; wanted a number") from None
    return row


def _refuse_twins(results: Results) -> None:
    for model, seeds in results.items():
        for seed, rows in seeds.items():
            seen = set()
            for row in rows:
                key = (row["case"], row["acceleration"])
                if key in seen:
                    raise ValueError(
                        f"reading results of {model}, seed {seed}: got {key} twice; wanted it once"
                    )
                seen.add(key)
