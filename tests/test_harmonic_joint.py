"""Phenotypes by closed form: the regression, the sizes it reads, and the model that joins them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kwise.models.harmonic_joint import N_PHENOTYPES, HarmonicJoint
from kwise.models.heart_sizes import N_STATISTICS, size_features, size_resolution
from kwise.nn.moment_regression import MomentRegression
from kwise.phenotypes import DISEASES
from kwise.seeding import generator
from kwise.tasks import Joint
from kwise.types import VIEWS, Batch, Measurement, Query, Targets

Make = Callable[..., Measurement]


# -- the regression


def drawn(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two correlated features and a constant, two values linear in them, noise that grows with the scale."""
    draw = generator("regression")
    x = torch.randn(n, 3, generator=draw)
    x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    x[:, 2] = 7.0
    log_scale = torch.rand(n, generator=draw) * 3 - 3
    noise = torch.randn(n, 2, generator=draw) * (0.3 * (-0.5 * log_scale).exp()).unsqueeze(1)
    values = torch.stack([100 + 10 * x[:, 0], 5 - 2 * x[:, 1]], dim=1) + noise * torch.tensor([10.0, 2.0])
    return x, values, log_scale


def test_a_regression_finds_the_line_and_how_far_off_it_is() -> None:
    x, values, log_scale = drawn(4000)
    regression = MomentRegression(torch.full((3,), 1e-3), 2)
    left_out = regression.fit(x[:3000], values[:3000], log_scale[:3000])
    assert left_out.shape == (3000, 2)
    guess, sd = regression(x[3000:], log_scale[3000:])
    expected = torch.stack([100 + 10 * x[3000:, 0], 5 - 2 * x[3000:, 1]], dim=1)
    torch.testing.assert_close(guess, expected, rtol=0.02, atol=0.3)
    z = (guess - values[3000:]) / sd
    for part in (log_scale[3000:] < -1.5, log_scale[3000:] >= -1.5):
        assert 0.85 < float(z[part].square().mean().sqrt()) < 1.15
    power = regression.sd_power / regression.scale_spread  # of the scale itself
    assert torch.allclose(power, torch.tensor([-0.5, -0.5]), atol=0.1)


def test_what_is_missing_is_left_out_exactly() -> None:
    """Without feature 0 the guess is the regression on feature 1 alone, and it says that it knows less."""
    x, values, log_scale = drawn(3000)
    both, alone = MomentRegression(torch.full((3,), 1e-3), 2), MomentRegression(torch.full((1,), 1e-3), 2)
    both.fit(x, values, log_scale)
    alone.fit(x[:, 1:2], values, log_scale)
    lacking = x[:50].clone()
    lacking[:, 0] = math.nan
    guess, sd = both(lacking, log_scale[:50])
    single, _ = alone(x[:50, 1:2], log_scale[:50])
    torch.testing.assert_close(guess[:, 0], single[:, 0], rtol=0.01, atol=0.3)
    assert (sd[:, 0] > both(x[:50], log_scale[:50])[1][:, 0]).all()
    nothing, spread = both(torch.full((1, 3), math.nan), log_scale[:1])
    torch.testing.assert_close(nothing[0], both.value_mean, rtol=0.01, atol=0)
    assert (spread[0] >= 0.9 * both.value_spread).all()


def test_unknown_values_count_nowhere_and_too_few_cases_are_an_error() -> None:
    x, values, log_scale = drawn(400)
    partly = values.clone()
    partly[::2, 1] = math.nan
    whole, half = MomentRegression(torch.full((3,), 1e-3), 2), MomentRegression(torch.full((3,), 1e-3), 2)
    whole.fit(x, values, log_scale)
    left_out = half.fit(x, partly, log_scale)
    assert torch.isnan(left_out[::2, 1]).all() and torch.isfinite(left_out[1::2]).all()
    torch.testing.assert_close(whole(x, log_scale)[0][:, 0], half(x, log_scale)[0][:, 0])
    with pytest.raises(ValueError, match="got 4 cases; wanted at least 10"):
        half.fit(x[:4], values[:4], log_scale[:4])


# -- sizes


def disc(size: int, radius: float) -> Tensor:
    place = torch.arange(size) - size // 2
    inside = place[:, None] ** 2 + place[None, :] ** 2 <= radius**2
    return torch.stack([~inside, inside]).float()  # (k + 1, y, x)


def test_sizes_are_volumes_and_areas() -> None:
    frames = torch.stack([disc(64, r) for r in (12.0, 9.0, 6.0, 9.0)], dim=1)  # (k + 1, t, y, x)
    whole = frames.unsqueeze(1).expand(-1, 3, -1, -1, -1).unsqueeze(0)  # (1, k + 1, z, t, y, x)
    kinds, seen = torch.tensor([[0, 0, 1]]), torch.ones(1, 3, dtype=torch.bool)
    found = size_features(whole, torch.tensor([[8.0, 2.0, 2.0]]), kinds, seen)
    assert found.shape == (1, len(size_resolution(2)))
    stack, long_axis, *others = found.reshape(len(VIEWS), N_STATISTICS)
    pixels = frames[1].sum(dim=(1, 2))
    torch.testing.assert_close(stack[3], pixels.min() * 0.04 * 2 * 0.8)  # two slices of 8 mm, in mL
    torch.testing.assert_close(stack[4], pixels.max() * 0.04 * 2 * 0.8)
    torch.testing.assert_close(long_axis[0], pixels.mean() * 0.04)  # cm2
    assert long_axis[1] > 0  # largest at frame 0
    assert torch.isnan(torch.stack(others)).all()  # views nobody measured


def test_more_slices_of_half_the_thickness_give_the_same_numbers() -> None:
    coarse = torch.stack([disc(32, r) for r in (9.0, 7.0, 5.0, 7.0)], dim=1)[None, :, None]
    coarse = coarse.expand(-1, -1, 2, -1, -1, -1)
    told = torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool)
    first = size_features(coarse, torch.tensor([[8.0, 2.0, 2.0]]), *told)
    doubled = torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.bool)
    fine = coarse.repeat_interleave(2, dim=2)
    second = size_features(fine, torch.tensor([[4.0, 2.0, 2.0]]), *doubled)
    torch.testing.assert_close(first, second, equal_nan=True)


# -- the model


def joint_model() -> HarmonicJoint:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return HarmonicJoint(channels=(4, 8), n_banks=2, n_harmonics=2).eval()


def viewed(make_measurement: Make) -> Measurement:
    measured = make_measurement(z=3, ky=8, kx=8)
    spacing = torch.tensor([[8.0, 2.0, 2.0]]).expand(2, -1)
    return replace(measured, views=torch.tensor([[1, 0, 0]]).expand(2, -1), spacing_mm=spacing)


def batches(make_measurement: Make, ill: float = 0.5) -> Iterator[Batch]:
    draw = generator("people")
    for seed in range(10):
        measured = viewed(make_measurement)
        measured = replace(measured, kspace=measured.kspace * (1 + 0.1 * seed))
        labels = torch.randint(0, 6, (2, *measured.shape[1:]), generator=draw)
        diseases = (torch.rand(2, len(DISEASES), generator=draw) < ill).float()
        told = torch.randn(2, N_PHENOTYPES, generator=draw) * 10 + 100
        yield Batch(("a", "b"), measured, Targets(labels, phenotypes=told, diseases=diseases), (4.0, 4.0))


def test_one_pass_gives_every_answer_and_heads_are_solved_for(make_measurement: Make) -> None:
    model = joint_model()
    model.fit(batches(make_measurement))
    assert not torch.equal(model.threshold, torch.full((len(DISEASES),), 0.5))
    answer = model(viewed(make_measurement))
    assert answer.phenotypes.shape == (2, N_PHENOTYPES) and (answer.phenotype_sd > 0).all()
    assert answer.diseases.shape == (2, len(DISEASES)) and torch.isfinite(answer.diseases).all()
    assert answer.logits.shape[:3] == (2, 6, 3) and answer.image.shape[:2] == (2, 3)
    assert (answer.image >= 0).all()
    with pytest.raises(ValueError, match="got 0 of 20 cases with CAD"):
        model.fit(batches(make_measurement, ill=0.0))


def test_a_missing_view_is_as_if_it_were_not_there(make_measurement: Make) -> None:
    model, measured = joint_model(), viewed(make_measurement)
    model.fit(batches(make_measurement))
    mask = measured.mask.clone()
    mask[:, 2] = False
    lacking = model(replace(measured, mask=mask))
    shorter = Measurement(
        measured.kspace[:, :, :2], measured.mask[:, :2], views=measured.views[:, :2],
        spacing_mm=measured.spacing_mm,
    )  # fmt: skip
    without = model(shorter)
    torch.testing.assert_close(lacking.phenotypes, without.phenotypes, rtol=5e-3, atol=0.1)  # 20 cases
    torch.testing.assert_close(lacking.logits[:, :, :2], without.logits)
    assert not lacking.logits[:, :, 2].any() and not lacking.image[:, 2].any()
    assert not torch.allclose(lacking.phenotypes, model(measured).phenotypes)


def test_only_the_trunk_is_trained_by_gradients(make_measurement: Make) -> None:
    model, batch = joint_model(), next(batches(make_measurement))
    loss = model.stage_loss("trunk", batch.measurement, batch.targets, Joint(reconstruction=0.0).loss)
    loss.backward()
    assert all(p.grad is not None for p in model.trunk.net.parameters())
    with pytest.raises(ValueError, match="wanted trunk"):
        model.stage_loss("heads", batch.measurement, batch.targets, Joint().loss)


def test_without_spacing_nothing_has_a_size(make_measurement: Make) -> None:
    answer = joint_model()(replace(viewed(make_measurement), spacing_mm=None))
    assert answer.phenotypes is None and answer.logits is not None


def test_numbers_of_the_heart_do_not_depend_on_the_frames_asked_for(make_measurement: Make) -> None:
    model, measured = joint_model(), viewed(make_measurement)
    model.fit(batches(make_measurement))
    one = model(measured, Query(frames=torch.tensor([[1], [2]])))
    whole = model(measured)
    torch.testing.assert_close(one.phenotypes, whole.phenotypes)
    torch.testing.assert_close(one.logits[0, :, :, 0], whole.logits[0, :, :, 1])
