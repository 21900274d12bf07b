"""The K-Space Transformer's tables (arXiv 2206.06947): 1 on lines, 2 on points, 3 without its parts.

One model per data set and family of masks, for every R of the family. `oasis` and `fastmri`: 128 x 128, the
published schedule. `small`: slices at hand on a small grid, about 150 core-seconds for every model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from kwise.data.loader import Acquisition
from kwise.recipes.recipe import Recipe
from kwise.tasks import Reconstruction
from kwise.training import Stage

FAMILIES = ("1d", "2d")
DATA = ("small", "oasis", "fastmri")
# With a sampled centre: without one DC is missed, and with it the brightness of a slice (docs/decisions/021).
MASKS = {"1d": "uniform_1d_centre", "2d": "gaussian_2d_centre"}
# R of each family; validation looks at the first.
RATES: dict[tuple[str, str], tuple[float, ...]] = {
    (data, family): (5.0, 2.5) if family == "1d" or data == "fastmri" else (5.0, 10.0, 2.5)
    for data in DATA
    for family in FAMILIES
}
GRID = (48, 48)  # of the small scale
# Steps of one epoch at batch 4, from the slices the paper counts.
EPOCH = {"oasis": 11_150, "fastmri": 2_190}

_COLUMNS = {
    ("oasis", "1d"): (5.0, 2.5),
    ("fastmri", "1d"): (5.0, 2.5),
    ("oasis", "2d"): (10.0, 5.0, 2.5),
    ("fastmri", "2d"): (5.0, 2.5),
}
_PSNR = {  # Tables 1 and 2, dB, in the order of _COLUMNS
    "k_unet": ((24.53, 26.50), (24.68, 26.99), (25.34, 28.76, 33.96), (27.15, 28.90)),
    "unet": ((27.53, 29.05), (26.72, 29.81), (27.63, 31.27, 35.02), (28.33, 31.35)),
    "admm_net": ((26.03, 29.95), (24.43, 29.84), (26.17, 30.41, 33.94), (29.31, 30.97)),
    "d5c5": ((27.66, 32.48), (26.87, 30.64), (30.51, 35.91, 42.72), (29.78, 32.00)),
    "oucr_style": ((29.52, 33.75), (27.71, 30.95), (31.61, 36.78, 42.80), (29.95, 32.04)),
    "kspace_transformer": ((31.50, 36.32), (27.80, 31.04), (32.58, 37.47, 43.68), (29.88, 31.97)),
}
_SSIM = {
    "k_unet": ((0.7808, 0.8483), (0.6058, 0.7223), (0.766, 0.8427, 0.9288), (0.6696, 0.7710)),
    "unet": ((0.8895, 0.8988), (0.6835, 0.7983), (0.8437, 0.9024, 0.9388), (0.7120, 0.8283)),
    "admm_net": ((0.7202, 0.8165), (0.6172, 0.7838), (0.7312, 0.8122, 0.8513), (0.7515, 0.8162)),
    "d5c5": ((0.8895, 0.9615), (0.6793, 0.8126), (0.9241, 0.9743, 0.9927), (0.7507, 0.8399)),
    "oucr_style": ((0.9310, 0.9709), (0.7009, 0.8168), (0.9442, 0.9797, 0.9933), (0.7522, 0.8382)),
    "kspace_transformer": ((0.9528, 0.9848), (0.7078, 0.8189), (0.9529, 0.9823, 0.9946), (0.7534, 0.8389)),
}
# Table 3, OASIS at R = 5: (PSNR, SSIM).
_WITHOUT = {
    "kspace_transformer_no_refine": {"2d": (32.97, 0.9337), "1d": (27.52, 0.8876)},
    "kspace_transformer_no_refine_no_lr": {"2d": (28.53, 0.8416), "1d": (21.31, 0.6114)},
}

Numbers = dict[float, tuple[float, float]]  # R -> (mean, sd); the paper gives no sd


def published(metric: str, data: str, family: str) -> dict[str, Numbers]:
    """Model -> R -> (mean, NaN) of the paper, `metric` "psnr_db" or "ssim"; of OASIS for the small scale."""
    data = "oasis" if data == "small" else data
    source, index = (_PSNR, 0) if metric == "psnr_db" else (_SSIM, 1)
    column = list(_COLUMNS).index((data, family))
    found = {
        model: {rate: (value, math.nan) for rate, value in zip(_COLUMNS[data, family], values[column])}
        for model, values in source.items()
    }
    if data == "oasis":
        found |= {row: {5.0: (values[family][index], math.nan)} for row, values in _WITHOUT.items()}
    return found


@dataclass(frozen=True)
class Entry:
    """A row: the model, its options (`small` replaces some at the small scale), and the steps that take
    about 150 core-seconds there, by family.
    """

    model: str
    steps: tuple[int, int]
    options: Mapping[str, object] = field(default_factory=dict)
    small: Mapping[str, object] = field(default_factory=dict)


# A published size on two cores would see a hundred slices: the small scale narrows the transformer.
_NARROW: dict[str, object] = {
    "width": 64, "ffn": 256, "encoder_layers": 2, "lr_layers": 2, "hr_layers": 3, "refine_channels": 32,
}  # fmt: skip
ENTRIES: dict[str, Entry] = {
    "kspace_transformer_plus": Entry("kspace_transformer_plus", (260, 260)),
    "kspace_transformer": Entry("kspace_transformer", (370, 370), {}, _NARROW),
    "oucr_style": Entry("oucr_style", (140, 140)),
    "d5c5": Entry("d5c5", (580, 580)),
    "admm_net": Entry("admm_net", (200, 200)),
    "unet": Entry("unet", (450, 450)),
    "k_unet": Entry("k_unet", (450, 450)),
    "zero_filled": Entry("zero_filled", (1, 1)),
}
# Table 3: what the whole model is worth over its parts.
WITHOUT: dict[str, Entry] = {
    "kspace_transformer_no_refine": Entry("kspace_transformer", (400, 400), {"refine": False}, _NARROW),
    "kspace_transformer_no_refine_no_lr": Entry(
        "kspace_transformer", (400, 400), {"refine": False, "lowres": False}, _NARROW
    ),
}


def _plus(options: Mapping[str, object], steps: int = 370) -> Entry:
    """Plus with four HR layers and something changed."""
    return Entry("kspace_transformer_plus", (steps, steps), {"hr_layers": 4, **options})


# Each named change of plus taken back, alone; at the small scale and on points.
CHANGES: dict[str, Entry] = {
    "kspace_transformer_plus_hr4": _plus({}),
    "kspace_transformer_plus_unaligned": _plus({"aligned": False}),
    "kspace_transformer_plus_patch2": _plus({"patch": (2, 2)}, 260),
    "kspace_transformer_plus_unwhitened": _plus({"whiten": False}),
    "kspace_transformer_plus_blind_lr": _plus({"known": False}),
    "kspace_transformer_plus_lr_alone": _plus({"hr_reads_samples": False}),
    "kspace_transformer_plus_no_refine": _plus({"refine": False}, 780),
    "kspace_transformer_plus_no_refine_no_lr": _plus({"refine": False, "lowres": False}, 840),
    "kspace_transformer_plus_thin": _plus({"refine_channels": (16, 32, 48)}, 540),
}


def acquisition(data: str, family: str) -> Acquisition:
    """How slices are measured: noise-free as in the paper, with a smooth phase where images are magnitudes of
    complex ones; R counts the positions of the grid that a model sees.
    """
    return Acquisition(
        masks=(MASKS[family],),
        accelerations=RATES[data, family],
        phase="smooth" if data == "small" else "none",
        snr=None,
        matrix=GRID if data == "small" else (128, 128),
        fov_mm=176.0 if data == "oasis" else None,  # a square around the head
        reference=True,
        masks_on_matrix=True,
    )


def small(name: str, family: str) -> Recipe:
    """A row at the small scale: slices at hand, the same batches and optimisers for every model."""
    entry = {**ENTRIES, **WITHOUT, **CHANGES}[name]
    steps = entry.steps[FAMILIES.index(family)]
    stage = Stage("joint", steps, learning_rate=2e-3, matrix_rate=0.02, warmup=30, save_every=100,
                  validate_every=max(1, steps // 4))  # fmt: skip
    return Recipe(
        f"{name}_small_{family}",
        entry.model,
        dataset="slices",
        n_frames=1,
        shape=GRID,
        options={**entry.small, **entry.options},
        acquisition=acquisition("small", family),
        task=Reconstruction(),
        stages=_three(stage, entry) if entry.model == "kspace_transformer" else (stage,),
        batch_size=2,
        frames=None,
    )


def _three(whole: Stage, entry: Entry) -> tuple[Stage, ...]:
    """The published stages: a quarter of the steps for the LR decoder, a quarter with the HR decoder, half
    with the refinement; one cosine over all. Nothing is chosen before the last: the answer then lacks parts.
    """
    shares = {"lr": 0.25, "hr": 0.25, "refine": 0.5}
    if not entry.options.get("refine", True):
        shares = {"lr": 0.25, "hr": 0.75} if entry.options.get("lowres", True) else {"hr": 1.0}
    stages, done = [], 0.0
    for name, share in shares.items():
        part, done = (done, done + share), done + share
        stage = replace(whole, name=name, steps=max(1, round(share * whole.steps)), part=part)
        stages.append(stage if done == 1.0 else replace(stage, validate_every=0))
    return tuple(stages)


def paper(name: str, data: str, family: str) -> Recipe:
    """A row at the paper's scale: 200 epochs of batch 4, AdamW 5e-4 without decay, one cosine to zero.

    The paper trains one model per R: `acquisition.accelerations=5` gives that.
    """
    entry = {**ENTRIES, **WITHOUT}[name]
    stage = Stage("joint", 200 * EPOCH[data], learning_rate=5e-4, warmup=0, weight_decay=0.0, clip=0.0,
                  save_every=1000, validate_every=5 * EPOCH[data])  # fmt: skip
    if entry.model == "kspace_transformer_plus":
        stage = replace(
            stage, matrix_rate=0.02, learning_rate=2e-3, warmup=500, clip=1.0, precision="bf16-mixed"
        )
    return Recipe(
        f"{name}_{data}_{family}",
        entry.model,
        dataset=data,
        options=entry.options,
        acquisition=acquisition(data, family),
        task=Reconstruction(),
        stages=_three(stage, entry) if entry.model == "kspace_transformer" else (stage,),
        batch_size=4,
        frames=None,
        n_validation=200,
        published=published("psnr_db", data, family).get(name, {}),
    )


def kspace_transformer_recipes() -> Mapping[str, Callable[[], Recipe]]:
    """All recipes of these tables by name."""
    made = [partial(small, name, family) for name in (*ENTRIES, *WITHOUT) for family in FAMILIES]
    made += [partial(small, name, "2d") for name in CHANGES]
    for data in ("oasis", "fastmri"):
        rows = (*ENTRIES, *WITHOUT) if data == "oasis" else tuple(ENTRIES)
        made += [partial(paper, name, data, family) for name in rows for family in FAMILIES]
    return {make().name: make for make in made}
