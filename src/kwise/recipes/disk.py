"""DiSK's table (arXiv 2511.03762, Table 1) at the paper's scale and at a scale for two CPU cores.

Small scale: 64 x 64 x 12 phantom hearts, one model for R = 4..64, about the same CPU time for every model.
Paper scale: 80 x 80 x 50, one model per R, batch 1, Adam 1e-4.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from kwise.data.loader import Acquisition
from kwise.recipes.recipe import Recipe
from kwise.tasks.segmentation import Segmentation
from kwise.training import Stage

ACCELERATIONS = (4.0, 8.0, 16.0, 32.0, 64.0)
# Table 1: mean and sd over 100 test subjects of the (soft) Dice, by model, for R = 4, 8, 16, 32, 64.
PUBLISHED: dict[str, dict[float, tuple[float, float]]] = {
    model: dict(zip(ACCELERATIONS, zip(means, deviations)))
    for model, means, deviations in (
        ("disk", (0.902, 0.902, 0.903, 0.902, 0.902), (0.089, 0.089, 0.085, 0.086, 0.085)),
        ("syn_net", (0.749, 0.748, 0.742, 0.723, 0.733), (0.260, 0.258, 0.264, 0.287, 0.261)),
        ("li_net", (0.805, 0.809, 0.800, 0.752, 0.799), (0.198, 0.192, 0.197, 0.242, 0.190)),
    )
}
EVERY_R = Acquisition(accelerations=ACCELERATIONS)


def _small(model: str, steps: int, options: Mapping[str, object] | None = None) -> Recipe:
    """One model for every R; `steps` give every model about the same core-seconds on one machine."""
    stage = Stage(
        steps=steps, learning_rate=3e-3, matrix_rate=0.02, save_every=100, validate_every=max(1, steps // 12)
    )
    return Recipe(
        f"{model}_small",
        model,
        options=options or {},
        acquisition=EVERY_R,
        stages=(stage,),
        batch_size=4,
        frames=2,
    )


def harmonic_unet_small(name: str = "harmonic_unet_small", context: bool = True) -> Recipe:
    """Ours, with an inverse FFT: most of the time without the support regression, the rest behind it."""
    recipe = _small("harmonic_unet", 4200, {} if context else {"context": False})
    net = replace(recipe.stages[0], name="net", validate_every=0)
    prior = replace(net, name="prior", steps=60, learning_rate=0.03, matrix_rate=0.0, warmup=5)
    refined = replace(
        net, name="refined", steps=420, learning_rate=1e-3, matrix_rate=0.008, warmup=30, validate_every=140
    )
    return replace(recipe, name=name, stages=(net, prior, refined))


def harmonic_unet_untimed_small() -> Recipe:
    """The same without the cardiac phase."""
    return harmonic_unet_small("harmonic_unet_untimed_small", context=False)


def harmonic_unet_r8_small() -> Recipe:
    """The same trained for R = 8 alone: what one model for every R costs."""
    recipe = harmonic_unet_small("harmonic_unet_r8_small")
    return replace(recipe, acquisition=replace(recipe.acquisition, accelerations=(8.0,)))


def harmonic_unet_independent_small() -> Recipe:
    """The same without the support regression: every ky line alone."""
    recipe = _small("harmonic_unet", 6000, {"n_passes": 0})
    stages = (replace(recipe.stages[0], name="net"),)
    return replace(recipe, name="harmonic_unet_independent_small", stages=stages)


def disk_plus_small() -> Recipe:
    """Ours, without an inverse FFT."""
    return _small("disk_plus", 8000)


def disk_plus_untimed_small() -> Recipe:
    """The same without the cardiac phase."""
    return replace(_small("disk_plus", 8000, {"context": False}), name="disk_plus_untimed_small")


def disk_plus_unrotated_small() -> Recipe:
    """DiSK+ without its Fourier prior: values reach every latent unrotated."""
    recipe = _small("disk_plus", 8000, {"rotate": False})
    return replace(recipe, name="disk_plus_unrotated_small")


def syn_net_shared_small() -> Recipe:
    """The strongest rival: a U-Net behind a learned view sharing."""
    return _small("syn_net_shared", 6800)


def syn_net_shared_timed_small() -> Recipe:
    """The strongest rival told what harmonic_unet is told: the cardiac phase and the share sampled."""
    return replace(_small("syn_net_shared", 6800, {"context": True}), name="syn_net_shared_timed_small")


def syn_net_small() -> Recipe:
    """Syn-Net on the magnitudes of 12 rolled frames, one head for all frames."""
    return _small("syn_net", 7000, {"frames_as": "rolled"})


def nnunet_style_small() -> Recipe:
    """The upper bound: fully sampled frames."""
    return replace(_small("nnunet_style", 2500), fully_sampled=True)


def li_net_small() -> Recipe:
    """Three steps: autoencoder of labels, predictor of its latents, both."""
    recipe = _small("li_net", 2300)
    joint = replace(recipe.stages[0], name="joint")
    # Before the last step the answer says nothing of the part in training: no weights are chosen by it.
    parts = (replace(joint, name=name, validate_every=0) for name in ("autoencoder", "predictor"))
    return replace(recipe, stages=(*parts, joint))


def disk_small() -> Recipe:
    """DiSK's architecture and loss, our optimiser; asked at 1,024 points a case: two cores bear no more."""
    recipe = _small("disk", 860, {"weight_penalty": 1e-5})
    return replace(recipe, points=1024, task=Segmentation(variant="disk"))


def mean_shape_small() -> Recipe:
    """The floor: label frequencies of 4,000 training hearts."""
    return replace(_small("mean_shape", 250), batch_size=16, frames=None)


def disk_small_at(acceleration: float) -> Recipe:
    """DiSK on the small phantom at one R, as the paper trains it."""
    recipe = disk_small()
    acquisition = replace(recipe.acquisition, accelerations=(acceleration,))
    return replace(recipe, name=f"disk_r{acceleration:g}_small", acquisition=acquisition)


def disk_paper(acceleration: float) -> Recipe:
    """DiSK at the paper's scale: 80 x 80 x 50, 16,384 random points a step, the published loss and weight
    penalty.
    """
    stage = Stage(
        steps=500_000, learning_rate=1e-4, warmup=0, schedule="constant", weight_decay=0.0, clip=0.0,
        save_every=1000, validate_every=2000,
    )  # fmt: skip
    return Recipe(
        f"disk_r{acceleration:g}",
        "disk",
        n_frames=50,
        shape=(80, 80),
        options={"weight_penalty": 1e-5},
        acquisition=Acquisition(accelerations=(acceleration,), phase="paper", snr=None, matrix=(80, 80)),
        task=Segmentation(variant="disk"),
        stages=(stage,),
        batch_size=1,
        frames=None,
        points=16_384,
        published={acceleration: PUBLISHED["disk"][acceleration]},
    )


def disk_plus_paper() -> Recipe:
    """DiSK+ at the paper's scale: one model for every R, on a device with bfloat16."""
    stage = Stage(
        steps=30_000,
        learning_rate=3e-3,
        matrix_rate=0.02,
        save_every=500,
        validate_every=2500,
        precision="bf16-mixed",
    )
    return Recipe(
        "disk_plus_paper",
        "disk_plus",
        n_frames=50,
        shape=(80, 80),
        options={"n_positions": 10},
        acquisition=Acquisition(accelerations=ACCELERATIONS, phase="paper", snr=None, matrix=(80, 80)),
        stages=(stage,),
        batch_size=16,
        frames=4,
    )


SMALL: tuple[Callable[[], Recipe], ...] = (
    harmonic_unet_small,
    harmonic_unet_untimed_small,
    harmonic_unet_r8_small,
    harmonic_unet_independent_small,
    disk_plus_small,
    disk_plus_untimed_small,
    disk_plus_unrotated_small,
    syn_net_shared_small,
    syn_net_shared_timed_small,
    syn_net_small,
    li_net_small,
    disk_small,
    nnunet_style_small,
    mean_shape_small,
)


def disk_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """All recipes of this table by name."""
    found: dict[str, Callable[[], Recipe]] = {make.__name__: make for make in SMALL}
    found["disk_plus_paper"] = disk_plus_paper
    for rate in ACCELERATIONS:
        found[f"disk_r{rate:g}"] = partial(disk_paper, rate)
        found[f"disk_r{rate:g}_small"] = partial(disk_small_at, rate)
    return found
