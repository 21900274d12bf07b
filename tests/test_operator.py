"""Data consistency, and what resizing k-space may and may not change."""


import pytest
import torch
from torch import Tensor

from kwise.coordinates import axis_coords
from kwise.fourier import fft2c
from kwise.operator import crop_centre, data_consistency, resize_kspace, zero_filled
from kwise.types import Measurement


def blob(ny: int, nx: int, y: float, x: float, width: float = 0.06) -> Tensor:
    """A smooth bump at position (y, x) in fields of view, (1, 1, 1, y, x)."""
    distance = (axis_coords(ny).unsqueeze(1) - y) ** 2 + (axis_coords(nx) - x) ** 2
    return torch.exp(-distance / (2 * width**2))[None, None, None]


def fully_sampled(image: Tensor) -> Measurement:
    return Measurement(fft2c(image).unsqueeze(1), torch.ones(image.shape, dtype=torch.bool))


def test_hard_consistency_keeps_what_was_measured(make_measurement, make_complex) -> None:
    measurement = make_measurement(c=2)
    predicted = make_complex(*measurement.kspace.shape, seed="predicted")
    result = data_consistency(predicted, measurement)
    mask = measurement.mask.unsqueeze(1).expand_as(result)
    assert torch.equal(result[mask], measurement.kspace[mask])
    assert torch.equal(result[~mask], predicted[~mask])
    assert torch.equal(data_consistency(result, measurement), result)


def test_soft_consistency_weighs_the_two(make_measurement, make_complex) -> None:
    measurement = make_measurement()
    predicted = make_complex(*measurement.kspace.shape, seed="predicted")
    mask = measurement.mask.unsqueeze(1)
    half = data_consistency(predicted, measurement, noise_weight=1.0)
    torch.testing.assert_close(half[mask], ((predicted + measurement.kspace) / 2)[mask])
    assert torch.equal(half[~mask], predicted[~mask])
    assert torch.equal(data_consistency(predicted, measurement, noise_weight=0.0), predicted)


def test_zero_filled_of_everything_is_the_image() -> None:
    image = blob(12, 9, 0.1, -0.2)
    torch.testing.assert_close(zero_filled(fully_sampled(image)).real, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("have", "want"), [(8, 5), (5, 8), (8, 4), (7, 5), (5, 7), (6, 6), (4, 9)])
def test_cropping_keeps_the_centre(have: int, want: int) -> None:
    x = torch.zeros(have, 3)
    x[have // 2, 1] = 1
    assert crop_centre(x, (want, 3))[want // 2, 1] == 1
    assert crop_centre(x > 0, (want, 3)).dtype == torch.bool


SIZES = [
    ((64, 64), (32, 32)),
    ((64, 48), (33, 31)),
    ((45, 51), (64, 64)),
    ((40, 40), (40, 56)),
    ((33, 64), (65, 32)),
]


@pytest.mark.parametrize(("have", "want"), SIZES)
def test_resizing_keeps_position_and_intensity(have: tuple[int, int], want: tuple[int, int]) -> None:
    resized = resize_kspace(fully_sampled(blob(*have, 0.12, -0.21)), want)
    torch.testing.assert_close(zero_filled(resized).real, blob(*want, 0.12, -0.21), atol=1e-3, rtol=0)
    assert resized.shape == (1, 1, 1, *want)


@pytest.mark.parametrize(
    ("small", "large"), [((32, 32), (64, 64)), ((31, 32), (64, 45)), ((33, 40), (33, 41))]
)
def test_larger_and_back_changes_nothing(
    small: tuple[int, int], large: tuple[int, int], make_measurement
) -> None:
    measurement = make_measurement(c=2, ky=small[0], kx=small[1])
    larger = resize_kspace(measurement, large)
    assert larger.mask.sum() == measurement.mask.sum(), "the new outer k-space was not acquired"
    again = resize_kspace(larger, small)
    torch.testing.assert_close(again.kspace, measurement.kspace)
    assert torch.equal(again.mask, measurement.mask) and again.image_shape == small


def test_resizing_keeps_the_field_of_view_and_the_coils() -> None:
    image = blob(64, 48, 0.1, 0.1)
    maps = torch.cat([blob(64, 48, -0.4, 0.0, 0.5), blob(64, 48, 0.4, 0.0, 0.5)], dim=1).transpose(1, 2)
    maps = maps.reshape(1, 2, 1, 64, 48).to(torch.complex64)
    kspace = fft2c(image.unsqueeze(1) * maps.unsqueeze(3))
    spacing = torch.tensor([[8.0, 2.0, 2.0]])
    mask = torch.ones(1, 1, 1, 64, 48, dtype=torch.bool)
    resized = resize_kspace(Measurement(kspace, mask, maps, spacing_mm=spacing), (32, 32))
    assert resized.spacing_mm.tolist() == [[8.0, 4.0, 3.0]]
    assert resized.coil_maps.shape == (1, 2, 1, 32, 32)
    centre = resized.coil_maps[0, :, 0, 16, 16], maps[0, :, 0, 32, 24]
    torch.testing.assert_close(*centre, atol=0.05, rtol=0)


def test_resizing_to_the_same_size_is_nothing(make_measurement) -> None:
    measurement = make_measurement()
    assert resize_kspace(measurement, (8, 8)) is measurement
