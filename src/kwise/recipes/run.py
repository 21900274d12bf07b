"""Running a recipe: train it, score it, and keep what is needed to do either again."""

import json
import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kwise import __version__
from kwise.atomic import write_atomically
from kwise.checkpoint import save_checkpoint
from kwise.data import DataSet, sized
from kwise.data.acquisition import check_acquisition
from kwise.data.augment import AUGMENTATIONS
from kwise.data.loader import Acquisition, TrainingBatches, cached, evaluation_batches
from kwise.nearest import one_of
from kwise.recipes.preprocessing import preprocessing_of
from kwise.recipes.recipe import Recipe
from kwise.recipes.starting import build
from kwise.training import is_first_process, train
from kwise.types import Batch, Prediction, Scan, Targets

RECIPE = "recipe.json"  # of a run folder: the recipe as it is run


@runtime_checkable
class Fitted(Protocol):
    """A model of whose stages some are solved for, in evaluation mode, from one look at training batches."""

    fitted_stages: Sequence[str]

    def fit(self, batches: Iterable[Batch]) -> None: ...


def source(recipe: Recipe) -> DataSet:
    """The recipe's data set, at its frame count, grid and field of view where the data set lets one
    choose.
    """
    return sized(recipe.dataset, recipe.n_frames, recipe.shape, recipe.acquisition.fov_mm)


def training_batches(recipe: Recipe, root: str | None = None) -> TrainingBatches:
    """step -> Batch of the recipe's training split; ValueError for words that name no data set, sampling,
    phase or augmentation.
    """
    doing = f"training {recipe.name}"
    check_acquisition(recipe.acquisition, doing)
    if recipe.augment not in AUGMENTATIONS:
        wanted = one_of(recipe.augment, AUGMENTATIONS)
        raise ValueError(f"{doing}: got augment {recipe.augment!r}; wanted {wanted}")
    data = source(recipe)
    read = partial(data.read, root)
    acquisition = (
        replace(recipe.acquisition, accelerations=(1.0,)) if recipe.fully_sampled else recipe.acquisition
    )
    return TrainingBatches(
        data.cases(root, "train", recipe.n_train),
        cached(read) if data.stored else read,
        acquisition,
        recipe.batch_size,
        recipe.frames,
        recipe.points,
        recipe.seed,
        augment=AUGMENTATIONS[recipe.augment],
        frame_counts=recipe.frame_counts,
        redraw=None if data.stored else partial(_redraw, recipe, root),
    )


def _redraw(recipe: Recipe, root: str | None, case: str, n_frames: int) -> Scan:
    return source(replace(recipe, n_frames=n_frames)).read(root, case)


def loss_of(recipe: Recipe, stage: str, model: nn.Module, batch: Batch) -> Tensor:
    """The loss of one stage: the model's own where it trains in steps (LI-Net), the task's otherwise."""
    step = getattr(model, "stage_loss", None)
    if step is not None:
        return step(stage, batch.measurement, batch.targets, recipe.task.loss)
    return recipe.task.loss(model(batch.measurement, batch.targets.query), batch.targets)


def later(batches: TrainingBatches, done: int, step: int) -> Batch:
    """The batch of a step after `done` steps of earlier stages: no stage sees the same hearts again."""
    return batches(done + step)


def train_recipe(recipe: Recipe, folder: Path, *, root: str | None = None, progress: bool = True) -> Path:
    """Train, or go on training, into `folder`; returns the checkpoint folder.

    ValueError where `folder` holds the run of another recipe.
    """
    check_same_recipe(recipe, folder)
    model = build(recipe)
    batches = training_batches(recipe, root)  # before the folder is this recipe's: its words may be wrong
    if is_first_process():
        write_recipe(recipe, folder)
    learns = any(parameter.requires_grad for parameter in model.parameters())
    done = 0
    for stage in recipe.stages:
        batch = partial(later, batches, done)
        if isinstance(model, Fitted) and stage.name in model.fitted_stages:
            model.eval()
            model.fit(map(batch, range(stage.steps)))
        elif learns:
            loss = partial(loss_of, recipe, stage.name)
            validate = partial(validation_score, recipe, root) if stage.validate_every else None
            train(model, batch, loss, stage, folder, validate=validate, progress=progress)
        done += stage.steps
    calibrate = getattr(model, "calibrate", None)
    if calibrate is not None:
        calibrate(validation_answers(recipe, root, model, recipe.n_calibration))
    checkpoint = folder / "checkpoint"
    if is_first_process():
        save_checkpoint(checkpoint, model, recipe.model, recipe.options, preprocessing_of(recipe))
    return checkpoint


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Keep the recipe, its digest and the machine as recipe.json of a run folder."""
    about = {**recipe.as_dict(), "hash": recipe.digest(), "kwise": __version__, "machine": machine()}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECIPE, lambda path: path.write_text(json.dumps(about, indent=1, default=str)))


def check_same_recipe(recipe: Recipe, folder: Path) -> None:
    """ValueError where a run folder was begun by a recipe of another digest; old ones without one pass."""
    path = folder / RECIPE
    if not path.is_file():
        return
    doing = f"going on with {folder}"
    try:
        begun = json.loads(path.read_text()).get("hash")
    except ValueError as error:
        raise ValueError(f"{doing}: got a broken {RECIPE} ({error}); wanted JSON") from None
    if begun not in (None, recipe.digest()):
        raise ValueError(
            f"{doing}: got the run of another recipe (hash {begun}); wanted {recipe.name} as it is "
            f"(hash {recipe.digest()}), or a new folder"
        )


def machine() -> dict[str, object]:
    """What the numbers were made on."""
    return {"processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads(),
            "torch": torch.__version__, "python": platform.python_version()}  # fmt: skip


def test_batches(
    data: DataSet,
    acquisition: Acquisition,
    acceleration: float,
    split: str,
    n: int | None,
    root: str | None = None,
) -> Iterator[Batch]:
    """The batches every model is scored on; cases of different size come one by one."""
    cases = data.cases(root, split, n)
    size = 10 if acquisition.matrix is not None and not data.stored else 1
    yield from evaluation_batches(cases, partial(data.read, root), acquisition, acceleration, size)


def validation_score(recipe: Recipe, root: str | None, model: nn.Module) -> float:
    """Mean of the task's progress over the validation split at R = 8, or at the recipe's first R without
    an 8; cases whose number nobody can know are left out.
    """
    values, was_training = [], model.training
    for answer, targets in validation_answers(recipe, root, model, recipe.n_validation):
        values += [value for value in recipe.task.progress(answer, targets) if not math.isnan(value)]
    model.train(was_training)
    return sum(values) / max(1, len(values))


def validation_answers(
    recipe: Recipe, root: str | None, model: nn.Module, n: int
) -> Iterator[tuple[Prediction, Targets]]:
    """The model's answers to `n` validation cases at R = 8, or at the recipe's first R without an 8, and the
    truth, both on the model's device; the model is left in eval mode.
    """
    rates = recipe.acquisition.accelerations
    rate = 1.0 if recipe.fully_sampled else 8.0 if 8.0 in rates else rates[0]
    device = next(model.parameters()).device
    for batch in test_batches(source(recipe), recipe.acquisition, rate, "val", n, root):
        targets = batch.targets.to(device)
        with torch.no_grad():
            answer = model.eval()(batch.measurement.to(device), targets.query)
        yield answer, targets
