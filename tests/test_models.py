"""Laws every model obeys. A new model inherits them by its line in MODELS; TINY keeps it fast here."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kwise.coordinates import along_own_grid
from kwise.fourier import fft2c
from kwise.models import MODELS
from kwise.models.mean_shape import MeanShape
from kwise.seeding import generator
from kwise.types import Batch, Measurement, Prediction, Query, Samples, Targets

Make = Callable[..., Measurement]
TINY: dict[str, dict[str, object]] = {
    "disk": {"width": 32, "n_latents": 6, "layers": 2, "ffn": 16, "octaves": (3, 3, 2), "value_octaves": 3},
    "disk_plus": {"width": 16, "n_layers": 1, "n_heads": 2, "n_positions": 4, "n_profiles": 3},
    "harmonic_unet": {"channels": (4, 8), "n_banks": 2, "n_harmonics": 2},
    "syn_net": {"channels": (4, 8)},
    "syn_net_shared": {"channels": (4, 8), "n_windows": 2},
    "li_net": {"latent": 6, "matrix": (16, 12), "channels": (4, 6), "n_frames": 4},
    "nnunet_style": {"channels": (4, 8, 8)},
    "mean_shape": {"matrix": (8, 8)},
    "kspace_transformer": {
        "width": 16, "heads": 2, "ffn": 16, "encoder_layers": 1, "lr_layers": 1, "hr_layers": 2,
        "refine_channels": 4, "refine_convs": 1,
    },
    "kspace_transformer_plus": {
        "width": 16, "heads": 2, "ffn": 16, "encoder_layers": 1, "lr_layers": 1, "hr_layers": 2,
        "patch": (2, 3), "refine_channels": (4, 6),
    },
    "unet": {"channels": (4, 6), "convs": 1},
    "k_unet": {"channels": (4, 6), "convs": 1},
    "admm_net": {"stages_unrolled": 2, "channels": 4, "kernel": 3, "knots": 5},
    "d5c5": {"cascades": 2, "channels": 4, "middle": 1},
    "oucr_style": {"channels": 4, "iterations": 2},
    "kmtr": {"preset": "tiny"},
    "kmtr_joint": {"preset": "tiny"},
    "harmonic_joint": {"channels": (4, 8), "n_banks": 2, "n_harmonics": 2},
    "kspace_mae": {"preset": "tiny"},
    "image_mae": {"preset": "tiny"},
    "kmtr_align": {"preset": "tiny", "embedding": 8, "chunk": 1},
    "vit": {"preset": "tiny"},
    "resnet50": {"channels": 8, "n_frames": 6},
    "k_gin": {
        "matrix": (12, 8), "width": 16, "layers": 1, "decoder_layers": 1, "heads": 2, "n_frames": 6,
    },
}  # fmt: skip
# Other answers, and other ways to read, of some models: name-of-model then what is changed.
VARIANTS: dict[str, dict[str, object]] = {
    "kmtr-diseases": {"head": "diseases"},
    "kmtr-segmentation": {"head": "segmentation"},
    "kmtr-image": {"head": "image"},
    "kmtr-lines": {"tokens": "lines"},
    "kmtr-spectral": {"tokens": "spectral"},
    "kmtr-unmasked": {"mask_channel": False},
    "kmtr_joint-phenotypes": {"heads": ("phenotypes",)},
    "kmtr_joint-diseases": {"heads": ("diseases",)},
    "kmtr_joint-image": {"heads": ("image",), "tokens": "patches"},
    "kspace_mae-spectral": {"tokens": "spectral"},
    "vit-diseases": {"head": "diseases"},
    "kspace_transformer_plus-no_refine": {"refine": False},
    "kspace_transformer_plus-no_lr": {"lowres": False},
    "syn_net_shared-told": {"context": True},
    "resnet50-kspace": {"sees": "kspace", "head": "diseases"},
}
# These answer with an image in the units measured; all others with class logits.
RECONSTRUCTIONS = {"kspace_transformer", "kspace_transformer_plus", "unet", "k_unet", "admm_net", "d5c5"}
RECONSTRUCTIONS |= {"kspace_transformer_plus-no_refine", "kspace_transformer_plus-no_lr"}
RECONSTRUCTIONS |= {"oucr_style", "zero_filled", "k_gin", "image_mae", "kmtr-image", "kmtr_joint-image"}
RESTORED = {"kspace_mae", "kspace_mae-spectral"}  # answer with all of k-space, in the units measured
# These answer with numbers of the case as a whole, whatever frames are asked.
VECTORS = {"kmtr", "kmtr-diseases", "kmtr-lines", "kmtr-spectral", "kmtr-unmasked", "vit", "vit-diseases"}
VECTORS |= {"kmtr_joint-phenotypes", "kmtr_joint-diseases", "resnet50", "resnet50-kspace", "train_mean"}
VECTORS |= {"kmtr_align"}
# These read all slices together, as views of one heart.
JOIN_VIEWS = {"kmtr_joint", "kmtr-segmentation", "image_mae", "kmtr-image", "kmtr_joint-image"}
SIZES = [{"ky": 9, "kx": 14}, {"ky": 12, "kx": 7, "z": 2}]

NAMES = sorted([*MODELS, *VARIANTS])
every_model = pytest.mark.parametrize("name", NAMES)
# Models that answer on a grid of frames, slices and pixels.
every_grid_model = pytest.mark.parametrize("name", [n for n in NAMES if n not in VECTORS | RESTORED])


def build(name: str, **changes: object) -> nn.Module:
    """A tiny model in evaluation mode, the same on every call."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        kind = name.partition("-")[0]
        model = MODELS[kind](**TINY.get(kind, {}), **VARIANTS.get(name, {}), **changes).eval()
    if isinstance(model, MeanShape):  # not learned by gradients
        labels = torch.randint(0, 4, (2, 1, 3, 9, 8), generator=generator("fitted"))
        measured = Measurement(torch.ones(2, 1, 1, 3, 9, 8) * 1j, torch.ones(2, 1, 3, 9, 8).bool())
        model.fit([Batch(("a", "b"), measured, Targets(labels), (1.0, 1.0))])
    return model


def ask(model: nn.Module, measurement: Measurement, query: Query | None = None) -> Tensor:
    """The answer with a class axis: logits (b, k, ...), an image as (b, 1, ...), or numbers (b, n)."""
    with torch.no_grad():
        answer = model(measurement) if query is None else model(measurement, query)
    if answer.logits is not None:
        return answer.logits
    if answer.image is not None:
        return answer.image.unsqueeze(1)
    said = (answer.phenotypes, answer.phenotype_sd, answer.diseases, answer.disease_threshold)
    numbers = [x for x in said if x is not None]
    if numbers:
        return torch.cat(numbers, dim=1)
    return answer.latents if answer.kspace is None else answer.kspace


def channels(name: str) -> int:
    if name in RECONSTRUCTIONS | RESTORED:
        return 1
    return 6 if name in ("kmtr_joint", "harmonic_joint", "kmtr-segmentation") else 4


def only(measurement: Measurement, case: int) -> Measurement:
    """A batch of one case."""
    chosen = slice(case, case + 1)
    return Measurement(measurement.kspace[chosen], measurement.mask[chosen])


def close(ours: Tensor, wanted: Tensor, tolerance: float = 2e-4) -> None:
    torch.testing.assert_close(ours, wanted, atol=tolerance, rtol=tolerance)


@every_model
@pytest.mark.parametrize("size", SIZES)
def test_every_answer_is_finite(name: str, size: dict[str, int], make_measurement: Make) -> None:
    measurement = make_measurement(**size)
    answer = ask(build(name), measurement)
    assert len(answer) == len(measurement.kspace) and torch.isfinite(answer.abs()).all()


@every_grid_model
@pytest.mark.parametrize("size", SIZES)
def test_answer_is_finite_and_shaped_as_measured(
    name: str, size: dict[str, int], make_measurement: Make
) -> None:
    measurement = make_measurement(**size)
    logits = ask(build(name), measurement)
    b, z, t, y, x = measurement.shape
    assert logits.shape == (b, channels(name), z, t, y, x)
    assert torch.isfinite(logits).all()


@every_grid_model
def test_any_resolution_can_be_asked(name: str, make_measurement: Make) -> None:
    measurement = make_measurement(ky=8, kx=10)
    logits = ask(build(name), measurement, Query(resolution=(13, 6)))
    assert logits.shape == (2, channels(name), 1, 3, 13, 6)
    assert torch.isfinite(logits).all()


@every_model
def test_padding_changes_nothing(name: str, make_measurement: Make) -> None:
    measurement, model = make_measurement(ky=9, kx=10, z=2), build(name)
    counts = measurement.mask.flatten(1).sum(dim=1)
    assert counts[0] != counts[1], "the batch must be ragged"
    together = ask(model, measurement)
    for case in range(2):
        close(together[case : case + 1], ask(model, only(measurement, case)))


@every_grid_model
def test_slices_are_answered_as_if_alone(name: str, make_measurement: Make) -> None:
    if name in JOIN_VIEWS:
        pytest.skip("reads all views of a heart together")
    measurement, model = make_measurement(ky=9, kx=10, z=3), build(name)
    single = Measurement(measurement.kspace[:, :, 1:2], measurement.mask[:, 1:2])
    close(ask(model, measurement)[:, :, 1:2], ask(model, single))


@every_model
def test_cases_do_not_talk(name: str, make_measurement: Make) -> None:
    measurement, model = make_measurement(), build(name)
    other = measurement.kspace.clone()
    other[1] = other[1].square()  # a mere reordering or scaling could hide in a mean
    changed = replace(measurement, kspace=other)
    close(ask(model, changed)[0], ask(model, measurement)[0], 1e-6)


@every_model
def test_rubbish_that_was_not_acquired_changes_nothing(name: str, make_measurement: Make) -> None:
    measurement, model = make_measurement(), build(name)
    rubbish = torch.full_like(measurement.kspace, complex(float("nan"), 1e9))
    dirty = torch.where(measurement.mask.unsqueeze(1), measurement.kspace, rubbish)
    assert torch.equal(ask(model, Measurement(dirty, measurement.mask)), ask(model, measurement))


@every_model
@pytest.mark.parametrize("factor", [1e-7, 1e4])
def test_scale_of_the_measurement_changes_nothing(name: str, factor: float, make_measurement: Make) -> None:
    """Nothing but the units of an image."""
    measurement, model = make_measurement(), build(name)
    scaled = replace(measurement, kspace=factor * measurement.kspace)
    units = factor if name in RECONSTRUCTIONS | RESTORED else 1
    close(ask(model, scaled) / units, ask(model, measurement), 1e-4)


@every_grid_model
def test_queried_frames_are_slices_of_the_full_answer(name: str, make_measurement: Make) -> None:
    measurement, model = make_measurement(t=4, z=2), build(name)
    full = ask(model, measurement)
    frames = torch.tensor([[2, 0], [3, 3]])
    wanted = torch.stack([full[case][:, :, frames[case]] for case in range(2)])
    close(ask(model, measurement, Query(frames=frames)), wanted)


@every_grid_model
def test_queried_points_are_gathered_from_the_full_answer(name: str, make_measurement: Make) -> None:
    measurement, model = make_measurement(z=2, ky=6, kx=9), build(name)
    frames = torch.tensor([[1, 2], [0, 1]])
    points = torch.tensor([[0, 53, 60, 107], [5, 5, 99, 1]])
    full = ask(model, measurement, Query(frames=frames)).flatten(3)
    wanted = torch.stack([full[case][..., points[case]] for case in range(2)])
    close(ask(model, measurement, Query(frames=frames, points=points)), wanted)


@every_model
def test_a_frame_that_does_not_exist_is_refused(name: str, make_measurement: Make) -> None:
    with pytest.raises((ValueError, IndexError)):
        build(name)(make_measurement(t=3), Query(frames=torch.tensor([[3], [0]])))


@every_model
def test_order_of_the_samples_changes_nothing(
    name: str, make_measurement: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[MODELS[name.partition("-")[0]].__module__]
    gathers = [g for g in ("gather_samples", "gather_lines") if hasattr(module, g)]
    if not gathers:
        pytest.skip("reads the grid, not a set")
    measurement, model = make_measurement(z=2), build(name)
    before, calls = ask(model, measurement), []

    def permuted(original: Callable[[Measurement], Samples]) -> Callable[[Measurement], Samples]:
        def gather(measured: Measurement) -> Samples:
            calls.append(1)
            return permute(original(measured))

        return gather

    for gather in gathers:
        monkeypatch.setattr(module, gather, permuted(getattr(module, gather)))
    close(ask(model, measurement), before)
    assert calls, "the model never gathered its samples"


def permute(samples: Samples) -> Samples:
    """The same set in another order, padding included."""
    order = torch.randperm(samples.values.shape[1], generator=generator("order"))
    valid = None if samples.valid is None else samples.valid[:, order]
    return Samples(samples.values[:, order], samples.coords[:, order], valid)


# -- laws of k-space off the grid, and of coils

POINTS = {"disk_plus": {"tokens": "points"}}  # what a model needs to read a trajectory


def build_for_points(name: str) -> nn.Module:
    """A tiny model that reads trajectories."""
    return build(name, **POINTS.get(name, {}))


def radial(z: int = 1, c: int = 1, n_spokes: int = 5, points: int = 12) -> Measurement:
    """Two cases of spokes at golden angles, case 1 with a spoke fewer, of a smooth k-space."""
    angles = 1.9416 * torch.arange(2 * z * 3 * n_spokes).view(2, z, 3, n_spokes, 1)
    radius = (torch.arange(points) - points // 2) / points
    path = torch.stack([angles.sin() * radius, angles.cos() * radius], dim=-1)
    mask = torch.ones(2, z, 3, n_spokes, points, dtype=torch.bool)
    mask[1, :, :, -1] = False
    kspace = torch.randn(2, c, z, 3, n_spokes, points, dtype=torch.complex64, generator=generator("radial"))
    return Measurement(kspace, mask, None, path, image_shape=(points, points - 1))


@every_model
def test_a_trajectory_is_answered_on_its_grid(name: str) -> None:
    measurement, model = radial(z=2), build_for_points(name)
    answer = ask(model, measurement)
    assert torch.isfinite(answer.abs()).all()
    if name in VECTORS:
        assert answer.ndim > 1 and len(answer) == 2
    else:
        assert answer.shape == (2, channels(name), 2, 3, 12, 11)


@every_model
def test_spokes_have_no_order_and_padding_is_nothing(name: str) -> None:
    measurement, model = radial(), build_for_points(name)
    order = torch.randperm(5, generator=generator("spokes"))
    assert measurement.trajectory is not None
    turned = replace(
        measurement,
        kspace=measurement.kspace[..., order, :],
        mask=measurement.mask[..., order, :],
        trajectory=measurement.trajectory[..., order, :, :],
    )
    before = ask(model, measurement)
    close(ask(model, turned), before, 1e-3)
    one = slice(1, 2)
    alone = Measurement(
        measurement.kspace[one, ..., :4, :], measurement.mask[one, ..., :4, :],
        None, measurement.trajectory[one, ..., :4, :, :], image_shape=(12, 11),
    )  # fmt: skip
    close(ask(model, alone), before[one], 1e-3)


@every_model
def test_rubbish_off_the_grid_changes_nothing(name: str) -> None:
    measurement, model = radial(), build_for_points(name)
    rubbish = torch.full_like(measurement.kspace, complex(float("nan"), 1e9))
    dirty = torch.where(measurement.mask.unsqueeze(1), measurement.kspace, rubbish)
    assert torch.equal(ask(model, replace(measurement, kspace=dirty)), ask(model, measurement))


@every_model
def test_the_grid_as_a_trajectory_is_answered_like_the_grid(name: str, make_measurement: Make) -> None:
    grid = make_measurement(ky=9, kx=8)
    model = build_for_points(name)
    close(ask(model, along_own_grid(grid)), ask(model, grid), 1e-3)


def test_readout_lines_cannot_be_had_from_spokes() -> None:
    with pytest.raises(ValueError, match="got a non-Cartesian trajectory; wanted a Cartesian grid"):
        build("disk_plus")(radial())


# These reconstruct coil by coil, real and imaginary parts by different filters: a phase changes what they
# see.
COIL_BY_COIL = {"kspace_transformer", "kspace_transformer_plus", "unet", "k_unet", "admm_net", "oucr_style"}
COIL_BY_COIL |= {"kspace_transformer_plus-no_refine", "kspace_transformer_plus-no_lr"}
ONE_COIL = {"disk"}  # the published architecture has no coils: it says how many it was built for


def coils(measurement: Measurement, change: Tensor) -> Measurement:
    """The same measurement with its coils mixed by a matrix (c, c)."""
    return replace(measurement, kspace=torch.einsum("dc,bcztyx->bdztyx", change, measurement.kspace))


def of_one_image(make_measurement: Make, n_coils: int = 3) -> Measurement:
    """A measurement whose coils see one image, as coils do, each with a smooth sensitivity of its own."""
    single = make_measurement(ky=12, kx=10, z=2)
    image = torch.randn(2, 1, 2, 3, 12, 10, dtype=torch.complex64, generator=generator("object"))
    image[..., 4:8, 3:7] += 4
    slope, places = torch.linspace(0.3, 1, 10), range(n_coils)
    maps = torch.stack([torch.polar(slope.roll(3 * i), torch.full((10,), 2.0 * i)) for i in places])
    maps = maps[None, :, None, None, None]
    return Measurement(fft2c(image * maps), single.mask)


@every_model
def test_coils_have_no_order_and_no_common_phase(name: str, make_measurement: Make) -> None:
    measurement, model = of_one_image(make_measurement), build(name)
    if name in ONE_COIL:
        with pytest.raises(ValueError, match="got 3 coils; wanted n_coils=1"):
            ask(model, measurement)
        return
    before = ask(model, measurement)
    assert torch.isfinite(before.abs()).all()
    swapped = ask(model, coils(measurement, torch.eye(3)[[2, 0, 1]].to(torch.complex64)))
    turned = ask(model, coils(measurement, torch.polar(torch.ones(()), torch.tensor(0.7)) * torch.eye(3)))
    close(swapped, before, 2e-3)
    if name not in COIL_BY_COIL:
        close(turned, before, 2e-3)


@every_model
def test_every_parameter_gets_a_gradient(
    name: str, make_measurement: Make, global_state_untouched: None
) -> None:
    measurement, model = make_measurement(ky=12, kx=16, z=2, t=6), build(name).train()
    _training_loss(model, measurement).backward()
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # frozen on purpose: where nothing reads it
        assert parameter.grad is not None, f"{key} got no gradient"
        assert torch.isfinite(parameter.grad).all(), f"{key} got a gradient that is not finite"
        assert parameter.grad.abs().max() > 0, f"{key} got a gradient of zero"


def _training_loss(model: nn.Module, measurement: Measurement) -> Tensor:
    """Cross-entropy or distance of the answer, and of every stage where a model is trained in stages."""
    shape = measurement.shape
    image = torch.randn(shape, dtype=torch.complex64, generator=generator("image"))
    targets = Targets(torch.randint(0, 4, shape, generator=generator("labels")), image)
    loss = task_loss(model(measurement), targets)
    if not loss.requires_grad:  # nothing to train
        loss = loss + torch.zeros((), requires_grad=True)
    staged: Any = model
    for stage in getattr(model, "stages", ()):
        loss = loss + staged.stage_loss(stage, measurement, targets, task_loss)
    return loss


def task_loss(prediction: Prediction, targets: Targets) -> Tensor:
    """Cross-entropy of logits, squares of the distance of images, of everything else itself; summed."""
    loss = torch.zeros(())
    if prediction.logits is not None:
        truth = targets.at_points()
        loss = loss + functional.cross_entropy(prediction.logits.flatten(3), truth, ignore_index=-1)
    if prediction.image is not None:
        loss = loss + (prediction.image - targets.image).abs().square().mean()
    for said in (prediction.phenotypes, prediction.phenotype_sd, prediction.diseases, prediction.kspace):
        if said is not None:
            loss = loss + said.abs().square().mean().log1p()
    if prediction.latents is not None:
        loss = loss + prediction.latents.square().mean()
    return loss
