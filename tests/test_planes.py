"""Masks of points (t, ky, kx): the laws of the line masks, on two axes."""

import pytest
import torch

from kwise.data.loader import Acquisition, TrainingBatches, with_reference
from kwise.fourier import fft2c
from kwise.sampling import MASKS, PLANE_MASKS, achieved_acceleration, draw_mask, draw_plane_mask
from kwise.sampling.planes import gaussian_2d, uniform_1d_centre
from kwise.seeding import generator
from kwise.types import Scan, Targets

POINTS = pytest.mark.parametrize("name", sorted(PLANE_MASKS))
ANY = pytest.mark.parametrize("name", sorted({**MASKS, **PLANE_MASKS}))


@POINTS
@pytest.mark.parametrize("shape", [(32, 24), (7, 13), (1, 9), (1, 1)])
@pytest.mark.parametrize("acceleration", [1, 1.01, 2.5, 5, 10, 1e9])
def test_acceleration_is_exact_to_one_point(name: str, shape: tuple[int, int], acceleration: float) -> None:
    full = 3 * shape[0] * shape[1]
    acceleration = min(acceleration, full)
    mask = draw_plane_mask(name, shape, 3, acceleration, generator(name, shape))
    assert mask.shape == (3, *shape) and mask.dtype == torch.bool
    assert int(mask.sum()) == max(1, int(full / acceleration + 1e-9))
    assert achieved_acceleration(mask) >= acceleration - 1e-9


@ANY
def test_any_family_by_one_call(name: str, global_state_untouched: None) -> None:
    first, again, other = (draw_plane_mask(name, (32, 20), 4, 5, generator(s)) for s in ("a", "a", "b"))
    assert first.shape == (4, 32, 20 if name in PLANE_MASKS else 1)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("name", sorted(MASKS))
def test_lines_broadcast_over_the_readout(name: str) -> None:
    mask = draw_plane_mask(name, (32, 20), 4, 5, generator("x"))
    assert torch.equal(mask, draw_mask(name, 32, 4, 5, generator("x")).unsqueeze(-1))


@pytest.mark.parametrize(("acceleration", "share"), [(10, 0.22), (5, 0.45), (2.5, 0.75)])
def test_gaussian_2d_has_the_density_of_the_original(acceleration: float, share: float) -> None:
    """Of the central 16 x 16 points at 128 x 128, as measured on the original generator."""
    mask = gaussian_2d((128, 128), 20, acceleration, generator("density", acceleration))
    assert float(mask[:, 56:72, 56:72].float().mean()) == pytest.approx(share, abs=0.03)


def test_the_centre_is_always_there() -> None:
    points = draw_plane_mask("gaussian_2d_centre", (128, 128), 3, 10, generator("c"))
    assert points[:, 60:68, 60:68].all()
    lines = uniform_1d_centre(128, 3, 5, generator("c"))
    assert lines[:, 62:67].all() and (lines.sum(dim=1) <= 26).all()
    assert not draw_plane_mask("gaussian_2d", (128, 128), 1, 10, generator("c"))[:, 60:68, 60:68].all()


@POINTS
@pytest.mark.parametrize("acceleration", [0.5, float("nan"), 64 * 3 + 1])
def test_impossible_acceleration_is_refused(name: str, acceleration: float) -> None:
    with pytest.raises(ValueError, match="wanted 1 to 192"):
        draw_plane_mask(name, (8, 8), 3, acceleration, generator(0))


def test_unknown_name_teaches_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'gausian_2d'.*gaussian_2d"):
        draw_plane_mask("gausian_2d", (8, 8), 1, 2, generator(0))


def test_a_training_batch_may_be_measured_in_points() -> None:
    image = torch.rand(2, 3, 16, 20, generator=generator("image"))
    scan = Scan("x", image, labels=torch.zeros(2, 3, 16, 20, dtype=torch.int64))
    acquisition = Acquisition(
        masks=("gaussian_2d", "uniform_1d"), accelerations=(5.0,), matrix=None, fov_mm=None, reference=True
    )
    batch = TrainingBatches(["x"], lambda case: scan, acquisition, batch_size=4, frames=None)(0)
    whole_lines = batch.measurement.mask.all(dim=-1) == batch.measurement.mask.any(dim=-1)
    kinds = {bool(case.all()) for case in whole_lines}
    assert kinds == {True, False}
    image = batch.targets.image
    assert image is not None and image.shape == batch.measurement.shape
    inside = batch.measurement.mask
    torch.testing.assert_close(fft2c(image)[inside], batch.measurement.kspace[:, 0][inside])


def test_an_undersampled_scan_has_no_reference() -> None:
    kspace = torch.ones(1, 1, 2, 8, 8, dtype=torch.complex64)
    scan = Scan("x", kspace=kspace, mask=torch.eye(8, dtype=torch.bool)[None, None])
    targets = Targets(torch.zeros(1, 1, 2, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match="making the reference of x: got an undersampled scan"):
        with_reference(targets, scan, Acquisition(reference=True))
