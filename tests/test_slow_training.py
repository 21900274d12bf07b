"""Training checks of minutes: models learn hearts, from k-space and from nothing else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from kwise.data import heart_dataset
from kwise.recipes import RECIPES, Recipe
from kwise.recipes.overrides import apply_overrides
from kwise.recipes.run import train_recipe
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.report.results import read_scores

pytestmark = pytest.mark.slow
N_FRAMES, SIDE = 6, 32
SMALLER = (
    f"n_frames={N_FRAMES}",
    f"shape={SIDE},{SIDE}",
    f"acquisition.matrix={SIDE},{SIDE}",
    "acquisition.accelerations=2,4",
    "stages.save_every=1000",
    "stages.validate_every=0",
    "stages.warmup=20",
)
NARROW = {
    "harmonic_unet_small": ("options.channels=(16, 32, 48)",),
    "syn_net_shared_small": ("options.channels=(16, 32, 48)",),
    "disk_plus_small": ("options.width=64", "options.n_layers=2", "options.n_profiles=6"),
    "mean_shape_small": (f"options.matrix=({SIDE}, {SIDE})",),
}


def smaller(name: str, steps: int) -> Recipe:
    return apply_overrides(RECIPES[name](), (*SMALLER, *NARROW[name], f"stages.steps={steps}"))


def mean_dice(
    recipe: Recipe, run: Path, rates: Sequence[float] = (4.0,), control: str | None = None
) -> float:
    """Mean foreground Dice over 20 test hearts, after training where that has not been done."""
    path = evaluate_checkpoint(
        train_recipe(recipe, run, progress=False),
        run / f"scores-{control}",
        rates,
        data=heart_dataset(N_FRAMES, (SIDE, SIDE)),
        acquisition=recipe.acquisition,
        n=20,
        control=control,
    )
    values = [float(row["dice_foreground"]) for row in read_scores(path)]
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Dice of the mean shape, which never looks at k-space."""
    return mean_dice(smaller("mean_shape_small", 20), tmp_path_factory.mktemp("floor"))


@pytest.mark.parametrize("name", ["harmonic_unet_small", "disk_plus_small", "syn_net_shared_small"])
def test_a_model_learns_to_see_the_heart(name: str, floor: float, tmp_path: Path) -> None:
    """Better than the floor by far; and not better than it where k-space is another patient's."""
    recipe = smaller(name, 400)
    honest = mean_dice(recipe, tmp_path)
    shuffled = mean_dice(recipe, tmp_path, control="shuffled_kspace")
    print(f"{name}: Dice {honest:.3f}, shuffled {shuffled:.3f}, floor {floor:.3f}")
    assert honest > floor + 0.15
    assert shuffled < floor + 0.05


def test_training_goes_on_from_weights_of_another_run(tmp_path: Path) -> None:
    """A few steps from a trained checkpoint are better than the same few steps from nothing."""
    long, short = smaller("syn_net_shared_small", 250), smaller("syn_net_shared_small", 25)
    mean_dice(long, tmp_path / "long")
    fresh = mean_dice(short, tmp_path / "fresh")
    further = mean_dice(replace(short, init_from=str(tmp_path / "long" / "checkpoint")), tmp_path / "further")
    print(f"fresh {fresh:.3f}, further {further:.3f}")
    assert further > fresh + 0.05
