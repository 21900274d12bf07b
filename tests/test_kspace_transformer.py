"""K-Space Transformer against the authors' own network, and what it can do beyond it."""

import ast
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kwise.fourier import fft2c
from kwise.models.grids import fold_grids
from kwise.models.kspace_transformer import KSpaceTransformer, Steps
from kwise.models.kspace_transformer_weights import convert_parameters, infer_options
from kwise.operator import crop_centre
from kwise.seeding import generator
from kwise.types import Measurement, Query

NAME = "kspace_transformer_32.npz"
PLACES = (Path(__file__).parent / "golden", Path(__file__).resolve().parents[2] / "shared" / "golden")
TOLERANCE = 1e-4
TINY = {"width": 16, "heads": 2, "ffn": 16, "encoder_layers": 1, "lr_layers": 1, "hr_layers": 2}
TINY |= {"refine_channels": 4, "refine_convs": 1}
Make = Callable[..., Measurement]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    folders = [Path(os.environ["KWISE_GOLDEN"])] if "KWISE_GOLDEN" in os.environ else list(PLACES)
    file = next((folder / NAME for folder in folders if (folder / NAME).is_file()), None)
    if file is None:
        pytest.skip(f"{NAME} (1.3 MB) is not in {folders}; set KWISE_GOLDEN to its folder")
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files}


def authors_parameters(golden: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix("param/"): v for k, v in golden.items() if k.startswith("param/")}


def golden_model(golden: dict[str, np.ndarray]) -> KSpaceTransformer:
    named = authors_parameters(golden)
    heads = ast.literal_eval(str(golden["config"]))["n_head"]
    model = KSpaceTransformer(**infer_options(named, heads=heads), scale="none").eval()
    model.load_state_dict(convert_parameters(named))
    return model


def golden_measurement(golden: dict[str, np.ndarray]) -> Measurement:
    kspace, mask = torch.from_numpy(golden["kspace"]), torch.from_numpy(golden["mask_acquired"])
    return Measurement(kspace[None, None, None, None], mask[None, None, None])


def tiny(**options: object) -> KSpaceTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return KSpaceTransformer(**(TINY | options)).eval()


@torch.no_grad()
def steps_of(model: KSpaceTransformer, measurement: Measurement, stage: str = "refine") -> Steps:
    scaled = model.scale == "acquired"
    grids = fold_grids(measurement, Query(), scaled=scaled)
    return model.reconstruct(grids, grids.shape, stage)


@torch.no_grad()
def image(model: KSpaceTransformer, measurement: Measurement, query: Query | None = None) -> Tensor:
    answer = model(measurement, query or Query()).image
    assert answer is not None
    return answer


def close(ours: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(ours, wanted, atol=tolerance, rtol=0)


# -- the published network


@pytest.mark.parametrize(
    ("kind", "theirs"), [("lr", "lr_image"), ("hr", "hr_image_before_cnn"), ("refined", "hr_image_after_cnn")]
)
def test_every_golden_image(golden: dict[str, np.ndarray], kind: str, theirs: str) -> None:
    images = getattr(steps_of(golden_model(golden), golden_measurement(golden)), kind)
    wanted = [golden[name] for name in sorted(golden) if name.startswith(theirs + "_")]
    assert len(images) == len(wanted) > 0
    for ours, their in zip(images, wanted):
        close(ours[0], torch.from_numpy(their))


def test_the_answer_is_the_last_golden_image(golden: dict[str, np.ndarray]) -> None:
    answer = image(golden_model(golden), golden_measurement(golden))
    close(answer[0, 0, 0], torch.from_numpy(golden["hr_image_after_cnn_2"]))


def test_golden_sizes_are_inferred(golden: dict[str, np.ndarray]) -> None:
    config, options = ast.literal_eval(str(golden["config"])), infer_options(authors_parameters(golden))
    theirs = ("d_model", "ffn", "encoder_layers", "lr_decoder_layers", "hr_decoder_layers")
    ours = ("width", "ffn", "encoder_layers", "lr_layers", "hr_layers")
    assert [options[k] for k in ours] == [config[k] for k in theirs]
    assert options["refine_channels"] == config["cnn_channels"]
    assert options["refine_convs"] == config["cnn_middle_convs"]


def test_published_size_is_exact() -> None:
    with torch.device("meta"):
        model = KSpaceTransformer()
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert sum(counts.values()) == 13_567_008
    assert counts["embed"] == 66_560 and counts["encoder"] == 3_154_944
    assert counts["lr_decoder"] + counts["lr_heads"] == 4_472_840
    assert counts["hr_decoder"] + counts["hr_heads"] + counts["hr_embed"] + counts["refine"] == 5_872_664


def test_unknown_parameter_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"converting K-Space Transformer parameters: got 'head\.extra'"):
        convert_parameters({"head.extra": np.zeros(3)})


# -- beyond it


def test_no_matrix_of_queries_by_keys_is_ever_stored(make_measurement: Make) -> None:
    """Forward and backward: nothing kept has a side of queries and a side of keys."""
    measurement, model = make_measurement(b=1, t=1, ky=14, kx=12), tiny().train()
    sizes: list[tuple[int, ...]] = []

    def keep(x: Tensor) -> Tensor:
        sizes.append(tuple(x.shape))
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        model(measurement).image.abs().sum().backward()
    sampled, low = int(measurement.mask.sum()), 7 * 6
    token_counts = {sampled, low, 14 * 12 - sampled}
    assert sizes and not any(len(s) > 2 and set(s[-2:]) <= token_counts for s in sizes)


@pytest.mark.parametrize("size", [(14, 9), (7, 12), (5, 5), (1, 8)])
def test_measured_samples_come_back_on_any_size(size: tuple[int, int], make_measurement: Make) -> None:
    measurement = make_measurement(t=2, ky=size[0], kx=size[1]) if size[0] > 1 else one_line(size[1])
    kspace = fft2c(image(tiny(), measurement))
    mask = measurement.mask
    close(kspace[mask], measurement.kspace[:, 0][mask], 1e-5)
    assert (kspace[~mask].abs() > 1e-3).any()


def one_line(kx: int) -> Measurement:
    mask = torch.arange(kx).view(1, 1, 1, 1, kx) % 2 == 0
    return Measurement(
        torch.randn(1, 1, 1, 1, 1, kx, dtype=torch.complex64, generator=generator("line")), mask
    )


@pytest.mark.parametrize("shape", [(16, 24), (9, 25), (13, 7)])
def test_a_finer_grid_keeps_what_was_measured(shape: tuple[int, int], make_measurement: Make) -> None:
    """K-space beyond the measured grid is filled, the measured part stays, in the same image units."""
    measurement = make_measurement(t=1, ky=8, kx=12)
    fine = image(tiny(), measurement, Query(resolution=shape))
    factor = (shape[0] * shape[1] / (8 * 12)) ** 0.5
    inside = crop_centre(measurement.mask[:, 0], shape)
    wanted = crop_centre(measurement.kspace[:, 0, 0], shape) * factor
    kspace = fft2c(fine)[:, 0]
    close(kspace[inside], wanted[inside], 1e-5)
    outside = ~crop_centre(torch.ones(2, 1, 8, 12, dtype=torch.bool), shape)
    if outside.any():
        assert kspace[outside].abs().max() > 1e-3


def test_naming_the_measured_grid_changes_nothing(make_measurement: Make) -> None:
    measurement = make_measurement(t=1, ky=9, kx=12)
    close(image(tiny(), measurement, Query(resolution=(9, 12))), image(tiny(), measurement), 1e-6)


def test_nothing_missing_returns_the_measurement(make_measurement: Make) -> None:
    sampled = make_measurement(t=2)
    full = Measurement(make_measurement(t=2, seed=4).kspace, torch.ones_like(sampled.mask))
    close(fft2c(image(tiny(), full)), full.kspace[:, 0], 1e-5)


def test_a_batch_may_hold_a_case_with_nothing_missing(make_measurement: Make) -> None:
    measurement = make_measurement(t=1)
    mask = measurement.mask.clone()
    mask[1] = True
    mixed = Measurement(make_measurement(t=1, seed=2).kspace, mask)
    together = image(tiny(), mixed)
    close(fft2c(together)[1], mixed.kspace[1, 0], 1e-5)
    alone = Measurement(mixed.kspace[:1], mixed.mask[:1])
    close(together[:1], image(tiny(), alone), 1e-5)


def test_coils_are_reconstructed_one_by_one(make_measurement: Make) -> None:
    measurement = make_measurement(c=2, t=1, ky=8, kx=8)
    maps = torch.full((2, 2, 1, 8, 8), 0.5**0.5, dtype=torch.complex64)
    coils = [Measurement(measurement.kspace[:, i : i + 1], measurement.mask) for i in range(2)]
    wanted = sum(0.5**0.5 * image(tiny(), coil) for coil in coils)
    close(image(tiny(), Measurement(measurement.kspace, measurement.mask, maps)), wanted, 1e-5)


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        ({}, ("lr", "hr", "refine")),
        ({"refine": False}, ("lr", "hr")),
        ({"refine": False, "lowres": False}, ("hr",)),
    ],
)
def test_ablations_have_the_stages_that_are_left(
    options: dict[str, bool], stages: tuple[str, ...], make_measurement: Make
) -> None:
    model = tiny(**options)
    assert model.stages == stages
    steps = steps_of(model, make_measurement(t=1), model.stages[-1])
    assert (len(steps.lr), len(steps.hr), len(steps.refined)) == (
        1 if "lr" in stages else 0, 2, 2 if "refine" in stages else 0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="got stage 'joint'"):
        model.stage_loss("joint", make_measurement(), None, None)  # type: ignore[arg-type]
