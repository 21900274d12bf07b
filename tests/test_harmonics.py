"""Bayesian harmonic regression: against the closed form, and what it promises of few samples."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from kwise.coordinates import axis_coords
from kwise.nn.harmonics import HarmonicRegression, harmonic_basis
from kwise.seeding import generator

T, ROWS, WIDTH = 12, 6, 3


def noise(*shape: int, word: object = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=generator("harmonics", word))


def sampled(share: float, word: object = 0) -> tuple[Tensor, Tensor]:
    """Random values (b, t, r, d) under a random mask (b, t, r); row 0 of case 0 has no sample."""
    mask = torch.rand(2, T, ROWS, generator=generator("mask", word)) < share
    mask[0, :, 0] = False
    return noise(2, T, ROWS, WIDTH, word=word) * mask.unsqueeze(-1), mask


def believing(log_variance: float, n_harmonics: int = 5) -> HarmonicRegression:
    """One bank whose prior is the same for every harmonic and row."""
    regression = HarmonicRegression(1, n_harmonics)
    with torch.no_grad():
        regression.log_variance.fill_(log_variance)
    return regression


def test_the_basis_is_orthonormal_over_a_cycle() -> None:
    basis = harmonic_basis(torch.arange(T) / T, 5)
    torch.testing.assert_close(basis.T @ basis / T, torch.eye(11), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis[3], harmonic_basis(torch.tensor(3 / T + 1.0), 5), atol=1e-4, rtol=0)


def test_a_fully_sampled_band_limited_signal_is_recovered() -> None:
    coefficients = noise(1, 1, ROWS, 11, WIDTH)
    basis = harmonic_basis(torch.arange(T) / T, 5).to(torch.complex64)
    values = torch.einsum("tm,bhrmd->btrd", basis, coefficients)
    regression = believing(12.0)
    found = regression(values, torch.ones(1, T, ROWS, dtype=torch.bool), axis_coords(ROWS))
    torch.testing.assert_close(found, coefficients, atol=1e-4, rtol=1e-4)


def test_a_signal_is_recovered_from_as_many_samples_as_it_has_harmonics() -> None:
    """The mean and one harmonic from five frames of twelve, wherever they lie."""
    coefficients = noise(1, 1, ROWS, 3, WIDTH)
    basis = harmonic_basis(torch.arange(T) / T, 1).to(torch.complex64)
    mask = torch.zeros(1, T, ROWS, dtype=torch.bool)
    mask[:, [0, 2, 5, 7, 11]] = True
    values = torch.einsum("tm,bhrmd->btrd", basis, coefficients) * mask.unsqueeze(-1)
    found = believing(12.0, n_harmonics=1)(values, mask, axis_coords(ROWS))
    torch.testing.assert_close(found, coefficients, atol=1e-3, rtol=1e-3)


def test_rows_without_a_sample_are_zero() -> None:
    values, mask = sampled(0.3)
    found = HarmonicRegression()(values, mask, axis_coords(ROWS))
    strength = found.abs().amax(dim=(1, 3, 4))
    assert torch.equal(strength > 0, mask.any(dim=1)) and not bool(mask[0, :, 0].any())
    assert bool(torch.isfinite(torch.view_as_real(found)).all())


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_it_is_the_closed_form_ridge_solution(share: float) -> None:
    """(B^T W B + S^-1)^-1 B^T W v with numpy in double precision, bank by bank and row by row."""
    values, mask = sampled(share, share)
    regression = HarmonicRegression(2, 4)
    with torch.no_grad():
        regression.log_variance.add_(torch.randn(2, 5, 9, generator=generator("prior")))
    rows = axis_coords(ROWS)
    found = regression(values, mask, rows).detach().numpy()
    variance = regression.log_prior(rows).double().exp().detach().numpy()
    basis = harmonic_basis(torch.arange(T) / T, 4).double().numpy()
    for b in range(2):
        for h in range(2):
            for r in range(ROWS):
                seen = mask[b, :, r].numpy()
                system = basis[seen].T @ basis[seen] + np.diag(1 / variance[h, r])
                wanted = np.linalg.solve(system, basis[seen].T @ values[b, :, r].numpy()[seen])
                np.testing.assert_allclose(found[b, h, r], wanted, atol=2e-4, rtol=2e-3)


def test_it_is_normalised_by_what_was_sampled() -> None:
    """The mean of a still row does not grow with the number of frames that saw it."""
    means = []
    for n in (1, 3, 12):
        mask = torch.zeros(1, T, 1, dtype=torch.bool)
        mask[:, :n] = True
        found = believing(8.0, n_harmonics=0)(mask.unsqueeze(-1).to(torch.complex64), mask, torch.zeros(1))
        means.append(found.real.item())
    assert means == pytest.approx([1.0] * 3, abs=1e-3)


def test_a_stronger_belief_in_rest_gives_smoother_motion() -> None:
    values, mask = sampled(0.4)
    still, mobile = (believing(x)(values, mask, axis_coords(ROWS))[:, :, :, 1:] for x in (-8.0, 4.0))
    assert still.abs().square().sum() < 1e-3 * mobile.abs().square().sum()


def test_the_prior_is_even_linear_between_knots_and_learned() -> None:
    regression = HarmonicRegression(1, 1, n_knots=3)
    with torch.no_grad():
        regression.log_variance.copy_(torch.tensor([[[0.0, 1.0, 4.0], [2.0, 2.0, 2.0]]]))
    found = regression.log_prior(torch.tensor([-0.5, -0.375, 0.0, 0.125, 0.25]))
    assert found.shape == (1, 5, 3)
    assert found[0, :, 0].tolist() == pytest.approx([4.0, 2.5, 0.0, 0.5, 1.0])
    assert bool((found[..., 1:] == 2).all())
    values, mask = sampled(0.5)
    regression(values, mask, axis_coords(ROWS)).abs().square().sum().backward()
    assert bool((regression.log_variance.grad != 0).all())


def test_short_cines_have_fewer_harmonics() -> None:
    for n_frames in (1, 2, 4):
        mask = torch.ones(1, n_frames, 2, dtype=torch.bool)
        found = HarmonicRegression(2, 5)(noise(1, n_frames, 2, 1), mask, axis_coords(2))
        assert found.shape == (1, 2, 2, 2 * ((n_frames - 1) // 2) + 1, 1)


def test_a_turn_of_the_cycle_turns_the_harmonics() -> None:
    """Rolling the frames multiplies harmonic m by a rotation of 2 pi m / t: no frame is special."""
    values, mask = sampled(0.5)
    regression, rows = HarmonicRegression(2, 2), axis_coords(ROWS)
    here = regression(values, mask, rows)
    there = regression(values.roll(1, 1), mask.roll(1, 1), rows)
    for m in (1, 2):
        c, s = math.cos(2 * math.pi * m / T), math.sin(2 * math.pi * m / T)
        a, b = here[..., 2 * m - 1, :], here[..., 2 * m, :]
        torch.testing.assert_close(there[..., 2 * m - 1, :], c * a - s * b, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(there[..., 2 * m, :], s * a + c * b, atol=1e-4, rtol=1e-3)


@torch.inference_mode()
def test_mixed_precision_leaves_the_regression_alone() -> None:
    values, mask = sampled(0.5)
    regression, rows = HarmonicRegression(2, 2), axis_coords(ROWS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = regression(values, mask, rows)
    assert torch.equal(mixed, regression(values, mask, rows))
