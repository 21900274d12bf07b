"""Coils: whitening makes noise white, compression keeps the signal, maps from the ACS find sensitivities."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kwise.coils import (
    acs_shape,
    coil_maps_from_acs,
    compress_coils,
    compression_matrix,
    mix_coils,
    noise_covariance,
    prewhiten,
    whitening_matrix,
)
from kwise.fourier import fft2c
from kwise.operator import adjoint_operator, forward_operator
from kwise.phantom import heart_scan
from kwise.seeding import generator
from kwise.simulate import simulate_scan
from kwise.types import Scan


def noise(*shape: int, seed: object = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=generator("coils", seed))


def heart(n_coils: int = 6) -> Scan:
    scan = heart_scan("heart-000002", n_frames=2, shape=(48, 40))
    return simulate_scan(scan, n_coils=n_coils, generator=generator("coils"))


def inner(a: Tensor, b: Tensor) -> complex:
    return complex((a.conj() * b).sum())


def test_whitening_makes_noise_white() -> None:
    mixed = mix_coils(noise(5, 5, seed="mix"), noise(5, 4000))
    white = prewhiten(mixed, mixed)
    assert torch.allclose(noise_covariance(white), torch.eye(5, dtype=torch.complex128), atol=1e-5)


def test_a_dead_coil_stays_zero_and_disturbs_nobody() -> None:
    samples = noise(4, 500)
    samples[2] = 0
    white = whitening_matrix(noise_covariance(samples))
    assert bool((white[2] == 0).all()) and bool((white[:, 2] == 0).all())
    kept = [0, 1, 3]
    alone = whitening_matrix(noise_covariance(samples[kept]))
    assert torch.allclose(white[kept][:, kept], alone, atol=1e-6)


@pytest.mark.parametrize("samples", [torch.zeros(3, 50, dtype=torch.complex64), noise(4, 5), noise(4)])
def test_useless_noise_is_refused(samples: Tensor) -> None:
    with pytest.raises(ValueError, match="wanted"):
        prewhiten(noise(len(samples), 8), samples)


def test_mixing_coils_has_its_adjoint() -> None:
    matrix = noise(3, 6, seed="matrix")
    x, y = noise(6, 2, 5, seed="x"), noise(3, 2, 5, seed="y")
    assert inner(mix_coils(matrix, x), y) == pytest.approx(inner(x, mix_coils(matrix.mH, y)), rel=1e-4)
    with pytest.raises(ValueError, match="got 5 coils; wanted 6"):
        mix_coils(matrix, noise(5, 2))


def test_compression_keeps_what_few_coils_can_hold() -> None:
    few = noise(2, 3, 40, 30)
    many = mix_coils(noise(8, 2, seed="spread"), few)
    matrix = compression_matrix(many, 2)
    assert torch.allclose(matrix @ matrix.mH, torch.eye(2, dtype=matrix.dtype), atol=1e-5)
    virtual = compress_coils(many, 2)
    assert virtual.norm() == pytest.approx(float(many.norm()), rel=1e-4)
    assert torch.allclose(mix_coils(matrix.mH, virtual), many, atol=1e-3)
    assert virtual[0].norm() >= virtual[1].norm()


def test_fewer_coils_than_wanted_are_padded_with_zeros() -> None:
    virtual = compress_coils(noise(2, 20), 5)
    assert virtual.shape == (5, 20) and bool((virtual[2:] == 0).all())
    with pytest.raises(ValueError, match="got 0 virtual coils"):
        compress_coils(noise(2, 20), 0)


def test_acs_is_the_block_every_slice_has() -> None:
    mask = torch.zeros(2, 3, 16, 12, dtype=torch.bool)
    mask[:, 0, 5:10] = True
    assert acs_shape(mask) == (4, 12)  # 6 to 9, DC at 8; 5 has no partner above
    mask[:, 1, 10:14] = True
    assert acs_shape(mask) == (7, 12)
    mask[1, :, 8] = False
    assert acs_shape(mask)[0] == 0


def test_maps_from_the_acs_find_the_true_sensitivities() -> None:
    scan = heart()
    assert scan.kspace is not None and scan.coil_maps is not None
    lines = torch.zeros(scan.shape, dtype=torch.bool)
    lines[..., 12:36, :] = True
    maps = coil_maps_from_acs(scan.kspace, lines)
    assert maps.shape == scan.coil_maps.shape
    bright = _foreground(scan)
    assert torch.allclose(maps.abs().square().sum(dim=0)[bright], torch.ones(()), atol=1e-4)
    agreement = (maps.conj() * scan.coil_maps).sum(dim=0).abs()[bright]
    assert agreement.mean() > 0.98 and agreement.quantile(0.05) > 0.95


def test_sense_with_estimated_maps_is_adjoint() -> None:
    scan = heart(4)
    assert scan.kspace is not None
    full = torch.ones(scan.shape, dtype=torch.bool)
    maps = coil_maps_from_acs(scan.kspace, full).unsqueeze(0)
    mask = (torch.rand(1, *scan.shape, generator=generator("mask")) < 0.4).bool()
    x, y = noise(1, *scan.shape, seed="x"), noise(1, 4, *scan.shape, seed="y")
    forward = inner(forward_operator(x, mask, maps), y)
    assert forward == pytest.approx(inner(x, adjoint_operator(y, mask, maps)), rel=1e-4)


def test_too_small_an_acs_is_refused() -> None:
    scan = heart(2)
    assert scan.kspace is not None
    lines = torch.zeros(scan.shape, dtype=torch.bool)
    lines[..., ::3, :] = True
    with pytest.raises(ValueError, match=r"estimating coil maps: got .* central samples"):
        coil_maps_from_acs(scan.kspace, lines)


def test_maps_agree_with_espirit() -> None:
    """Against sigpy's ESPIRiT (Uecker et al., MRM 2014) where the image is bright, up to a phase a pixel."""
    from sigpy.mri import app
    scan = heart()
    assert scan.kspace is not None
    kspace = scan.kspace[:, :, :1]
    maps = coil_maps_from_acs(kspace, torch.ones(1, *kspace.shape[2:], dtype=torch.bool), (24, 24))
    theirs = app.EspiritCalib(kspace[:, 0, 0].numpy(), calib_width=24, show_pbar=False).run()
    bright = _foreground(replace(scan, kspace=kspace))[0] & (torch.from_numpy(theirs).abs().sum(0) > 0)
    agreement = (maps[:, 0].conj() * torch.from_numpy(theirs)).sum(dim=0).abs()[bright]
    assert bright.sum() > 100 and agreement.mean() > 0.97


def _foreground(scan: Scan) -> Tensor:
    """(z, y, x) where the coil-combined first frame is above a quarter of its maximum."""
    from kwise.fourier import ifft2c

    assert scan.kspace is not None
    image = ifft2c(scan.kspace[:, :, 0]).abs().square().sum(dim=0).sqrt()
    assert torch.allclose(fft2c(ifft2c(scan.kspace)), scan.kspace, atol=1e-4)
    return image > 0.25 * image.max()
