"""Tables of diseases: AUC, F1, recall, precision, AP on the gathered cases, with bootstrap intervals, from
columns NAME_probability, NAME_true and NAME_threshold.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from kwise.report.results import Results, Row
from kwise.report.statistics import BOOTSTRAP_SEED
from kwise.report.table import Table, ordered

RESAMPLES = 500


def auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve: how often an ill case scores above a healthy one, ties half; NaN for one
    class.
    """
    ill = truth > 0.5
    if not 0 < ill.sum() < len(truth):
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # mean rank of equal scores, from 1
    n = ill.sum()
    return float((middle[ill].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    """Sum over thresholds of precision times the step in recall; equal scores are one threshold."""
    if not truth.sum():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(truth[order])
    last = np.append(ranked[1:] < ranked[:-1], True)
    precision, recall = hits[last] / (np.flatnonzero(last) + 1), hits[last] / truth.sum()
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def called(score: np.ndarray, truth: np.ndarray, threshold: np.ndarray) -> tuple[float, float, float]:
    """F1, recall and precision of calling ill whoever reaches the threshold; 0 where nothing is
    called right.
    """
    calls = score >= threshold
    hits = float((calls * truth).sum())
    recall = hits / truth.sum() if truth.sum() else float("nan")
    precision = hits / calls.sum() if calls.sum() else 0.0
    return (2 * hits / max(1.0, float(calls.sum() + truth.sum()))), recall, precision


MEASURES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "AUC": lambda s, y, _: auc(s, y),
    "F1": lambda s, y, t: called(s, y, t)[0],
    "recall": lambda s, y, t: called(s, y, t)[1],
    "precision": lambda s, y, t: called(s, y, t)[2],
    "AP": lambda s, y, _: average_precision(s, y),
}


def disease_table(
    results: Results,
    acceleration: float,
    *,
    order: Sequence[str] = (),
    best: Mapping[str, float] | None = None,
    published: Mapping[str, Mapping[str, Sequence[float | None]]] | None = None,
) -> Table:
    """Diseases x models (k-MTR, Table 2): every measure with its 95 % bootstrap interval over cases.

    `best` is the AUC nobody can exceed, by disease; `published` the numbers of the paper, disease -> method
    -> AUC, F1, recall, precision, AP, None where it does not say.
    """
    rows: list[tuple[str, ...]] = []
    for name in disease_names(results):
        for model in ordered(results, order):
            score, truth, threshold = cases_of(results[model], name, acceleration)
            if len(truth):
                cells = [_with_interval(score, truth, threshold, f) for f in MEASURES.values()]
                rows.append((_label(name, truth), model, *cells, f"{len(truth)}"))
        if best and name in best:
            rows.append((name, "best possible", f"{best[name]:.3f}", "", "", "", "", ""))
        for method, numbers in (published or {}).get(name, {}).items():
            shown = ["-" if x is None else f"{x:.3f}" for x in numbers]
            rows.append((name, f"{method}, published", *shown, "published"))
    notes = (
        f"[95 % bootstrap interval over cases, {RESAMPLES} resamples]; F1, recall, precision at each model's "
        "own threshold, from validation cases; a random ranker has AUC .5 and AP = prevalence",
    )
    header = ("disease (prevalence)", "model", *MEASURES, "cases")
    return Table(f"Diseases, R = {acceleration:g}", header, tuple(rows), notes)


def disease_names(results: Results) -> list[str]:
    """The diseases that stand in the scores, in their order there."""
    names: dict[str, None] = {}
    for seeds in results.values():
        keys = seeds[min(seeds)][0]
        names |= dict.fromkeys(k.removesuffix("_probability") for k in keys if k.endswith("_probability"))
    return list(names)


def cases_of(
    seeds: Mapping[int, Sequence[Row]], name: str, acceleration: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, truth and threshold (n,) of one disease at one R, where the truth is known; of the first
    seed.
    """
    rows = [r for r in seeds[min(seeds)] if r["acceleration"] == acceleration and f"{name}_true" in r]
    parts = [
        np.array([float(row[f"{name}_{what}"]) for row in rows])
        for what in ("probability", "true", "threshold")
    ]
    known = np.isfinite(parts[1])
    return parts[0][known], parts[1][known], parts[2][known]


def _label(name: str, truth: np.ndarray) -> str:
    return f"{name} ({100 * truth.mean():.1f} %)"


def _with_interval(
    score: np.ndarray,
    truth: np.ndarray,
    threshold: np.ndarray,
    measure: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
) -> str:
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = (rng.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES))
    values = [measure(score[d], truth[d], threshold[d]) for d in draws]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{measure(score, truth, threshold):.3f} [{low:.3f}, {high:.3f}]"
