"""The rivals of the K-Space Transformer, their bricks, and K-Space Transformer plus, beyond the common
laws.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kwise.coordinates import along_own_grid
from kwise.fourier import fft2c, ifft2c
from kwise.models import MODELS
from kwise.models.d5c5 import D5C5
from kwise.models.grids import fold_grids, resize_image
from kwise.models.kspace_transformer_plus import KSpaceTransformerPlus, Spectrum
from kwise.models.unet import ImageUNet
from kwise.nn.kspace_layers import wave_encoding
from kwise.nn.patches import from_patches, gather_tokens, to_patches
from kwise.nn.piecewise import PiecewiseLinear
from kwise.operator import zero_filled
from kwise.seeding import generator
from kwise.types import Measurement, Query

Make = Callable[..., Measurement]
SMALL = {"width": 16, "heads": 2, "ffn": 16, "encoder_layers": 1, "lr_layers": 1, "hr_layers": 1}
SMALL |= {"refine_channels": (4, 6)}
HARD = {
    "unet": {"channels": (4, 6), "convs": 1},
    "k_unet": {"channels": (4, 6), "convs": 1},
    "admm_net": {"stages_unrolled": 2, "channels": 4, "kernel": 3, "knots": 5},
    "d5c5": {"cascades": 2, "channels": 4, "middle": 1},
    "oucr_style": {"channels": 4, "iterations": 2},
    "kspace_transformer_plus": SMALL,
}


def build(name: str, **options: object) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return MODELS[name](**options).eval()


@torch.no_grad()
def image(model: nn.Module, measurement: Measurement, query: Query | None = None) -> Tensor:
    return model(measurement, query or Query()).image


def close(ours: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours, wanted, atol=tolerance, rtol=tolerance)


# -- the rivals


@pytest.mark.parametrize(
    ("name", "count"),
    [("d5c5", 565_770), ("unet", 3_000_674), ("k_unet", 3_000_674), ("oucr_style", 582_600)],
)
def test_published_sizes(name: str, count: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in MODELS[name]().parameters()) == count


@pytest.mark.parametrize("name", sorted(HARD))
def test_measured_samples_come_back(name: str, make_measurement: Make) -> None:
    measurement = make_measurement(t=2, ky=9, kx=11)
    kspace = fft2c(image(build(name, **HARD[name]), measurement))
    close(kspace[measurement.mask], measurement.kspace[:, 0][measurement.mask])
    assert (kspace[~measurement.mask].abs() > 1e-4).any(), "nothing was filled in"


@pytest.mark.parametrize("name", sorted(HARD))
def test_a_full_measurement_is_returned(name: str, make_measurement: Make) -> None:
    sampled = make_measurement(t=1, ky=10, kx=9)
    full = Measurement(make_measurement(t=1, ky=10, kx=9, seed=3).kspace, torch.ones_like(sampled.mask))
    close(image(build(name, **HARD[name]), full), zero_filled(full))


def test_noisy_samples_are_mixed_by_their_weight(make_measurement: Make) -> None:
    """(predicted + v measured) / (1 + v): the limit of a large v is the hard answer, of a small v the
    CNN's.
    """
    measurement = make_measurement(t=1)
    hard, soft, none = (
        image(build("d5c5", cascades=1, channels=4, noise_weight=v), measurement) for v in (None, 1.0, 1e-9)
    )
    middle = torch.where(measurement.mask[:, 0], (fft2c(none) + fft2c(hard))[:, 0] / 2, fft2c(none)[:, 0])
    close(fft2c(soft)[:, 0], middle)
    close(image(build("d5c5", cascades=1, channels=4, noise_weight=1e9), measurement), hard)
    with pytest.raises(ValueError, match="noise_weight=-1"):
        D5C5(noise_weight=-1)


def test_a_unet_may_leave_the_samples_to_themselves(make_measurement: Make) -> None:
    measurement = make_measurement(t=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ImageUNet(channels=(4, 6), convs=1, consistency=False).eval()
    kspace = fft2c(image(model, measurement))
    assert not torch.allclose(kspace[measurement.mask], measurement.kspace[:, 0][measurement.mask], atol=1e-3)


def test_a_piecewise_linear_function_starts_as_relu_and_interpolates() -> None:
    layer = PiecewiseLinear(2, knots=5)
    x = torch.linspace(-3, 3, 41).view(1, 1, 1, -1).expand(-1, 2, -1, -1)
    close(layer(x), x.relu())
    with torch.no_grad():
        layer.table[1] = torch.tensor([1.0, 0.0, 2.0, 0.0, 3.0])
    values = layer(torch.tensor([-1.5, -1.0, -0.75, 0.25, 1.0, 2.0]).view(1, 1, 1, -1).expand(-1, 2, -1, -1))
    close(values[0, 1, 0], torch.tensor([2.0, 1.0, 0.5, 1.0, 3.0, 9.0]))


# -- what they share


def test_resized_images_keep_their_intensity_and_their_centre() -> None:
    y, x = torch.meshgrid(torch.arange(16.0) - 8, torch.arange(12.0) - 6, indexing="ij")
    blob = torch.exp(-(y**2 / 32 + x**2 / 18)).to(torch.complex64)
    finer = resize_image(blob, (32, 27))
    close(finer[16, 13].abs(), torch.tensor(1.0), 1e-2)
    close(resize_image(finer, (16, 12)), blob, 1e-3)


def test_frames_are_reconstructed_alone_and_in_their_own_units(make_measurement: Make) -> None:
    measurement = make_measurement(t=3)
    factors = torch.tensor([1.0, 5.0, 1e-3]).view(1, 1, 1, 3, 1, 1)
    changed = Measurement(measurement.kspace * factors, measurement.mask)
    model = build("d5c5", **HARD["d5c5"])
    close(image(model, changed), image(model, measurement) * factors[:, 0], 1e-4)


def test_a_trajectory_over_the_grid_is_the_grid(make_measurement: Make) -> None:
    grid = make_measurement(z=2)
    gridded = fold_grids(along_own_grid(grid), Query())
    assert torch.equal(gridded.mask, fold_grids(grid, Query()).mask)
    close(gridded.kspace, fold_grids(grid, Query()).kspace, 1e-4)


# -- bricks


@pytest.mark.parametrize("patch", [(1, 1), (2, 3), (1, 6)])
def test_patches_come_back(patch: tuple[int, int]) -> None:
    x = torch.randn(2, 3, 4, 6, generator=generator("patches"))
    tokens = to_patches(x, patch)
    assert tokens.shape == (2, 24 // (patch[0] * patch[1]), 3 * patch[0] * patch[1])
    assert torch.equal(from_patches(tokens, patch, (4, 6)), x)
    with pytest.raises(ValueError, match="wanted multiples of"):
        to_patches(x, (3, 4))


def test_gathered_tokens_are_padded_to_the_longest() -> None:
    tokens = torch.arange(8.0).view(2, 4, 1)
    wanted = torch.tensor([[False, True, True, False], [False, False, False, True]])
    chosen, valid = gather_tokens(tokens, wanted)
    assert chosen[0].flatten().tolist() == [1, 2] and chosen[1, 0].item() == 7
    assert valid is not None and valid.tolist() == [[True, True], [True, False]]
    assert gather_tokens(tokens, torch.ones(2, 4, dtype=torch.bool))[1] is None


def test_waves_tell_positions_apart() -> None:
    code = wave_encoding(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 8)
    assert code.shape == (3, 8)
    close(code[0], torch.tensor([0.0, 1.0] * 4))
    close(code[1, :4], code[2, 4:])
    with pytest.raises(ValueError, match="multiple of 4"):
        wave_encoding(torch.zeros(1, 2), 6)


# -- K-Space Transformer plus


@pytest.mark.parametrize("lines", [True, False], ids=["lines", "points"])
def test_plus_costs_less_than_a_tenth_of_the_original(lines: bool) -> None:
    """At 128 x 128, 5-fold: the original's forward is 705 GFLOP by the same counter's rules."""
    with torch.device("meta"):
        model = KSpaceTransformerPlus()
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    mask = torch.rand(128, 1 if lines else 128, generator=generator("plus")) < 0.2
    kspace = torch.ones(1, 1, 1, 1, 128, 128, dtype=torch.complex64)
    measurement = Measurement(kspace, mask.expand(128, 128)[None, None, None])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(measurement)
    assert 5e9 < counter.get_total_flops() < 70e9


@pytest.mark.parametrize(
    "options",
    [
        {"aligned": False},
        {"whiten": False},
        {"known": False},
        {"hr_reads_samples": False},
        {"patch": (1, 1)},
        {"patch": (1, 8)},
    ],
)
def test_plus_without_one_of_its_changes(options: dict[str, object], make_measurement: Make) -> None:
    measurement = make_measurement(t=1, ky=9, kx=10)
    changed = image(build("kspace_transformer_plus", **(SMALL | options)), measurement)
    assert torch.isfinite(changed.abs()).all()
    assert not torch.allclose(changed, image(build("kspace_transformer_plus", **SMALL), measurement))


def test_low_resolution_tokens_stand_at_their_frequencies(make_measurement: Make) -> None:
    """The central patches of the whole grid and the LR patches have the same encoded positions."""
    model = build("kspace_transformer_plus", **SMALL, patch=(2, 2))
    device = torch.device("cpu")
    whole = model._positions((16, 16), 1.0, device).view(8, 8, -1)
    half = model._positions((8, 8), 1.0, device).view(4, 4, -1)
    close(whole[2:6, 2:6], half)


def test_the_first_image_is_the_measured_centre_filled(make_measurement: Make) -> None:
    model = build("kspace_transformer_plus", **SMALL, patch=(2, 2))
    grids = fold_grids(make_measurement(t=1, ky=16, kx=16), Query())
    with torch.no_grad():
        first, last = model.reconstruct(grids, (16, 16))
    outer = torch.ones(16, 16, dtype=torch.bool)
    outer[4:12, 4:12] = False
    close(fft2c(first)[:, outer], grids.kspace[:, outer])
    assert not torch.allclose(first, last)


def test_a_finer_grid_keeps_the_measured_samples(make_measurement: Make) -> None:
    measurement = make_measurement(t=1, ky=8, kx=10)
    fine = image(build("kspace_transformer_plus", **SMALL), measurement, Query(resolution=(19, 20)))
    assert fine.shape[-2:] == (19, 20)
    back = resize_image(fine, (8, 10))
    close(fft2c(back)[measurement.mask], measurement.kspace[:, 0][measurement.mask], 1e-4)


def test_the_spectrum_has_the_energy_of_an_image_of_rms_one() -> None:
    spectrum = Spectrum()((24, 20), (12, 20)).detach()
    middle = spectrum[6:18]
    assert float(middle.square().mean()) == pytest.approx(1, abs=1e-5)
    assert spectrum[12, 10] == spectrum.max()
    assert ifft2c(spectrum.to(torch.complex64)).abs().isfinite().all()


def test_other_stages_and_missing_truth_are_refused(make_measurement: Make) -> None:
    model = build("kspace_transformer_plus", **SMALL)
    with pytest.raises(ValueError, match="got stage 'lr'; wanted one of joint"):
        model.stage_loss("lr", make_measurement(), None, None)
