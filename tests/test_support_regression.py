"""The support regression against the same posterior computed by brute force, and on signals it has to
find.
"""

import math
from collections.abc import Callable

import pytest
import torch

from kwise.coordinates import axis_coords
from kwise.fourier import fft1c
from kwise.models.harmonic_unet import HarmonicUNet
from kwise.models.support_regression import RowPrior, SupportRegression, solve
from kwise.nn.harmonics import harmonic_basis
from kwise.seeding import generator
from kwise.types import Measurement, Query, Targets


def complex_noise(*shape: int, word: str) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=generator("support", word))


@pytest.mark.parametrize("ny", [8, 9])
def test_row_prior_is_the_covariance_of_its_image(ny: int) -> None:
    """E[f f^H] and E[f f^T] of f = F diag(shape) (real part + imaginary part), both with a stationary
    spectrum.
    """
    shape = complex_noise(2, ny, word="shape")
    spectrum = 1 / (1 + (axis_coords(ny) * ny).square())
    rest = torch.tensor(0.3)
    prior = RowPrior(shape, spectrum, rest)
    fourier = fft1c(torch.eye(ny), 0)
    texture = (fourier.mH * spectrum) @ fourier
    assert texture.imag.abs().max() < 1e-6
    for k in range(2):
        mixing = fourier @ torch.diag(shape[k])
        torch.testing.assert_close(prior.hermitian[k], (1 + rest) * mixing @ texture @ mixing.mH)
        torch.testing.assert_close(prior.plain[k], (1 - rest) * mixing @ texture @ mixing.T)


def test_solution_is_that_of_the_whole_system() -> None:
    n, ny, rest, noise = 3, 6, torch.tensor(0.2), torch.tensor(0.05)
    priors = [RowPrior(complex_noise(n, ny, word=w), torch.ones(ny), rest) for w in ("static", "moving")]
    rows = torch.tensor([3, 3, 0, 5, 2])
    cosines = torch.rand(5, 3, generator=generator("support", "cosines"))
    moving = cosines @ cosines.T
    values = complex_noise(n, 5, word="values")
    weights = solve(priors, rows, moving, values, noise)
    for k in range(n):
        hermitian, plain = (
            getattr(priors[0], name)[k][rows][:, rows] + getattr(priors[1], name)[k][rows][:, rows] * moving
            for name in ("hermitian", "plain")
        )
        # Widely linear: values = hermitian w / 2 + plain conj(w) / 2 + noise w.
        back = (hermitian @ weights[k] + plain @ weights[k].conj()) / 2 + noise * weights[k]
        torch.testing.assert_close(back, values[k], atol=1e-4, rtol=1e-4)


def beating_bar(n_frames: int = 12, size: int = 32) -> torch.Tensor:
    """(t, y, x): a bright bar whose lower edge moves, under a smooth phase."""
    y, x = axis_coords(size)[:, None], axis_coords(size)
    edge = 0.1 + 0.06 * torch.cos(2 * math.pi * torch.arange(n_frames) / n_frames)[:, None, None]
    bar = torch.sigmoid((y + 0.2) * 60) * torch.sigmoid((edge - y) * 60) * (x.abs() < 0.25)
    return bar * torch.polar(torch.ones(()), 0.8 * y + 0.5 * x)


def undersampled(cine: torch.Tensor, every: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lines (1, t, ky, x) and mask (1, t, ky): every so many lines, shifted from frame to frame, and DC."""
    t, ny, _ = cine.shape
    mask = (torch.arange(ny) + torch.arange(t)[:, None]) % every == 0
    mask[:, ny // 2] = True
    return (fft1c(cine, -2) * mask.unsqueeze(-1)).unsqueeze(0), mask.unsqueeze(0)


def cine_of(coefficients: torch.Tensor, n_frames: int) -> torch.Tensor:
    basis = harmonic_basis(torch.arange(n_frames) / n_frames, (coefficients.shape[1] - 1) // 2)
    return torch.einsum("tm,bmyx->btyx", basis.to(coefficients), coefficients)[0]


def error(coefficients: torch.Tensor, cine: torch.Tensor) -> float:
    return float((cine_of(coefficients, len(cine)) - cine).norm() / cine.norm())


def test_it_finds_a_moving_edge_better_than_lines_alone() -> None:
    cine = beating_bar()
    lines, mask = undersampled(cine, 6)
    model = SupportRegression()
    with torch.no_grad():
        assert error(model(lines, mask), cine) < 0.6 * error(model.first_guess(lines, mask), cine)


def test_fully_sampled_comes_back() -> None:
    cine = beating_bar(9, 24)
    lines, mask = undersampled(cine, 1)
    model = SupportRegression(n_harmonics=4)
    with torch.no_grad():
        model.log_noise.fill_(-12.0)
        assert error(model(lines, mask), cine) < 0.02


def test_a_batch_is_its_cases_one_by_one() -> None:
    cines = [beating_bar(10, 20), beating_bar(10, 20).flip(-1) * 2]
    parts = [undersampled(cine, every) for cine, every in zip(cines, (3, 7))]
    lines, mask = (torch.cat(p) for p in zip(*parts))
    model = SupportRegression(n_harmonics=4)
    with torch.no_grad():
        together = model(lines, mask)
        for k in range(2):
            alone = model(lines[k : k + 1], mask[k : k + 1])
            torch.testing.assert_close(together[k : k + 1], alone)


def test_held_out_lines_are_not_seen() -> None:
    """Rubbish in a held-out line changes what it is compared with, never what predicts it."""
    lines, mask = complex_noise(1, 8, 16, 16, word="scan"), torch.zeros(1, 8, 16, dtype=torch.bool)
    mask[:, :, ::2] = True
    lines = lines * mask.unsqueeze(-1)
    model = SupportRegression(n_harmonics=3)
    seen: list[torch.Tensor] = []
    model.first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    hidden = mask & (mask.flatten().cumsum(0).view_as(mask) % 4 == 0)
    louder = torch.where(hidden[..., None], 3j * lines, lines)
    errors = [model.held_out_error(x, mask) for x in (lines, louder)]
    assert all(torch.equal(values, seen[0]) for values in seen)
    assert (seen[0][hidden] == 0).all() and (seen[0][mask & ~hidden] != 0).all()
    assert errors[0] != errors[1]


def test_the_prior_learns_from_held_out_lines() -> None:
    lines, mask = undersampled(beating_bar(12, 24), 4)
    model = SupportRegression()
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    errors = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = model.held_out_error(lines, mask)
        loss.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
        optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.8 * errors[0]


def test_points_and_trajectories_cannot_fit_the_prior() -> None:
    model, mask = HarmonicUNet(n_harmonics=2), torch.zeros(1, 1, 5, 8, 8, dtype=torch.bool)
    mask[..., 3:5, 2:6] = True
    mask[..., 4, 3] = False
    measurement = Measurement(complex_noise(1, 1, 1, 5, 8, 8, word="points"), mask)
    targets = Targets(torch.zeros(1, 1, 5, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="wanted whole lines"):
        model.stage_loss("prior", measurement, targets, lambda *_: torch.zeros(()))
    with pytest.raises(ValueError, match=r"wanted one of net$"):
        HarmonicUNet(n_passes=0).stage_loss("prior", measurement, targets, lambda *_: torch.zeros(()))


def test_asking_frame_by_frame_is_asking_for_all() -> None:
    """What is remembered of a measurement never answers for another one, nor for other priors."""
    model = HarmonicUNet(n_harmonics=3).eval()
    mask = torch.rand(2, 1, 8, 16, 1, generator=generator("support", "mask")) < 0.4
    mask[..., 8, :] = True
    ours, other = (Measurement(complex_noise(2, 1, 1, 8, 16, 16, word=w), mask) for w in ("ours", "other"))
    with torch.inference_mode():
        whole = model(ours).logits
        parts = [model(ours, Query(frames=torch.full((2, 1), f))).logits for f in range(8)]
        torch.testing.assert_close(torch.cat(parts, dim=3), whole)
        assert (model(other).logits - whole).abs().max() > 1e-3
        torch.testing.assert_close(model(ours).logits, whole)
    with torch.no_grad():
        model.support.log_noise.add_(2.0)  # type: ignore[union-attr]
        assert (model(ours).logits - whole).abs().max() > 1e-4


def test_so_many_lines_are_answered_without_joining_them() -> None:
    """Fully sampled cines would take minutes: the bank answers, and the rest of the batch is joined still."""
    model = HarmonicUNet(n_harmonics=2)
    bank = complex_noise(2, 5, 1, 12, 12, word="bank")
    kspace = complex_noise(2, 1, 48, 12, 12, word="long")
    mask = torch.ones(2, 48, 12, dtype=torch.bool)
    mask[1] = torch.arange(12) % 6 == 0
    whole = torch.tensor([True, True])
    with torch.no_grad():
        found = model.joined(kspace * mask[:, None, :, :, None], mask, whole, bank)
    assert torch.equal(found[0], bank[0]) and (found[1] - bank[1]).abs().max() > 1e-3


@pytest.mark.parametrize("n_frames", [1, 2])
def test_too_few_frames_for_a_wave_have_a_mean(n_frames: int) -> None:
    model = SupportRegression()
    mask = torch.zeros(1, n_frames, 16, dtype=torch.bool)
    mask[..., 4:12] = True
    lines = torch.randn(1, n_frames, 16, 12, dtype=torch.complex64) * mask.unsqueeze(-1)
    found = model(lines, mask)
    assert found.shape == (1, 1, 16, 12) and bool(found.isfinite().all()) and bool(found.abs().any())


def test_a_slice_of_zeros_is_answered_with_zeros() -> None:
    mask = torch.zeros(1, 6, 16, dtype=torch.bool)
    mask[..., 4:12] = True
    found = SupportRegression()(torch.zeros(1, 6, 16, 12, dtype=torch.complex64), mask)
    assert found.shape[-2:] == (16, 12) and bool((found == 0).all())


def test_weights_loaded_in_inference_mode_answer_too(make_measurement: Callable[..., Measurement]) -> None:
    with torch.inference_mode():
        model = HarmonicUNet(channels=(4, 8), n_banks=2, n_harmonics=2).eval()
        measurement = make_measurement(ky=12, kx=8, t=6)
        torch.testing.assert_close(model(measurement).logits, model(measurement).logits)
