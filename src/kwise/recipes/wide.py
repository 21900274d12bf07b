"""Longer, and on hearts as files hold them: weights made to read real files, and their strongest rival.

Scored at two scales of DiSK's table: "wide" on the hearts of the small table, "unseen" on real patients that
no training has seen.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from kwise.data.loader import Acquisition
from kwise.recipes.acdc import PATIENTS
from kwise.recipes.disk import (
    ACCELERATIONS,
    EVERY_R,
    harmonic_unet_small,
    mean_shape_small,
    syn_net_shared_small,
)
from kwise.recipes.recipe import Recipe
from kwise.training import Stage

# Families of whole lines, that of the tables thrice; by name, for a recipe must not change where others grow.
MASKS = (
    "gaussian_lines",
    "gaussian_lines",
    "gaussian_lines",
    "uniform",
    "equispaced",
    "random",
    "kt_variable_density",
    "uniform_1d",
    "uniform_1d_centre",
)
EVERY_MASK = Acquisition(masks=MASKS, accelerations=(2.0, *ACCELERATIONS))


def harmonic_unet_wide() -> Recipe:
    """Goes on from the small one with hearts as files hold them, R = 2 to 64, all families of lines, cines of
    12 and 24 frames.
    """
    recipe = harmonic_unet_small()
    net, prior, refined = recipe.stages
    return _widened(
        recipe,
        "harmonic_unet_wide",
        replace(net, steps=12_000, precision="bf16-mixed", matrix_rate=0.015, learning_rate=2e-3),
        prior,
        replace(refined, steps=300, precision="bf16-mixed", validate_every=0),
    )


def syn_net_shared_wide() -> Recipe:
    """The strongest rival on the same hearts, for at least the same time."""
    recipe = syn_net_shared_small()
    stage = replace(
        recipe.stages[0], steps=18_000, precision="bf16-mixed", matrix_rate=0.015, learning_rate=2e-3,
        validate_every=0,
    )  # fmt: skip
    return _widened(recipe, "syn_net_shared_wide", stage)


def _widened(recipe: Recipe, name: str, *stages: Stage) -> Recipe:
    return replace(
        recipe,
        name=name,
        dataset="heart_wide",
        acquisition=EVERY_MASK,
        stages=stages,
        frame_counts=(12, 12, 12, 24),
        init_from=f"runs/{recipe.name}-seed{{seed}}/checkpoint",
    )


WIDE: tuple[Callable[[], Recipe], ...] = (harmonic_unet_wide, syn_net_shared_wide)


def wide_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """The recipes of this page by name."""
    return {make.__name__: make for make in WIDE}


def compared() -> dict[str, Recipe]:
    """Row -> recipe: what the wide ones begin with, the wide ones, and the floor."""
    return {
        "harmonic_unet": harmonic_unet_small(),
        "syn_net_shared": syn_net_shared_small(),
        "harmonic_unet_wide": harmonic_unet_wide(),
        "syn_net_shared_wide": syn_net_shared_wide(),
        "mean_shape": mean_shape_small(),
    }


def on_hearts(recipe: Recipe) -> Recipe:
    """`recipe` asked as the small table asks: upright hearts, one family of lines."""
    return replace(recipe, dataset="heart", acquisition=EVERY_R)


def on_patients(recipe: Recipe) -> Recipe:
    """`recipe` asked about the cines of ACDC."""
    return replace(recipe, dataset="acdc", acquisition=PATIENTS)
