"""Claims of order between two models, each with its bootstrap interval over the same cases, and whether it
comes out.

A claim holds where its whole interval lies beyond the bound, fails where the whole interval lies before it,
and is open otherwise; of models with a score that is not finite nothing is claimed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kwise.report.disease_tables import auc
from kwise.report.phenotype_tables import mean_r2
from kwise.report.results import Results, Row
from kwise.report.statistics import BOOTSTRAP_SEED
from kwise.report.table import Table

RESAMPLES = 500
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Claim:
    """`measure(a, b)` of the columns of two models on the same cases should be at least `bound`, or at most
    where `below`.
    """

    text: str
    models: tuple[str, str]
    measure: Callable[[Columns, Columns], float]
    bound: float
    below: bool = False


def claim_table(results: Results, claims: Sequence[Claim], acceleration: float, title: str) -> Table:
    """One row for every claim whose two models stand in the scores."""
    rows = tuple(_judged(results, claim, acceleration) for claim in claims if _there(results, claim))
    notes = (
        f"[95 % bootstrap interval over cases, {RESAMPLES} resamples]; open: the interval holds the bound",
        "models differ in core-seconds and in the stages behind them: see log.jsonl beside the scores",
    )
    return Table(title, ("claim", "measured", "wanted", "outcome"), rows, notes)


def r2_claim(a: str, b: str, names: Sequence[str]) -> Claim:
    """Model `a` explains more of the phenotypes `names` than `b`."""

    def gained(x: Columns, y: Columns) -> float:
        return _r2_of(x, names) - _r2_of(y, names)

    return Claim(f"mean R2 of {a} above {b}", (a, b), gained, 0.0)


def error_claim(a: str, b: str, ratio: float) -> Claim:
    """The mean |error| in sd of `a` is at most `ratio` times that of `b`."""

    def share(x: Columns, y: Columns) -> float:
        return float(x["phenotype_error"].mean() / y["phenotype_error"].mean())

    text = f"mean |error| of {a} within {100 * (ratio - 1):.0f} % of {b}"
    return Claim(text, (a, b), share, ratio, below=True)


def auc_claim(a: str, b: str, disease: str, loss: float) -> Claim:
    """`a` ranks the ill at most `loss` worse than `b`."""

    def gained(x: Columns, y: Columns) -> float:
        score, truth = f"{disease}_probability", f"{disease}_true"
        return auc(x[score], x[truth]) - auc(y[score], y[truth])

    return Claim(f"AUC of {disease}, {a} less {b}", (a, b), gained, -loss)


def mean_claim(a: str, b: str, metric: str) -> Claim:
    """`a` has a higher mean of one column than `b`."""

    def gained(x: Columns, y: Columns) -> float:
        return float(x[metric].mean() - y[metric].mean())

    return Claim(f"{metric} of {a} above {b}", (a, b), gained, 0.0)


def _there(results: Results, claim: Claim) -> bool:
    return all(model in results for model in claim.models)


def _judged(results: Results, claim: Claim, acceleration: float) -> tuple[str, ...]:
    first, second = claim.models
    a, b = _paired(results[first], results[second], acceleration)
    wanted = f"{'at most' if claim.below else 'at least'} {claim.bound:g}"
    found = claim.measure(a, b)
    if not np.isfinite(found):
        return claim.text, "not finite", wanted, "-"
    n = len(next(iter(a.values())))
    values = np.array([claim.measure(_some(a, d), _some(b, d)) for d in _draws(n)])
    low, high = np.nanpercentile(values, [2.5, 97.5])
    measured = f"{found:.3f} [{low:.3f}, {high:.3f}]"
    if claim.below:
        low, high = -high, -low
    bound = -claim.bound if claim.below else claim.bound
    outcome = "holds" if low > bound else "fails" if high < bound else "open"
    return claim.text, measured, wanted, outcome


def _draws(n: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    return (rng.integers(0, n, n) for _ in range(RESAMPLES))


def _some(columns: Columns, chosen: np.ndarray) -> Columns:
    return {name: column[chosen] for name, column in columns.items()}


def _paired(a: dict[int, list[Row]], b: dict[int, list[Row]], acceleration: float) -> tuple[Columns, Columns]:
    """Columns of the first seed of two models over the cases both have, in one order."""
    by_case = [
        {row["case"]: row for row in seeds[min(seeds)] if row["acceleration"] == acceleration}
        for seeds in (a, b)
    ]
    shared = sorted(by_case[0].keys() & by_case[1].keys(), key=str)
    first, second = (_columns([rows[case] for case in shared]) for rows in by_case)
    return first, second


def _columns(rows: Sequence[Row]) -> Columns:
    if not rows:
        raise ValueError("testing a claim: got two models without a case in common; wanted the same cases")
    names = [name for name, value in rows[0].items() if not isinstance(value, str)]
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def _r2_of(columns: Columns, names: Sequence[str]) -> float:
    guess, truth = (np.stack([columns[f"{name}_{what}"] for name in names]) for what in ("predicted", "true"))
    return mean_r2(guess, truth)
