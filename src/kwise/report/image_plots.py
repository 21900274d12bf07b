"""Figures of reconstructions: errors beside each other, the steps of one model, attention over k-space."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kwise.report.plots import save


def error_maps(truth: np.ndarray, images: Mapping[str, np.ndarray], worst: float, path: Path) -> None:
    """Magnitudes (y, x) of every method, and below them |magnitude - truth|; white is an error of `worst`
    times the brightest pixel of the truth.
    """
    from matplotlib import pyplot

    top = float(truth.max())
    columns = {"truth": truth, **images}
    figure, grid = pyplot.subplots(2, len(columns), figsize=(1.5 * len(columns), 3.3), squeeze=False)
    for column, (name, image) in enumerate(columns.items()):
        grid[0, column].imshow(image, cmap="gray", vmin=0, vmax=top)
        grid[0, column].set_title(name.replace("kspace_transformer", "k-space transf."), fontsize=6)
        if column:
            grid[1, column].imshow(np.abs(image - truth), cmap="inferno", vmin=0, vmax=worst * top)
    for cell in grid.flat:
        cell.set_axis_off()
    figure.tight_layout(pad=0.3)
    save(figure, path)


def pictures(rows: Sequence[Mapping[str, np.ndarray]], path: Path) -> None:
    """Rows of titled magnitudes (y, x), each in its own grey scale from 0."""
    from matplotlib import pyplot

    widest = max(map(len, rows))
    figure, grid = pyplot.subplots(len(rows), widest, figsize=(1.7 * widest, 1.9 * len(rows)), squeeze=False)
    for cells, row in zip(grid, rows):
        for cell in cells:
            cell.set_axis_off()
        for cell, (name, image) in zip(cells, row.items()):
            cell.imshow(image, cmap="gray", vmin=0, vmax=float(np.nanquantile(image, 0.998)) or 1.0)
            cell.set_title(name, fontsize=7)
    figure.tight_layout(pad=0.4)
    save(figure, path)


def attention_pictures(
    rows: Sequence[tuple[str, np.ndarray, tuple[float, float]]], kspace: np.ndarray, path: Path
) -> None:
    """For every row (title, weights (heads, ky, kx), query (ky, kx) in their grid): measured log |k-space|,
    then the log of each head's weights, NaN left white, the query as a cross.
    """
    from matplotlib import pyplot

    widest = 1 + max(len(weights) for _, weights, _ in rows)
    figure, grid = pyplot.subplots(len(rows), widest, figsize=(1.7 * widest, 1.9 * len(rows)), squeeze=False)
    for cells, (title, weights, (y, x)) in zip(grid, rows):
        for cell in cells:
            cell.set_axis_off()
        cells[0].imshow(np.log1p(kspace / (np.median(kspace[kspace > 0]) or 1.0)), cmap="gray")
        cells[0].set_title(f"measured; {title}", fontsize=6)
        for head, (cell, picture) in enumerate(zip(cells[1:], weights)):
            with np.errstate(divide="ignore"):
                logs = np.log10(picture)
            cell.imshow(logs, cmap="viridis", vmin=np.nanmax(logs) - 4)
            cell.plot(x, y, "r+", ms=6)
            cell.set_title(f"head {head + 1}", fontsize=6)
    figure.tight_layout(pad=0.4)
    save(figure, path)
