"""Rows as CSV, JSON and Parquet: numbers with units in their names, unknown ones empty and never 0."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from kwise.atomic import write_atomically
from kwise.phenotypes import Phenotype

Value = str | float | int | None
Row = Mapping[str, Value]


def readable(text: str) -> str:
    """Text that every file and terminal can hold: bytes of file names that are no UTF-8 are escaped, as
    \\udcfc.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def area_rows(
    areas: Mapping[str, Sequence[float]], ed: int, es: int, ejection_fraction: float, frame_ms: float | None
) -> list[Row]:
    """One row a frame: frame (from 0), time_ms, an area column per structure, ED and ES (1 on that frame,
    else 0).

    `areas` column name -> size per frame, summed over slices. The last column, the area ejection fraction in
    percent, is of the whole cine and the same in every row.
    """
    rows: list[Row] = []
    for frame, values in enumerate(zip(*areas.values())):
        row: dict[str, Value] = {"frame": frame, "time_ms": None if frame_ms is None else frame * frame_ms}
        row |= dict(zip(areas, values))
        row |= {"ED": int(frame == ed), "ES": int(frame == es), "LV_area_EF_percent": ejection_fraction}
        rows.append(row)
    return rows


def phenotype_rows(case: str, phenotypes: Sequence[Phenotype]) -> list[Row]:
    """One row a phenotype: case, name, value, unit, its interval (low, high), how both were measured."""
    names = ("name", "value", "unit", "low", "high", "about")
    return [{"case": case} | {name: getattr(p, name) for name in names} for p in phenotypes]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, all of the same keys, with a header; numbers with 2 decimals, unknown ones empty."""

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(rows[0] if rows else [])
            writer.writerows([_text(value) for value in row.values()] for row in rows)

    write_atomically(path, write)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON that any parser reads: NaN and infinities become null."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as one Parquet table: text, integers or float64 by column, unknown numbers null."""
    import pyarrow as pa
    from pyarrow import parquet

    names = list(rows[0]) if rows else []
    columns = {name: _column([row[name] for row in rows]) for name in names}
    table = pa.table({name: pa.array(values, type=kind) for name, (values, kind) in columns.items()})

    def write(part: Path) -> None:
        with part.open("wb") as file:  # opened here: Arrow takes no path that is not UTF-8
            parquet.write_table(table, file)

    write_atomically(path, write)


def _column(values: list[Value]) -> tuple[list[Value], object]:
    """Values of one column with null for what is unknown, and its Arrow type."""
    import pyarrow as pa

    known = [None if _unknown(value) else value for value in values]
    if any(isinstance(value, str) for value in known):
        return [None if value is None else readable(str(value)) for value in known], pa.string()
    whole = bool(known) and all(isinstance(value, int) for value in known)
    return known, pa.int64() if whole else pa.float64()


def _unknown(value: Value) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _text(value: Value) -> str:
    if _unknown(value):
        return ""
    return f"{value:.2f}" if isinstance(value, float) else readable(str(value))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {readable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return readable(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
