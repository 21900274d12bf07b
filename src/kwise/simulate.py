"""Magnitude cine -> phase, coils, noise -> fully sampled k-space, or samples along a trajectory; all draws
from the generator given.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Generator, Tensor

from kwise.fourier import ifft2c
from kwise.nearest import nearest
from kwise.operator import forward_operator
from kwise.sampling.trajectories import Trajectory
from kwise.types import Scan

_FOREGROUND = 0.1  # pixels brighter than this share of the brightest count as foreground
_MAGNITUDE_PEAK = math.sqrt(2)  # DiSK scales the magnitude to [0, sqrt 2]


def smooth_phase(shape: tuple[int, int], generator: Generator) -> Tensor:
    """(y, x) phase in rad: white noise blurred in the image by a Gaussian of sd n/6, scaled to 1 rad rms."""
    noise = torch.randn(shape, generator=generator)
    field = _blur_matrix(shape[0]) @ noise @ _blur_matrix(shape[1]).T
    return field / field.square().mean().sqrt()


def paper_phase(shape: tuple[int, int], generator: Generator) -> Tensor:
    """(y, x) phase in rad as DiSK simulates B0: angle(ifft(N(4, 0.5) noise x Gaussian window)).

    The window's sd is max(1, round(x / 200)) k-space pixels and its centre is (n - 1) / 2: half a pixel off
    DC where n is even, which adds a linear ramp of up to pi / 2 per axis, and on it where n is odd, which
    leaves little phase.
    """
    noise = 4 + 0.5 * torch.randn(shape, generator=generator)
    return torch.angle(ifft2c(noise * _paper_window(shape)))


def no_phase(shape: tuple[int, int], generator: Generator) -> Tensor:
    """(y, x) zeros: a real image, for tests and controls."""
    return torch.zeros(shape)


PHASES: dict[str, Callable[[tuple[int, int], Generator], Tensor]] = {
    "smooth": smooth_phase,
    "paper": paper_phase,
    "none": no_phase,
}


def coil_maps(n_coils: int, shape: tuple[int, int], generator: Generator) -> Tensor:
    """(c, y, x) complex64 sensitivities of coils on a ring around the body, sum over c of |map|^2 = 1
    everywhere.

    Each coil is a Gaussian of sd 0.4 to 0.6 fields of view centred 0.5 to 0.7 fields of view from the middle,
    with a phase that starts anywhere and drifts by up to 1 rad per half field of view along each axis.
    """
    if n_coils < 1:
        raise ValueError(f"making coil maps: got {n_coils} coils; wanted at least 1")
    turn, radius, width, start, slope_y, slope_x = torch.rand(6, n_coils, 1, 1, generator=generator)
    angle = 2 * math.pi * (torch.arange(n_coils).view(-1, 1, 1) + 0.5 * turn) / n_coils
    reach, spread = 0.5 + 0.2 * radius, 0.4 + 0.2 * width
    y = torch.linspace(-0.5, 0.5, shape[0]).view(1, -1, 1)
    x = torch.linspace(-0.5, 0.5, shape[1]).view(1, 1, -1)
    distance = (y - reach * angle.sin()) ** 2 + (x - reach * angle.cos()) ** 2
    magnitude = torch.exp(-distance / (2 * spread**2))
    magnitude = magnitude / magnitude.square().sum(dim=0, keepdim=True).sqrt()
    phase = 2 * math.pi * start + 2 * (2 * slope_y - 1) * y + 2 * (2 * slope_x - 1) * x
    return torch.polar(magnitude, phase)


def add_noise(kspace: Tensor, snr: float, generator: Generator) -> Tensor:
    """K-space (c, z, t, ky, kx) plus white complex Gaussian noise.

    SNR = mean magnitude of the foreground / noise sd of the real (and of the imaginary) part in the image of
    each coil. The magnitude is the root sum of squares over coils of the fully sampled image, its foreground
    the pixels above 10 % of the maximum. The transform is orthonormal, so the sd in k-space is the same.
    """
    image = ifft2c(kspace)
    return _noisy(kspace, _noise_sd(image.abs().square().sum(dim=0).sqrt(), snr), generator)


def simulate_scan(
    scan: Scan,
    *,
    phase: str = "smooth",
    n_coils: int = 1,
    snr: float | None = None,
    generator: Generator,
    trajectories: Sequence[Trajectory] | None = None,
) -> Scan:
    """The same scan with fully sampled k-space (c, z, t, ky, kx) in place of its magnitude image (z, t, y,
    x), or with the samples of `trajectories`, one a slice.

    The magnitude is scaled to a maximum of sqrt 2; every slice gets one phase map, shared by its frames
    (DiSK); with more than one coil, `coil_maps` (c, z, y, x) holds the sensitivities, equal in all slices;
    `snr` as in `add_noise`, None for no noise; along a trajectory every sample has noise of its own, of the
    same sd. ValueError for an unknown phase, an empty image, or a scan that has no image.
    """
    magnitude = _scaled_magnitude(scan)
    n_slices, _, *grid = magnitude.shape
    shape = (grid[0], grid[1])
    draw = _phase_model(phase)
    phases = torch.stack([draw(shape, generator) for _ in range(n_slices)]).unsqueeze(1)
    image = magnitude * torch.polar(torch.ones(()), phases)
    maps = None
    if n_coils != 1:
        maps = coil_maps(n_coils, shape, generator).unsqueeze(1).expand(-1, n_slices, -1, -1)
    kspace, mask, path = _measured(image, maps, trajectories)
    if snr is not None:
        kspace = _noisy(kspace, _noise_sd(magnitude, snr), generator)
    told = {
        "simulated": "k-space from a magnitude image",
        "phase": phase,
        "coils": str(n_coils),
        "snr": str(snr),
    }
    where = replace(scan, image=None, kspace=kspace, coil_maps=maps, notes={**scan.notes, **told})
    return where if path is None else replace(where, mask=mask, trajectory=path, image_shape=shape)


def _measured(
    image: Tensor, maps: Tensor | None, trajectories: Sequence[Trajectory] | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Noise-free k-space (c, z, t, ky, kx) of an image (z, t, y, x); mask and positions along trajectories.
    """
    path = mask = None
    if trajectories is not None:
        path = torch.stack([one.positions for one in trajectories])
        mask = torch.stack([one.mask for one in trajectories]).unsqueeze(-1).expand(path.shape[:-1])
    everything = torch.ones((), dtype=torch.bool).expand(1, 1, 1, 1, 1) if mask is None else mask.unsqueeze(0)
    kspace = forward_operator(
        image.unsqueeze(0),
        everything,
        None if maps is None else maps.unsqueeze(0),
        None if path is None else path.unsqueeze(0),
    )
    return kspace[0], mask, path


def _phase_model(name: str) -> Callable[[tuple[int, int], Generator], Tensor]:
    if name not in PHASES:
        raise ValueError(
            f"simulating a phase: got {name!r}; wanted one of PHASES, nearest {nearest(name, PHASES)}"
        )
    return PHASES[name]


def _scaled_magnitude(scan: Scan) -> Tensor:
    if scan.image is None:
        raise ValueError(
            f"simulating k-space of {scan.case}: got a scan with k-space; wanted a magnitude image"
        )
    peak = float(scan.image.max())
    if not peak > 0:
        raise ValueError(f"simulating k-space of {scan.case}: got an image of maximum {peak}; wanted above 0")
    return scan.image.float() * (_MAGNITUDE_PEAK / peak)


def _noise_sd(magnitude: Tensor, snr: float) -> float:
    if not (math.isfinite(snr) and snr > 0):
        raise ValueError(f"adding noise: got SNR {snr}; wanted a finite number above 0")
    foreground = magnitude[magnitude > _FOREGROUND * magnitude.max()]
    if foreground.numel() == 0:
        raise ValueError("adding noise: got k-space of zeros; wanted a signal to relate the noise to")
    return float(foreground.mean()) / snr


def _noisy(kspace: Tensor, sd: float, generator: Generator) -> Tensor:
    noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    return kspace + noise * (sd * math.sqrt(2))  # randn's complex numbers have sd 1/sqrt 2 per part


@lru_cache(maxsize=64)
def _blur_matrix(n: int) -> Tensor:
    """(n, n) convolution with a Gaussian of sd n/6: cheaper than an FFT at these sizes."""
    i = torch.arange(n, dtype=torch.float32)
    return torch.exp(-0.5 * ((i.view(-1, 1) - i) / (n / 6)) ** 2)


@lru_cache(maxsize=64)
def _paper_window(shape: tuple[int, int]) -> Tensor:
    sd = max(1, round(shape[1] / 200))
    y, x = (torch.exp(-0.5 * ((torch.arange(n) - (n - 1) / 2) / sd) ** 2) for n in shape)
    return y.view(-1, 1) * x
