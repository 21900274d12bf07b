"""Recipes by name: one function is one row or cell of a table."""

from collections.abc import Callable

from kwise.nearest import nearest
from kwise.recipes.acdc import acdc_recipes
from kwise.recipes.disk import disk_recipes
from kwise.recipes.kmtr import kmtr_chain, kmtr_recipes
from kwise.recipes.kspace_transformer import kspace_transformer_recipes
from kwise.recipes.raw import raw_recipes
from kwise.recipes.recipe import Recipe
from kwise.recipes.wide import wide_recipes

__all__ = ["CHAINS", "RECIPES", "Recipe", "recipe"]

RECIPES: dict[str, Callable[[], Recipe]] = {
    **disk_recipes(),
    **wide_recipes(),
    **acdc_recipes(),
    **kspace_transformer_recipes(),
    **raw_recipes(),
    **kmtr_recipes(),
}
# Chains by name: the recipes of a scale that need each other, in order.
CHAINS: dict[str, Callable[[str], tuple[str, ...]]] = {"kmtr": kmtr_chain}


def recipe(name: str) -> Recipe:
    """The recipe of that name; ValueError with the nearest names where there is none."""
    if name not in RECIPES:
        raise ValueError(f"choosing a recipe: got {name!r}; wanted one like {nearest(name, RECIPES)}")
    return RECIPES[name]()
