"""One job of the worker: what a client sent, in a folder -> answers beside it, and the facts as JSON."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kwise import __version__
from kwise.checkpoint import Loaded
from kwise.data.raw import open_any, with_kspace
from kwise.data.raw_mrd_stream import read_stream
from kwise.predict import Answer, answer_by_task, measurement_of, write_answer
from kwise.predict.answer import acceleration_of
from kwise.predict.facts import zero_filled_magnitude
from kwise.types import CLASS_NAMES, Scan

ANSWER, ARRAYS = "answer", "arrays.npz"  # in the job's folder: the files of an answer; images for a stream


@dataclass(frozen=True)
class Job:
    """What a client sent: the `folder` of its request, the `file` or folder in it (None: a stream), a
    CMRxRecon `mask`, and the name of the `case` for people.
    """

    folder: Path
    file: Path | None = None
    mask: Path | None = None
    case: str = "scan"


def do(job: Job, loaded: Loaded, weights: str) -> dict[str, Any]:
    """Answer a job into its folder; ValueError in one line for what cannot be read."""
    scan = _scan(job)
    found = answer_by_task(scan, loaded)
    write_answer(job.folder / ANSWER, found, loaded, weights, job.case)
    if job.file is None:
        _write_arrays(job.folder / ARRAYS, found)
    return facts_of(found, loaded, weights)


def facts_of(found: Answer, loaded: Loaded, weights: str) -> dict[str, Any]:
    """An answer as JSON: sizes, areas in mm^2, ejection fraction in percent of areas, and its run card."""
    scan = found.scan
    z, t, y, x = scan.shape
    ef = found.ejection_fraction
    return {
        "case": scan.case,
        "shape": {"slices": z, "frames": t, "y": y, "x": x},
        "spacing_mm": list(scan.spacing_mm),
        "frame_ms": scan.frame_ms,
        "classes": list(CLASS_NAMES[: found.n_classes]),
        "areas_mm2": {name: area.tolist() for name, area in found.areas.items()},
        "ED_frame": found.ed,
        "ES_frame": found.es,
        "area_ejection_fraction_percent": None if math.isnan(ef) else ef,
        "dice": dict(found.dice),
        "run_card": _run_card(scan, loaded, weights) | {"cautions": list(found.cautions)},
    }


def _run_card(scan: Scan, loaded: Loaded, weights: str) -> dict[str, Any]:
    return {
        "model": loaded.name,
        "weights_sha256": weights,
        "trained_on": loaded.preprocessing.get("trained_on"),
        "software": f"kwise {__version__}",
        "acceleration_achieved": round(acceleration_of(measurement_of(scan)), 3),
        "notes": dict(scan.notes),
        "for": "research: kwise is no medical device",
    }


def _scan(job: Job) -> Scan:
    scan = read_stream(job.folder) if job.file is None else open_any(job.file, mask=job.mask)
    return with_kspace(replace(scan, case=job.case))


def _write_arrays(path: Path, found: Answer) -> None:
    """Labels and image (z, t, y, x), and the geometry that goes with them."""
    scan = found.scan
    image = zero_filled_magnitude(measurement_of(scan)) if found.image is None else found.image
    arrays: Mapping[str, Any] = {
        "labels": np.zeros(0, np.uint8) if found.labels is None else found.labels.numpy().astype(np.uint8),
        "image": image.numpy().astype(np.float32),
        "what": np.array("zero-filled" if found.image is None else "reconstructed"),
        "spacing_mm": np.array(scan.spacing_mm),
        "affine": np.zeros((0, 0)) if scan.affine is None else scan.affine.numpy(),
        "frame_ms": np.array(scan.frame_ms or 0.0),
    }
    np.savez(path, **arrays)
