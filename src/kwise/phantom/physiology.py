"""Who a virtual subject is: sex, age, body, chamber volumes, and three diseases whose best AUC is known.

Means, standard deviations and correlations are those of docs/phantom.md (healthy UK Biobank participants,
partly from memory): a synthetic cohort, no clinical reference.

Diseases are drawn from p(disease | visible), a logistic function of what an image can show. So the posterior
is exact by construction, the noise of the draw is irreducible, and no reader of images can beat the AUC of
these probabilities, whatever else the subject's covariates tell: they act through what is visible.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import torch
from torch import Tensor

from kwise.phantom.draws import Draws

TERRITORIES = {"LAD": 0.45, "RCA": 0.35, "LCx": 0.20}  # coronary artery -> how often it is the narrow one
MALES = 0.48

# Mean and sd of each trait, men then women.
TRAITS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "age": ((64.5, 7.7), (63.5, 7.6)),
    "height": ((176.0, 6.6), (163.0, 6.2)),
    "weight": ((83.0, 12.5), (69.0, 12.5)),
    "LVEDV": ((166.0, 32.0), (124.0, 21.0)),
    "LVEF": ((58.5, 5.0), (61.5, 5.0)),
    "LVM": ((103.0, 21.0), (70.0, 13.0)),
    "RVEDV": ((182.0, 36.0), (130.0, 24.0)),
    "LAV": ((71.0, 19.0), (62.0, 17.0)),
    "LAEF": ((60.0, 8.0), (60.0, 8.0)),
    "RAV": ((93.0, 27.0), (69.0, 17.0)),
    "RAEF": ((42.0, 9.0), (42.0, 9.0)),
    "ischaemia": ((0.25, 1.0), (-0.25, 1.0)),
}
# Correlations within a sex; pairs that are not named are uncorrelated.
CORRELATIONS = {
    ("age", "height"): -0.15, ("age", "LVEDV"): -0.2, ("age", "LVM"): 0.05, ("age", "LAV"): 0.1,
    ("age", "LAEF"): -0.2, ("age", "ischaemia"): 0.25, ("age", "RVEDV"): -0.2,
    ("height", "weight"): 0.45, ("height", "LVEDV"): 0.4, ("height", "LVM"): 0.3, ("height", "RVEDV"): 0.4,
    ("height", "LAV"): 0.2, ("height", "RAV"): 0.25,
    ("weight", "LVEDV"): 0.4, ("weight", "LVM"): 0.5, ("weight", "RVEDV"): 0.35, ("weight", "LAV"): 0.3,
    ("weight", "RAV"): 0.25,
    ("LVEDV", "LVEF"): -0.2, ("LVEDV", "LVM"): 0.7, ("LVEDV", "RVEDV"): 0.85, ("LVEDV", "LAV"): 0.4,
    ("LVEDV", "RAV"): 0.4, ("LVEDV", "LAEF"): -0.1,
    ("LVEF", "LVM"): -0.1, ("LVEF", "RVEDV"): -0.1, ("LVEF", "LAEF"): 0.25, ("LVEF", "LAV"): -0.1,
    ("LVEF", "ischaemia"): -0.4,
    ("LVM", "RVEDV"): 0.6, ("LVM", "LAV"): 0.4, ("LVM", "RAV"): 0.3, ("LVM", "ischaemia"): 0.1,
    ("RVEDV", "LAV"): 0.35, ("RVEDV", "RAV"): 0.5,
    ("LAV", "LAEF"): -0.35, ("LAV", "RAV"): 0.45, ("LAEF", "RAEF"): 0.4, ("LAEF", "ischaemia"): -0.15,
    ("RAV", "RAEF"): -0.3,
}  # fmt: skip


@dataclass(frozen=True)
class Disease:
    """Log odds = intercept + slope x score, set so that prevalence and best AUC come out as wanted."""

    prevalence: float
    intercept: float
    slope: float


DISEASES = {
    "CAD": Disease(0.074, -2.947, 0.688),
    "high_blood_pressure": Disease(0.258, -1.218, 0.987),
    "hypertension": Disease(0.208, -1.596, 1.007),
}
SHARED_NOISE = 0.6  # correlation of the draws of the two blood-pressure labels: often the same people


@dataclass(frozen=True)
class Subject:
    """One synthetic person: traits with units in their names, and what decides the diseases.

    `scar` is the share of wall motion lost in the territory of one coronary artery; `probabilities` are
    P(disease | everything an image can show), `diseases` the draws (0 or 1).
    """

    case: str
    covariates: dict[str, float]
    phenotypes: dict[str, float]
    scar: float
    territory: str
    probabilities: dict[str, float]
    diseases: dict[str, float]


@lru_cache(maxsize=1)
def _mixing() -> Tensor:
    """(n, n) float64 Cholesky factor of the correlation matrix."""
    names = list(TRAITS)
    matrix = torch.eye(len(names), dtype=torch.float64)
    for (a, b), value in CORRELATIONS.items():
        i, j = names.index(a), names.index(b)
        matrix[i, j] = matrix[j, i] = value
    return torch.linalg.cholesky(matrix)


def draw_subject(case: str) -> Subject:
    """Draw the person called `case`: the same name gives the same person on every machine."""
    d = Draws(case, "physiology")
    male = d.chance(MALES)
    white = torch.tensor([d.normal() for _ in TRAITS], dtype=torch.float64)
    mixed = dict(zip(TRAITS, (_mixing() @ white).clamp(-2.6, 2.6).tolist()))
    traits = {name: row[not male][0] + row[not male][1] * mixed[name] for name, row in TRAITS.items()}
    scar = 0.9 * NormalDist().cdf(1.2 * traits["ischaemia"] - 1.2)
    phenotypes = _phenotypes(traits, scar, d.normal(0.0, 0.02))
    territory = _pick(TERRITORIES, d.between(0.0, 1.0))
    probabilities = disease_probabilities(phenotypes, scar)
    covariates = {
        "age_years": min(max(traits["age"], 45.0), 82.0),
        "sex_male": float(male),
        "height_cm": traits["height"],
        "weight_kg": max(traits["weight"], 42.0),
    }
    return Subject(
        case, covariates, phenotypes, scar, territory, probabilities, _draw_diseases(d, probabilities)
    )


def _phenotypes(traits: dict[str, float], scar: float, mismatch: float) -> dict[str, float]:
    """Volumes in mL that fit each other: both ventricles eject the same, but for `mismatch`."""
    ejection = max(traits["LVEF"] - 12.0 * max(scar - 0.3, 0.0), 25.0)
    edv = traits["LVEDV"]
    stroke = edv * ejection / 100
    rv_stroke = stroke * (1 + mismatch)
    # A right ventricle whose ejection fraction stays between 35 and 75 %.
    rv_edv = min(max(traits["RVEDV"], rv_stroke / 0.75), rv_stroke / 0.35)
    result = {"LVEDV_mL": edv, "LVESV_mL": edv - stroke, "LVSV_mL": stroke, "LVEF_percent": ejection}
    result["LVM_g"] = traits["LVM"]
    result |= {"RVEDV_mL": rv_edv, "RVESV_mL": rv_edv - rv_stroke, "RVSV_mL": rv_stroke}
    result["RVEF_percent"] = 100 * rv_stroke / rv_edv
    for name in ("LA", "RA"):
        largest, emptied = max(traits[name + "V"], 24.0), min(max(traits[name + "EF"], 18.0), 78.0)
        result |= {f"{name}V_max_mL": largest, f"{name}V_min_mL": largest * (1 - emptied / 100)}
        result |= {f"{name}SV_mL": largest * emptied / 100, f"{name}EF_percent": emptied}
    return result


def disease_scores(phenotypes: dict[str, float], scar: float) -> dict[str, float]:
    """What an imager can see of each disease, about zero mean and unit spread.

    CAD: wall motion lost in one territory. High blood pressure: a thick wall around a small cavity, then a
    large atrium that empties badly. Hypertension: the same signs with the atrium weighing more.
    """
    thick = (phenotypes["LVM_g"] / phenotypes["LVEDV_mL"] - 0.60) / 0.10
    atrium = (phenotypes["LAV_max_mL"] - 66.0) / 18.0
    weak = (60.0 - phenotypes["LAEF_percent"]) / 8.0
    return {
        "CAD": (scar - 0.19) / 0.17,
        "high_blood_pressure": 0.8 * thick + 0.4 * atrium + 0.3 * weak,
        "hypertension": 0.6 * thick + 0.6 * atrium + 0.4 * weak,
    }


def disease_probabilities(phenotypes: dict[str, float], scar: float) -> dict[str, float]:
    """P(disease | everything an image can show), for each disease."""
    scores = disease_scores(phenotypes, scar)
    return {
        name: 1 / (1 + math.exp(-(row.intercept + row.slope * scores[name])))
        for name, row in DISEASES.items()
    }


def _draw_diseases(d: Draws, probabilities: dict[str, float]) -> dict[str, float]:
    normal = NormalDist()
    shared, own = d.normal(limit=9.0), d.normal(limit=9.0)
    other = SHARED_NOISE * shared + math.sqrt(1 - SHARED_NOISE**2) * own
    luck = {"CAD": d.between(0.0, 1.0), "high_blood_pressure": normal.cdf(shared)}
    luck["hypertension"] = normal.cdf(other)
    return {name: float(luck[name] < p) for name, p in probabilities.items()}


def _pick(shares: dict[str, float], u: float) -> str:
    for name, share in shares.items():
        u -= share
        if u < 0:
            return name
    return name


def best_possible_auc(disease: str, cases: Iterable[str]) -> float:
    """The AUC that the true probabilities reach on average over the draws of these subjects: nobody can do
    better.

    Expected share of (ill, healthy) pairs in which the ill subject has the higher probability. ValueError for
    an unknown disease or fewer than two subjects.
    """
    if disease not in DISEASES:
        raise ValueError(f"asking for the best AUC: got {disease!r}; wanted one of {', '.join(DISEASES)}")
    values = sorted(draw_subject(case).probabilities[disease] for case in cases)
    if len(values) < 2:
        raise ValueError(
            f"asking for the best AUC of {disease}: got {len(values)} subjects; wanted 2 or more"
        )
    p = torch.tensor(values, dtype=torch.float64)
    healthy_below = torch.cumsum(1 - p, 0) - (1 - p)
    pairs = p.sum() * (1 - p).sum() - (p * (1 - p)).sum()
    return float((p * healthy_below).sum() / pairs)
