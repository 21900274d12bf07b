"""A run's checkpoint: trained where it is missing, after the recipes it begins with."""

from dataclasses import replace
from pathlib import Path

from kwise.recipes import RECIPES
from kwise.recipes.recipe import Recipe
from kwise.recipes.run import train_recipe
from kwise.recipes.starting import starts


def trained(recipe: Recipe, folder: Path) -> Path:
    """The checkpoint in a run folder: of an earlier run, or trained now, after the recipes it begins with."""
    if (folder / "checkpoint").exists():
        return folder / "checkpoint"
    train_starts(recipe)
    return train_recipe(recipe, folder)


def train_starts(recipe: Recipe) -> None:
    """Train what a recipe begins with where it has no checkpoint yet, each into the run folder named there.

    A folder whose name is of no recipe is left to `train_recipe`, which says what it misses.
    """
    for start in map(Path, starts(recipe)):
        name, _, seed = start.parent.name.rpartition("-seed")
        if name in RECIPES and not start.exists():
            print(f"{recipe.name} begins with {name}: training it first, into {start.parent}")
            trained(replace(RECIPES[name](), seed=int(seed)), start.parent)
