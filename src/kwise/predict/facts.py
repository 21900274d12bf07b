"""What the report page says about an answer: numbers, facts and cautions in words."""

import math

from torch import Tensor

from kwise import __version__
from kwise.checkpoint import Loaded
from kwise.fourier import ifft2c
from kwise.phenotypes import STRUCTURES
from kwise.predict.answer import Answer, acceleration_of, matrix_of, measurement_of, named_areas
from kwise.predict.bounds import bands, bound_facts
from kwise.report.page import Page
from kwise.types import CLASS_NAMES, Measurement, Scan


def page_of(found: Answer, loaded: Loaded, weights: str, file: str, reference: Tensor | None) -> Page:
    """The report page of an answer."""
    scan = found.scan
    measurement = measurement_of(scan)
    true_areas: dict[str, list[float]] = {}
    if found.dice:
        assert scan.labels is not None
        known = named_areas(scan.labels, scan, found.n_classes)
        true_areas = {name: area.tolist() for name, area in known.items() if name in found.dice}
    return Page(
        title=scan.case,
        subtitle=f"{_done(found)} by kwise, model {loaded.name}, from what was acquired of its k-space.",
        kspace=measurement.kspace[0].abs().square().sum(dim=0).sqrt().numpy(),
        mask=measurement.mask[0].any(dim=-1).numpy(),
        zero_filled=zero_filled_magnitude(measurement).numpy(),
        shared=shared_magnitude(measurement).numpy(),
        labels=None if found.labels is None else found.labels.numpy(),
        reconstruction=None if found.image is None else found.image.numpy(),
        class_names=CLASS_NAMES,
        areas={name: area.tolist() for name, area in found.areas.items()},
        ed=found.ed,
        es=found.es,
        pixel_mm=scan.spacing_mm[1:],
        frame_ms=scan.frame_ms,
        truth=scan.labels.numpy() if found.dice and scan.labels is not None else None,
        true_areas=true_areas,
        reference=None if reference is None else reference.numpy(),
        bands=bands(found.intervals),
        tiles=_tiles(found, measurement),
        facts=_facts(found, measurement, loaded, weights, file),
        cautions=_cautions(found, loaded),
    )


def _done(found: Answer) -> str:
    if found.labels is None:
        return "Reconstructed" if found.image is not None else "Read"
    return "Segmented" if found.image is None else "Segmented and reconstructed"


def zero_filled_magnitude(measurement: Measurement) -> Tensor:
    """Magnitude (z, t, y, x) of the zero-filled images of one case, coils joined by root sum of squares."""
    return ifft2c(measurement.kspace[0]).abs().square().sum(dim=0).sqrt()


def shared_magnitude(measurement: Measurement) -> Tensor:
    """Magnitude (z, y, x) of one image of all frames: each k-space position averaged over the frames that
    acquired it.
    """
    times = measurement.mask[0].sum(dim=1).clamp(min=1)
    return ifft2c(measurement.kspace[0].sum(dim=2) / times).abs().square().sum(dim=0).sqrt()


def _tiles(found: Answer, measurement: Measurement) -> dict[str, str]:
    tiles = {}
    if found.ed is not None and found.es is not None:
        tiles = {
            "area ejection fraction": _percent(found.ejection_fraction, 0),
            "end-diastolic LV area": f"{_lv(found)[found.ed]:.0f} mm²",
            "end-systolic LV area": f"{_lv(found)[found.es]:.0f} mm²",
        }
    tiles["acceleration achieved"] = f"{acceleration_of(measurement):.1f}"
    if found.dice:
        tiles["mean Dice against the truth"] = f"{sum(found.dice.values()) / len(found.dice):.2f}"
    return tiles


def _percent(value: float, digits: int) -> str:
    return "none" if math.isnan(value) else f"{value:.{digits}f} %"


def _lv(found: Answer) -> list[float]:
    return found.areas[CLASS_NAMES[STRUCTURES["LV"]]].tolist()


def _facts(
    found: Answer, measurement: Measurement, loaded: Loaded, weights: str, file: str
) -> dict[str, str]:
    scan, (z, t, y, x) = found.scan, found.scan.shape
    lines = measurement.mask.any(dim=-1)[0].sum(dim=-1)
    facts = {
        **_cycle(found),
        **bound_facts(found.intervals),
        **{f"Dice, {name}": f"{value:.3f}" for name, value in found.dice.items()},
        "acceleration achieved": f"{acceleration_of(measurement):.2f} ({_between(lines)} of {y} lines)",
        "grid": f"{y} x {x} pixels, {t} frames, {z} slice(s), {measurement.kspace.shape[1]} coil(s)",
        "pixel": f"{scan.spacing_mm[1]:.2f} x {scan.spacing_mm[2]:.2f} mm",
        "frame time": f"{scan.frame_ms:.1f} ms" if scan.frame_ms else "not told by the file",
        "model": loaded.name,
        "model saw": _seen(loaded),
        "weights (SHA-256)": weights,
        "software": f"kwise {__version__}",
        "file": file,
    }
    facts |= {f"note: {key}": value for key, value in scan.notes.items()}
    return {key: value for key, value in facts.items() if value}


def _cycle(found: Answer) -> dict[str, str]:
    """ED, ES and the ejection fraction; nothing where the model said nothing about a heart beat."""
    if found.ed is None or found.es is None:
        return {}
    ms = found.scan.frame_ms
    ed, es = (f"frame {i + 1}" + (f" ({i * ms:.0f} ms)" if ms else "") for i in (found.ed, found.es))
    return {
        "end-diastole (largest LV pool)": ed,
        "end-systole (smallest LV pool)": es,
        "area ejection fraction": f"{_percent(found.ejection_fraction, 1)}, of areas, not of volumes",
    }


def _between(lines: Tensor) -> str:
    low, high = int(lines.min()), int(lines.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _seen(loaded: Loaded) -> str:
    matrix, data = matrix_of(loaded.preprocessing), loaded.preprocessing.get("trained_on")
    cut = "all of k-space" if matrix is None else f"the central {matrix[0]} x {matrix[1]} of k-space"
    return cut if data is None else f"{cut}; trained on {data}"


def _cautions(found: Answer, loaded: Loaded) -> list[str]:
    """What a reader has to know before believing the page."""
    scan, sentences = found.scan, []
    if "simulated" in scan.notes:
        sentences.append(
            f"The k-space of this file was simulated: {scan.notes['simulated']}, with "
            f"{scan.notes.get('phase', 'unknown')} phase, {scan.notes.get('coils', 'unknown')} coil(s) "
            f"and SNR {scan.notes.get('snr', 'unknown')}. A scanner's own k-space may give worse answers."
        )
    wanted, sizes = loaded.preprocessing.get("fov_mm"), _field_mm(scan)
    if wanted and max(sizes) > 1.4 * wanted:
        sentences.append(
            f"This field of view is {sizes[0]:.0f} x {sizes[1]:.0f} mm; "
            f"the model learned from {wanted:.0f} mm at most."
        )
    if any(float(area.min()) == 0 < float(area.max()) for area in found.areas.values()):
        sentences.append("In some frames a structure was not found: areas and EF may be wrong there.")
    if found.ed is not None and math.isnan(found.ejection_fraction):
        sentences.append("The model found no LV pool: ED, ES and the ejection fraction mean nothing here.")
    sentences += found.cautions
    sentences.append("For research: kwise is no medical device.")
    return sentences


def _field_mm(scan: Scan) -> tuple[float, float]:
    return scan.shape[-2] * scan.spacing_mm[1], scan.shape[-1] * scan.spacing_mm[2]
