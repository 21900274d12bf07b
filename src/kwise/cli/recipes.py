"""`kwise train`, `kwise evaluate`, `kwise table`, `kwise figure`: from words to recipes."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kwise.checkpoint import find_checkpoint, load_checkpoint
from kwise.data.acquisition import check_sampling
from kwise.models import MODELS
from kwise.models.controls import CONTROLS
from kwise.nearest import one_of
from kwise.recipes import CHAINS, Recipe
from kwise.recipes import recipe as recipe_of_name
from kwise.recipes.overrides import apply_overrides, check_options
from kwise.recipes.preprocessing import acquisition_of, data_of
from kwise.recipes.run import train_recipe
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.recipes.trained import train_starts, trained
from kwise.training import leave_processes


def run_train(
    name: str, changes: Sequence[str], folder: Path | None, seed: int, devices: int, scale: str
) -> None:
    """Train the recipe of that name, with typed changes, into a run folder; or a chain of recipes at a scale,
    each into a folder of its own below `folder`.
    """
    if name in CHAINS:
        root = Path("runs-changed" if changes else "runs") if folder is None else folder
        for link in CHAINS[name](scale):
            _train_link(link, changes, root, seed, devices)
        leave_processes()
        return
    recipe = _changed_recipe(name, changes, seed, devices)
    # A changed recipe gets a folder of its own: tables and fine-tuning trust runs/NAME-seedN.
    folder = Path("runs") / f"{name}{'-changed' if changes else ''}-seed{seed}" if folder is None else folder
    train_starts(recipe)
    print(f"training {name} into {folder}")
    print(f"wrote {train_recipe(recipe, folder)}")
    leave_processes()


def _changed_recipe(name: str, changes: Sequence[str], seed: int, devices: int) -> Recipe:
    recipe = replace(apply_overrides(recipe_of_name(name), changes), seed=seed)
    if recipe.model not in MODELS:
        raise ValueError(f"choosing a model: got {recipe.model!r}; wanted {one_of(recipe.model, MODELS)}")
    check_options(MODELS[recipe.model], recipe.options, f"building {recipe.model}")
    if devices > 1:
        recipe = replace(recipe, stages=tuple(replace(stage, devices=devices) for stage in recipe.stages))
    return recipe


def _train_link(name: str, changes: Sequence[str], root: Path, seed: int, devices: int) -> None:
    """One recipe of a chain: it begins with the encoders of earlier ones in the same root of run folders."""
    folder = root / f"{name}-seed{seed}"
    if (folder / "checkpoint").exists():
        print(f"{name}: trained before, in {folder}")
        return
    recipe = _changed_recipe(name, changes, seed, devices)
    if isinstance(recipe.init_from, tuple):
        moved = tuple(str(root / Path(start).relative_to("runs")) for start in recipe.init_from)
        recipe = replace(recipe, init_from=moved)
    print(f"training {name} into {folder}")
    print(f"wrote {trained(recipe, folder)}")


def run_evaluate(
    checkpoint: Path,
    folder: Path,
    data: str | None,
    split: str,
    accelerations: Sequence[float] | None,
    n: int,
    control: str | None,
    mask: str | None = None,
    root: str | None = None,
    native: bool = False,
) -> None:
    """Score a checkpoint on a split, measured as in its training, unless told otherwise.

    `mask` is one sampling by name (None: the first it was trained with); `native` scores on the images' own
    grid.
    """
    if control is not None and control not in CONTROLS:
        raise ValueError(f"choosing a control: got {control!r}; wanted {one_of(control, CONTROLS)}")
    checkpoint = find_checkpoint(checkpoint)
    seen = load_checkpoint(checkpoint, MODELS).preprocessing
    acquisition = acquisition_of(seen)
    chosen = acquisition.masks[0] if mask is None else mask
    check_sampling(chosen, f"evaluating {checkpoint}")
    acquisition = replace(acquisition, masks=(chosen,), native=native or acquisition.native)
    if accelerations is None:
        accelerations = (8.0,) if 8.0 in acquisition.accelerations else acquisition.accelerations
    made = evaluate_checkpoint(
        checkpoint,
        folder,
        accelerations,
        data=data_of(seen, data),
        acquisition=acquisition,
        split=split,
        n=n,
        control=control,
        fully_sampled=seen.get("fully_sampled", False),
        root=root,
    )
    print(f"measured by {chosen} at R = {', '.join(f'{rate:g}' for rate in accelerations)}")
    print(f"wrote {made}")


def run_table(
    paper: str,
    scale: str,
    rerun: bool,
    only: str | None,
    results: Path,
    folder: Path | None,
    markdown: bool = False,
) -> None:
    """Print the table of a paper; with `rerun` make what is missing first, with `folder` draw its figures."""
    from kwise.recipes.rows import regenerate, row_names
    from kwise.recipes.tables import TABLES
    from kwise.report.table import to_markdown, to_text

    table = TABLES[paper]
    names = row_names(table.rows(scale))
    if only is not None and only not in names:
        raise ValueError(f"choosing a row: got {only!r}; wanted {one_of(only, names)}")
    if rerun:
        regenerate(table.rows(scale), results, only=only)
    form = to_markdown if markdown else to_text
    print("\n".join(map(form, table.tables(scale, results))))
    if folder is not None:
        for made in table.figures(scale, results, Path("runs"), folder):
            print(f"wrote {made}")


def run_figure(options: Namespace) -> None:
    """Draw one figure from the weights in a folder of runs."""
    from kwise.recipes.kspace_transformer_figures import View, draw

    at = (options.at[0], options.at[1])
    view = View(options.case, options.family, options.acceleration, options.layer, at)
    draw(options.figure, view, options.runs, options.output)
    print(f"wrote {options.output}")
