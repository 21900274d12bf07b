"""A contact sheet of examinations: every view at ED and ES with the outlines of its labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kwise.report.figures import CLASS_COLOURS


def views_sheet(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray]], views: Sequence[str], title: str, path: Path
) -> None:
    """Draw a row per caption: images (z, y, x) with labels (z, y, x), a column per view.

    `title` stands above all; the file is a PNG.
    """
    from matplotlib import pyplot

    n_rows, n_views = len(rows), len(views)
    figure, grid = pyplot.subplots(
        n_rows, n_views, figsize=(1.3 * n_views, 1.6 * n_rows + 0.3), squeeze=False
    )
    for cells, (caption, (images, labels)) in zip(grid, rows.items()):
        brightest = np.quantile(images, 0.99)
        for cell, view, image, truth in zip(cells, views, images, labels):
            cell.imshow(image, cmap="gray", vmin=0, vmax=brightest)
            for k in np.unique(truth[truth > 0]):
                colour = [[channel / 255 for channel in CLASS_COLOURS[k]]]
                cell.contour(truth == k, levels=[0.5], colors=colour, linewidths=0.6)
            cell.set_axis_off()
            cell.set_title(view, fontsize=5, pad=1.5)
        cells[0].text(0, -0.13, caption, fontsize=6, transform=cells[0].transAxes)
    figure.suptitle(title, fontsize=8)
    figure.subplots_adjust(0.005, 0.03, 0.995, 0.95, wspace=0.03, hspace=0.24)
    figure.savefig(path, dpi=130, format="png")
    pyplot.close(figure)
