"""From the k-space grid to the set of acquired samples and back."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kwise.coordinates import (
    axis_coords,
    gather_lines,
    gather_samples,
    grid_coords,
    kspace_coords,
    scatter_samples,
)
from kwise.seeding import generator
from kwise.types import Measurement, Samples


@pytest.mark.parametrize(("n", "first"), [(1, 0.0), (4, -0.5), (5, -0.4), (80, -0.5)])
def test_axis_coords_put_dc_at_zero(n: int, first: float) -> None:
    coords = axis_coords(n)
    assert coords[n // 2] == 0 and coords[0] == pytest.approx(first)
    assert coords.min() >= -0.5 and coords.max() < 0.5


def test_grid_coords_keep_the_order_of_axes() -> None:
    coords = grid_coords(2, 3, 4)
    assert coords.shape == (2, 3, 4, 3)
    assert torch.equal(
        coords[1, 2, 0], torch.stack([axis_coords(2)[1], axis_coords(3)[2], axis_coords(4)[0]])
    )


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    """Any small measurement with any mask that leaves each case one sample."""
    shape = [draw(st.integers(1, n)) for n in (3, 2, 2, 3, 6, 5)]
    random = generator("hypothesis", draw(st.integers(0, 2**31)))
    b, c, *grid = shape
    mask = torch.rand(b, *grid, generator=random) < draw(st.sampled_from([0.05, 0.5, 1.0]))
    mask.flatten(1)[:, draw(st.integers(0, mask[0].numel() - 1))] = True
    return Measurement(torch.randn(b, c, *grid, dtype=torch.complex64, generator=random), mask)


@settings(max_examples=60, deadline=None)
@given(measurements())
def test_gather_then_scatter_is_the_identity(measurement: Measurement) -> None:
    samples = gather_samples(measurement)
    kspace, mask = scatter_samples(samples, tuple(measurement.kspace.shape[2:]))
    assert torch.equal(kspace, measurement.kspace) and torch.equal(mask, measurement.mask)


@settings(max_examples=30, deadline=None)
@given(measurements())
def test_samples_count_what_was_acquired(measurement: Measurement) -> None:
    samples = gather_samples(measurement)
    counts = measurement.mask.flatten(1).sum(dim=1)
    assert samples.values.shape[1] == counts.max()
    if samples.valid is None:
        assert (counts == counts.max()).all()
    else:
        assert torch.equal(samples.valid.sum(dim=1), counts)
        assert (samples.valid.int().diff(dim=1) <= 0).all(), "padding stands at the end"
    assert samples.coords.min() >= -0.5 and samples.coords.max() < 0.5


def test_ragged_batches_are_padded_and_full_ones_are_not(make_measurement) -> None:
    ragged = make_measurement()
    counts = ragged.mask.flatten(1).sum(dim=1)
    assert counts[0] != counts[1], "the fixture must be ragged, equal counts hide mask bugs"
    assert gather_samples(ragged).valid is not None
    full = replace(ragged, mask=torch.ones_like(ragged.mask))
    assert gather_samples(full).valid is None


def test_scatter_ignores_order_and_padding(make_measurement) -> None:
    measurement = make_measurement(c=2)
    samples = gather_samples(measurement)
    order = torch.randperm(samples.values.shape[1], generator=generator("order"))
    rubbish = torch.where(samples.valid.unsqueeze(-1), samples.values, 7)
    shuffled = Samples(rubbish[:, order], samples.coords[:, order], samples.valid[:, order])
    kspace, mask = scatter_samples(shuffled, (1, 3, 8, 8))
    assert torch.equal(kspace, measurement.kspace) and torch.equal(mask, measurement.mask)


def test_lines_carry_whole_readouts(make_measurement) -> None:
    measurement = make_measurement(c=2, kx=5)
    lines = gather_lines(measurement)
    acquired = measurement.mask.any(dim=-1).flatten(1)
    assert torch.equal(lines.valid.sum(dim=1), acquired.sum(dim=1))
    assert lines.values.shape[-1] == 2 * 5 and (lines.coords[..., 3] == 0).all()
    t, ky = divmod(int(acquired[0].nonzero()[0]), 8)
    assert torch.equal(lines.values[0, 0].reshape(2, 5), measurement.kspace[0, :, 0, t, ky])
    assert torch.equal(lines.coords[0, 0, 1:3], torch.stack([axis_coords(3)[t], axis_coords(8)[ky]]))


def test_a_trajectory_gives_the_positions(make_measurement) -> None:
    grid = make_measurement()
    path = torch.rand(2, 1, 3, 8, 8, 2, generator=generator("path")) - 0.5
    radial = replace(grid, trajectory=path)
    coords = kspace_coords(radial)
    assert torch.equal(coords[..., 2:], path) and torch.equal(coords[..., :2], kspace_coords(grid)[..., :2])
    assert gather_samples(radial).values.shape == gather_samples(grid).values.shape
    with pytest.raises(ValueError, match="got a non-Cartesian trajectory; wanted a Cartesian grid"):
        gather_lines(radial)
