"""`kwise predict`, as a verb of the command line."""

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from kwise.data.cohort import MANIFEST
from kwise.data.out_table import Row, readable
from kwise.predict import Answer, Order, is_cohort, predict_file, predict_folder
from kwise.predict.bounds import bound_lines
from kwise.predict.cautions import SIMULATED


def run_predict(
    path: Path,
    folder: Path,
    checkpoint: Path | None,
    also: Sequence[str] = (),
    workers: int = 1,
    pixel_mm: tuple[float, float] | None = None,
    axes: str | None = None,
) -> None:
    """Answer one scan, or every scan below a folder, and say in a few lines what was found and where it
    lies.
    """
    command = shlex.join(["kwise", *sys.argv[1:]])
    if is_cohort(path):
        _run_cohort(path, folder, Order(checkpoint, tuple(also), command, pixel_mm, axes), workers)
        return
    found = predict_file(path, folder, checkpoint, also, command, pixel_mm, axes)
    for line in summary(found):
        print(line)
    print(readable(f"wrote {', '.join(sorted(made.name for made in folder.iterdir()))} in {folder}"))


def _run_cohort(source: Path, folder: Path, order: Order, workers: int) -> None:
    def tell(done: int, total: int, row: Row) -> None:
        print(f"[{done}/{total}] {row['file']}: {_brief(row)}", flush=True)

    rows = predict_folder(source, folder, order, workers, tell)
    failed = [row for row in rows if row["status"] == "failed"]
    cautioned = sum(map(_cautioned, rows))
    told = f"{len(rows) - len(failed)} of {len(rows)} answered, {cautioned} of them with cautions"
    for line in _origin(source, rows):
        print(line)
    print(readable(f"{told}; a row each in {folder / 'phenotypes.csv'}"))
    if len(failed) == len(rows):
        raise ValueError(f"answering {source}: got {len(rows)} files and no answer; wanted scans")


def _origin(source: Path, rows: Sequence[Row]) -> list[str]:
    """A line where answers rest on k-space that no scanner measured."""
    made = sum(bool(row.get("simulated")) for row in rows)
    if not made:
        return []
    whose = "a cohort's files hold images: " if (source / MANIFEST).is_file() else ""
    return [
        f"{whose}the k-space of {made} of {len(rows)} was simulated from magnitude images (column simulated)"
        "; a scanner's own may give worse answers"
    ]


def _brief(row: Row) -> str:
    if row["status"] == "failed":
        return f"failed: {row['error']}"
    more = f"; labels {row['labels']}" if str(row.get("labels", "")).startswith("left out") else ""
    more += ", with a caution" if _cautioned(row) else ""
    for name in ("LVEF_percent", "LV_area_EF_percent"):
        value = row.get(name)
        if isinstance(value, float) and math.isfinite(value):
            return f"{name.removesuffix('_percent').replace('_', ' ')} {value:.0f} %{more}"
    return f"answered{more}"


def _cautioned(row: Row) -> bool:
    """Whether an answer has a caution of its own: whose k-space was simulated the last line tells for all."""
    sentences = str(row.get("cautions") or "").split(" | ")
    return any(sentence and not sentence.startswith(SIMULATED) for sentence in sentences)


def summary(found: Answer) -> list[str]:
    """What was found, in a few lines."""
    z, t, y, x = found.scan.shape
    lines = [f"{found.scan.case}: {z} slice(s), {t} frames, {y} x {x}"]
    lines += _beat(found)
    if ": if " in (axes := found.scan.notes.get("axes", "")):  # others would have made another scan
        lines.append(f"axes {axes}")
    values = {p.name: p for p in found.phenotypes}
    volumes = [values[name] for name in ("LVEDV_mL", "LVESV_mL", "LVEF_percent", "LVM_g") if name in values]
    if volumes:
        told = ", ".join(f"{p.name.rpartition('_')[0]} {p.value:.0f} {p.unit}" for p in volumes)
        lines.append(f"{told} ({volumes[0].about})")
    if found.dice:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in found.dice.items())
        lines.append(f"Dice against the truth in the file: {scores}")
    if (labels := found.scan.notes.get("labels", "")).startswith("left out"):
        lines.append(f"labels {labels}")
    return lines + bound_lines(found.intervals) + [f"caution: {sentence}" for sentence in found.cautions]


def _beat(found: Answer) -> list[str]:
    if found.ed is None or found.es is None:
        return [] if found.image is None else ["reconstructed"]
    if not any(bool((area > 0).any()) for area in found.areas.values()):
        return ["no heart was found"]
    if found.scan.shape[1] == 1:
        return ["one frame: areas, and no ejection fraction"]
    if math.isnan(found.ejection_fraction):
        return ["no LV pool was found"]
    what = f"ED frame {found.ed + 1}, ES frame {found.es + 1}"
    return [f"area ejection fraction {found.ejection_fraction:.1f} % ({what})"]
