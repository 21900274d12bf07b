"""The figures of k-MTR's tables by one command: embeddings, error against R, Bland-Altman plots."""

from pathlib import Path

import numpy as np
import torch

from kwise.checkpoint import load_checkpoint
from kwise.models import MODELS
from kwise.recipes.kmtr import ROWS, SCALES
from kwise.recipes.kmtr_table import OURS, rows, scores_of
from kwise.recipes.rows import row_names
from kwise.recipes.run import source, test_batches
from kwise.report.kmtr_plots import bland_altman, embedding_scatter, tsne
from kwise.report.plots import score_against_r

SHOWN = ("LVEDV_mL", "LVM_g", "RVEDV_mL")
EMBEDDED = 1000  # test subjects in the figure of embeddings


def figures(scale: str, results: Path, runs: Path, folder: Path) -> list[Path]:
    """Draw what the scores allow, and the embeddings where the weights of Stage II lie in `runs`; returns the
    paths.
    """
    made: list[Path] = []
    swept = scores_of("sweep", scale, results)
    if swept:
        made.append(folder / f"kmtr_{scale}_error.png")
        label = "mean |error| of all phenotypes in sd"
        score_against_r(swept, made[-1], row_names(rows(scale)), "phenotype_error", label)
    phenotypes = scores_of("phenotypes", scale, results)
    for model in OURS:
        if model in phenotypes:
            made.append(folder / f"kmtr_{scale}_agreement_{model}.png")
            bland_altman(phenotypes, model, 4.0, made[-1])
    checkpoint = runs / f"kmtr_align_{scale}-seed0" / "checkpoint"
    if checkpoint.exists():
        made.append(folder / f"kmtr_{scale}_embeddings.png")
        draw_embeddings(scale, checkpoint, made[-1])
    return made


def draw_embeddings(scale: str, checkpoint: Path, path: Path, n: int = EMBEDDED) -> None:
    """3-D t-SNE of the k-space embeddings of `n` test subjects at R = 4, coloured by phenotypes (Fig. 2)."""
    from kwise.phenotypes import PHENOTYPES

    recipe = ROWS["phenotypes"](SCALES[scale])
    model = load_checkpoint(checkpoint, MODELS).model
    embeddings, known = [], []
    for batch in test_batches(source(recipe), recipe.acquisition, 4.0, "test", n):
        with torch.inference_mode():
            latents = model(batch.measurement).latents
        assert latents is not None and batch.targets.phenotypes is not None
        embeddings.append(latents[:, 0])
        known.append(batch.targets.phenotypes)
    truth = torch.cat(known).numpy()
    colours: dict[str, np.ndarray] = {name: truth[:, list(PHENOTYPES).index(name)] for name in SHOWN}
    embedding_scatter(tsne(torch.cat(embeddings).numpy()), colours, path)
