"""k-MTR's models (arXiv 2603.09945) and their rivals at the paper's scale and at a scale for two CPU cores,
on the virtual population.

Small scale: 64 x 64 x 5 frames, 9 views over 180 mm, 2,000 subjects, one model for R = 2, 4, 8, 16. Paper
scale: 128 x 128 x 25 frames, all 40,000 training subjects, the published widths, batches, accelerations and
mean squared error. Stages chain through the checkpoints in runs/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from kwise.data.loader import Acquisition
from kwise.recipes.recipe import Recipe
from kwise.tasks import Diagnosis, Joint, Phenotypes, Pretraining, Reconstruction, Segmentation, Task
from kwise.training import Stage

EVERY_R = (2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Scale:
    """What all recipes of a scale share. `pace` multiplies the steps of every stage; tokens are whitened on
    so many subjects first.
    """

    name: str
    preset: str
    shape: tuple[int, int]
    n_frames: int
    fov_mm: float
    n_train: int | None
    pretraining: str
    save_every: int
    matrix_rate: float
    learning_rate: float
    pace: float = 1.0
    precision: str = "32-true"
    whitened: int = 0


SCALES = {
    "small": Scale("small", "small", (64, 64), 5, 180.0, 2000, "l1_hdr", 50, 0.02, 1e-3, whitened=192),
    "paper": Scale("paper", "paper", (128, 128), 25, 230.4, None, "mse", 500, 0.0, 1e-4, 400.0, "bf16-mixed"),
}


def _recipe(
    scale: Scale,
    row: str,
    model: str,
    task: Task,
    steps: int,
    batch: int,
    options: Mapping[str, object] | None = None,
    *,
    rates: tuple[float, ...] = EVERY_R,
    reference: bool = False,
    full: bool = False,
    init: tuple[str, ...] = (),
    tokens: bool = False,
) -> Recipe:
    """A recipe of this table; `init` names the rows of the same scale whose encoders it begins with. Models
    of `tokens` that begin with none have them whitened first.
    """
    stage = Stage(
        steps=max(1, round(steps * scale.pace)),
        learning_rate=scale.learning_rate,
        matrix_rate=scale.matrix_rate,
        warmup=max(1, round(0.1 * steps * scale.pace)),
        save_every=scale.save_every,
        precision=scale.precision,
    )
    acquisition = Acquisition(
        masks=("kt_variable_density",),
        accelerations=rates,
        phase="paper",
        snr=(20.0, 60.0),
        matrix=scale.shape,
        fov_mm=scale.fov_mm,
        reference=reference,
        one_mask=True,
    )
    return Recipe(
        _name(row, scale.name),
        model,
        "population",
        scale.n_frames,
        scale.shape,
        options or {},
        acquisition,
        task,
        _stages(stage, batch, scale.whitened if tokens and not init else 0),
        batch,
        None,
        fully_sampled=full,
        init_from=tuple(f"runs/{_name(start, scale.name)}-seed{{seed}}/checkpoint" for start in init) or None,
        n_train=scale.n_train,
        n_validation=100,
    )


def _stages(train: Stage, batch: int, whitened: int) -> tuple[Stage, ...]:
    if not whitened:
        return (train,)
    return (replace(train, name="whiten", steps=-(-whitened // batch)), train)


def _name(row: str, scale: str) -> str:
    return f"kmtr_{row}_{scale}"


# -- Stage I and II


def image_mae(scale: Scale) -> Recipe:
    """Stage I for images: 70 % of the patches hidden."""
    options = {"preset": scale.preset}
    task = Pretraining(scale.pretraining)
    return _recipe(
        scale, "image_mae", "image_mae", task, 200, 16, options, reference=True, full=True, tokens=True
    )


def kspace_mae(scale: Scale) -> Recipe:
    """Stage I for k-space: what the scan left out is hidden."""
    task, options = Pretraining(scale.pretraining), {"preset": scale.preset}
    made = _recipe(scale, "kspace_mae", "kspace_mae", task, 200, 12, options, tokens=True)
    return replace(made, acquisition=replace(made.acquisition, reference_kspace=True))


def align(scale: Scale) -> Recipe:
    """Stage II: 256 subjects a step at the paper's scale, 64 at the small one, embedded in chunks."""
    options = {"preset": scale.preset, "chunk": 32}
    batch = 64 if scale.name == "small" else 256
    init = ("image_mae", "kspace_mae")
    made = _recipe(scale, "align", "kmtr_align", Pretraining(), 60, batch, options, reference=True, init=init)
    return replace(made, stages=(replace(made.stages[0], name="align"),))


# -- Stage III and the rivals; the head is a word of `kwise.models.kmtr.HEADS`


def _head(
    scale: Scale, row: str, head: str, task: Task, *, init: tuple[str, ...] = ("align",), batch: int = 16
) -> Recipe:
    options = {"preset": scale.preset, "head": head}
    steps = {"phenotypes": 320, "diseases": 200}.get(head, 160)
    return _recipe(
        scale, row, "kmtr", task, steps, batch, options, reference=head == "image", init=init, tokens=True
    )


def _image_row(scale: Scale, row: str, head: str, task: Task, init: tuple[str, ...] = ()) -> Recipe:
    options = {"preset": scale.preset, "head": head}
    steps = {"phenotypes": 320, "diseases": 200}[head]
    return _recipe(scale, row, "vit", task, steps, 16, options, full=True, init=init, tokens=True)


def _before_diseases(scale: Scale, small: str, published: tuple[str, ...]) -> tuple[str, ...]:
    """Where a disease head begins: in 200 steps a few hundred ill subjects teach an encoder nothing, so at
    the small scale it begins with the encoder that has learned the phenotypes.
    """
    return (small,) if scale.name == "small" else published


def _resnet(scale: Scale, row: str, sees: str, full: bool) -> Recipe:
    options = {"sees": sees, "n_frames": scale.n_frames, "channels": 32 if scale.name == "small" else 64}
    made = _recipe(scale, row, "resnet50", Phenotypes(), 240, 16, options, full=full)
    # In bfloat16 its gradients were now and then not finite on a CPU, for k-space of tiny grids.
    return replace(made, stages=tuple(replace(stage, precision="32-true") for stage in made.stages))


def joint(scale: Scale) -> Recipe:
    """Ours: every head at once, every R, from scratch."""
    task = Joint(reconstruction=0.5)
    options = {"preset": scale.preset}
    return _recipe(scale, "joint", "kmtr_joint", task, 300, 8, options, reference=True, tokens=True)


def harmonic(scale: Scale) -> Recipe:
    """Ours too: the trunk by gradients on two frames of every subject, then the heads from one look at
    1,600.
    """
    task = Joint(phenotypes=0.0, diagnosis=0.0, reconstruction=0.5)
    channels = (32, 64, 96) if scale.name == "small" else (64, 128, 192, 256)
    made = _recipe(
        scale, "harmonic", "harmonic_joint", task, 1000, 4, {"channels": channels}, reference=True
    )
    # In bfloat16 its convolutions take 0.6 of the time; what is solved for stays in float32.
    trunk = replace(made.stages[0], name="trunk", learning_rate=2e-3, precision="bf16-mixed")
    heads = replace(trunk, name="heads", steps=1600 // made.batch_size)
    return replace(made, stages=(trunk, heads), frames=2)


def nnunet(scale: Scale, row: str, full: bool) -> Recipe:
    """The nnU-Net-style network, fully sampled (upper bound) or on zero-filled images."""
    channels = (16, 32, 64, 96) if scale.name == "small" else (32, 64, 128, 256)
    options = {"n_classes": 6, "channels": channels}
    task = Segmentation(n_classes=6)
    made = _recipe(scale, row, "nnunet_style", task, 600, 4, options, full=full, rates=(8.0,))
    # A little over half the core-seconds of the trunk of `harmonic`, in its precision.
    stage = replace(made.stages[0], learning_rate=3 * scale.learning_rate, precision="bf16-mixed")
    return replace(made, stages=(stage,), frames=2)


def li_net(scale: Scale) -> Recipe:
    """Its three steps: label autoencoder, predictor of its latents, both."""
    options = {"n_classes": 6, "matrix": scale.shape, "n_frames": scale.n_frames}
    task = Segmentation(n_classes=6)
    made = replace(_recipe(scale, "li_net", "li_net", task, 60, 4, options, rates=(8.0,)), frames=2)
    whole = made.stages[0]
    return replace(made, stages=tuple(replace(whole, name=n) for n in ("autoencoder", "predictor", "joint")))


def k_gin(scale: Scale) -> Recipe:
    """k-GIN; the published widths at the paper's scale."""
    options: dict[str, object] = {"matrix": scale.shape, "n_frames": scale.n_frames}
    if scale.name == "paper":
        options |= {"width": 512, "layers": 12, "decoder_layers": 8, "refine_layers": 8, "heads": 16}
    return _recipe(scale, "k_gin", "k_gin", Reconstruction("l1"), 60, 2, options, reference=True)


ROWS: Mapping[str, Callable[[Scale], Recipe]] = {
    "image_mae": image_mae,
    "kspace_mae": kspace_mae,
    "align": align,
    "phenotypes": lambda s: _head(s, "phenotypes", "phenotypes", Phenotypes()),
    "diseases": lambda s: _head(
        s, "diseases", "diseases", Diagnosis(), init=_before_diseases(s, "phenotypes", ("align",)),
        batch=32 if s.name == "paper" else 16,
    ),
    "segmentation": lambda s: _head(s, "segmentation", "segmentation", Segmentation(n_classes=6), batch=4),
    "image": lambda s: _head(s, "image", "image", Reconstruction("l1"), batch=8),
    "joint": joint,
    "harmonic": harmonic,
    "scratch": lambda s: _head(s, "scratch", "phenotypes", Phenotypes(), init=()),
    "unaligned": lambda s: _head(s, "unaligned", "phenotypes", Phenotypes(), init=("kspace_mae",)),
    "vit": lambda s: _image_row(s, "vit", "phenotypes", Phenotypes()),
    "mae": lambda s: _image_row(s, "mae", "phenotypes", Phenotypes(), ("image_mae",)),
    "resnet50_full": lambda s: _resnet(s, "resnet50_full", "images", True),
    "resnet50_undersampled": lambda s: _resnet(s, "resnet50_undersampled", "images", False),
    "resnet50_kspace": lambda s: _resnet(s, "resnet50_kspace", "kspace", False),
    "vit_diseases": lambda s: _image_row(
        s, "vit_diseases", "diseases", Diagnosis(), _before_diseases(s, "vit", ())
    ),
    "mae_diseases": lambda s: _image_row(
        s, "mae_diseases", "diseases", Diagnosis(), _before_diseases(s, "mae", ("image_mae",))
    ),
    "nnunet_full": lambda s: nnunet(s, "nnunet_full", True),
    "nnunet_undersampled": lambda s: nnunet(s, "nnunet_undersampled", False),
    "li_net": li_net,
    "k_gin": k_gin,
    "zero_filled": lambda s: _recipe(s, "zero_filled", "zero_filled", Reconstruction(), 1, 1, reference=True),
    "train_mean": lambda s: _recipe(s, "train_mean", "train_mean", Phenotypes(), 25, 40),
}
# What `kwise train kmtr` runs, one after the other: three stages, then the heads.
CHAIN = ("image_mae", "kspace_mae", "align", "phenotypes", "diseases", "segmentation", "image", "joint")


def kmtr_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """All recipes of these tables by name, at both scales."""
    return {
        _name(row, scale.name): partial(make, scale)
        for scale in SCALES.values()
        for row, make in ROWS.items()
    }


def kmtr_chain(scale: str) -> tuple[str, ...]:
    """The recipes of a whole k-MTR in the order in which they need each other; ValueError for
    another scale.
    """
    if scale not in SCALES:
        raise ValueError(f"choosing a scale: got {scale!r}; wanted one of {', '.join(SCALES)}")
    return tuple(_name(row, scale) for row in CHAIN)
