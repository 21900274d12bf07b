"""The run card: what was run on which measurement, so that an answer on disk can be traced and repeated."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from kwise import __version__
from kwise.checkpoint import Loaded
from kwise.coils import acs_shape
from kwise.data.beside import label_file
from kwise.predict.answer import Answer
from kwise.predict.door import acceleration_of, measurement_of
from kwise.types import Measurement

# Notes of a scan that say what was simulated of it; a measured scan has none of them.
_SIMULATED = ("simulated", "phase", "coils", "snr", "lines", "seed", "acceleration")


def run_card(
    found: Answer, loaded: Loaded, weights: str, file: str, command: str | None
) -> dict[str, object]:
    """Content of run.json: software, model, weights' SHA-256, measurement as achieved, what was simulated."""
    scan, simulated = found.scan, "simulated" in found.scan.notes
    notes = {key: value for key, value in scan.notes.items() if not (simulated and key in _SIMULATED)}
    return {
        "format": "kwise run card",
        "version": 1,
        "case": scan.case,
        "file": file,
        "command": command,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": {"kwise": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "model": _model(loaded, weights) | {"saw": found.seen},
        "measurement": measured(measurement_of(scan)),
        "geometry": {
            "spacing_mm_zyx": None if scan.in_pixels else list(scan.spacing_mm),
            "frame_ms": scan.frame_ms,
            "affine": None if scan.affine is None else scan.affine.tolist(),
        },
        "simulated": {key: scan.notes[key] for key in _SIMULATED if key in scan.notes} if simulated else None,
        "notes": notes,
        "cautions": list(found.cautions),
        "medical device": False,
    }


def _model(loaded: Loaded, weights: str) -> dict[str, object]:
    told: Mapping[str, object] = loaded.preprocessing
    return {
        "name": loaded.name,
        "options": loaded.options,
        "weights_sha256": weights,
        "task": told.get("task", "segmentation"),
        "trained_on": told.get("trained_on"),
        "recipe": told.get("recipe"),
    }


def question(
    loaded: Loaded, weights: str, pixel_mm: tuple[float, float] | None, axes: str | None
) -> dict[str, object]:
    """What decides the answer to a file beside the file itself: an answer to the same question stands."""
    calibration = None if loaded.calibration is None else _sha256(asdict(loaded.calibration))
    return {
        "kwise": __version__,
        "weights_sha256": weights,
        "preprocessing_sha256": _sha256(loaded.preprocessing),
        "calibration_sha256": calibration,
        "pixel_mm": None if pixel_mm is None else list(pixel_mm),
        "axes": axes,
    }


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def measured(measurement: Measurement) -> dict[str, object]:
    """What was acquired: grid, coils, R as achieved, lines of a frame, size of the ACS."""
    _, coils, slices, frames, ky, kx = measurement.kspace.shape
    lines = measurement.mask[0].any(dim=-1).sum(dim=-1)
    found: dict[str, object] = {
        "coils": coils,
        "slices": slices,
        "frames": frames,
        "matrix": [ky, kx],
        "trajectory": "Cartesian" if measurement.trajectory is None else "not Cartesian",
        "acceleration_achieved": round(acceleration_of(measurement), 4),
        "lines_per_frame": [int(lines.min()), int(lines.max())],
    }
    if measurement.trajectory is None:
        found["acs"] = dict(zip(("ky", "kx"), acs_shape(measurement.mask[0])))
    return found


def file_state(path: Path | None) -> list[object] | None:
    """Size in bytes and time of change of a file with its labels, of the newest in a folder; None where there
    is none.
    """
    if path is None or not path.exists():
        return None
    labels = label_file(path)
    beside = [] if labels is None else [labels]
    inside = [path, *(file for file in path.rglob("*"))] if path.is_dir() else [path, *beside]
    states = [file.stat() for file in inside if file.is_file()]
    newest = max((state.st_mtime for state in states), default=0.0)
    return [sum(state.st_size for state in states), datetime.fromtimestamp(newest, UTC).isoformat()]


def file_name(path: Path | str) -> str:
    """The name of a file or folder, also of `.`."""
    return Path(path).resolve().name
