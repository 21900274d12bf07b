"""The figures of the K-Space Transformer's paper, a command each: errors (2), steps (3), attention (4)."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kwise.checkpoint import load_checkpoint
from kwise.data.loader import evaluation_batches
from kwise.fourier import fft2c
from kwise.models import MODELS
from kwise.models.grids import fold_grids, unfold_images
from kwise.models.kspace_attention import attention_map
from kwise.models.kspace_transformer import KSpaceTransformer, upsampled
from kwise.recipes.kspace_transformer import ENTRIES, FAMILIES, small
from kwise.recipes.kspace_transformer_table import folder_name, rows
from kwise.recipes.rows import row_names
from kwise.recipes.run import source
from kwise.report.image_plots import attention_pictures, error_maps, pictures
from kwise.report.plots import learning_curves, score_against_r
from kwise.report.results import read_results
from kwise.types import Batch

FIGURES = ("errors", "steps", "attention")
WORST = 0.15  # of the brightest pixel: the error that is drawn white


@dataclass(frozen=True)
class View:
    """What a figure shows: a slice, a family of masks, R; for attention the layer and the query (ky, kx)
    relative to DC.
    """

    case: str | None = None
    family: str = "2d"
    acceleration: float = 5.0
    layer: int = 0
    at: tuple[int, int] = (3, 4)


def draw(figure: str, view: View, runs: Path, path: Path) -> None:
    """Draw one of FIGURES from the weights of the small scale in `runs`; ValueError for another name or where
    weights are missing.
    """
    if figure not in FIGURES:
        raise ValueError(f"drawing a figure: got {figure!r}; wanted one of {', '.join(FIGURES)}")
    if view.family not in FAMILIES:
        raise ValueError(f"drawing {figure}: got masks {view.family!r}; wanted {' or '.join(FAMILIES)}")
    {"errors": _errors, "steps": _steps, "attention": _attention}[figure](view, runs, path)


def figures(scale: str, results: Path, runs: Path, folder: Path) -> list[Path]:
    """Draw all figures a table's files and the weights at hand allow; returns their paths."""
    made: list[Path] = []
    listed = list(rows(scale))
    for place in dict.fromkeys(row.table for row in listed):
        if any((results / place).glob("*/seed*/scores*.csv")):
            made += [folder / f"{place}_psnr.png", folder / f"{place}_curves.png"]
            order = row_names(row for row in listed if row.table == place)
            score_against_r(read_results(results / place), made[-2], order, "psnr_db", "PSNR, dB")
            logs = {row.name: results / row.place / "log.jsonl" for row in listed if row.table == place}
            known = {name: log for name, log in logs.items() if log.exists()}
            learning_curves(known, made[-1], "validation PSNR, dB")
    for family in FAMILIES if scale == "small" else ():
        for figure in FIGURES:
            path = folder / f"{folder_name('small', family)}_{figure}.png"
            needed = ("kspace_transformer", "kspace_transformer_no_refine")
            if all(_checkpoint(name, family, runs).exists() for name in needed):
                draw(figure, View(family=family), runs, path)
                made.append(path)
    return made


def _checkpoint(name: str, family: str, runs: Path) -> Path:
    return runs / f"{small(name, family).name}-seed0" / "checkpoint"


def _model(name: str, family: str, runs: Path) -> nn.Module:
    folder = _checkpoint(name, family, runs)
    if not folder.exists():
        wanted = f"kwise train {small(name, family).name}"
        raise ValueError(f"drawing a figure: got no {folder}; wanted its weights ({wanted})")
    return load_checkpoint(folder, MODELS).model


def _batch(view: View) -> Batch:
    """The slice of a view, measured as it is for scoring; by default the first brain slice of the test."""
    recipe = small("kspace_transformer", view.family)
    data = source(recipe)
    cases = data.cases(None, "test")
    case = next((c for c in cases if c.startswith("brain/")), cases[0]) if view.case is None else view.case
    read = lambda name: data.read(None, name)  # noqa: E731
    return next(evaluation_batches([case], read, recipe.acquisition, view.acceleration, 1))


def _magnitude(image: Tensor) -> Tensor:
    """(y, x) of the first case, slice and frame."""
    return image.abs().flatten(0, -3)[0].cpu()


@torch.inference_mode()
def _errors(view: View, runs: Path, path: Path) -> None:
    batch = _batch(view)
    assert batch.targets.image is not None
    images = {}
    for name in ENTRIES:
        if name == "zero_filled" or _checkpoint(name, view.family, runs).exists():
            model = MODELS[name]() if name == "zero_filled" else _model(name, view.family, runs)
            answer = model.eval()(batch.measurement, batch.targets.query)
            images[name] = _magnitude(answer.image).numpy()
    if set(images) == {"zero_filled"}:
        got, wanted = f"no weights in {runs}", "those of one row at least (kwise train NAME)"
        raise ValueError(f"drawing errors: got {got}; wanted {wanted}")
    error_maps(_magnitude(batch.targets.image).numpy(), images, WORST, path)


@torch.inference_mode()
def _steps(view: View, runs: Path, path: Path) -> None:
    batch = _batch(view)
    assert batch.targets.image is not None
    shown: dict[str, Tensor] = {}
    for name in ("kspace_transformer", "kspace_transformer_no_refine"):
        model = _model(name, view.family, runs)
        assert isinstance(model, KSpaceTransformer)
        grids = fold_grids(batch.measurement, batch.targets.query, scaled=model.scale == "acquired")
        steps = model.reconstruct(grids, grids.shape)
        if name == "kspace_transformer":
            shown |= {"LR": steps.lr[-1], "upsampled": upsampled(steps.lr[-1], grids.shape)}
            shown["HR"] = steps.last
        else:
            shown["HR without refinement"] = steps.last
    images = {name: unfold_images(image, grids) for name, image in shown.items()}
    images["truth"] = batch.targets.image
    spectra = {f"log k-space: {name}": fft2c(image).abs().log1p() for name, image in images.items()}
    pictures([{name: _magnitude(x).numpy() for name, x in row.items()} for row in (images, spectra)], path)


@torch.inference_mode()
def _attention(view: View, runs: Path, path: Path) -> None:
    batch = _batch(view)
    model = _model("kspace_transformer", view.family, runs)
    assert isinstance(model, KSpaceTransformer)
    single = replace(batch.measurement, coil_maps=None)
    ky, kx = single.shape[-2:]
    at = (ky // 2 + view.at[0], kx // 2 + view.at[1])
    shown = []
    for part, title in (("encoder", "encoder"), ("hr", "HR cross-attention")):
        found = attention_map(model, single, part, view.layer, at)
        y, x = found.weights.shape[-2:]
        query = (found.query[0] * y / ky, found.query[1] * x / kx)
        shown.append((f"{title} layer {view.layer + 1}", found.weights.numpy(), query))
    attention_pictures(shown, single.kspace[0, 0, 0, 0].abs().numpy(), path)
