"""Augmentation: drawn, then applied; the labels go where the image goes."""

import math
from dataclasses import replace

import pytest
import torch

from kwise.data.augment import AUGMENTATIONS, Transform, apply_transform, draw_transform, heart_augmentation
from kwise.seeding import generator
from kwise.types import IGNORE, Scan

NOTHING = Transform(angle=0.0, zoom=(1.0, 1.0), shift=(0.0, 0.0), gamma=1.0, shade=(0.0, 0.0))


def disc(size: int = 48, y: float = -8, x: float = 5, n_slices: int = 1, n_frames: int = 2) -> Scan:
    """A bright disc of radius 6 pixels on nothing, labelled 2."""
    rows, columns = torch.meshgrid(*[torch.arange(float(size)) - size // 2] * 2, indexing="ij")
    inside = ((rows - y) ** 2 + (columns - x) ** 2 <= 36).expand(n_slices, n_frames, -1, -1)
    return Scan("disc", inside.float(), labels=2 * inside.long(), spacing_mm=(8.0, 1.5, 1.5), ed=0, es=1)


def centre(weights: torch.Tensor) -> tuple[float, float]:
    """(y, x) centre of mass of one frame, in pixels from index n // 2."""
    place = torch.arange(weights.shape[-1]) - weights.shape[-1] // 2
    total = weights.sum()
    return float((weights.sum(1) * place).sum() / total), float((weights.sum(0) * place).sum() / total)


def test_the_same_draw_is_the_same_scan(global_state_untouched: None) -> None:
    a, b, other = (heart_augmentation(disc(), generator("draw", i)) for i in (1, 1, 2))
    assert torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)
    assert not torch.equal(a.image, other.image)
    again = apply_transform(disc(), draw_transform(generator("t")))
    assert torch.equal(again.image, apply_transform(disc(), draw_transform(generator("t"))).image)


def test_no_transform_changes_nothing() -> None:
    scan = disc()
    same = apply_transform(scan, NOTHING)
    torch.testing.assert_close(same.image, scan.image, atol=1e-5, rtol=0)
    assert torch.equal(same.labels, scan.labels)


@pytest.mark.parametrize("word", range(6))
def test_a_disc_moves_with_its_label(word: int) -> None:
    transform = replace(draw_transform(generator("move", word)), gamma=1.0, shade=(0.0, 0.0))
    moved = apply_transform(disc(), transform)
    assert bool((moved.labels == 2).any())
    for image, labels in zip(moved.image[0], moved.labels[0]):
        a, b = centre(image), centre((labels == 2).float())
        assert math.dist(a, b) < 0.15
        brightness = (image > 0.5) == (labels == 2)
        assert brightness.float().mean() > 0.985
    assert math.dist(centre(disc().image[0, 0]), centre(moved.image[0, 0])) > 0.3


def test_turn_zoom_and_shift_are_what_they_say() -> None:
    """A quarter turn; twice the size; a shift in fields of view. grid_sample turns about (n - 1) / 2."""
    scan, half = disc(), 0.5
    y, x = centre(scan.image[0, 0])
    turned = centre(apply_transform(scan, replace(NOTHING, angle=math.pi / 2)).image[0, 0])
    assert (
        math.dist(turned, (-(x + half) - half, y + half - half)) < 0.1 or math.dist(turned, (x, -y - 1)) < 0.1
    )
    large = apply_transform(scan, replace(NOTHING, zoom=(1.25, 0.8)))
    ratio = float((large.labels == 2).sum() / (scan.labels == 2).sum())
    assert ratio == pytest.approx(1.0, abs=0.06)
    assert centre(large.image[0, 0])[0] == pytest.approx(1.25 * (y + half) - half, abs=0.1)
    assert centre(large.image[0, 0])[1] == pytest.approx(0.8 * (x + half) - half, abs=0.1)
    shifted = centre(apply_transform(scan, replace(NOTHING, shift=(0.125, -0.0625))).image[0, 0])
    assert (abs(shifted[0] - y), abs(shifted[1] - x)) == pytest.approx((6, 3), abs=0.1)


def test_turning_in_mm_keeps_a_circle_round_where_pixels_are_not_square() -> None:
    rows, columns = torch.meshgrid(torch.arange(48.0) - 24, torch.arange(24.0) - 12, indexing="ij")
    inside = (rows**2 + (2 * columns) ** 2 <= 144).expand(1, 1, -1, -1)
    scan = Scan("oval", inside.float(), labels=inside.long(), spacing_mm=(8.0, 1.0, 2.0))
    turned = apply_transform(scan, replace(NOTHING, angle=0.7)).labels
    assert float((turned == scan.labels).float().mean()) > 0.95


def test_frames_nobody_labelled_stay_ignored_and_what_enters_is_background() -> None:
    scan = disc(n_frames=3)
    labels = scan.labels.clone()
    labels[:, 1] = IGNORE
    moved = apply_transform(replace(scan, labels=labels), replace(NOTHING, zoom=(0.7, 0.7), angle=0.5))
    assert bool((moved.labels[:, 1] == IGNORE).all())
    assert set(moved.labels[:, [0, 2]].unique().tolist()) == {0, 2}


def test_a_pixel_nobody_labelled_stays_ignored_and_moves_along() -> None:
    scan = disc()
    labels = torch.where(scan.labels == 2, IGNORE, 0)
    moved = apply_transform(replace(scan, labels=labels), replace(NOTHING, shift=(0.1, 0.0), zoom=(0.8, 0.8)))
    ignored = (moved.labels[0, 0] == IGNORE).float()
    assert set(moved.labels.unique().tolist()) == {IGNORE, 0}
    assert math.dist(centre(ignored), centre(moved.image[0, 0])) < 0.25


def test_grey_values_stay_in_range() -> None:
    for word in range(5):
        image = heart_augmentation(disc(), generator("grey", word)).image
        assert float(image.min()) >= 0 and float(image.max()) <= 2.0 and bool(torch.isfinite(image).all())
    black = replace(disc(), image=torch.zeros_like(disc().image))
    assert bool((heart_augmentation(black, generator("black")).image == 0).all())


def test_one_slice_of_a_stack_is_taken() -> None:
    scan = disc(n_slices=4)
    marked = torch.arange(4).view(4, 1, 1, 1).expand_as(scan.labels).clone()
    taken = [heart_augmentation(replace(scan, labels=marked), generator("z", i)).labels for i in range(12)]
    assert all(labels.shape == (1, 2, 48, 48) for labels in taken)
    assert len({int(labels.max()) for labels in taken}) > 1


def test_augmentations_have_names() -> None:
    assert AUGMENTATIONS["none"] is None and AUGMENTATIONS["heart"] is heart_augmentation
