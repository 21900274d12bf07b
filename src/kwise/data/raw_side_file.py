"""CSV files beside k-space that tells no geometry (CMRxRecon 2024, 2025): pixel size and frame time."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from kwise.data.nifti import FRAME_MS
from kwise.data.raw_checks import NO_SPACING, refused, stem_of

_LARGEST = 2**20  # bytes
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")
# Words in a name -> what its numbers mean; the first that fits decides.
_MEANINGS = (
    (("field of view", "fov"), "fov"),
    (("slice thickness", "thickness", "slice spacing", "spacing between slices"), "thickness"),
    (("temporal", "frame time", "frame_ms", "time resolution", "trigger interval"), "frame"),
    (("pixel", "voxel", "spatial resolution", "resolution", "spacing"), "pixel"),
)


@dataclass(frozen=True)
class SideFile:
    """What a file beside k-space tells: `spacing_mm` (z, y, x) and `frame_ms`, None where it does not."""

    spacing_mm: tuple[float, float, float] | None = None
    frame_ms: float | None = None
    notes: dict[str, str] = field(default_factory=dict)


def side_file_of(path: Path) -> Path | None:
    """`cine_sax_info.csv` or `cine_sax.csv` beside `cine_sax.mat`; None where there is neither."""
    stem = stem_of(path.name)
    found = (path.with_name(name) for name in (f"{stem}_info.csv", f"{stem}.csv"))
    return next((file for file in found if file.is_file()), None)


def read_side_file(path: Path, matrix: tuple[int, int]) -> SideFile:
    """What the CSV file beside `path` tells of k-space of `matrix` (ky, kx).

    Rows are `name, value` or a line of names above one of values. Understood are names with "pixel", "voxel",
    "resolution" or "spacing" (x, y and perhaps z in mm), "field of view" or "FOV" (x, y in mm), "thickness"
    (mm) and "temporal" or "frame time" (ms). ValueError where a number that is understood cannot be.
    """
    file = side_file_of(path)
    if file is None:
        return SideFile(notes={"spacing": NO_SPACING})
    if file.stat().st_size > _LARGEST:
        raise refused(file, f"{file.stat().st_size} bytes", "a small table beside the k-space")
    told = _told(file)
    ky, kx = matrix
    x, y, z = 0.0, 0.0, 0.0
    if "fov" in told:
        x, y = told["fov"][0] / kx, told["fov"][min(1, len(told["fov"]) - 1)] / ky
    if "pixel" in told:
        sizes = told["pixel"]
        x, y = sizes[0], sizes[min(1, len(sizes) - 1)]
        z = sizes[2] if len(sizes) > 2 else 0.0
    z = told["thickness"][0] if "thickness" in told else z
    frame = told["frame"][0] if "frame" in told else None
    notes = {"side file": f"{file.name} tells {', '.join(told) or 'nothing that is understood'}"}
    if frame is not None and not FRAME_MS[0] <= frame <= FRAME_MS[1]:
        notes["frame time"] = f"{frame:g} ms in {file.name} is no time between frames: left out"
        frame = None
    if not x or not y:
        return SideFile(None, frame, notes | {"spacing": NO_SPACING})
    if not z:
        notes["slice distance"] = f"not told by {file.name}: 1 mm"
    return SideFile((z or 1.0, y, x), frame, notes)


def _told(file: Path) -> dict[str, list[float]]:
    """Meaning -> its numbers."""
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        try:
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if any(map(str.strip, row))]
        except csv.Error as error:
            raise refused(file, f"a damaged table ({error})", "comma-separated values") from error
    pairs = [(row[0], " ".join(row[1:])) for row in rows if len(row) > 1]
    if len(rows) == 2 and len(rows[0]) == len(rows[1]) and _NUMBER.match(rows[1][0]):
        pairs = list(zip(rows[0], rows[1]))  # a line of names above a line of values
    found: dict[str, list[float]] = {}
    for name, value in pairs:
        meaning = next((m for words, m in _MEANINGS if any(w in name.lower() for w in words)), None)
        if meaning is None or meaning in found:
            continue
        numbers = [float(text) for text in _NUMBER.findall(value)]
        if not numbers or not all(0 < number < 1e5 for number in numbers[:3]):
            raise refused(file, f"{name} = {value[:40]!r}", "numbers above 0")
        found[meaning] = numbers
    return found
