"""Receive coils: noise whitening, compression to a fixed number of virtual coils, coil maps from the ACS."""

from dataclasses import replace

import torch
from torch import Tensor

from kwise.fourier import ifft2c
from kwise.gridding import gridded
from kwise.operator import crop_centre
from kwise.types import Measurement

_LEAST_ACS = 4  # central lines and columns under which coil maps are nothing but a guess


def mix_coils(matrix: Tensor, kspace: Tensor) -> Tensor:
    """Virtual coils (v, ...) = matrix (v, c) times coils (c, ...); its adjoint is mixing by `matrix.mH`."""
    if matrix.shape[-1] != kspace.shape[0]:
        raise ValueError(f"mixing coils: got {kspace.shape[0]} coils; wanted {matrix.shape[-1]}")
    return (matrix.to(kspace.dtype) @ kspace.flatten(1)).reshape(-1, *kspace.shape[1:])


def noise_covariance(noise: Tensor) -> Tensor:
    """(c, c) complex128 covariance of noise samples (c, n); ValueError for fewer than 2 samples a coil."""
    if noise.ndim != 2 or noise.shape[1] < 2 * noise.shape[0]:
        got = f"noise of shape {tuple(noise.shape)}"
        raise ValueError(f"measuring coil noise: {got}; wanted (c, n) with n of at least 2 c")
    values = noise.to(torch.complex128)
    return values @ values.mH / values.shape[1]


def whitening_matrix(covariance: Tensor) -> Tensor:
    """(c, c) matrix W with W C W^H = 1: noise of unit variance, the same and independent in every coil.

    W is the inverse Cholesky factor (Pruessmann et al., MRM 2001, Sec. "Noise decorrelation"). A dead coil
    (no noise at all) stays zero; a nearly singular covariance is loaded by 1e-9 of its mean variance.
    """
    variance = covariance.diagonal().real
    alive = variance > 1e-12 * variance.max()
    if not bool(alive.any()):
        raise ValueError("whitening coils: got noise of zeros in every coil; wanted a noise scan")
    # A dead coil gets variance 1 on the diagonal, so that the factor exists, and weight 0 afterwards.
    loading = torch.where(alive, 1e-9 * variance[alive].mean(), 1.0)
    factor = torch.linalg.cholesky(covariance + torch.diag(loading).to(covariance.dtype))
    identity = torch.eye(len(variance), dtype=covariance.dtype)
    white = torch.linalg.solve_triangular(factor, identity, upper=False)
    return torch.where(alive.unsqueeze(1) & alive.unsqueeze(0), white, 0)


def prewhiten(kspace: Tensor, noise: Tensor) -> Tensor:
    """K-space (c, ...) with white noise of unit variance, by the noise scan (c, n) of the same coils."""
    return mix_coils(whitening_matrix(noise_covariance(noise)), kspace)


def compression_matrix(kspace: Tensor, n_virtual: int) -> Tensor:
    """(v, c) matrix to the `n_virtual` strongest combinations of coils, by SVD of k-space (c, ...).

    Rows are orthonormal (Buehrer et al., MRM 2007), sorted by energy. Where there are fewer coils than
    wanted the last rows are zero, so that every scan gets the same number. Unacquired samples must be zero.
    """
    if n_virtual < 1:
        raise ValueError(f"compressing coils: got {n_virtual} virtual coils; wanted at least 1")
    samples = kspace.flatten(1)
    # The c x c Gram matrix has the same left singular vectors as the samples, and is tiny.
    gram = (samples @ samples.mH).to(torch.complex128)
    _, vectors = torch.linalg.eigh(gram)
    rows = vectors.flip(-1).mH[:n_virtual].to(torch.complex64)
    return torch.cat([rows, rows.new_zeros(n_virtual - len(rows), rows.shape[1])])


def compress_coils(kspace: Tensor, n_virtual: int) -> Tensor:
    """K-space (c, ...) as (n_virtual, ...) virtual coils, the strongest first; see `compression_matrix`."""
    return mix_coils(compression_matrix(kspace, n_virtual), kspace)


def acs_shape(mask: Tensor) -> tuple[int, int]:
    """(ky, kx) size of the block around DC that a mask (z, t, ky, kx) has in every slice, in some frame."""
    acquired = mask.any(dim=1).all(dim=0)
    ky, kx = (n // 2 for n in acquired.shape)
    columns = _run(acquired[ky], kx)
    if not columns:
        return 0, 0
    lines = acquired[:, _span(acquired.shape[1], columns)].all(dim=1)
    return _run(lines, ky), columns


def coil_maps_from_acs(kspace: Tensor, mask: Tensor, acs: tuple[int, int] | None = None) -> Tensor:
    """Coil maps (c, z, y, x) complex64 from the centre of k-space (c, z, t, ky, kx), sum of squares 1.

    Frames are averaged over what they acquired of the central `acs` (ky, kx), by default all that `mask` (z,
    t, ky, kx) has, at most 32 x 32; a Hann window keeps ringing away; the maps are the low-resolution images
    over their root sum of squares, with the phase of the strongest virtual coil taken out (McKenzie et al.,
    MRM 2002, self-calibration). ValueError where fewer than 4 central lines or columns were acquired.
    """
    block = tuple(min(n, 32) for n in acs_shape(mask)) if acs is None else acs
    if min(block) < _LEAST_ACS:
        got = f"{block[0]} x {block[1]} central samples acquired"
        raise ValueError(f"estimating coil maps: got {got}; wanted at least {_LEAST_ACS} x {_LEAST_ACS}")
    return _estimated_maps(kspace, mask, (block[0], block[1]))


def _estimated_maps(kspace: Tensor, mask: Tensor, block: tuple[int, int]) -> Tensor:
    counts = mask.sum(dim=1).clamp(min=1)
    mean = torch.where(mask, kspace, 0).sum(dim=2) / counts
    window = _hann(block[0]).unsqueeze(1) * _hann(block[1])
    centre = crop_centre(mean, block) * window.to(kspace.device)
    images = ifft2c(crop_centre(centre, (kspace.shape[-2], kspace.shape[-1])))
    size = images.abs().square().sum(dim=0).sqrt()
    reference = mix_coils(compression_matrix(centre, 1), images)[0]
    # A virtual coil is known up to a phase only: the one that makes its image real on the whole is taken.
    mean = (reference * reference.abs()).sum()
    reference = reference * torch.polar(torch.ones_like(mean.abs()), -mean.angle())
    turn = torch.polar(torch.ones_like(size), -reference.angle())
    return images * turn / size.clamp(min=torch.finfo(size.dtype).tiny)


def with_maps(measurement: Measurement, block: int = 24) -> Measurement:
    """The measurement with coil maps where it has several coils and none: estimated from what was acquired.

    As `coil_maps_from_acs`, from the central `block` x `block` of k-space averaged over the frames that
    acquired it; lines that no frame acquired count as zero, so a sparse scan gets rough maps, never an error.
    Gradients do not flow through maps.
    """
    if measurement.coil_maps is not None or measurement.kspace.shape[1] == 1:
        return measurement
    grid = gridded(measurement)
    size = (min(block, grid.shape[-2]), min(block, grid.shape[-1]))
    with torch.no_grad():
        maps = [
            _estimated_maps(kspace[:, z : z + 1], mask[z : z + 1], size)  # a slice's maps are its own
            for kspace, mask in zip(grid.kspace, grid.mask)
            for z in range(grid.n_slices)
        ]
    stacked = torch.stack(maps).unflatten(0, (-1, grid.n_slices)).squeeze(3)  # (b, z, c, y, x)
    return replace(measurement, coil_maps=stacked.transpose(1, 2))


def virtual_coils(measurement: Measurement, n_virtual: int) -> Measurement:
    """Every case on its `n_virtual` strongest virtual coils, chosen by what was acquired; maps, if any, are
    mixed alike.
    """
    kspace, maps = [], []
    for i, coils in enumerate(measurement.kspace):
        matrix = compression_matrix(coils, n_virtual).to(coils.device)
        kspace.append(mix_coils(matrix, coils))
        if measurement.coil_maps is not None:
            maps.append(mix_coils(matrix, measurement.coil_maps[i]))
    return replace(measurement, kspace=torch.stack(kspace), coil_maps=torch.stack(maps) if maps else None)


def _hann(n: int) -> Tensor:
    return torch.cos(torch.pi * (torch.arange(n) - n // 2) / (n + 1)).square()


def _run(acquired: Tensor, centre: int) -> int:
    """Length of the block around `centre` that keeps it at index n//2 and has no gap; 0 without `centre`."""
    if not bool(acquired[centre]):
        return 0
    gaps = (~acquired).nonzero().flatten().tolist()
    below = centre - max((gap for gap in gaps if gap < centre), default=-1) - 1
    above = min((gap for gap in gaps if gap > centre), default=len(acquired)) - centre - 1
    return min(2 * below + 1, 2 * above + 2)


def _span(n: int, length: int) -> slice:
    start = n // 2 - length // 2
    return slice(start, start + length)
