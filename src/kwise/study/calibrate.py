"""`kwise calibrate`: temperature, variance model and conformal quantiles of a checkpoint, fitted on
validation hearts.

Three groups of hearts that nobody trains or chooses weights on: one for the temperature, one for the variance
model and the usual heart, one for the quantiles and the threshold. Everything follows from names, so it is
the same every time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from kwise import __version__
from kwise.checkpoint import fingerprint, load_checkpoint
from kwise.data import DATASETS
from kwise.models import MODELS
from kwise.models.controls import centre_only
from kwise.phenotypes import area_ejection_fraction, cavity_areas
from kwise.sampling import MASKS
from kwise.study.bench import Answered, Bench, logits_of, open_bench
from kwise.study.cohort import Cohort
from kwise.study.intervals import evidence_of, relative_error, seen_acceleration, soft_error
from kwise.uncertainty import (
    TARGETS,
    Calibration,
    Target,
    ef_doubt,
    expected_error,
    scale_of,
    usual_features,
    write_calibration,
)

PHANTOMS = ("heart", "heart_wide")  # data sets of slices without end, whose truth is known
FIRST = 200  # validation hearts below this number choose weights: their scores are seen by whoever trains
ACCELERATIONS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
FAMILIES = ("gaussian_lines", "kt_variable_density", "uniform", "random", "equispaced")
TEMPERATURES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.4, 3.0)
BLANK = Calibration(0.9, ACCELERATIONS, (1.0,) * len(ACCELERATIONS), {}, {}, 1.0, (), (), 1.0, {})
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """One heart under one mask: LV areas and doubt (t,) mm^2, the true areas, R as seen, features."""

    family: str
    acceleration: float
    said: Tensor
    doubt: Tensor
    true: Tensor
    features: Tensor


def calibrate(
    checkpoint: Path,
    n: int = 200,
    families: Sequence[str] = FAMILIES,
    level: float = 0.9,
    tell: Tell = print,
    data: str | None = None,
) -> Path:
    """Fit on `n` validation hearts and write calibration.json beside the weights; returns its path.

    `data` is a word of PHANTOMS; None: the one the checkpoint was trained on, `heart` where it is none of
    them.
    """
    data = _phantom_of(checkpoint) if data is None else data
    if data not in PHANTOMS:
        raise ValueError(f"calibrating {checkpoint}: got {data!r}; wanted one of {', '.join(PHANTOMS)}")
    if n < 20:
        raise ValueError(f"calibrating {checkpoint}: got n = {n}; wanted 20 hearts at least")
    if unknown := [name for name in families if name not in MASKS]:
        raise ValueError(
            f"calibrating {checkpoint}: got masks {unknown}; wanted names among {', '.join(MASKS)}"
        )
    names = DATASETS[data].cases(None, "val", FIRST + n)[FIRST:]
    cuts = (max(4, n // 10), max(10, 4 * n // 10))  # temperature | variance model | quantiles and threshold
    groups = [names[: cuts[0]], names[cuts[0] : cuts[1]], names[cuts[1] :]]
    read = partial(DATASETS[data].read, None)
    benches = [open_bench(checkpoint, Cohort(f"{data}, val", part, read)) for part in groups]
    tell(f"temperature: {len(groups[0])} hearts")
    blank = replace(BLANK, level=level, temperature=_temperatures(benches[0], families))
    tell(f"temperature at R = 1 to 64: {', '.join(f'{t:.2f}' for t in blank.temperature)}")
    fit = _samples(benches[1], families, blank, tell)
    spread = spread_of(fit)
    targets = {name: _variance_model(name, fit) for name in TARGETS}
    centre, covariance = _usual(fit)
    draft = replace(blank, targets=targets, spread=spread, centre=centre, covariance=covariance)
    held = _samples(benches[2], families, blank, tell)
    targets = {name: _quantiles(name, held, draft) for name in TARGETS}
    empty = _centre_only_samples(benches[2], draft)
    threshold, rates = _threshold([*held, *empty], draft)
    limit = float(np.quantile([_distance(s, draft) for s in held], 0.995))
    notes = {
        "weights": fingerprint(checkpoint), "kwise": __version__, "families": list(families),
        "hearts": [f"{part[0]} to {part[-1]}" for part in groups], **rates,
    }  # fmt: skip
    found = replace(draft, targets=targets, threshold=threshold, limit=limit, notes=notes)
    return write_calibration(checkpoint, found)


def _phantom_of(checkpoint: Path) -> str:
    """The phantom whose hearts a checkpoint knows."""
    known = load_checkpoint(checkpoint, MODELS).preprocessing.get("trained_on")
    return str(known) if known in PHANTOMS else PHANTOMS[0]


# -- what is looked at ---------------------------------------------------------------------------------------


def _answers(bench: Bench, families: Sequence[str]) -> Iterator[tuple[str, float, Answered]]:
    """Every heart under every family at every R; at R = 1 all families are one."""
    for rate in ACCELERATIONS:
        for family in families if rate > 1 else families[:1]:
            for found in bench.answers(family, rate):
                yield family, rate, found


def _temperatures(bench: Bench, families: Sequence[str]) -> tuple[float, ...]:
    losses = {rate: np.zeros(len(TEMPERATURES)) for rate in ACCELERATIONS}
    for _, rate, found in _answers(bench, families):
        losses[rate] += [soft_error(found.logits, found.truth, t) for t in TEMPERATURES]
    return tuple(TEMPERATURES[int(losses[rate].argmin())] for rate in ACCELERATIONS)


def _samples(bench: Bench, families: Sequence[str], blank: Calibration, tell: Tell) -> list[Sample]:
    samples, last = [], None
    for family, rate, found in _answers(bench, families):
        if (family, rate) != last:
            tell(f"{family}, R = {rate:g}: {len(bench.cohort.cases)} hearts")
            last = family, rate
        samples.append(_sample(family, found, blank))
    return samples


def _sample(family: str, found: Answered, blank: Calibration) -> Sample:
    spacing = found.scan.spacing_mm
    pixel_mm2 = spacing[1] * spacing[2]
    evidence = evidence_of(found, blank)
    true = cavity_areas(found.truth, spacing, ("LV",))["LV"]
    said, doubt = evidence[0, 0] * pixel_mm2, evidence[1, 0] * pixel_mm2
    return Sample(
        family, seen_acceleration(found.seen), said, doubt, true, usual_features(evidence, pixel_mm2)
    )


def _centre_only_samples(bench: Bench, blank: Calibration) -> list[Sample]:
    """The hearts measured by a single line: acquisitions that carry too little for certain."""
    samples = []
    for found in bench.answers("gaussian_lines", 8.0):
        seen = centre_only(found.seen)
        logits = logits_of(bench.loaded.model, seen, found.scan.shape[-2:])[0]
        samples.append(_sample("centre_only", replace(found, seen=seen, logits=logits), blank))
    return samples


# -- what is fitted ------------------------------------------------------------------------------------------


def _errors(name: str, s: Sample) -> tuple[list[float], list[float]]:
    """true - said and doubt, of every frame or of the one number."""
    if name == "frame":
        return (s.true - s.said).tolist(), s.doubt.tolist()
    ed, es = int(s.said.argmax()), int(s.said.argmin())
    if name != "ef":
        frame, true = (ed, s.true.max()) if name == "ed" else (es, s.true.min())
        return [float(true - s.said[frame])], [float(s.doubt[frame])]
    if float(s.said[ed]) <= 0:
        return [], []
    error = area_ejection_fraction({"LV": s.true}) - area_ejection_fraction({"LV": s.said})
    return [error], [ef_doubt(float(s.said[ed]), float(s.said[es]), float(s.doubt[ed]), float(s.doubt[es]))]


def _variance_model(name: str, samples: Sequence[Sample]) -> Target:
    """log |error| by least squares on (1, log doubt, log R)."""
    errors, rows = [], []
    for s in samples:
        for error, doubt in zip(*_errors(name, s)):
            errors.append(abs(error))
            rows.append((1.0, math.log(max(doubt, 1e-3)), math.log(max(s.acceleration, 1.0))))
    least = 0.05 * float(np.mean(errors))  # an error that happens to be 0 must not pull the logarithm down
    weights, *_ = np.linalg.lstsq(np.array(rows), np.log(np.maximum(errors, least)), rcond=None)
    target = Target((float(weights[0]), float(weights[1]), float(weights[2])), (), (), 1.0)
    scaled = [e / math.exp(float(weights @ row)) for e, row in zip(errors, rows)]
    return replace(target, inflation=float(np.mean(scaled)))


def _quantiles(name: str, samples: Sequence[Sample], draft: Calibration) -> Target:
    """Conformal quantiles of (true - said) / scale at every R: the outermost of all families, so each is
    covered.
    """
    target, lows, highs = draft.targets[name], [], []
    for rate in ACCELERATIONS:
        near = [s for s in samples if abs(math.log(s.acceleration / rate)) < 0.2]
        if not near:
            got = f"no answer at about R = {rate:g}, as a model counts that sees a part of k-space"
            raise ValueError(f"calibrating: got {got}; wanted a checkpoint that is shown all of it")
        ends = [
            _ends(name, [s for s in near if s.family == family], target, draft.level)
            for family in _families(near)
        ]
        lows.append(min(low for low, _ in ends))
        highs.append(max(high for _, high in ends))
    return replace(target, low=tuple(lows), high=tuple(highs))


def _families(samples: Sequence[Sample]) -> list[str]:
    return list(dict.fromkeys(s.family for s in samples))


def _ends(name: str, samples: Sequence[Sample], target: Target, level: float) -> tuple[float, float]:
    """Lower and upper quantile with the finite-sample correction (n + 1) / n, in scales."""
    scaled = []
    for s in samples:
        scaled += [e / scale_of(target, d, s.acceleration) for e, d in zip(*_errors(name, s))]
    tail = max(0.0, (1 - level) / 2 * (1 + 1 / len(samples)) - 1 / len(samples))
    low, high = np.quantile(scaled, [tail, 1 - tail])
    return float(low), float(high)


def spread_of(samples: Sequence[Sample]) -> dict[str, float]:
    """Mean absolute deviation over hearts of ED area, ES area (mm^2) and area EF (points)."""
    hearts = {tuple(s.true.tolist()): s.true for s in samples}.values()
    truths = {
        "ed": [float(t.max()) for t in hearts],
        "es": [float(t.min()) for t in hearts],
        "ef": [area_ejection_fraction({"LV": t}) for t in hearts],
    }
    return {name: float(np.abs(np.array(v) - np.mean(v)).mean()) for name, v in truths.items()}


def _usual(samples: Sequence[Sample]) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    features = np.stack([s.features.numpy() for s in samples])
    covariance = np.cov(features.T) + 1e-6 * np.eye(features.shape[1])
    return tuple(features.mean(axis=0).tolist()), tuple(tuple(row) for row in covariance.tolist())


def _distance(s: Sample, draft: Calibration) -> float:
    away = s.features.numpy() - np.array(draft.centre)
    return float(np.sqrt(away @ np.linalg.solve(np.array(draft.covariance), away)))


def _threshold(samples: Sequence[Sample], draft: Calibration) -> tuple[float, dict[str, float]]:
    """The expected error from which on answers are, more often than not, no better than the mean heart:
    fewest wrong verdicts.
    """
    expected = np.array([expected_error(s.said[None], s.doubt[None], s.acceleration, draft) for s in samples])
    truths = [
        {"ed": float(s.true.max()), "es": float(s.true.min()), "ef": area_ejection_fraction({"LV": s.true})}
        for s in samples
    ]
    useless = np.array(
        [relative_error(s.said, t, dict(draft.spread), 1) >= 1 for s, t in zip(samples, truths)]
    )
    if not useless.any() or useless.all():
        return 1.0, {"false_alarms": math.nan, "misses": math.nan}
    tried = np.unique(expected[np.isfinite(expected)])
    wrong = [(expected[useless] < t).sum() + (expected[~useless] >= t).sum() for t in tried]
    best = float(tried[int(np.argmin(wrong))])
    false, missed = float((expected[~useless] >= best).mean()), float((expected[useless] < best).mean())
    return best, {"false_alarms": round(false, 4), "misses": round(missed, 4)}
