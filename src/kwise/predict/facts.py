"""What the report page says about an answer: numbers, facts and cautions in words."""

import math

from torch import Tensor

from kwise import __version__
from kwise.checkpoint import Loaded
from kwise.fourier import ifft2c
from kwise.gridding import gridded
from kwise.phenotypes import STRUCTURES, Phenotype
from kwise.predict.answer import Answer, named_areas
from kwise.predict.bounds import bands, bound_facts
from kwise.predict.door import acceleration_of, measurement_of
from kwise.predict.measures import area_unit
from kwise.report.page import Page
from kwise.types import CLASS_NAMES, Measurement, Scan


def page_of(found: Answer, loaded: Loaded, weights: str, file: str, reference: Tensor | None) -> Page:
    """The report page of an answer."""
    scan = found.scan
    measurement = measurement_of(scan)
    grid = gridded(measurement)  # pictures of spokes are those of the grid they amount to
    true_areas: dict[str, list[float]] = {}
    if found.dice:
        assert scan.labels is not None
        known = named_areas(scan.labels, scan, found.n_classes)
        true_areas = {name: area.tolist() for name, area in known.items() if name in found.dice}
    return Page(
        title=scan.case,
        subtitle=f"{_done(found)} by kwise, model {loaded.name}, from what was acquired of its k-space.",
        kspace=grid.kspace[0].abs().square().sum(dim=0).sqrt().numpy(),
        mask=grid.mask[0].numpy(),
        zero_filled=zero_filled_magnitude(grid).numpy(),
        shared=shared_magnitude(grid).numpy(),
        labels=None if found.labels is None else found.labels.numpy(),
        reconstruction=None if found.image is None else found.image.numpy(),
        class_names=CLASS_NAMES,
        areas={name: area.tolist() for name, area in found.areas.items()},
        ed=found.ed,
        es=found.es,
        area_unit=_unit(scan),
        pixel_mm=scan.spacing_mm[1:],
        frame_ms=scan.frame_ms,
        truth=scan.labels.numpy() if found.dice and scan.labels is not None else None,
        true_areas=true_areas,
        reference=None if reference is None else reference.numpy(),
        bands=bands(found.intervals),
        measured={_in_words(p.name): _value(p) for p in found.phenotypes},
        tiles=_tiles(found, measurement),
        facts=_facts(found, measurement, loaded, weights, file),
        cautions=_cautions(found),
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
    if found.areas and found.ed is not None and found.es is not None:
        areas, unit = _lv(found), _unit(found.scan)
        if len(areas) > 1:
            tiles["area ejection fraction"] = _percent(found.ejection_fraction, 0)
            tiles["end-diastolic LV area"] = f"{areas[found.ed]:.0f} {unit}"
            tiles["end-systolic LV area"] = f"{areas[found.es]:.0f} {unit}"
        else:
            tiles["LV area"] = f"{areas[0]:.0f} {unit}"
    tiles["acceleration achieved"] = f"{acceleration_of(measurement):.1f}"
    if found.dice:
        tiles["mean Dice against the truth"] = f"{sum(found.dice.values()) / len(found.dice):.2f}"
    return tiles


def _unit(scan: Scan) -> str:
    return {"mm2": "mm²"}.get(area_unit(scan), "pixels")


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
        "grid": f"{y} x {x} pixels, {t} frame(s), {z} slice(s), {measurement.kspace.shape[1]} coil(s)",
        "pixel": "size not told"
        if scan.in_pixels
        else f"{scan.spacing_mm[1]:.2f} x {scan.spacing_mm[2]:.2f} mm",
        "frame time": f"{scan.frame_ms:.1f} ms" if scan.frame_ms else "not told by the file",
        "model": loaded.name,
        "model saw": _seen(found, loaded),
        "weights (SHA-256)": weights[:12],
        "software": f"kwise {__version__}",
        "file": file,
    }
    facts |= {f"note: {key}": value for key, value in scan.notes.items()}
    return {key: value for key, value in facts.items() if value}


def _cycle(found: Answer) -> dict[str, str]:
    """ED, ES and the ejection fraction; nothing where the model said nothing about a heart beat."""
    if found.ed is None or found.es is None or found.scan.shape[1] == 1:
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


def _in_words(name: str) -> str:
    """myo_ED_area_mm2 -> LV myocardium ED area; LVEDV_mL -> LVEDV."""
    short, _, rest = name.rpartition("_")[0].partition("_")
    long = CLASS_NAMES[STRUCTURES[short]] if rest.endswith("area") else short
    return f"{long} {rest}".replace("_", " ").strip()


def _value(p: Phenotype) -> str:
    if math.isnan(p.value):
        return "unknown"
    span = "" if math.isnan(p.low) or math.isnan(p.high) else f" [{p.low:.1f}, {p.high:.1f}]"
    return f"{p.value:.1f}{span} {p.unit}" + (f" ({p.about})" if p.about else "")


def _seen(found: Answer, loaded: Loaded) -> str:
    data = loaded.preprocessing.get("trained_on")
    return "; ".join(part for part in (found.seen, f"trained on {data}" if data else "") if part)


def _cautions(found: Answer) -> list[str]:
    """What a reader has to know before believing the page: the answer's own cautions, and what kwise is."""
    unchecked = (
        " The model looks for a heart in a short-axis cine: in any other image what it draws means nothing, "
        "and it cannot be relied on to notice."
    )
    research = "For research: kwise is no medical device." + unchecked * (found.labels is not None)
    return [*found.cautions, research]
