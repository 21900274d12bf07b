"""`kwise demo`: a virtual patient no training saw, segmented from 8-fold undersampled k-space, beside truth
and rivals.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kwise.checkpoint import BEST, Loaded, all_shipped, find_checkpoint, load_checkpoint
from kwise.cli.predicting import summary
from kwise.cli.simulating import Wish, read_source, simulated
from kwise.data.geometry import crop_fov
from kwise.data.kspace_file import read_scan, write_scan
from kwise.models import MODELS
from kwise.models.controls import centre_only
from kwise.predict import Answer, fingerprint, measurement_of, write_answer
from kwise.predict.answer import answer, matrix_of
from kwise.types import Scan

# Names of their own split: training, validation and test draw heart-train-, heart-val- and heart-test- names.
PATIENT, OTHER_PATIENT = "heart-demo-000001", "heart-demo-000002"
FLOOR = "mean_shape"  # never looks at k-space


@dataclass(frozen=True)
class Row:
    """A line of the demo's table."""

    name: str
    answer: Answer


def run_demo(folder: Path) -> None:
    """Simulate, write, read, answer, compare; leaves the k-space file, the three answers and the report in
    `folder`.
    """
    started = time.perf_counter()
    wish = Wish(case=PATIENT)
    images = read_source(wish)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{PATIENT}.h5"
    write_scan(file, simulated(images, wish), wish.acceleration)
    scan = read_scan(file)  # from here on only what a file holds
    best = find_checkpoint(BEST)
    loaded = load_checkpoint(best, MODELS)
    found = answer(scan, loaded)
    weights, shown = fingerprint(best), crop_fov(images, wish.fov_mm).image
    write_answer(folder, found, loaded, weights, file.name, reference=shown)
    for line in summary(found):
        print(line)
    print_table([Row(f"{loaded.name} (best model)", found), *rivals(scan, loaded)])
    print(f"took {time.perf_counter() - started:.1f} s after start-up")
    print(f"report: {folder / 'report.html'}")


def rivals(scan: Scan, best: Loaded) -> Iterator[Row]:
    """The shipped baselines of the same classes on the same file, then the controls: answers without this
    evidence.
    """
    others = [(place.name, load_checkpoint(place, MODELS)) for place in all_shipped() if place.name != BEST]
    classes = best.preprocessing.get("classes")
    others = [other for other in others if other[1].preprocessing.get("classes") == classes]
    for name, loaded in sorted(others, key=lambda other: other[1].name == FLOOR):
        yield Row(f"control: {name}" if loaded.name == FLOOR else name, answer(scan, loaded))
    wish = Wish(case=OTHER_PATIENT)
    other = measurement_of(simulated(read_source(wish), wish), matrix_of(best.preprocessing))
    yield Row("control: k-space of another patient", answer(scan, best, lambda _: other))
    yield Row("control: centre line alone", answer(scan, best, centre_only))


def print_table(rows: list[Row]) -> None:
    """Dice per class and area ejection fraction of every row."""
    from rich.console import Console
    from rich.table import Table

    names = list(rows[0].answer.dice)
    table = Table(title=f"Dice against the truth of {PATIENT} (one patient; kwise table disk scores many)")
    table.add_column("")
    for name in (*names, "mean", "area EF"):
        table.add_column(name, justify="right")
    for row in rows:
        values = [row.answer.dice[name] for name in names]
        cells = [f"{value:.3f}" for value in (*values, sum(values) / len(values))]
        table.add_row(row.name, *cells, percent(row.answer.ejection_fraction))
    table.add_row("truth", *["1.000"] * (len(names) + 1), percent(true_ejection_fraction(rows[0].answer)))
    Console().print(table)


def percent(value: float) -> str:
    """A whole percentage; a dash for NaN, where no LV was found."""
    return "-" if math.isnan(value) else f"{value:.0f} %"


def true_ejection_fraction(found: Answer) -> float:
    """Area ejection fraction in percent of the labels in the file."""
    from kwise.phenotypes import area_ejection_fraction, cavity_areas

    assert found.scan.labels is not None
    return area_ejection_fraction(cavity_areas(found.scan.labels, found.scan.spacing_mm))
