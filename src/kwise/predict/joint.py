"""All answers of one joint model to a file of several views: labels, image, phenotypes with intervals,
diseases.
"""

import math

import torch

from kwise.checkpoint import Loaded
from kwise.phenotypes import DISEASES, PHENOTYPES, Phenotype, ejection_fraction
from kwise.predict.answer import Answer, dice_of, named_areas
from kwise.predict.beat import lv_pool
from kwise.predict.cautions import file_cautions, frames_caution
from kwise.predict.door import matrix_for, measurement_of, with_coils_for
from kwise.types import Measurement, Prediction, Query, Scan

WITHIN = 1.96  # sd that hold 95 % of a Gaussian
UNITS = {"mL": "mL", "g": "g", "percent": "%"}


def answer_joint(scan: Scan, loaded: Loaded) -> Answer:
    """What a model of several heads says about a scan with k-space, in one forward pass.

    Phenotypes have 95 % intervals from the model's own standard deviation; diseases are probabilities,
    calibrated on validation cases. ED is frame 0 of a gated cine, ES the frame of the smallest LV pool in the
    short-axis views.
    """
    measurement = measurement_of(
        with_coils_for(scan, loaded.preprocessing), matrix_for(scan, loaded.preprocessing)
    )
    resolution = (scan.shape[-2], scan.shape[-1])
    with torch.inference_mode():
        said = loaded.model(measurement, Query(resolution=resolution))
    phenotypes = (*_phenotypes(said), *_diseases(said))
    own, told, seen = _cautions(scan, measurement, loaded), loaded.preprocessing, _seen(measurement)
    image = None if said.image is None else said.image[0].abs().float()
    if said.logits is None:
        cautions = (*file_cautions(scan, told, {}, seen), *own)
        return Answer(scan, image=image, phenotypes=phenotypes, cautions=cautions, seen=seen)
    labels, n_classes = said.labels()[0], said.logits.shape[1]
    areas = named_areas(labels, scan, n_classes)
    pool = _short_axis_pool(labels, scan)
    return Answer(
        scan,
        labels,
        n_classes,
        areas,
        0,
        int(pool.argmin()),
        ejection_fraction(float(pool[0]), float(pool.min())),
        dice_of(scan, labels, n_classes),
        image=image,
        phenotypes=phenotypes,
        cautions=(*file_cautions(scan, told, areas, seen), *own),
        seen=seen,
    )


def _phenotypes(said: Prediction) -> list[Phenotype]:
    if said.phenotypes is None:
        return []
    found = []
    for i, name in enumerate(PHENOTYPES):
        value = float(said.phenotypes[0, i])
        reach = math.nan if said.phenotype_sd is None else WITHIN * float(said.phenotype_sd[0, i])
        unit = UNITS[name.rpartition("_")[2]]
        about = "regressed from k-space; 95 % interval of the model"
        found.append(Phenotype(name, value, unit, value - reach, value + reach, about))
    return found


def _diseases(said: Prediction) -> list[Phenotype]:
    """A probability for each disease, and in words from where the model would call it."""
    if said.diseases is None:
        return []
    found = []
    for i, name in enumerate(DISEASES):
        probability = float(said.diseases[0, i].sigmoid())
        about = "calibrated probability"
        if said.disease_threshold is not None:
            threshold = float(said.disease_threshold[0, i])
            about += f"; called from {threshold:.3f}: {'yes' if probability >= threshold else 'no'}"
        found.append(Phenotype(f"{name}_probability", probability, "probability", about=about))
    return found


def _short_axis_pool(labels: torch.Tensor, scan: Scan) -> torch.Tensor:
    """(t,) pixels of the LV pool over the short-axis views, or over all where nobody named them."""
    views = scan.views or ("SAX",) * len(labels)
    chosen = [i for i, view in enumerate(views) if view == "SAX"] or list(range(len(labels)))
    return lv_pool(labels[chosen])


def _cautions(scan: Scan, measurement: Measurement, loaded: Loaded) -> list[str]:
    sentences = []
    if scan.views is None:
        sentences.append("The file does not name its views: all were taken for short-axis slices.")
    seen = measurement.mask[0].flatten(1).any(dim=1).tolist()
    missing = [str(i + 1) for i, there in enumerate(seen) if not there]
    if missing:
        named = ", ".join(f"{i} ({scan.views[int(i) - 1]})" if scan.views else i for i in missing)
        sentences.append(f"Nothing was acquired of view {named}: answered from the other views.")
    trained, few = loaded.preprocessing.get("n_frames"), frames_caution(scan, loaded.preprocessing)
    sentences += few
    if trained is not None and trained != scan.shape[1] and not few:
        sentences.append(f"The cine has {scan.shape[1]} frames; the model learned from {trained}.")
    return sentences


def _seen(measurement: Measurement) -> str:
    z, ky, kx = measurement.n_slices, *measurement.kspace.shape[-2:]
    return f"{z} views, the central {ky} x {kx} of k-space"
