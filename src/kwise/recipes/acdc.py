"""Real hearts: each model of DiSK's small table goes on from its phantom weights on the ACDC training
patients.

ACDC images are magnitudes, so their k-space is simulated; the crop is the central 160 mm, never one from the
labels; masks are drawn on all lines of that field, of which models see the central 64; answers are scored on
the images' own grid. Weights trained on ACDC stay where they were made: its licence forbids shipping them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from kwise.data.acdc_folds import N_FOLDS
from kwise.data.loader import Acquisition
from kwise.recipes.disk import (
    SMALL,
    harmonic_unet_small,
    mean_shape_small,
    syn_net_shared_small,
    syn_net_shared_timed_small,
)
from kwise.recipes.recipe import Recipe
from kwise.recipes.wide import harmonic_unet_wide, syn_net_shared_timed_wide
from kwise.training import Stage

ACCELERATIONS = (4.0, 8.0, 16.0)
# How real cines are measured, on the images' own grid.
PATIENTS = Acquisition(accelerations=ACCELERATIONS, native=True)
STACK_ACCELERATIONS = (2.0, 4.0)  # of two frames that share little, so one frame has to do
STACK_FOV_MM = 192.0  # the central 160 mm cut off more than a fifth of the RV in 13 of 80 patients
# The ablations stay on the phantom.
FINE_TUNED = tuple(
    f"{name}_small"
    for name in (
        "harmonic_unet",
        "disk_plus",
        "syn_net_shared",
        "syn_net",
        "li_net",
        "disk",
        "nnunet_style",
        "mean_shape",
    )
)

# What is compared on real hearts by all patients, and not by the six of the validation split.
FOLDED = (
    "harmonic_unet",
    "harmonic_unet_wide",
    "syn_net_shared",
    "syn_net_shared_timed_wide",
    "disk_plus",
    "nnunet_style",
    "syn_net",
    "li_net",
    "disk",
    "mean_shape",
)
# Small recipe -> the one that went on from it, on wide hearts.
WIDENED = (
    (harmonic_unet_small, harmonic_unet_wide),
    (syn_net_shared_timed_small, syn_net_shared_timed_wide),
)


def fine_tuned(start: Recipe, share: float = 0.15, weights: Recipe | None = None) -> Recipe:
    """`start` on ACDC with a share of its steps and half its rates, from its phantom checkpoint in runs/, or
    from that of a longer training of its model (`weights`).
    """
    weights = start if weights is None else weights
    stages = tuple(_shorter(stage, share) for stage in start.stages)
    return replace(
        start,
        name=f"{weights.name.removesuffix('_small')}_acdc",
        dataset="acdc_both",
        options=weights.options,
        acquisition=PATIENTS,
        stages=stages,
        frames=2,
        augment="heart",
        frame_counts=(12, 16, 24),
        init_from=f"runs/{weights.name}-seed{start.seed}/checkpoint",
        published={},
    )


def _shorter(stage: Stage, share: float) -> Stage:
    steps = max(1, int(stage.steps * share))
    return replace(
        stage,
        steps=steps,
        learning_rate=stage.learning_rate / 2,
        matrix_rate=stage.matrix_rate / 2,
        validate_every=0,  # the validation patients are the ones scored: nothing may be chosen on them
    )


def _from(small: Callable[[], Recipe]) -> Recipe:
    recipe = fine_tuned(small())
    if recipe.model == "mean_shape":  # fitted afresh, to hearts as they lie
        return replace(recipe, init_from=None, augment="slice")
    return recipe


def _from_wide(small: Callable[[], Recipe], wide: Callable[[], Recipe]) -> Recipe:
    """As many steps as from the small weights, from those of wide hearts."""
    return fine_tuned(small(), weights=wide())


def acdc_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """One recipe per row of the real-heart table, and one per fold of its cross-validation."""
    made = {
        small.__name__.replace("_small", "_acdc"): partial(_from, small)
        for small in SMALL
        if small.__name__ in FINE_TUNED
    }
    made |= {f"{wide.__name__}_acdc": partial(_from_wide, small, wide) for small, wide in WIDENED}
    folds = {
        f"{name}_acdc_fold{k}": partial(_in_fold, made[f"{name}_acdc"], k)
        for name in FOLDED
        for k in range(N_FOLDS)
    }
    stacks = {f"harmonic_unet_stack_fold{k}": partial(_on_stacks, k) for k in range(N_FOLDS)}
    return made | folds | stacks


def _in_fold(whole: Callable[[], Recipe], fold: int) -> Recipe:
    recipe = whole()
    return replace(recipe, name=f"{recipe.name}_fold{fold}", dataset=f"acdc_fold{fold}")


def _on_stacks(fold: int) -> Recipe:
    """ED and ES as the two frames of a stack, which is no cine: what is known of motion does not hold."""
    recipe = fine_tuned(harmonic_unet_small(), share=0.06)
    return replace(
        recipe,
        name=f"harmonic_unet_stack_fold{fold}",
        dataset=f"acdc_stack_fold{fold}",
        n_frames=2,
        acquisition=replace(recipe.acquisition, accelerations=STACK_ACCELERATIONS, fov_mm=STACK_FOV_MM),
        frame_counts=None,
    )


def compared_unseen() -> dict[str, Recipe]:
    """Row -> recipe of what is asked about patients that no training has seen: trained on upright hearts, on
    wide ones, and the floor.
    """
    return {
        "harmonic_unet": harmonic_unet_small(),
        "syn_net_shared": syn_net_shared_small(),
        "syn_net_shared_timed": syn_net_shared_timed_small(),
        "harmonic_unet_wide": harmonic_unet_wide(),
        "syn_net_shared_timed_wide": syn_net_shared_timed_wide(),
        "mean_shape": mean_shape_small(),
    }


def on_patients(recipe: Recipe) -> Recipe:
    """`recipe` asked about the cines of ACDC."""
    return replace(recipe, dataset="acdc", acquisition=PATIENTS)
