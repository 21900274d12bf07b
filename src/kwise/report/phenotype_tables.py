"""Tables of phenotypes: error, R2, agreement and coverage per phenotype, from columns NAME_predicted,
NAME_true and NAME_sd.
"""

from collections.abc import Sequence

import numpy as np

from kwise.report.results import Results, Row
from kwise.report.statistics import agreement
from kwise.report.table import Table, ordered

LIMITS = 1.96  # sd of a Gaussian that hold 95 %


def phenotype_names(results: Results) -> list[str]:
    """The phenotypes that stand in the scores, in their order there."""
    names: dict[str, None] = {}
    for row in _all_rows(results):
        names |= dict.fromkeys(key.removesuffix("_predicted") for key in row if key.endswith("_predicted"))
    return [name for name in names if f"{name}_true" in _first(results)]


def pairs(rows: Sequence[Row], name: str, acceleration: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted, true and sd (n,) of one phenotype at one R, over the cases whose truth is known."""
    chosen = [row for row in rows if row["acceleration"] == acceleration and f"{name}_true" in row]
    parts = [
        np.array([float(row[f"{name}_{what}"]) for row in chosen]) for what in ("predicted", "true", "sd")
    ]
    known = np.isfinite(parts[1])
    return parts[0][known], parts[1][known], parts[2][known]


def error_table(results: Results, acceleration: float, *, order: Sequence[str] = ()) -> Table:
    """Mean absolute error ± its sd, phenotypes x models (k-MTR, Table 1)."""

    def cell(rows: Sequence[Row], name: str) -> str:
        guess, truth, _ = pairs(rows, name, acceleration)
        error = np.abs(guess - truth)
        return f"{error.mean():.2f} ± {error.std():.2f}" if len(error) else "-"

    notes = ("mean |predicted - true| ± its standard deviation over cases, in the unit of the name",)
    return _table(f"Phenotypes, R = {acceleration:g}: MAE ± sd", results, cell, order, notes)


def r2_table(
    results: Results, acceleration: float, *, order: Sequence[str] = (), left_out: Sequence[str] = ()
) -> Table:
    """R2 of every phenotype, and their mean with its bootstrap interval; `left_out` counts not in
    the mean.
    """

    def cell(rows: Sequence[Row], name: str) -> str:
        guess, truth, _ = pairs(rows, name, acceleration)
        return f"{agreement(list(guess), list(truth)).r2:.3f}" if len(guess) else "-"

    notes = (
        "R2 = 1 - SS_residual / SS_total [95 % bootstrap interval over cases]; the mean is of "
        f"{len([n for n in phenotype_names(results) if n not in left_out])} phenotypes",
    )
    made = _table(f"Phenotypes, R = {acceleration:g}: R2", results, cell, order, notes)
    names = [name for name in phenotype_names(results) if name not in left_out]
    means = [_mean_r2(_seedless(results[m]), names, acceleration) for m in ordered(results, order)]
    return Table(made.title, made.header, (("mean", *means), *made.rows), made.notes)


def agreement_table(results: Results, acceleration: float, *, order: Sequence[str] = ()) -> Table:
    """Bias [95 % limits of agreement] (Bland and Altman, 1986)."""

    def cell(rows: Sequence[Row], name: str) -> str:
        guess, truth, _ = pairs(rows, name, acceleration)
        if len(guess) < 2:
            return "-"
        error = guess - truth
        bias, reach = error.mean(), LIMITS * error.std(ddof=1)
        return f"{bias:+.1f} [{bias - reach:+.1f}, {bias + reach:+.1f}]"

    notes = ("mean of predicted - true [bias ± 1.96 sd]",)
    return _table(
        f"Phenotypes, R = {acceleration:g}: bias [limits of agreement]", results, cell, order, notes
    )


def coverage_table(results: Results, acceleration: float, *, order: Sequence[str] = ()) -> Table:
    """How often the truth lies within the model's own 95 % interval; models that give none are "-"."""

    def cell(rows: Sequence[Row], name: str) -> str:
        guess, truth, sd = pairs(rows, name, acceleration)
        if not len(sd) or not np.isfinite(sd).all():
            return "-"
        return f"{100 * (np.abs(guess - truth) <= LIMITS * sd).mean():.1f} %, sd {sd.mean():.1f}"

    notes = (
        "share of cases within predicted ± 1.96 of the sd the model gave (wanted: 95 %), and its mean sd",
    )
    return _table(f"Phenotypes, R = {acceleration:g}: coverage", results, cell, order, notes)


def _mean_r2(rows: Sequence[Row], names: Sequence[str], acceleration: float, resamples: int = 200) -> str:
    """Mean R2 over phenotypes with its bootstrap interval over cases."""
    columns = [pairs(rows, name, acceleration)[:2] for name in names]
    if not columns or len({len(guess) for guess, _ in columns}) > 1 or len(columns[0][0]) < 2:
        return "-"
    guess, truth = (np.stack([c[i] for c in columns]) for i in (0, 1))
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, guess.shape[1], guess.shape[1]) for _ in range(resamples)]
    values = [mean_r2(guess[:, d], truth[:, d]) for d in draws]
    low, high = np.percentile(values, [2.5, 97.5])
    return f"{mean_r2(guess, truth):.3f} [{low:.3f}, {high:.3f}]"


def mean_r2(guess: np.ndarray, truth: np.ndarray) -> float:
    """The mean over phenotypes of R2 over cases, of (p, n) predicted and true values."""
    total = ((truth - truth.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return float((1 - ((guess - truth) ** 2).sum(axis=1) / np.maximum(total, 1e-12)).mean())


def _table(title: str, results: Results, cell, order: Sequence[str], notes: tuple[str, ...]) -> Table:  # type: ignore[no-untyped-def]
    models = ordered(results, order)
    rows = tuple(
        (name, *(cell(_seedless(results[model]), name) for model in models))
        for name in phenotype_names(results)
    )
    return Table(title, ("phenotype", *models), rows, notes)


def _seedless(seeds: dict[int, list[Row]]) -> list[Row]:
    """The rows of the first seed: agreement is of one model."""
    return seeds[min(seeds)]


def _all_rows(results: Results) -> list[Row]:
    return [seeds[min(seeds)][0] for seeds in results.values()]


def _first(results: Results) -> Row:
    return _all_rows(results)[0]
