"""Real hearts: each model of DiSK's small table goes on from its phantom weights on the ACDC training
patients.

ACDC images are magnitudes, so their k-space is simulated; the crop is the central 160 mm, never one from the
labels. Weights trained on ACDC stay where they were made: its licence forbids shipping them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from kwise.data.loader import Acquisition
from kwise.recipes.disk import SMALL
from kwise.recipes.recipe import Recipe

ACCELERATIONS = (4.0, 8.0, 16.0)


def fine_tuned(start: Recipe, share: float = 0.25) -> Recipe:
    """`start` on ACDC with a share of its steps and half its learning rate, from its checkpoint in runs/."""
    stages = tuple(
        replace(
            stage,
            steps=max(1, int(stage.steps * share)),
            learning_rate=stage.learning_rate / 2,
            validate_every=max(1, int(stage.steps * share) // 10),
        )
        for stage in start.stages
    )
    return replace(
        start,
        name=start.name.replace("_small", "_acdc"),
        dataset="acdc",
        acquisition=replace(Acquisition(), accelerations=ACCELERATIONS),
        stages=stages,
        frames=2,
        augment="heart",
        frame_counts=(12, 16, 24),
        init_from=f"runs/{start.name}-seed{start.seed}/checkpoint",
        published={},
    )


def acdc_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """One recipe per model that learns by gradients."""
    return {
        small.__name__.replace("_small", "_acdc"): partial(_from, small)
        for small in SMALL
        if small().model != "mean_shape"
    }


def _from(small: Callable[[], Recipe]) -> Recipe:
    return fine_tuned(small())
