"""Figures of a study: error with its interval against R, one line per mask and checkpoint, and the R a
tolerance allows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kwise.report.endpoints import ENDPOINTS
from kwise.report.plots import COLOURS, coloured, new_figure, save
from kwise.report.study import Line

STYLES = ("-", "--", ":", "-.")


def endpoint_figure(lines: Sequence[Line], path: Path, about: str, statistic: str, mean_heart: float) -> None:
    """Draw the lines of one endpoint into `path` (.png).

    `about` names the cohort; `mean_heart` is the error of reporting the mean heart, NaN: not drawn.
    """
    endpoint = ENDPOINTS[lines[0].endpoint]
    figure, axes = new_figure()
    masks = list(dict.fromkeys(line.mask for line in lines))
    models = list(dict.fromkeys(line.checkpoint for line in lines))
    for line in lines:
        name = line.mask if len(models) == 1 else f"{line.checkpoint}, {line.mask}"
        look = (
            COLOURS[masks.index(line.mask) % len(COLOURS)],
            STYLES[models.index(line.checkpoint) % len(STYLES)],
        )
        _draw(axes, line, name, *look)
    axes.axhline(lines[0].tolerance, color="#B00020", lw=1.1, ls=(0, (6, 3)))
    told = "≥" if endpoint.higher_is_better else "≤"
    axes.plot(
        [], [], color="#B00020", lw=1.1, ls=(0, (6, 3)), label=f"tolerance: {told} {lines[0].tolerance:g}"
    )
    if np.isfinite(mean_heart):
        axes.axhline(mean_heart, color="0.45", lw=1, ls=":", label="who reports the mean heart")
    axes.plot([], [], "o", mfc="none", mec="black", ms=11, ls="", label="largest R allowed")
    _frame(axes, lines, mean_heart, statistic)
    axes.set_title(f"{endpoint.about}: {about}", fontsize=9)
    figure.legend(fontsize=7, loc="outside right upper", title="mask", title_fontsize=7)
    save(figure, path)


def _draw(axes: Any, line: Line, name: str, colour: str, style: str) -> None:
    rates = [p.acceleration for p in line.points]
    centres = [p.centre for p in line.points]
    axes.plot(rates, centres, style, color=colour, marker="o", ms=3.5, lw=1.4, label=name)
    bounds = [p.low for p in line.points], [p.high for p in line.points]
    if len(rates) > 1:
        axes.fill_between(rates, *bounds, color=colour, alpha=0.15, lw=0)
    else:  # a mask from a file has one R
        axes.vlines(rates, *bounds, color=colour, lw=1.4)
    if line.allowed is not None:
        axes.plot([line.allowed], [line.at(line.allowed).centre], "o", mfc="none", mec=colour, ms=11, mew=1.6)


def _frame(axes: Any, lines: Sequence[Line], mean_heart: float, statistic: str) -> None:
    endpoint = ENDPOINTS[lines[0].endpoint]
    rates = sorted({p.acceleration for line in lines for p in line.points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(rates, [f"{r:.3g}" for r in rates])
    axes.minorticks_off()
    axes.set_xlabel("acceleration R")
    what = "" if endpoint.higher_is_better else "absolute error, "
    axes.set_ylabel(f"{statistic} {what}{endpoint.unit}")
    if endpoint.higher_is_better:
        axes.set_ylim(top=1)
        return
    tops = [p.high for line in lines for p in line.points if np.isfinite(p.high)]
    axes.set_ylim(0, 1.08 * max([*tops, lines[0].tolerance, mean_heart if np.isfinite(mean_heart) else 0]))


def real_heart_figure(
    images: Mapping[str, np.ndarray], labels: np.ndarray, truth: np.ndarray, words: str, path: Path
) -> None:
    """Images (y, x) side by side, the last panel the first image with `labels` (y, x) tinted and `truth`
    outlined.
    """
    figure, grid = new_figure(1, len(images) + 1, (2.6 * (len(images) + 1), 2.9))
    shown = [*images.items(), (words, next(iter(images.values())))]
    for axes, (title, image) in zip(grid.flat, shown):
        axes.imshow(image, cmap="gray", vmin=0, vmax=np.quantile(image, 0.995))
        axes.set_title(title, fontsize=7)
        axes.set_axis_off()
    last = grid.flat[len(images)]
    last.imshow(coloured(labels))
    last.contour(truth == 1, [0.5], colors="white", linewidths=1.0)
    grid.flat[0].contour(truth == 1, [0.5], colors="white", linewidths=1.0)
    save(figure, path)
