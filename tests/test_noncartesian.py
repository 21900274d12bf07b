"""K-space off the grid: the non-uniform transform, its operators, gridding, simulation and batches."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kwise.coordinates import along_own_grid, gather_samples, grid_coords, stack_measurements, whole_lines
from kwise.data.acquisition import Acquisition, acquire
from kwise.data.heart import read
from kwise.data.loader import TrainingBatches, evaluation_batches
from kwise.fourier import along_trajectory, fft2c, from_trajectory
from kwise.gridding import density_weights, gridded
from kwise.models.controls import CONTROLS
from kwise.operator import adjoint_operator, forward_operator, resize_kspace, zero_filled
from kwise.sampling import MASKS, TRAJECTORIES, draw_trajectory
from kwise.seeding import generator
from kwise.simulate import simulate_scan
from kwise.types import Measurement, Scan

every = pytest.mark.parametrize
SHAPES = [(8, 8), (7, 10), (9, 6)]


def positions(name: str, shape: tuple[int, int], n_frames: int = 2, rate: float = 2.0) -> Tensor:
    """(t, n, 2)."""
    return draw_trajectory(name, shape, n_frames, rate, generator("p", name)).positions.flatten(1, 2)


def dft_matrix(path: Tensor, shape: tuple[int, int]) -> Tensor:
    """(n, y * x) complex128, written down as the sum says."""
    y, x = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1)
    angle = -2 * torch.pi * path.double() @ grid.T
    return torch.polar(torch.ones_like(angle), angle) / (shape[0] * shape[1]) ** 0.5


def measured(name: str, shape: tuple[int, int] = (16, 16), rate: float = 2.0, snr: float | None = None):
    """A phantom heart along a trajectory: the measurement and the noise-free image (z, t, y, x)."""
    acquisition = Acquisition(
        snr=None if snr is None else (snr, snr), matrix=None, fov_mm=None, phase="none"
    )
    scan = read(None, "heart-law-000001", n_frames=3, shape=shape)
    full, measurement = acquire(scan, acquisition, name, rate, ("w",), ("m",))
    assert full.kspace is not None
    return measurement, full


# -- the transform


@every("name", sorted(TRAJECTORIES))
@every("shape", SHAPES)
@every(("exact", "tolerance"), [(True, 1e-5), (False, 3e-4)])
def test_the_transform_is_the_sum_it_says(
    name: str, shape: tuple[int, int], exact: bool, tolerance: float, make_complex
) -> None:
    path, image = positions(name, shape), make_complex(2, 3, *shape)
    got = along_trajectory(image, path, exact)
    for frame in range(2):
        wanted = image[frame].flatten(1).to(torch.complex128) @ dft_matrix(path[frame], shape).T
        torch.testing.assert_close(got[frame].to(torch.complex128), wanted, atol=4 * tolerance, rtol=0)


@every("exact", [True, False])
@every("shape", SHAPES)
def test_its_adjoint_is_its_adjoint(shape: tuple[int, int], exact: bool, make_complex) -> None:
    path = positions("golden_angle_radial", shape)
    x, y = make_complex(2, 3, *shape, seed="x"), make_complex(2, 3, path.shape[1], seed="y")
    left = (along_trajectory(x, path, exact).conj() * y).to(torch.complex128).sum()
    right = (x.conj() * from_trajectory(y, path, shape, exact)).to(torch.complex128).sum()
    assert abs(left - right) < 1e-5 * abs(left)


@every("exact", [True, False])
def test_on_the_grid_it_is_the_fft(exact: bool, make_complex) -> None:
    image = make_complex(1, 2, 7, 10)
    path = grid_coords(7, 10).flatten(0, 1).unsqueeze(0)
    torch.testing.assert_close(
        along_trajectory(image, path, exact).unflatten(-1, (7, 10)), fft2c(image), atol=2e-4, rtol=0
    )


@every("exact", [True, False])
def test_gradients_pass_through_it(exact: bool, make_complex) -> None:
    image = make_complex(1, 1, 8, 8).requires_grad_()
    path = positions("spiral", (8, 8))[:1]
    along_trajectory(image, path, exact).abs().square().sum().backward()
    wanted = 2 * from_trajectory(along_trajectory(image.detach(), path, exact), path, (8, 8), exact)
    torch.testing.assert_close(image.grad, wanted, atol=1e-4, rtol=1e-4)


@every("n_coils", [None, 1, 3])
def test_sense_operators_along_a_trajectory_are_adjoint(n_coils: int | None, make_complex) -> None:
    path = draw_trajectory("golden_angle_radial", (7, 10), 2, 2, generator("op"))
    places = path.positions.expand(2, 2, -1, -1, -1, -1)  # b, z
    mask = path.mask.unsqueeze(-1).expand(2, 2, *places.shape[2:5])
    maps = None if n_coils is None else make_complex(2, n_coils, 2, 7, 10, seed="maps")
    x = make_complex(2, 2, 2, 7, 10, seed="x")
    y = make_complex(2, n_coils or 1, *places.shape[1:5], seed="y")
    left = (forward_operator(x, mask, maps, places).conj() * y).to(torch.complex128).sum()
    right = (x.conj() * adjoint_operator(y, mask, maps, places, (7, 10))).to(torch.complex128).sum()
    assert abs(left - right) < 1e-5 * abs(left)


# -- gridding


def test_weights_are_one_on_the_grid_and_small_where_samples_crowd() -> None:
    grid = grid_coords(8, 12).flatten(0, 1).unsqueeze(0)
    weights = density_weights(grid, torch.ones(1, 96, dtype=torch.bool), (8, 12))
    torch.testing.assert_close(weights, torch.ones(1, 96), atol=0.01, rtol=0)
    radial = draw_trajectory("golden_angle_radial", (32, 32), 1, 1, generator("w")).positions
    valid = torch.ones(1, 32, 32, dtype=torch.bool)
    valid[:, -1] = False
    spokes = density_weights(radial.flatten(1, 2), valid.flatten(1), (32, 32)).unflatten(1, (32, 32))
    assert float(spokes[:, :-1, 16].max()) < 0.1 < 0.9 < float(spokes[:, :-1, 1].mean())
    assert bool((spokes[:, -1] == 0).all()), "what was not acquired has no weight"


def test_a_grid_read_as_a_trajectory_is_that_grid(make_measurement) -> None:
    grid = make_measurement(c=2, z=2, ky=9, kx=8)
    again = gridded(along_own_grid(grid))
    assert torch.equal(again.mask, grid.mask) and again.trajectory is None
    torch.testing.assert_close(again.kspace, grid.kspace, atol=1e-5, rtol=1e-4)
    assert gridded(grid) is grid


@every("name", sorted(TRAJECTORIES))
def test_gridded_k_space_is_near_the_truth(name: str) -> None:
    measurement, full = measured(name, (48, 48), 2.0)
    grid = gridded(measurement)
    assert 0.3 < float(grid.mask.float().mean()) < 0.6
    true = full.kspace.unsqueeze(0) * grid.mask.unsqueeze(1)
    error = (grid.kspace - true).abs().square().sum() / true.abs().square().sum()
    assert float(error.sqrt()) < 0.2
    image, wanted = zero_filled(measurement), adjoint_operator(true, grid.mask)
    assert float((image - wanted).norm() / wanted.norm()) < 0.2


def test_more_spokes_bring_the_image_nearer() -> None:
    errors = []
    for rate in (8.0, 4.0, 1.0):
        measurement, full = measured("golden_angle_radial", (32, 32), rate)
        whole = adjoint_operator(full.kspace.unsqueeze(0), torch.ones(1, *full.shape, dtype=torch.bool))
        errors.append(float((zero_filled(measurement) - whole).norm() / whole.norm()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.2


# -- the nouns


def test_a_trajectory_needs_an_image_shape() -> None:
    kspace, path = torch.ones(1, 1, 2, 3, 4, dtype=torch.complex64), torch.zeros(1, 2, 3, 4, 2)
    with pytest.raises(ValueError, match="building Scan x: got a trajectory alone"):
        Scan("x", kspace=kspace, trajectory=path)
    with pytest.raises(ValueError, match=r"checking Scan\.trajectory"):
        Scan("x", kspace=kspace, trajectory=path[:, :1], image_shape=(8, 8))
    assert Scan("x", kspace=kspace, trajectory=path, image_shape=(8, 9)).shape == (1, 2, 8, 9)


def test_resizing_a_trajectory_keeps_the_low_frequencies() -> None:
    measurement, full = measured("spiral", (32, 32), 1.0)
    small = resize_kspace(measurement, (16, 20))
    assert small.shape == (1, 1, 3, 16, 20) and small.kspace.shape == measurement.kspace.shape
    assert bool((small.mask <= measurement.mask).all()) and bool(small.mask.any())
    grid = Measurement(full.kspace.unsqueeze(0), torch.ones(1, *full.shape, dtype=torch.bool))
    image, wanted = zero_filled(small), zero_filled(resize_kspace(grid, (16, 20)))
    assert float((image - wanted).norm() / wanted.norm()) < 0.2


def test_measurements_of_any_kind_share_a_batch(make_measurement) -> None:
    grid = make_measurement(b=1, ky=16, kx=16)
    radial, _ = measured("golden_angle_radial")
    arms, _ = measured("spiral")
    grid = replace(grid, spacing_mm=radial.spacing_mm)
    batch = stack_measurements([grid, radial, arms])
    assert batch.kspace.shape[0] == 3 and batch.image_shape == (16, 16)
    for i, one in enumerate((grid, radial, arms)):
        wanted, got = gather_samples(one), gather_samples(replace_batch(batch, i))
        assert torch.equal(got.values, wanted.values)
        torch.testing.assert_close(got.coords, wanted.coords)
    assert stack_measurements([grid, grid]).trajectory is None


def replace_batch(measurement: Measurement, i: int) -> Measurement:
    """The case i alone."""
    one = slice(i, i + 1)
    assert measurement.trajectory is not None
    return replace(
        measurement,
        kspace=measurement.kspace[one],
        mask=measurement.mask[one],
        trajectory=measurement.trajectory[one],
    )


def test_lines_with_the_same_gap_in_kx_are_whole(make_measurement) -> None:
    lines = make_measurement()
    echo = lines.mask & (torch.arange(8) > 2)
    points = lines.mask & (torch.rand(lines.mask.shape, generator=generator("points")) < 0.5)
    points[1] = lines.mask[1]
    assert whole_lines(lines).tolist() == [True, True]
    assert whole_lines(Measurement(lines.kspace, echo)).tolist() == [True, True]
    assert whole_lines(Measurement(lines.kspace, points)).tolist() == [False, True]


# -- simulation


@every("name", sorted(TRAJECTORIES))
def test_noise_along_a_trajectory_is_white_and_of_the_size_asked(name: str) -> None:
    noisy, _ = measured(name, (32, 32), 2.0, snr=10.0)
    clean, _ = measured(name, (32, 32), 2.0)
    image = read(None, "heart-law-000001", n_frames=3, shape=(32, 32)).image
    image = image * (2**0.5 / image.max())
    noise = (noisy.kspace - clean.kspace)[noisy.mask.unsqueeze(1)]
    wanted = float(image[image > 0.1 * image.max()].mean()) / 10
    assert float(noise.real.std()) == pytest.approx(wanted, rel=0.1)
    assert float(noise.imag.std()) == pytest.approx(wanted, rel=0.1)
    spoke = (noisy.kspace - clean.kspace)[0, 0, 0, 0]
    neighbours = (spoke[:, 1:] * spoke[:, :-1].conj()).mean() / spoke.abs().square().mean()
    assert abs(complex(neighbours)) < 0.15, "noise of neighbouring samples is correlated"


def test_phase_and_coils_do_not_depend_on_how_one_samples() -> None:
    scan = read(None, "heart-law-000001", n_frames=2, shape=(16, 16))
    grid = draw_trajectory("golden_angle_radial", (16, 16), 2, 1, generator("t"))
    full = simulate_scan(scan, n_coils=3, generator=generator("s"))
    radial = simulate_scan(scan, n_coils=3, generator=generator("s"), trajectories=[grid])
    assert torch.equal(full.coil_maps, radial.coil_maps)
    assert full.kspace is not None and radial.kspace is not None
    torch.testing.assert_close(radial.kspace[:, 0, 0, 0, 8], full.kspace[:, 0, 0, 8, 8])  # DC


def test_a_trajectory_through_measured_k_space_is_refused(make_complex) -> None:
    scan = Scan("knee", kspace=make_complex(1, 1, 1, 8, 8))
    with pytest.raises(ValueError, match="measuring knee by spiral: got k-space on a grid"):
        acquire(scan, Acquisition(), "spiral", 2.0, ("w",), ("m",))
    with pytest.raises(ValueError, match="got sampling 'spirals'; wanted spiral"):
        acquire(scan, Acquisition(), "spirals", 2.0, ("w",), ("m",))


# -- batches and controls


def test_a_batch_may_hold_lines_spokes_and_arms_at_any_rate(global_state_untouched: None) -> None:
    acquisition = Acquisition(
        masks=(*sorted(TRAJECTORIES), "uniform"), accelerations=(2.0, 4.0, 8.0), matrix=(16, 16), fov_mm=None
    )

    def read_small(case: str) -> Scan:
        return read(None, case, n_frames=3, shape=(20, 20))

    batches = TrainingBatches(["heart-a", "heart-b"], read_small, acquisition, batch_size=6, frames=2)
    batch, again = batches(1), batches(1)
    assert batch.measurement.trajectory is not None and batch.measurement.shape == (6, 1, 3, 16, 16)
    assert torch.equal(batch.measurement.kspace, again.measurement.kspace)
    assert len(set(batch.measurement.mask.flatten(1).sum(dim=1).tolist())) > 1, "not ragged"


@every("name", sorted(TRAJECTORIES))
def test_evaluation_samples_a_case_the_same_way_whoever_else_is_scored(name: str) -> None:
    acquisition = Acquisition(matrix=None, fov_mm=None)
    cases = ["heart-a", "heart-b", "heart-c"]

    def read_small(case: str) -> Scan:
        return read(None, case, n_frames=3, shape=(16, 16))

    together = next(iter(evaluation_batches(cases, read_small, acquisition, 4.0, 3, name)))
    alone = next(iter(evaluation_batches(cases[2:], read_small, acquisition, 4.0, 1, name)))
    assert torch.equal(together.measurement.kspace[2:], alone.measurement.kspace)
    assert alone.measurement.trajectory is not None and together.measurement.trajectory is not None
    assert torch.equal(together.measurement.trajectory[2:], alone.measurement.trajectory)


def test_the_centre_control_keeps_one_spoke_of_the_cine() -> None:
    measurement, _ = measured("golden_angle_radial")
    kept = CONTROLS["centre_only"](measurement).mask
    assert int(kept.any(dim=-1).sum()) == 1 and int(kept.sum()) == 16


def test_masks_and_trajectories_have_names_of_their_own() -> None:
    assert not set(MASKS) & set(TRAJECTORIES)
