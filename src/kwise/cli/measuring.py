"""What `kwise phenotypes` does: ventricles of short-axis stacks by summing slices, a row per case."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from kwise.atomic import write_atomically
from kwise.data import dataset
from kwise.phenotypes import ed_es, simpson_volumes, ventricular_phenotypes
from kwise.types import IGNORE, Scan

Rows = dict[str, dict[str, float]]


def measure_hearts(
    name: str, root: Path | None, split: str | None, n: int | None, output: Path | None
) -> None:
    """Measure every case of a data set: a row per case and a summary per diagnosis group, and a CSV."""
    data = dataset(name)
    rows: Rows = {}
    groups: dict[str, str] = {}
    partial = False
    for case in data.cases(root, split, n):
        scan = data.read(root, case)
        rows[case], groups[case] = stack_phenotypes(scan), scan.notes.get("group", "")
        partial = partial or scan.views is not None
    columns = list(next(iter(rows.values())))
    _print_table("case", {f"{case} {groups[case]}".strip(): row for case, row in rows.items()}, columns)
    for group in sorted(set(groups.values()) - {""}):
        inside = [rows[case] for case in rows if groups[case] == group]
        print(f"\n{group}, {len(inside)} cases: mean [lowest, highest]")
        for column in columns:
            values = [row[column] for row in inside if math.isfinite(row[column])]
            if values:
                mean, low, high = sum(values) / len(values), min(values), max(values)
                print(f"  {column:<13} {mean:7.1f} [{low:.1f}, {high:.1f}]")
    if partial:
        print("\nnot a whole stack but the slices of an examination: volumes are those of the part they show")
    if output is not None:
        text = _csv_text(rows, groups, columns)
        write_atomically(output, lambda part: part.write_text(text, encoding="utf-8"))
        print(f"\nwrote {output}")


def stack_phenotypes(scan: Scan) -> dict[str, float]:
    """LV and RV volumes (mL), ejection fractions (%) and LV mass (g) of a labelled short-axis stack.

    Where the scan names its views, its short-axis slices alone count. ED and ES are the scan's, else those of
    the largest and smallest LV. ValueError for a scan without labels.
    """
    if scan.labels is None or not bool((scan.labels > 0).any()):
        raise ValueError(f"measuring {scan.case}: got no labels; wanted a labelled short-axis stack")
    labels = scan.labels
    if scan.views is not None:
        labels = labels[[z for z, view in enumerate(scan.views) if view == "SAX"]]
    volumes = simpson_volumes(labels, scan.spacing_mm)
    known = scan.ed is not None and scan.es is not None and bool((labels[:, scan.es] != IGNORE).any())
    ed, es = (scan.ed, scan.es) if known else ed_es(volumes)
    assert ed is not None and es is not None
    return ventricular_phenotypes(volumes, ed, es)


def _print_table(first: str, rows: Mapping[str, Mapping[str, float]], columns: list[str]) -> None:
    width = max(len(first), *map(len, rows))
    print(f"{first:<{width}}  " + "  ".join(f"{column:>12}" for column in columns))
    for name, row in rows.items():
        print(f"{name:<{width}}  " + "  ".join(f"{row[column]:12.1f}" for column in columns))


def _csv_text(rows: Rows, groups: Mapping[str, str], columns: list[str]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["case", "group", *columns])
    for case, row in rows.items():
        cells = ["" if math.isnan(row[column]) else f"{row[column]:.2f}" for column in columns]
        writer.writerow([case, groups[case], *cells])
    return lines.getvalue()
