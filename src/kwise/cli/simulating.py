"""`kwise simulate`: a k-space file from a virtual heart, a patient in the ACDC layout, or a 4-D NIfTI
cine.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from kwise.data import dataset
from kwise.data.acdc import read_patient
from kwise.data.acquisition import draw_scan_mask, draw_scan_trajectories
from kwise.data.geometry import crop_fov
from kwise.data.kspace_file import write_scan
from kwise.nearest import one_of
from kwise.sampling import MASKS, PLANE_MASKS, TRAJECTORIES, load_mask
from kwise.seeding import generator
from kwise.simulate import PHASES, simulate_scan
from kwise.types import Scan


@dataclass(frozen=True)
class Wish:
    """What to simulate. `source` a path, or None for the virtual heart `case`; `mask` a name or a file, whose
    R counts instead of `acceleration`; `snr` None: none.
    """

    source: str | None = None
    case: str = "heart-test-000000"
    acceleration: float | None = 8.0
    mask: str = "gaussian_lines"
    phase: str = "smooth"
    coils: int = 1
    snr: float | None = 30.0
    fov_mm: float = 160.0
    seed: int = 0


NAMES = (*MASKS, *PLANE_MASKS, *TRAJECTORIES)
# What the name of a case begins with -> the data set that draws it.
DRAWN = {"heart": "heart", "wide": "heart_wide", "population": "population"}


def run_simulate(wish: Wish, path: Path) -> None:
    """Write the k-space file and say what R was achieved."""
    scan = simulated(read_source(wish), wish)
    assert scan.mask is not None
    z, t, y, x = scan.shape
    achieved = z * t * y * x / int(scan.mask.sum())  # of a trajectory too: positions of the grid over samples
    write_scan(path, scan, wish.acceleration if wish.mask in NAMES else achieved)
    print(f"wrote {path}: {scan.case}, {z} slice(s), {t} frames, {y} x {x}, R = {achieved:.2f} achieved")


def read_source(wish: Wish) -> Scan:
    """The magnitude images to start from."""
    if wish.source is None:
        return dataset(DRAWN.get(wish.case.partition("-")[0], "heart")).read(None, wish.case)
    path = Path(wish.source)
    if path.exists():
        return read_patient(path)
    if (name := wish.source.partition("-")[0]) in DRAWN:
        return dataset(DRAWN[name]).read(None, wish.source)
    raise ValueError(
        f"simulating from {path}: got no such path; wanted a patient's folder, a NIfTI cine or heart-NAME"
    )


def simulated(scan: Scan, wish: Wish) -> Scan:
    """The central field of view of a scan at its own resolution, as undersampled k-space with what was done
    in `notes`.
    """
    if wish.phase not in PHASES:
        raise ValueError(f"simulating phase: got {wish.phase!r}; wanted {one_of(wish.phase, PHASES)}")
    words = ("file", scan.case, wish.seed)
    whole, scan = scan, crop_fov(scan, wish.fov_mm)
    draw = generator("simulate", *words)
    along = wish.mask in TRAJECTORIES
    # A file that does not fit is refused before anything is simulated.
    mask = None if along else line_mask(scan, wish, words, cropped=whole.shape != scan.shape)
    paths = draw_scan_trajectories(scan, wish.mask, _rate(wish), words) if along else None
    full = simulate_scan(
        scan, phase=wish.phase, n_coils=wish.coils, snr=wish.snr, generator=draw, trajectories=paths
    )
    notes = full.notes | {"lines": Path(wish.mask).name, "seed": str(wish.seed)}
    if mask is None:
        return replace(full, notes=notes)
    return replace(full, mask=mask.expand(full.shape).contiguous(), notes=notes)


def line_mask(scan: Scan, wish: Wish, words: tuple[object, ...], cropped: bool = False) -> Tensor:
    """(z, t, ky, 1), of points (z, t, ky, kx): a named mask drawn for every slice, or a file's for all.

    ValueError for a file of other lines or frames; it says so where the scan was `cropped` to `wish.fov_mm`.
    """
    if wish.mask in MASKS or wish.mask in PLANE_MASKS:
        return draw_scan_mask(scan, wish.mask, _rate(wish), words)
    if not Path(wish.mask).is_file():
        raise ValueError(f"choosing a mask: got {wish.mask!r}; wanted a file, or {one_of(wish.mask, NAMES)}")
    n_slices, n_frames, n_lines, _ = scan.shape
    try:
        mask = load_mask(wish.mask, n_lines, n_frames)
    except ValueError as error:
        if not cropped:
            raise
        told = f"the image was cropped to {wish.fov_mm:g} mm, --fov leaves more of it"
        raise ValueError(f"{error}: {told}") from error
    return torch.stack([mask] * n_slices).unsqueeze(-1)


def _rate(wish: Wish) -> float:
    if wish.acceleration is None:
        raise ValueError(f"drawing {wish.mask}: got no acceleration; wanted one, e.g. 8")
    return wish.acceleration
