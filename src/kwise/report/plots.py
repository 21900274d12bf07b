"""Figures of a table: scores against R, learning curves, and the answers of every model side by side."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kwise.report.results import Results

# Okabe and Ito's colours: told apart by colour-blind eyes too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
FLOORS = ("mean_shape", "mean_shape_true_centre")


def score_against_r(results: Results, path: Path, order: Sequence[str], metric: str, label: str) -> None:
    """Mean of one column against R for every row; floors dashed, controls dotted."""
    figure, axes = new_figure()
    for i, name in enumerate(name for name in order if name in results):
        rates, means = _means(results, name, metric)
        style = "--" if name in FLOORS else ":" if "shuffled" in name or "centre_only" in name else "-"
        axes.plot(rates, means, style, ms=4, lw=1.2, label=name, **_look(i))
    axes.set_xscale("log", base=2)
    axes.set_xticks(rates, [f"{r:g}" for r in rates])
    axes.set_xlabel("acceleration R")
    axes.set_ylabel(label)
    figure.legend(fontsize=7, loc="outside right upper")
    save(figure, path)


def learning_curves(logs: Mapping[str, Path], path: Path, label: str) -> None:
    """What validation measured (`label`) against core-seconds of training, from log.jsonl files by row
    name.
    """
    figure, axes = new_figure()
    curves = {
        name: _curve([json.loads(line) for line in log.read_text().splitlines()])
        for name, log in logs.items()
    }
    for i, (name, points) in enumerate((name, points) for name, points in curves.items() if points):
        axes.plot(*zip(*points), ms=3, label=name, **_look(i))
    axes.set_xlabel("core-seconds of training")
    axes.set_ylabel(label)
    if axes.lines:
        figure.legend(fontsize=7, loc="outside right upper")
    save(figure, path)


def answers(image: np.ndarray, truth: np.ndarray, labels: Mapping[str, np.ndarray], path: Path) -> None:
    """The same frames (f, y, x) with the truth and with the labels of every model drawn on them."""
    from matplotlib import pyplot

    columns = {"image": None, "truth": truth, **labels}
    size = (1.5 * len(columns), 1.6 * len(image))
    figure, grid = pyplot.subplots(len(image), len(columns), figsize=size, squeeze=False)
    for row, frame in enumerate(image):
        for cell, (name, drawn) in zip(grid[row], columns.items()):
            cell.imshow(frame, cmap="gray", vmin=0, vmax=np.quantile(image, 0.995))
            if drawn is not None:
                cell.imshow(coloured(drawn[row]))
            cell.set_axis_off()
            if row == 0:
                cell.set_title(name, fontsize=6)
    figure.tight_layout(pad=0.3)
    save(figure, path)


def coloured(labels: np.ndarray) -> np.ndarray:
    """(y, x, 4) RGBA of LV pool, myocardium and RV pool; the rest is transparent."""
    colours = [(0, 0, 0, 0), (0.90, 0.33, 0.24, 0.6), (0.16, 0.65, 0.52, 0.6), (0.29, 0.56, 0.91, 0.6)]
    return np.array(colours)[np.clip(labels, 0, 3)]


def _look(i: int) -> dict[str, str]:
    """Colour and marker of row i. Rows outnumber the colours: the marker changes with every round of them."""
    return {"color": COLOURS[i % len(COLOURS)], "marker": "os^D"[i // len(COLOURS) % 4]}


def _curve(lines: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Points (core-seconds, score); the seconds of a model's stages add up."""
    points, before, last, stage = [], 0.0, 0.0, None
    for line in lines:
        if line["stage"] != stage:
            before, stage = before + last, line["stage"]
        last = float(line["core_seconds"])
        if "validation" in line:
            points.append((before + last, float(line["validation"])))
    return points


def _means(results: Results, name: str, metric: str) -> tuple[list[float], list[float]]:
    values: dict[float, list[float]] = {}
    for rows in results[name].values():
        for row in rows:
            values.setdefault(float(row["acceleration"]), []).append(float(row[metric]))
    rates = sorted(values)
    return rates, [float(np.mean(values[rate])) for rate in rates]


def new_figure(rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.2, 4.0)) -> tuple[Any, Any]:
    """A figure and its axes (one, or an array of rows x columns), drawn without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained")
    if rows * columns == 1:
        axes.grid(alpha=0.3)
    return figure, axes


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG, its folder too, and forget it."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
