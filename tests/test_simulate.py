"""Phase, coils, noise and the k-space simulated from them."""

import pytest
import torch
from torch import Tensor

from kwise.fourier import ifft2c
from kwise.seeding import generator
from kwise.simulate import PHASES, add_noise, coil_maps, paper_phase, simulate_scan, smooth_phase
from kwise.types import Scan

ALL_PHASES = pytest.mark.parametrize("phase", sorted(PHASES))


def body(n: int) -> Tensor:
    """(y, x) bright disc inside a dim one, the rough energy distribution of a cardiac slice."""
    i = (torch.arange(n) - n // 2) / n
    radius = (i[:, None] ** 2 + i**2).sqrt()
    return (radius < 0.3).float() + 0.3 * (radius < 0.48).float()


def body_scan(n: int = 32, z: int = 2, t: int = 3) -> Scan:
    beat = 1 + 0.2 * torch.arange(z * t, dtype=torch.float32).view(z, t, 1, 1)
    labels = torch.ones(z, t, n, n, dtype=torch.int64)
    return Scan("body", image=beat * body(n), labels=labels, ed=0, es=1, notes={"source": "test"})


def odd_part(image: Tensor) -> float:
    """Norm of the non-Hermitian part of an image's k-space (its imaginary part) over the whole norm."""
    return float(image.imag.norm() / image.norm())


def recentred(image: Tensor) -> Tensor:
    """The image after the half-sample shifts of k-space that leave the least non-Hermitian part."""
    n = image.shape[-1]
    ramp = torch.pi * (torch.arange(n) - n // 2) / n
    shifts = [image * torch.exp(1j * (a * ramp[:, None] + b * ramp)) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    return min(shifts, key=odd_part)


def without_global_phase(image: Tensor) -> Tensor:
    return image * torch.exp(-0.5j * torch.angle((image**2).sum()))


def mean_odd_part(phase: str, n: int) -> tuple[float, float]:
    """Mean over 20 draws of the non-Hermitian share, (without the global phase, after re-centring)."""
    phases = [PHASES[phase]((n, n), generator(phase, i)) for i in range(20)]
    images = [body(n) * torch.polar(torch.ones(()), p) for p in phases]
    plain = sum(odd_part(without_global_phase(x)) for x in images) / 20
    return plain, sum(odd_part(recentred(x)) for x in images) / 20


@pytest.mark.parametrize("shape", [(64, 64), (31, 48)])
def test_smooth_phase_is_one_radian_rms_and_smooth(shape: tuple[int, int]) -> None:
    phase = smooth_phase(shape, generator(0))
    assert phase.shape == shape
    assert float(phase.square().mean().sqrt()) == pytest.approx(1, abs=1e-4)
    assert float(phase.diff(dim=0).abs().max()) < 12 / min(shape)


def test_paper_phase_depends_on_the_parity_of_the_grid() -> None:
    odd = torch.stack([paper_phase((81, 81), generator(i))[20:61, 20:61] for i in range(10)])
    even = torch.stack([paper_phase((80, 80), generator(i))[20:60, 20:60] for i in range(10)])
    assert float(odd.std()) == pytest.approx(0.06, abs=0.015)
    assert float(even.mean(dim=0).abs().max()) == pytest.approx(1.6, abs=0.15)


def test_smooth_phase_breaks_hermitian_symmetry() -> None:
    plain, _ = mean_odd_part("smooth", 64)
    assert plain == pytest.approx(0.56, abs=0.05)


@pytest.mark.parametrize("n", [64, 80])
def test_paper_phase_is_mostly_a_shift(n: int) -> None:
    plain, after = mean_odd_part("paper", n)
    assert plain > 0.5
    # 0.11 where all signal lies in the central third, 0.24-0.43 on real slices with a bright chest wall.
    assert 0.1 < after < 0.28


def test_no_phase_leaves_a_real_image() -> None:
    scan = simulate_scan(body_scan(), phase="none", generator=generator(0))
    assert scan.kspace is not None
    assert float(ifft2c(scan.kspace).imag.abs().max()) < 1e-5


@ALL_PHASES
@pytest.mark.parametrize("n_coils", [1, 4])
def test_energy_is_kept(phase: str, n_coils: int) -> None:
    source = body_scan()
    scan = simulate_scan(source, phase=phase, n_coils=n_coils, generator=generator(1))
    assert scan.kspace is not None and source.image is not None
    scaled = source.image / source.image.max() * 2**0.5
    assert scan.kspace.shape == (n_coils, 2, 3, 32, 32)
    torch.testing.assert_close(scan.kspace.abs().square().sum(), scaled.square().sum(), rtol=1e-4, atol=0)
    combined = ifft2c(scan.kspace).abs().square().sum(dim=0).sqrt()
    torch.testing.assert_close(combined, scaled, rtol=1e-4, atol=1e-4)


def test_one_phase_per_slice_shared_by_its_frames() -> None:
    scan = simulate_scan(body_scan(), generator=generator(2))
    assert scan.kspace is not None
    phase = torch.angle(ifft2c(scan.kspace))[0, :, :, 10:22, 10:22]
    torch.testing.assert_close(phase[:, 0], phase[:, 1], rtol=0, atol=1e-3)
    assert float((phase[0, 0] - phase[1, 0]).abs().max()) > 0.1


def test_everything_else_of_the_scan_stays() -> None:
    source = body_scan()
    scan = simulate_scan(source, phase="paper", n_coils=2, snr=30.0, generator=generator(3))
    assert scan.image is None and scan.labels is source.labels
    assert (scan.case, scan.ed, scan.es, scan.spacing_mm) == ("body", 0, 1, source.spacing_mm)
    assert scan.coil_maps is not None and scan.coil_maps.shape == (2, 2, 32, 32)
    assert scan.notes["source"] == "test" and scan.notes["phase"] == "paper" and scan.notes["snr"] == "30.0"


@pytest.mark.parametrize("n_coils", [1, 3])
def test_simulation_is_deterministic_in_its_generator(n_coils: int, global_state_untouched: None) -> None:
    draws = [simulate_scan(body_scan(), n_coils=n_coils, snr=20.0, generator=generator(s)) for s in "aab"]
    first, again, other = (d.kspace for d in draws)
    assert first is not None and again is not None and other is not None
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("n_coils", [1, 6])
@pytest.mark.parametrize("shape", [(24, 24), (17, 30)])
def test_coil_maps_have_unit_sum_of_squares(n_coils: int, shape: tuple[int, int]) -> None:
    maps = coil_maps(n_coils, shape, generator(4))
    assert maps.shape == (n_coils, *shape) and maps.dtype == torch.complex64
    torch.testing.assert_close(maps.abs().square().sum(dim=0), torch.ones(shape))
    if n_coils > 1:
        assert float(maps.abs().std(dim=(1, 2)).min()) > 0.02, "a coil sees everywhere the same"


@pytest.mark.parametrize("n_coils", [1, 4])
def test_noise_has_the_stated_sd(n_coils: int) -> None:
    source = body_scan(n=48)
    clean = simulate_scan(source, n_coils=n_coils, generator=generator(5)).kspace
    noisy = simulate_scan(source, n_coils=n_coils, snr=10.0, generator=generator(5)).kspace
    assert clean is not None and noisy is not None and source.image is not None
    magnitude = source.image / source.image.max() * 2**0.5
    wanted = float(magnitude[magnitude > 0.1 * magnitude.max()].mean()) / 10
    for noise in (ifft2c(noisy - clean), noisy - clean, add_noise(clean, 10.0, generator(6)) - clean):
        assert float(noise.real.std()) == pytest.approx(wanted, rel=0.03)
        assert float(noise.imag.std()) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("snr", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_snr_is_refused(snr: float) -> None:
    with pytest.raises(ValueError, match="got SNR"):
        simulate_scan(body_scan(), snr=snr, generator=generator(0))


def test_bad_requests_get_a_clear_line() -> None:
    with pytest.raises(ValueError, match=r"'smoth'.*smooth"):
        simulate_scan(body_scan(), phase="smoth", generator=generator(0))
    with pytest.raises(ValueError, match="0 coils"):
        simulate_scan(body_scan(), n_coils=0, generator=generator(0))
    with pytest.raises(ValueError, match=r"maximum 0\.0"):
        simulate_scan(Scan("black", image=torch.zeros(1, 1, 4, 4)), generator=generator(0))
    with pytest.raises(ValueError, match="a magnitude image"):
        simulate_scan(simulate_scan(body_scan(), generator=generator(0)), generator=generator(0))
    with pytest.raises(ValueError, match="zeros"):
        add_noise(torch.zeros(1, 1, 1, 4, 4, dtype=torch.complex64), 10.0, generator(0))
