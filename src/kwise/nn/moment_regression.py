"""Linear regression in closed form that keeps its moments: what is missing in a case is left out exactly.

Letters: n training case, b case, f feature, p value. From the moments of features and values follows the best
linear guess of every value from any part of the features, and how far off it will be.
"""

import math

import torch
from torch import Tensor, nn

_PULLS = tuple(10.0 ** (e / 2) for e in range(-7, 1))  # of the ridge, to choose from
_FOLDS = 5
_FARTHEST = 4.0  # sd: a feature farther out than nearly all cases seen tells no more than that


class MomentRegression(nn.Module):
    """Ridge regression of `n_values` on features, both standardised, features NaN where unknown.

    `resolution` (f,) says how well each feature can be known: it is added to its spread. A `scale` (such as
    the share of k-space acquired) bends every line: weights are linear in its logarithm, and the sd of a
    guess is a power of it. The pull of the ridge, one for each value, is the one with the least error on
    cases left out (five folds); those errors are the sd.
    """

    def __init__(self, resolution: Tensor, n_values: int) -> None:
        super().__init__()
        f, p = len(resolution), n_values
        whole = 2 * f + 2  # features, the same times log scale, log scale and its square
        self.resolution: Tensor
        self.register_buffer("resolution", resolution, persistent=False)
        for name, start in {
            "mean": torch.zeros(f), "spread": torch.ones(f), "gram": torch.eye(whole),
            "cross": torch.zeros(whole, p), "value_mean": torch.zeros(p), "value_spread": torch.ones(p),
            "log_pull": torch.zeros(p), "log_sd": torch.zeros(p), "sd_power": torch.zeros(p),
            "scale_mean": torch.zeros(()), "scale_spread": torch.ones(()),
        }.items():  # fmt: skip
            self.register_buffer(name, start)
        self.mean: Tensor
        self.spread: Tensor
        self.gram: Tensor
        self.cross: Tensor
        self.value_mean: Tensor
        self.value_spread: Tensor
        self.log_pull: Tensor
        self.log_sd: Tensor
        self.sd_power: Tensor
        self.scale_mean: Tensor
        self.scale_spread: Tensor

    def forward(self, features: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
        """(b, f) and (b,) -> the values (b, p) and the sd (b, p) of each guess."""
        x = self._standardised(features, log_scale)
        known = torch.isfinite(x)
        x = torch.where(known, x, 0.0)
        guess = x.new_zeros(len(x), self.cross.shape[1])
        unexplained = torch.zeros_like(guess)
        patterns, which = torch.unique(known, dim=0, return_inverse=True)
        everything = self._weights(torch.ones_like(known[0]))
        whole = self._unexplained(everything)
        for i, pattern in enumerate(patterns):
            rows = which == i
            weights = everything if bool(pattern.all()) else self._weights(pattern)
            guess[rows] = x[rows] @ weights
            # What a missing feature would have told is added to the errors seen where none was missing.
            unexplained[rows] = (self._unexplained(weights) - whole).clamp(min=0.0)
        powers = self.sd_power * self.centred(log_scale).unsqueeze(1)
        sd = ((2 * (self.log_sd + powers)).exp() + unexplained).sqrt()
        return self.value_mean + self.value_spread * guess, self.value_spread * sd

    def centred(self, log_scale: Tensor) -> Tensor:
        """(b,) log of the scale in sd from the mean of those fitted, as the lines are bent by."""
        return ((log_scale - self.scale_mean) / self.scale_spread).clamp(-_FARTHEST, _FARTHEST)

    def _standardised(self, features: Tensor, log_scale: Tensor) -> Tensor:
        """(b, f) and (b,) -> (b, 2 f + 2), NaN where unknown."""
        x = ((features - self.mean) / self.spread).clamp(-_FARTHEST, _FARTHEST)
        s = self.centred(log_scale).unsqueeze(1)
        return torch.cat([x, x * s, s, s.square()], dim=1)

    def _weights(self, known: Tensor) -> Tensor:
        """(f, p): zero for what is not `known` (f,)."""
        weights = torch.zeros_like(self.cross)
        gram, cross = self.gram[known][:, known].double(), self.cross[known].double()
        for pull in self.log_pull.unique():
            columns = self.log_pull == pull
            weights_of = ridge(gram, cross[:, columns], float(pull.exp()))
            weights[known.nonzero(), columns.nonzero().T] = weights_of.to(weights.dtype)
        return weights

    def _unexplained(self, weights: Tensor) -> Tensor:
        """(p,) the share of each value's variance that the moments leave."""
        return 1 - 2 * (weights * self.cross).sum(dim=0) + (weights * (self.gram @ weights)).sum(dim=0)

    def fit(self, features: Tensor, values: Tensor, log_scale: Tensor) -> Tensor:
        """Learn from (n, f), (n, p) with NaN where nobody knows, and (n,); returns the guesses (n, p) of
        cases left out, NaN where the value is unknown. ValueError for fewer than ten cases.
        """
        if len(features) < 2 * _FOLDS:
            raise ValueError(f"fitting a regression: got {len(features)} cases; wanted at least {2 * _FOLDS}")
        x, y, s = features.double(), values.double(), log_scale.double()
        self.mean.copy_(x.nanmean(dim=0).nan_to_num(0.0))
        self.spread.copy_((_variance(x) + self.resolution.square()).sqrt())
        self.scale_mean.copy_(s.mean())
        self.scale_spread.copy_(s.std(correction=0).clamp(min=1e-3))
        self.value_mean.copy_(y.nanmean(dim=0).nan_to_num(0.0))
        variance = _variance(y)
        self.value_spread.copy_(torch.where(variance > 0, variance.sqrt(), 1.0))
        x = self._standardised(x, s).nan_to_num(0.0)
        y = (y - self.value_mean) / self.value_spread
        left_out = self._choose_pull(x, y)
        self.gram.copy_(x.T @ x / len(x))
        self.cross.copy_(_moments(x, y))
        self._fit_sd(y - left_out, self.centred(s))
        return (self.value_mean + self.value_spread * left_out).to(values.dtype)

    def _choose_pull(self, x: Tensor, y: Tensor) -> Tensor:
        fold = torch.arange(len(x), device=x.device) % _FOLDS
        guesses = torch.full((len(_PULLS), *y.shape), math.nan, dtype=y.dtype, device=y.device)
        for k in range(_FOLDS):
            seen, held = fold != k, fold == k
            gram, cross = x[seen].T @ x[seen] / seen.sum(), _moments(x[seen], y[seen])
            for i, pull in enumerate(_PULLS):
                guesses[i, held] = x[held] @ ridge(gram, cross, pull)
        best = (guesses - y).square().nanmean(dim=1).nan_to_num(math.inf).argmin(dim=0)
        self.log_pull.copy_(torch.tensor(_PULLS, device=y.device)[best].log())
        chosen = guesses[best, :, torch.arange(y.shape[1], device=y.device)].T
        return torch.where(torch.isfinite(y), chosen, math.nan)

    def _fit_sd(self, errors: Tensor, centred: Tensor) -> None:
        """log |error| as a line of the centred log scale; its height makes the mean squared z-score 1."""
        for i, error in enumerate(errors.T):
            known = torch.isfinite(error)
            size = error[known].abs().clamp(min=1e-6).log()
            along = centred[known].square().sum()
            slope = float((centred[known] * (size - size.mean())).sum() / along.clamp(min=1e-6))
            flat = error[known] / (slope * centred[known]).exp()
            self.sd_power[i] = slope
            self.log_sd[i] = flat.square().mean().clamp(min=1e-12).log() / 2 if len(flat) else 0.0


def ridge(gram: Tensor, cross: Tensor, pull: float) -> Tensor:
    """(f, p) weights of ridge regression from moments (f, f) and (f, p)."""
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + pull * eye, cross)


def _moments(x: Tensor, y: Tensor) -> Tensor:
    """(f, p) mean products, every value over the cases that know it."""
    known = torch.isfinite(y)
    return x.T @ torch.where(known, y, 0.0) / known.sum(dim=0).clamp(min=1)


def _variance(x: Tensor) -> Tensor:
    """(columns,), 0 for a column that is unknown."""
    return (x - x.nanmean(dim=0)).square().nanmean(dim=0).nan_to_num(0.0)
