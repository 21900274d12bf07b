"""Bayesian regression of undersampled cine k-space whose prior knows where things are, what moves, and the
phase.

Along the readout k-space is whole, so every image column is a problem of its own: samples at (ky, frame) of
f(y, t) = sum_m a_m(y) phi_m(t), phi the harmonics of the cycle. The prior of a_m is Gaussian: its standard
deviation follows the blurred modulus of a first guess (static and moving parts have their own), its texture a
learned spectrum of ky, and its phase that of the low-pass image, up to a small rest. The answer is the exact
posterior mean. The first guess is a harmonic regression of every ky line alone. Support-adaptive priors are
those of k-t BLAST (Tsao et al., MRM 2003) and k-t FOCUSS (Jung et al., MRM 2009), known phase that of partial
Fourier (Noll et al., TMI 1991); here they are one linear system.

Letters: n column problems (case, coil, x), j sample, m harmonic coefficient, k row of k-space.
"""

import math

import torch
from torch import Tensor, nn

from kwise.coordinates import axis_coords
from kwise.fourier import fft1c, ifft1c
from kwise.nn.harmonics import HarmonicRegression, harmonic_basis
from kwise.nn.spectral import hat_weights

_HOLD_OUT = 4  # one acquired line in so many is predicted from the others
_PARTS = 2  # the static image, and what moves
_ENTRIES_AT_ONCE = 2**20  # of the systems solved together: they should stay in the cache


class SupportRegression(nn.Module):
    """Lines of a cine -> images of its harmonics: a first guess, then `n_passes` posterior means, each with
    the prior that the one before suggests.

    Learned per pass: ky spectra of both parts, spectrum over harmonics, noise, blur and floor of the support,
    rest of the phase: a few dozen numbers.
    """

    def __init__(self, n_harmonics: int = 5, n_passes: int = 2, n_knots: int = 9) -> None:
        super().__init__()
        self.n_harmonics, self.n_passes, self.n_knots = n_harmonics, n_passes, n_knots
        self.first = HarmonicRegression(_PARTS, n_harmonics)
        knots = torch.linspace(0, 0.5, n_knots)
        corners = torch.tensor([0.06, 0.12])[:, None]  # where the spectra start to fall, in cycles per pixel
        self.log_spectrum = nn.Parameter((-(1 + (knots / corners) ** 2).log()).repeat(n_passes, 1, 1))
        harmonics = -1.1 * torch.arange(n_harmonics, dtype=torch.float32)
        self.log_harmonics = nn.Parameter(harmonics.repeat(n_passes, 1))
        self.log_noise = nn.Parameter(torch.full((n_passes,), -5.5))
        self.log_gain = nn.Parameter(torch.tensor([[-0.8, 0.5]]).repeat(n_passes, 1))
        self.log_floor = nn.Parameter(torch.full((n_passes, _PARTS), -3.0))
        self.log_blur = nn.Parameter(torch.tensor([[-0.5, 0.2]]).repeat(n_passes, 1))  # pixels
        self.log_phase_blur = nn.Parameter(torch.full((n_passes,), 0.6))
        self.log_rest = nn.Parameter(torch.full((n_passes,), -1.5))

    def forward(self, lines: Tensor, mask: Tensor) -> Tensor:
        """`lines` (b, t, ky, x) complex, zero where `mask` (b, t, ky) is False -> (b, m, y, x)."""
        with torch.autocast(lines.device.type, enabled=False):  # Cholesky needs float32
            guesses = self.first_guess(lines, mask)
            return torch.stack([self._case(*case) for case in zip(lines, mask, guesses)])

    def first_guess(self, lines: Tensor, mask: Tensor) -> Tensor:
        """(b, m, y, x) of every ky line alone: the mean of a calm prior and the motion of a mobile one."""
        rows = axis_coords(lines.shape[2]).to(lines.device)
        mobile, calm = ifft1c(self.first(lines, mask, rows), 2).permute(1, 0, 3, 2, 4)  # each (b, m, y, x)
        return torch.cat([calm[:, :1], mobile[:, 1:]], dim=1)

    def held_out_error(self, lines: Tensor, mask: Tensor) -> Tensor:
        """What the priors learn from: every fourth acquired line is predicted from the others.

        Energy of the error relative to that of the lines themselves, of the first guess and of the last
        posterior, mean over cases; ky lines next to DC carry most of it.
        """
        order = mask.flatten(1).cumsum(dim=1).view_as(mask)
        hidden = mask & (order % _HOLD_OUT == 0)
        kept = mask & ~hidden
        seen = lines * kept.unsqueeze(-1)
        images = torch.stack([self.first_guess(seen, kept), self(seen, kept)], dim=1)  # (b, 2, m, y, x)
        times = torch.arange(lines.shape[1], device=lines.device) / lines.shape[1]
        basis = harmonic_basis(times, (images.shape[2] - 1) // 2).to(images)
        predicted = fft1c(torch.einsum("tm,bhmyx->bhtyx", basis, images), -2)
        weight = hidden[:, None, :, :, None]
        error = ((predicted - lines.unsqueeze(1)) * weight).abs().square().sum(dim=(2, 3, 4))
        energy = (lines.unsqueeze(1) * weight).abs().square().sum(dim=(2, 3, 4))
        return (error / (energy + 1e-12)).mean()

    def _case(self, lines: Tensor, mask: Tensor, guess: Tensor) -> Tensor:
        frames, rows = mask.nonzero().T
        values = lines[frames, rows].T  # (n, j)
        if not bool(guess.abs().any()):  # a slice beside the body: no energy to learn a support from
            return guess
        for step in range(self.n_passes):
            phase = unit_phase(guess[0], self.log_phase_blur[step].exp())
            priors = self._priors(step, guess, phase)
            guess = self._posterior(step, values, frames, rows, len(lines), priors)
        return guess

    def _priors(self, step: int, guess: Tensor, phase: Tensor) -> list["RowPrior"]:
        """The priors of the static and of the moving part, from a guess (m, y, x)."""
        energies = [guess[0].abs().square(), guess[1:].abs().square().sum(dim=0)]
        levels = [energies[0].mean(), energies[1].mean() + 3e-3 * energies[0].mean()]
        rest, priors = self.log_rest[step].exp(), []
        for part, (energy, level) in enumerate(zip(energies, levels)):
            support = blurred(energy, self.log_blur[step, part].exp()).clamp(min=0) + 1e-8 * level
            support = support / support.mean() + self.log_floor[step, part].exp()
            place = axis_coords(len(support)).to(support.device).abs() * 2
            spectrum = (hat_weights(place, self.n_knots) @ self.log_spectrum[step, part]).exp()
            spectrum = spectrum / spectrum.mean() * level * self.log_gain[step, part].exp()
            priors.append(RowPrior((support.sqrt() * phase).T, spectrum, rest))
        return priors

    def _harmonic_variances(self, step: int, n: int) -> Tensor:
        """(2 n + 1,) of the coefficients relative to their part: 1 for the mean, a share for each wave."""
        shares = self.log_harmonics[step, :n].softmax(dim=0) / 2
        return torch.cat([shares.new_ones(1), shares.repeat_interleave(2)])  # one frame: no wave

    def _posterior(
        self, step: int, values: Tensor, frames: Tensor, rows: Tensor, n_frames: int, priors: list["RowPrior"]
    ) -> Tensor:
        n = min(self.n_harmonics, (n_frames - 1) // 2)
        times = torch.arange(n_frames, device=values.device) / n_frames
        basis = harmonic_basis(times, n)[frames]  # (j, m)
        variances = self._harmonic_variances(step, n)
        moving = (basis[:, 1:] * variances[1:]) @ basis[:, 1:].T
        noise = self.log_noise[step].exp() / 2  # of the real, and of the imaginary part
        weights = solve(priors, rows, moving, values, noise)
        moments = torch.zeros(len(values), len(priors[0].spectrum), len(variances), dtype=values.dtype)
        moments = moments.to(values.device).index_add(1, rows, weights.unsqueeze(-1) * basis)
        static, motion = priors[0].spread(moments[..., :1]), priors[1].spread(moments[..., 1:])
        found = torch.cat([static, motion], dim=-1) * variances  # (n, k, m)
        return ifft1c(found, 1).permute(2, 1, 0)


class RowPrior:
    """Prior of one part in k-space, for every column: f_k = sum_y F_ky support(y) phase(y) g(y), g with a
    stationary spectrum, real up to a share `rest` of its variance.

    `hermitian` = E[f f^H] and `plain` = E[f f^T], both (n, k, k).
    """

    def __init__(self, shape: Tensor, spectrum: Tensor, rest: Tensor) -> None:
        """`shape` (n, y) complex support times phase; `spectrum` (k,) variances, even in ky."""
        ny = shape.shape[-1]
        index = torch.arange(ny, device=shape.device)
        shifts = (index[:, None] - index + ny // 2) % ny
        mixing = fft1c(shape, -1)[:, shifts] / math.sqrt(ny)  # F diag(shape) F^H
        weighted = mixing * spectrum
        mirrored = mixing[:, :, (2 * (ny // 2) - index) % ny]  # F diag(shape) F
        self.spectrum = spectrum
        self.hermitian = (1 + rest) * (weighted @ mixing.mH)
        self.plain = (1 - rest) * (weighted @ mirrored)

    def real_blocks(self) -> tuple[Tensor, Tensor, Tensor]:
        """Covariances (n, k, k) of real with real, imaginary with imaginary, real with imaginary parts."""
        p, q = self.hermitian, self.plain
        return (p.real + q.real) / 2, (p.real - q.real) / 2, (q.imag - p.imag) / 2

    def spread(self, moments: Tensor) -> Tensor:
        """Covariance with every row of k-space, times weights gathered by row (n, k, m)."""
        return (self.hermitian @ moments + self.plain @ moments.conj()) / 2


def solve(priors: list[RowPrior], rows: Tensor, moving: Tensor, values: Tensor, noise: Tensor) -> Tensor:
    """Weights (n, j) complex that solve (static + moving + noise) w = values, real and imaginary parts
    apart.
    """
    count = len(rows)
    picks = (rows[:, None] * len(priors[0].spectrum) + rows).flatten()
    blocks = [block.flatten(1) for prior in priors for block in prior.real_blocks()]
    data = torch.cat([values.real, values.imag], dim=1).unsqueeze(-1)
    at_once = max(1, _ENTRIES_AT_ONCE // (2 * count) ** 2)
    answers = [
        _solve_columns([b[some] for b in blocks], picks, moving, data[some], noise)
        for some in (slice(i, i + at_once) for i in range(0, len(data), at_once))
    ]
    real, imaginary = torch.cat(answers).squeeze(-1).split(count, dim=1)
    return torch.complex(real, imaginary)


def _solve_columns(
    blocks: list[Tensor], picks: Tensor, moving: Tensor, data: Tensor, noise: Tensor
) -> Tensor:
    count = len(moving)

    def seen(k: int) -> Tensor:  # static plus moving covariance of the acquired samples
        static, motion = (block.index_select(1, picks).unflatten(1, (count, count)) for block in blocks[k::3])
        return torch.addcmul(static, motion, moving)

    # Only the lower triangle is read.
    system = data.new_zeros(len(data), 2 * count, 2 * count)
    system[:, :count, :count], system[:, count:, count:] = seen(0), seen(1)
    system[:, count:, :count] = seen(2).mT
    system.diagonal(dim1=-2, dim2=-1).add_(noise)
    return torch.cholesky_solve(data, torch.linalg.cholesky(system))


def blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """(y, x) blurred by a Gaussian of `sigma` pixels, normalised at the border."""
    rows, columns = (_gaussian(n, sigma).to(image.dtype) for n in image.shape)
    return rows @ image @ columns.T


def unit_phase(image: Tensor, sigma: Tensor) -> Tensor:
    """(y, x) of modulus 1: the phase of the blurred image."""
    smooth = blurred(image, sigma)
    return smooth / (smooth.abs() + 1e-6)


def _gaussian(n: int, sigma: Tensor) -> Tensor:
    i = torch.arange(n, dtype=torch.float32, device=sigma.device)
    weights = torch.exp(-0.5 * ((i[:, None] - i) / sigma) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)
