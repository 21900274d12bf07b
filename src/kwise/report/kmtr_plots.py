"""Figures of k-MTR's tables: Bland-Altman plots of phenotypes, and embeddings in three dimensions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kwise.report.phenotype_tables import LIMITS, pairs, phenotype_names
from kwise.report.plots import COLOURS, save
from kwise.report.results import Results


def bland_altman(results: Results, model: str, acceleration: float, path: Path) -> None:
    """Predicted - true against true, a panel per phenotype, with bias and limits of agreement (Bland and
    Altman, 1986; truth is known here, so it takes the place of the mean of two methods).
    """
    from matplotlib import pyplot

    names = phenotype_names(results)
    columns = 4
    n_rows = -(-len(names) // columns)
    figure, grid = pyplot.subplots(n_rows, columns, figsize=(3 * columns, 2.4 * n_rows), squeeze=False)
    rows = results[model][min(results[model])]
    for axes, name in zip(grid.flat, names):
        guess, truth, _ = pairs(rows, name, acceleration)
        error = guess - truth
        axes.plot(truth, error, ".", ms=2, color=COLOURS[0], alpha=0.5)
        for offset in (-LIMITS, 0.0, LIMITS):
            axes.axhline(
                error.mean() + offset * error.std(), color=COLOURS[1], lw=1, ls="-" if offset == 0 else "--"
            )
        axes.set_title(name.replace("_", " "), fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("true", fontsize=8)
    figure.supylabel(f"{model}: predicted - true, R = {acceleration:g}", fontsize=8)
    figure.tight_layout()
    save(figure, path)


def embedding_scatter(places: np.ndarray, colours: Mapping[str, np.ndarray], path: Path) -> None:
    """Points (n, 3) once for every quantity (n,), coloured by its rank (k-MTR, Fig. 2)."""
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(4 * len(colours), 4))
    for i, (name, values) in enumerate(colours.items(), start=1):
        axes = figure.add_subplot(1, len(colours), i, projection="3d")
        rank = values.argsort().argsort() / max(1, len(values) - 1)
        axes.scatter(*places.T, c=rank, s=3, cmap="viridis")
        axes.set_title(name.replace("_", " "), fontsize=9)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_zticks([])
    save(figure, path)


def tsne(embeddings: np.ndarray, perplexity: float = 30.0) -> np.ndarray:
    """Embeddings (n, d) -> (n, 3) by t-SNE (van der Maaten and Hinton, 2008) of their 50 first principal
    components.

    Needs openTSNE; ValueError with the command that installs it.
    """
    try:
        from openTSNE import TSNE
    except ImportError:
        raise ValueError("drawing t-SNE: got no openTSNE; wanted it: pip install 'kwise[figures]'") from None
    centred = (embeddings - embeddings.mean(axis=0)) / np.maximum(embeddings.std(axis=0), 1e-9)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    components = (left * size)[:, :50]
    fitted = TSNE(
        n_components=3,
        perplexity=min(perplexity, (len(components) - 1) / 3),
        negative_gradient_method="bh",
        random_state=0,
        n_jobs=1,
    ).fit(components)
    return np.asarray(fitted)
