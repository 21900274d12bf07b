"""Crops and grids: whatever is cut or resampled, image, labels and scanner positions stay together."""

import pytest
import torch
from torch import Tensor

from kwise.coordinates import grid_coords
from kwise.data.geometry import crop_fov, overlap, resample_labels
from kwise.fourier import fft2c, ifft2c
from kwise.operator import crop_centre
from kwise.seeding import generator
from kwise.types import IGNORE, Scan


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Tensor:
    """A disc in fractions of the field of view, its edge soft, sampled where the pixels of kwise lie."""
    away = (grid_coords(*shape) - torch.tensor(centre)).norm(dim=-1)
    return torch.sigmoid((radius - away) / 0.005)


def place(image: Tensor) -> Tensor:
    """(y, x) of an object in fractions of the field of view: the phase of the first harmonics, deaf to
    ringing.
    """
    y, x = image.shape
    kspace = fft2c(image)
    return torch.stack([kspace[y // 2 - 1, x // 2].angle(), kspace[y // 2, x // 2 - 1].angle()]) / (
        2 * torch.pi
    )


GRIDS = [
    ((100, 95), (64, 64)),
    ((128, 128), (64, 64)),
    ((129, 111), (64, 65)),
    ((96, 96), (63, 47)),
    ((64, 64), (128, 96)),
    ((65, 63), (100, 99)),
]


@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_labels_stay_on_the_image_whose_kspace_was_cropped(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    draw = generator("aligned", old, new)
    shifts, area_shifts = [], []
    for _ in range(100):
        y, x, r = torch.rand(3, generator=draw).tolist()
        labels = (disc(old, (0.4 * y - 0.2, 0.4 * x - 0.2), 0.12 + 0.1 * r) > 0.5).long()
        image = ifft2c(crop_centre(fft2c(labels), new)).real
        resampled = resample_labels(labels, new).float()
        areas = overlap(old[0], new[0]) @ labels.float() @ overlap(old[1], new[1]).T
        shifts.append((place(image) - place(resampled)) * torch.tensor(new))
        area_shifts.append((place(image) - place(areas)) * torch.tensor(new))
        assert float(resampled.mean() / labels.float().mean()) == pytest.approx(1, abs=0.05)
    # In pixels. One disc's hard labels scatter by their own rounding; where the class's area lies is exact.
    assert torch.stack(area_shifts).abs().max() < 0.01
    assert torch.stack(shifts).square().mean(dim=0).sqrt().max() < 0.1
    assert torch.stack(shifts).mean(dim=0).abs().max() < 0.04


def test_resampled_labels_agree_with_the_image_pixel_by_pixel() -> None:
    image = disc((128, 128), (0.07, -0.11), 0.2)
    cropped = ifft2c(crop_centre(fft2c(image), (64, 64))).real * 0.5  # the orthonormal FFT of a smaller grid
    ours = resample_labels((image > 0.5).long(), (64, 64)).bool()
    wrong = (ours != (cropped > 0.5)).float().sum() / ours.sum()
    corner = torch.nn.functional.avg_pool2d(image[None, None], 2)[0, 0] > 0.5
    assert wrong < 0.03
    assert (corner != (cropped > 0.5)).float().sum() / ours.sum() > 2 * wrong  # half a pixel off shows


def test_labels_keep_what_they_are() -> None:
    labels = torch.randint(0, 4, (2, 3, 20, 18), generator=generator("labels"))
    assert resample_labels(labels, (20, 18)) is labels
    labels[:, 1] = IGNORE
    small = resample_labels(labels, (10, 7))
    assert small.shape == (2, 3, 10, 7) and small.dtype == torch.int64
    assert bool((small[:, 1] == IGNORE).all()) and not bool((small[:, [0, 2]] == IGNORE).any())
    assert torch.equal(resample_labels(torch.full((1, 6, 6), 3), (4, 9)), torch.full((1, 4, 9), 3))
    assert int(resample_labels(labels, (10, 7))[0, 0, 5, 3]) in labels[0, 0, 9:12, 7:12].unique().tolist()
    with pytest.raises(ValueError, match="at least 1 x 1"):
        resample_labels(labels, (0, 3))


@pytest.mark.parametrize(("n", "m"), [(128, 64), (100, 64), (95, 64), (64, 64), (64, 100), (7, 3)])
def test_overlap_is_centred(n: int, m: int) -> None:
    weights = overlap(n, m)
    assert torch.allclose(weights.sum(dim=1), torch.ones(m))
    centre = weights[m // 2]
    assert float((centre * (torch.arange(n) - n // 2)).sum()) == pytest.approx(0, abs=1e-5)


def a_scan(y: int = 21, x: int = 30) -> Scan:
    image = torch.arange(2 * 3 * y * x, dtype=torch.float32).reshape(2, 3, y, x)
    affine = torch.tensor([[0, -1.5, 0, 9], [2, 0, 0, -6], [0, 0, 8, 1], [0, 0, 0, 1]], dtype=torch.float64)
    return Scan("a", image=image, labels=image.long() % 4, spacing_mm=(8.0, 1.5, 2.0), affine=affine, es=2)


@pytest.mark.parametrize("fov", [9.0, 20.0, 31.0, 45.0, 1000.0])
def test_a_crop_is_central_and_never_pads(fov: float) -> None:
    scan = a_scan()
    cut = crop_fov(scan, fov)
    y, x = cut.shape[2:]
    assert (y, x) == (min(21, int(fov / 1.5)), min(30, int(fov / 2.0)))
    assert cut.image is not None and cut.labels is not None and cut.affine is not None
    assert scan.image is not None and scan.affine is not None
    assert torch.equal(cut.image, crop_centre(scan.image, (y, x)))  # index n//2 stays index n//2
    assert torch.equal(cut.labels, cut.image.long() % 4)
    centre = torch.tensor([x // 2, y // 2, 1.0, 1.0], dtype=torch.float64)
    before = torch.tensor([30 // 2, 21 // 2, 1.0, 1.0], dtype=torch.float64)
    assert torch.allclose(cut.affine @ centre, scan.affine @ before)
    assert cut.es == 2 and cut.spacing_mm == scan.spacing_mm


def test_a_crop_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="wanted at least 2 pixels"):
        crop_fov(a_scan(), 2.5)
    with pytest.raises(ValueError, match="got k-space; wanted an image"):
        crop_fov(Scan("k", kspace=torch.ones(1, 1, 1, 4, 4, dtype=torch.complex64)), 160.0)
