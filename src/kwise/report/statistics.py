"""What a table says about a set of cases: means with their uncertainty, paired differences, agreement of
measurements.

All random draws are fixed, so a table is the same every time. Values that are inf or NaN are failures: they
are counted, and the statistics are of the finite ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

N_RESAMPLES = 2000
BOOTSTRAP_SEED = 0

# Of one model at one acceleration: seed -> case -> value.
Values = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Summary:
    """Mean and sd over all values (n = cases), the 95 % interval of the mean, and how many values were not
    finite.

    `failures` counts out of `n_values` = cases x seeds. `seed_sd` is the sd of the seeds' own means, NaN
    for one seed.
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    n_seeds: int
    n_values: int
    failures: int
    seed_sd: float


@dataclass(frozen=True)
class Difference:
    """Mean of model minus reference over the `n` cases both have, its 95 % interval, and Wilcoxon's signed-
    rank p.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int


@dataclass(frozen=True)
class Agreement:
    """How predicted values agree with true ones, in their own unit; `r2` is 1 - SS_residual / SS_total, not
    r squared.

    `bias` is the mean of predicted - true and `sd` its standard deviation; `r` is Pearson's. A constant
    guess has r2 <= 0.
    """

    r2: float
    r: float
    bias: float
    sd: float
    n: int
    failures: int


def bootstrap_interval(
    values: ArrayLike, n_resamples: int = N_RESAMPLES, statistic: str = "mean"
) -> tuple[float, float]:
    """Percentile bootstrap 95 % interval of the mean (or median) of values (n,); NaN for fewer than two."""
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        return np.nan, np.nan
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    resampled = x[rng.integers(0, len(x), size=(n_resamples, len(x)))]
    centres = np.median(resampled, axis=1) if statistic == "median" else resampled.mean(axis=1)
    low, high = np.percentile(centres, [2.5, 97.5])
    return float(low), float(high)


def share_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval (JASA 1927) of a share of `hits` among `n`; NaN for none."""
    if n == 0:
        return np.nan, np.nan
    z, p = 1.959964, hits / n
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return float((centre - half) / (1 + z**2 / n)), float((centre + half) / (1 + z**2 / n))


def summarise(values: Values) -> Summary:
    """Mean, sd, interval of one cell. Seeds are pooled: the interval resamples cases, each the mean of its
    seeds.

    Seeds share their cases, so treating cases x seeds as independent would make the interval too narrow.
    """
    everything = np.array([v for seed in values.values() for v in seed.values()], dtype=float)
    finite = everything[np.isfinite(everything)]
    cases = case_means(values)
    low, high = bootstrap_interval(list(cases.values()))
    seed_means = [_mean([v for v in seed.values() if np.isfinite(v)]) for seed in values.values()]
    return Summary(
        mean=_mean(finite),
        sd=_sd(finite),
        low=low,
        high=high,
        n=len({case for seed in values.values() for case in seed}),
        n_seeds=len(values),
        n_values=len(everything),
        failures=len(everything) - len(finite),
        seed_sd=_sd([m for m in seed_means if np.isfinite(m)]),
    )


def case_means(values: Values) -> dict[str, float]:
    """Mean over seeds of every case that has a finite value, in order of case names."""
    gathered: dict[str, list[float]] = {}
    for seed in values.values():
        for case, value in seed.items():
            if np.isfinite(value):
                gathered.setdefault(case, []).append(value)
    return {case: float(np.mean(gathered[case])) for case in sorted(gathered)}


def compare(values: Values, reference: Values) -> Difference:
    """Paired difference of two models over the cases with a finite value in both (Wilcoxon signed-rank,
    two-sided).
    """
    ours, theirs = case_means(values), case_means(reference)
    both = [case for case in ours if case in theirs]
    differences = np.array([ours[case] - theirs[case] for case in both])
    low, high = bootstrap_interval(differences)
    return Difference(_mean(differences), low, high, wilcoxon_p(differences), len(both))


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; 1 when nothing differs, NaN without a pair."""
    from scipy.stats import wilcoxon

    x = np.asarray(differences, dtype=float)
    if len(x) == 0:
        return np.nan
    return 1.0 if not x.any() else float(wilcoxon(x).pvalue)


def agreement(predicted: Sequence[float], true: Sequence[float]) -> Agreement:
    """R2, Pearson r, bias and sd of predicted against true values, over the pairs where both are finite.

    Failures are the pairs whose truth is known and whose prediction is not.
    """
    a, b = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    known = np.isfinite(b)
    usable = known & np.isfinite(a)
    a, b, failures = a[usable], b[usable], int((known & ~usable).sum())
    error = a - b
    total = float(((b - b.mean()) ** 2).sum()) if len(b) > 1 else 0.0
    r2 = 1 - float((error**2).sum()) / total if total > 0 else np.nan
    r = float(np.corrcoef(a, b)[0, 1]) if total > 0 and np.ptp(a) > 0 else np.nan
    return Agreement(r2, r, _mean(error), _sd(error), len(b), failures)


def _mean(values: ArrayLike) -> float:
    x = np.asarray(values, dtype=float)
    return float(x.mean()) if len(x) else np.nan


def _sd(values: ArrayLike) -> float:
    """Sample standard deviation, NaN for fewer than two."""
    x = np.asarray(values, dtype=float)
    return float(x.std(ddof=1)) if len(x) > 1 else np.nan
