"""Longer, and on hearts as files hold them: weights made to read real files, and their strongest rival.

Scored at two scales of DiSK's table: "wide" on the hearts of the small table, "unseen" on real patients that
no training has seen.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from kwise.data.loader import Acquisition
from kwise.recipes.disk import ACCELERATIONS, EVERY_R, harmonic_unet_small, syn_net_shared_timed_small
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

# A fifth level sees the whole heart at once, whichever way it lies, and costs a fifth more of an answer.
CHANNELS = (16, 32, 64, 128, 256)


def harmonic_unet_wide() -> Recipe:
    """Goes on from the small one, its U-Net a level deeper, with hearts as files hold them, R = 2 to 64, all
    families of lines, cines of 12 and 24 frames. The priors of its support regression stay: they are of beats
    and not of poses.
    """
    recipe = harmonic_unet_small()
    net, _, refined = recipe.stages
    return _widened(
        recipe,
        "harmonic_unet_wide",
        _longer(net, 13_000),
        replace(refined, steps=300, precision="bf16-mixed", validate_every=0),
    )


def syn_net_shared_timed_wide() -> Recipe:
    """The strongest rival, told as much, as deep, on the same hearts for about the same time."""
    recipe = syn_net_shared_timed_small()
    return _widened(recipe, "syn_net_shared_timed_wide", _longer(recipe.stages[0], 15_000))


def _longer(stage: Stage, steps: int) -> Stage:
    """So many steps at the rates of weights that know hearts already; nothing is chosen on the way."""
    return replace(
        stage, steps=steps, precision="bf16-mixed", matrix_rate=0.015, learning_rate=2e-3, validate_every=0
    )


def _widened(recipe: Recipe, name: str, *stages: Stage) -> Recipe:
    return replace(
        recipe,
        name=name,
        dataset="heart_wide",
        options={**recipe.options, "channels": CHANNELS},
        acquisition=EVERY_MASK,
        stages=stages,
        frame_counts=(12, 12, 12, 24),
        init_from=f"runs/{recipe.name}-seed{{seed}}/checkpoint",
    )


WIDE: tuple[Callable[[], Recipe], ...] = (harmonic_unet_wide, syn_net_shared_timed_wide)


def wide_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """The recipes of this page by name."""
    return {make.__name__: make for make in WIDE}


def on_hearts(recipe: Recipe) -> Recipe:
    """`recipe` asked as the small table asks: upright hearts, one family of lines."""
    return replace(recipe, dataset="heart", acquisition=EVERY_R)
