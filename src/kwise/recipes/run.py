"""Running a recipe: train it, score it, and keep what is needed to do either again."""

import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from kwise import __version__
from kwise.atomic import write_atomically
from kwise.checkpoint import load_checkpoint, save_checkpoint
from kwise.data import DataSet, dataset, heart_dataset
from kwise.data.augment import AUGMENTATIONS
from kwise.data.loader import Acquisition, TrainingBatches, cached, evaluation_batches
from kwise.models import MODELS
from kwise.models.mean_shape import MeanShape
from kwise.recipes.overrides import check_options
from kwise.recipes.recipe import Recipe
from kwise.seeding import seed_of
from kwise.training import is_first_process, train
from kwise.types import Batch


def build(recipe: Recipe) -> nn.Module:
    """The recipe's model, its first weights drawn from the recipe's seed; from `init_from` where that is
    given.
    """
    if recipe.model not in MODELS:
        raise ValueError(f"building a model: got {recipe.model!r}; wanted one of {', '.join(MODELS)}")
    if recipe.init_from is not None:
        loaded = load_checkpoint(recipe.init_from, MODELS)
        if loaded.name != recipe.model:
            raise ValueError(
                f"starting {recipe.name}: got a checkpoint of {loaded.name}; wanted {recipe.model}"
            )
        if loaded.options != dict(recipe.options):
            raise ValueError(
                f"starting {recipe.name}: got a checkpoint with options {loaded.options}; "
                f"wanted {recipe.options}"
            )
        return loaded.model
    check_options(MODELS[recipe.model], recipe.options, f"building {recipe.model}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("weights", recipe.seed))
        return MODELS[recipe.model](**recipe.options)


def source(recipe: Recipe) -> DataSet:
    """The recipe's data set, at its frame count and grid where the data set is the phantom."""
    if recipe.dataset == "heart":
        return heart_dataset(recipe.n_frames, recipe.shape)
    return dataset(recipe.dataset)


def training_batches(recipe: Recipe, root: str | None = None) -> TrainingBatches:
    """step -> Batch of the recipe's training split."""
    data = source(recipe)
    read = partial(data.read, root)
    acquisition = (
        replace(recipe.acquisition, accelerations=(1.0,)) if recipe.fully_sampled else recipe.acquisition
    )
    return TrainingBatches(
        data.cases(root, "train"),
        cached(read) if data.stored else read,
        acquisition,
        recipe.batch_size,
        recipe.frames,
        recipe.points,
        recipe.seed,
        AUGMENTATIONS[recipe.augment],
        recipe.frame_counts,
    )


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
    """Train, or go on training, into `folder`; returns the checkpoint folder."""
    model = build(recipe)
    batches = training_batches(recipe, root)
    if isinstance(model, MeanShape):
        model.fit(batches(step).targets for step in range(recipe.stages[0].steps))
    else:
        done = 0
        for stage in recipe.stages:
            loss = partial(loss_of, recipe, stage.name)
            validate = partial(validation_dice, recipe, root) if stage.validate_every else None
            batch = partial(later, batches, done)
            train(model, batch, loss, stage, folder, validate=validate, progress=progress)
            done += stage.steps
    checkpoint = folder / "checkpoint"
    if is_first_process():
        save_checkpoint(checkpoint, model, recipe.model, recipe.options, preprocessing_of(recipe))
        about = {**asdict(recipe), "kwise": __version__, "machine": machine()}
        write_atomically(
            folder / "recipe.json", lambda path: path.write_text(json.dumps(about, indent=1, default=str))
        )
    return checkpoint


def preprocessing_of(recipe: Recipe) -> dict[str, object]:
    """What a file must go through before it meets the model."""
    acquisition = recipe.acquisition
    return {
        "matrix": None if acquisition.matrix is None else list(acquisition.matrix),
        "fov_mm": acquisition.fov_mm,
        "classes": ["background", *recipe.task.names],
        "trained_on": recipe.dataset,
        "accelerations": list(acquisition.accelerations),
        "masks": list(acquisition.masks),
        "recipe": recipe.name,
        "seed": recipe.seed,
    }


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


def validation_dice(recipe: Recipe, root: str | None, model: nn.Module) -> float:
    """Mean foreground Dice on the validation split at R = 8, or at the recipe's first R without an 8."""
    rates = recipe.acquisition.accelerations
    rate = 1.0 if recipe.fully_sampled else 8.0 if 8.0 in rates else rates[0]
    values, was_training = [], model.training
    device = next(model.parameters()).device
    for batch in test_batches(source(recipe), recipe.acquisition, rate, "val", recipe.n_validation, root):
        with torch.inference_mode():
            answer = model.eval()(batch.measurement.to(device), batch.targets.query.to(device)).labels()
        values += [quick_dice(guess, truth) for guess, truth in zip(answer.cpu(), batch.targets.labels)]
    model.train(was_training)
    return sum(values) / len(values)


def quick_dice(guess: Tensor, truth: Tensor) -> float:
    """Mean hard Dice of the three classes over the labelled pixels; the full scores belong to the task."""
    known = truth >= 0
    values = []
    for k in (1, 2, 3):
        a, b = (guess == k) & known, truth == k
        values.append(2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum())))
    return sum(values) / 3
