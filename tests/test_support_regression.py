"""The support regression against the same posterior computed by brute force, and on signals it has to
find.
"""

import math

import pytest
import torch

from kwise.coordinates import axis_coords
from kwise.fourier import fft1c
from kwise.models.harmonic_unet import HarmonicUNet
from kwise.models.support_regression import RowPrior, SupportRegression, solve
from kwise.nn.harmonics import harmonic_basis
from kwise.seeding import generator
from kwise.types import Measurement, Query


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


def test_it_finds_a_moving_edge_better_than_lines_alone() -> None:
    cine = beating_bar()
    lines, mask = undersampled(cine, 6)
    model = HarmonicUNet()
    kspace = fft1c(lines, -1).unsqueeze(1)
    with torch.no_grad():
        banks = model.independent(kspace, mask)
        refined = model.refined(kspace, mask, banks)[:, :, 0]

    def error(coefficients: torch.Tensor) -> float:
        return float((cine_of(coefficients, 12) - cine).norm() / cine.norm())

    alone = min(error(banks[:, h, :, 0]) for h in range(banks.shape[1]))
    assert error(refined) < 0.6 * alone


def test_fully_sampled_comes_back() -> None:
    cine = beating_bar(9, 24)
    lines, mask = undersampled(cine, 1)
    guess = torch.zeros(1, 9, 24, 24, dtype=torch.complex64)
    guess[:, 0] = cine.mean(dim=0)
    guess[:, 1] = cine.std(dim=0)
    model = SupportRegression(n_harmonics=4)
    with torch.no_grad():
        model.log_noise.fill_(-12.0)
        found = cine_of(model(lines, mask, guess), 9)
    assert (found - cine).norm() < 0.02 * cine.norm()


def test_a_batch_is_its_cases_one_by_one() -> None:
    cines = [beating_bar(10, 20), beating_bar(10, 20).flip(-1) * 2]
    parts = [undersampled(cine, every) for cine, every in zip(cines, (3, 7))]
    lines, mask = (torch.cat(p) for p in zip(*parts))
    guess = complex_noise(2, 9, 20, 20, word="guess")
    model = SupportRegression(n_harmonics=4)
    with torch.no_grad():
        together = model(lines, mask, guess)
        for k in range(2):
            alone = model(lines[k : k + 1], mask[k : k + 1], guess[k : k + 1])
            torch.testing.assert_close(together[k : k + 1], alone)


def test_held_out_lines_are_not_seen() -> None:
    """Rubbish in a held-out line changes what it is compared with, never what predicts it."""
    kspace = complex_noise(1, 1, 1, 8, 16, 16, word="scan")
    mask = torch.zeros(1, 1, 8, 16, 1, dtype=torch.bool)
    mask[:, :, :, ::2] = True
    model = HarmonicUNet(n_harmonics=3)
    seen: list[torch.Tensor] = []
    refined = model.refined

    def spy(kspace: torch.Tensor, mask: torch.Tensor, banks: torch.Tensor) -> torch.Tensor:
        seen.append(kspace)
        return refined(kspace, mask, banks)

    model.refined = spy  # type: ignore[method-assign]
    order = mask[0, 0, ..., 0].flatten().cumsum(0).view(8, 16)
    hidden = mask[0, 0, ..., 0] & (order % 4 == 0)
    louder = torch.where(hidden[None, None, None, :, :, None], 3j * kspace, kspace)
    scale_free = [model.held_out_error(Measurement(k, mask)) for k in (kspace, louder)]
    ratio = seen[1] / seen[0]
    known = seen[0].abs() > 0
    assert (ratio[known] - ratio[known][0]).abs().max() < 1e-4, "predictors differ by more than one scale"
    assert scale_free[0] != scale_free[1]


def test_the_prior_learns_from_held_out_lines() -> None:
    cine = beating_bar(12, 24)
    lines, mask = undersampled(cine, 4)
    measurement = Measurement(fft1c(lines, -1)[:, None, None], mask[:, None, :, :, None])
    model = HarmonicUNet()
    parameters = [*model.regression.parameters(), *model.support.parameters()]  # type: ignore[union-attr]
    optimiser = torch.optim.Adam(parameters, 0.05)
    errors = []
    for _ in range(12):
        optimiser.zero_grad()
        error = model.held_out_error(measurement)
        error.backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)
        optimiser.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.8 * errors[0]


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
