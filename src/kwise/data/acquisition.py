"""How scans are measured in simulation: crop, phase, coils, noise, and a mask or a trajectory, all by words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from kwise.coils import virtual_coils
from kwise.data.geometry import crop_fov
from kwise.nearest import one_of
from kwise.operator import resize_kspace
from kwise.sampling import MASKS, PLANE_MASKS, TRAJECTORIES, Trajectory, draw_plane_mask, draw_trajectory
from kwise.seeding import generator
from kwise.simulate import PHASES, simulate_scan
from kwise.types import VIEWS, Measurement, Scan

Words = tuple[object, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Acquisition:
    """How scans are measured in simulation.

    `masks`, words of MASKS, PLANE_MASKS or TRAJECTORIES, and `accelerations` are drawn per case; `snr` is a
    range drawn log-uniformly (None: noise-free); `matrix` is the (ky, kx) a model sees, cut out of the
    measured k-space (None: all of it); `fov_mm` the largest side of the centre crop; `reference` gives the
    targets the fully sampled image too. `virtual_coils` compresses `n_coils` to so many, by what was
    acquired; the true coil maps are then not told, and the reference is a magnitude. `masks_on_matrix` cuts
    k-space to `matrix` before masks are drawn, so that R counts the positions a model sees; else R is that of
    the whole scan. `reference_kspace` gives the targets all of k-space, `one_mask` measures every slice or
    view with the same lines. `native` scores answers on the scan's own grid, not on the `matrix` that models
    see.
    """

    masks: tuple[str, ...] = ("gaussian_lines",)
    accelerations: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0)
    phase: str = "smooth"
    n_coils: int = 1
    snr: tuple[float, float] | None = (15.0, 60.0)
    matrix: tuple[int, int] | None = (64, 64)
    fov_mm: float | None = 160.0
    reference: bool = False
    virtual_coils: int | None = None
    masks_on_matrix: bool = False
    reference_kspace: bool = False
    native: bool = False
    one_mask: bool = False


def check_sampling(name: str, doing: str) -> None:
    """ValueError with the nearest names unless `name` is of lines, points or a trajectory."""
    names = [*MASKS, *PLANE_MASKS, *TRAJECTORIES]
    if name not in names:
        raise ValueError(f"{doing}: got sampling {name!r}; wanted {one_of(name, names)}")


def check_acquisition(acquisition: Acquisition, doing: str) -> None:
    """ValueError where its words name no sampling or phase, or there is no mask or no R of 1 or more."""
    for name in acquisition.masks:
        check_sampling(name, doing)
    phase = acquisition.phase
    if phase not in PHASES:
        raise ValueError(f"{doing}: got phase {phase!r}; wanted {one_of(phase, PHASES)}")
    if not acquisition.masks or min(acquisition.accelerations, default=0) < 1:
        got = f"masks {acquisition.masks} at R = {acquisition.accelerations}"
        raise ValueError(f"{doing}: got {got}; wanted one mask and one R from 1 at least")


def pick(options: Sequence[T], draw: torch.Generator) -> T:
    """One of `options`, uniformly."""
    return options[int(torch.randint(len(options), (1,), generator=draw))]


def _uniform_log(bounds: tuple[float, float], draw: torch.Generator) -> float:
    low, high = torch.tensor(bounds).log().tolist()
    return float(torch.empty(()).uniform_(low, high, generator=draw).exp())


def simulate(scan: Scan, acquisition: Acquisition, words: Words) -> Scan:
    """Fully sampled k-space of a magnitude scan: centre crop, phase, coils and noise, seeded by `words`; cut
    to the matrix where masks are drawn on that.
    """
    full = scan
    if scan.kspace is None:
        full = _simulated(cropped(scan, acquisition), acquisition, words, None)
    if not acquisition.masks_on_matrix or acquisition.matrix is None:
        return full
    return _cut(full, acquisition.matrix)


def cropped(scan: Scan, acquisition: Acquisition) -> Scan:
    """A magnitude scan cropped to the field of view asked for."""
    return scan if acquisition.fov_mm is None else crop_fov(scan, acquisition.fov_mm)


def _cut(scan: Scan, matrix: tuple[int, int]) -> Scan:
    """A scan with k-space, cut to the central `matrix`, as `measure` would cut it; labels keep their grid."""
    whole = measure(scan, torch.ones(1, 1, 1, 1, dtype=torch.bool), matrix)
    assert whole.spacing_mm is not None
    z, y, x = whole.spacing_mm[0].tolist()
    maps = None if whole.coil_maps is None else whole.coil_maps[0]
    mask = None if scan.mask is None else whole.mask[0]
    return replace(scan, kspace=whole.kspace[0], mask=mask, coil_maps=maps, spacing_mm=(z, y, x))


def _simulated(
    scan: Scan, acquisition: Acquisition, words: Words, trajectories: Sequence[Trajectory] | None
) -> Scan:
    draw = generator("simulate", *words)
    snr = None if acquisition.snr is None else _uniform_log(acquisition.snr, draw)
    return simulate_scan(
        scan,
        phase=acquisition.phase,
        n_coils=acquisition.n_coils,
        snr=snr,
        generator=draw,
        trajectories=trajectories,
    )


def draw_scan_mask(
    scan: Scan, name: str, acceleration: float, words: Words, one_mask: bool = False
) -> Tensor:
    """A mask (z, t, ky, 1) of lines, or (z, t, ky, kx) of points; every slice gets its own, or all the same
    one.
    """
    n_slices, n_frames, *shape = scan.shape
    slices = [
        draw_plane_mask(name, (shape[0], shape[1]), n_frames, acceleration, generator("mask", *words, z))
        for z in range(1 if one_mask else n_slices)
    ]
    return torch.stack(slices).expand(n_slices, -1, -1, -1)


def draw_scan_trajectories(scan: Scan, name: str, acceleration: float, words: Words) -> list[Trajectory]:
    """A trajectory for every slice of a scan, each turned in its own way."""
    n_slices, n_frames, y, x = scan.shape
    draws = (generator("trajectory", *words, z) for z in range(n_slices))
    return [draw_trajectory(name, (y, x), n_frames, acceleration, draw) for draw in draws]


def acquire(
    scan: Scan, acquisition: Acquisition, name: str, acceleration: float, words: Words, mask_words: Words
) -> tuple[Scan, Measurement]:
    """A scan simulated with everything sampled, and its measurement (b = 1) under a mask or along a
    trajectory.

    Along a trajectory, phase and coils are those of the whole scan, noise is new. ValueError for an unknown
    name, or for a trajectory through k-space that was measured on a grid.
    """
    full = simulate(scan, acquisition, words)
    check_sampling(name, f"measuring {scan.case}")
    if name not in TRAJECTORIES:
        mask = draw_scan_mask(full, name, acceleration, mask_words, acquisition.one_mask)
        measurement = measure(full, mask, acquisition.matrix)
    elif scan.kspace is not None:
        raise ValueError(f"measuring {scan.case} by {name}: got k-space on a grid; wanted a magnitude image")
    else:
        fine = cropped(scan, acquisition)
        paths = draw_scan_trajectories(full, name, acceleration, mask_words)
        paths = [_on_pixels_of(path, full, fine) for path in paths]
        measurement = measured(_simulated(fine, acquisition, words, paths), acquisition.matrix)
    return full, on_virtual_coils(measurement, acquisition)


def on_virtual_coils(measurement: Measurement, acquisition: Acquisition) -> Measurement:
    """A measurement on the virtual coils that an acquisition asks for, without maps; as it is for none."""
    if acquisition.virtual_coils is None:
        return measurement
    return replace(virtual_coils(measurement, acquisition.virtual_coils), coil_maps=None)


def _on_pixels_of(path: Trajectory, drawn: Scan, fine: Scan) -> Trajectory:
    """A trajectory drawn on the grid of one scan, counted in the pixels of a finer one."""
    ratio = torch.tensor([n / m for n, m in zip(drawn.shape[2:], fine.shape[2:])])
    return path if bool((ratio == 1).all()) else replace(path, positions=path.positions * ratio)


def measure(scan: Scan, mask: Tensor, matrix: tuple[int, int] | None) -> Measurement:
    """The measurement (b = 1) of a scan with k-space under `mask` (z, t, ky, 1 or kx), cut to `matrix`.

    What the scanner itself left out stays out.
    """
    return measured(replace(scan, mask=mask if scan.mask is None else mask & scan.mask), matrix)


def measured(scan: Scan, matrix: tuple[int, int] | None) -> Measurement:
    """What a scan with k-space acquired (b = 1), on the grid or along its trajectory, cut to `matrix`."""
    assert scan.kspace is not None and scan.mask is not None
    measurement = Measurement(
        scan.kspace.unsqueeze(0),
        scan.mask.unsqueeze(0),
        None if scan.coil_maps is None else scan.coil_maps.unsqueeze(0),
        None if scan.trajectory is None else scan.trajectory.unsqueeze(0),
        image_shape=(scan.shape[2], scan.shape[3]),
        spacing_mm=torch.tensor([scan.spacing_mm]),
        views=None if scan.views is None else torch.tensor([[VIEWS.index(view) for view in scan.views]]),
    )
    return measurement if matrix is None else resize_kspace(measurement, matrix)
