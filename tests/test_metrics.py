"""Metrics against MONAI and scikit-image, their empty rules, and what must not change them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kwise.metrics import dice, frame_dice, frame_distances, hausdorff, hd95, one_hot, soft_dice
from kwise.seeding import generator
from kwise.types import IGNORE

K = 4


def blobs(*words: object, frames: int = 3, size: int = 24) -> Tensor:
    """Random smooth labels (1, t, y, x) that also touch the border."""
    noise = torch.randn(K, frames, size, size, generator=generator(*words))
    smooth = torch.nn.functional.avg_pool2d(noise, 7, stride=1, padding=3)
    return smooth.argmax(dim=0).unsqueeze(0)


def test_dice_agrees_with_monai() -> None:
    from monai.metrics import DiceMetric

    a, b = blobs("a"), blobs("b")
    wanted = DiceMetric(include_background=True)(one_hot(a, K)[None], one_hot(b, K)[None])[0]
    assert torch.allclose(dice(a, b, K).float(), wanted.float(), atol=1e-6)


def test_soft_dice_is_one_minus_monais_dice_loss() -> None:
    from monai.losses import DiceLoss

    truth = blobs("truth")
    p = torch.randn(K, *truth.shape, generator=generator("p")).softmax(dim=0)
    loss = DiceLoss(reduction="none")(p[None], one_hot(truth, K)[None].float()).flatten()
    assert torch.allclose(soft_dice(p, truth).float(), 1 - loss, atol=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.5, 2.5)])
def test_hd95_agrees_with_monai(spacing: tuple[float, float]) -> None:
    from monai.metrics import compute_hausdorff_distance

    a, b = blobs("a", 1)[0], blobs("b", 1)[0]
    a1, b1 = (one_hot(x, K).transpose(0, 1).float() for x in (a, b))
    wanted = compute_hausdorff_distance(a1, b1, include_background=True, percentile=95, spacing=spacing)
    _, ours = frame_distances(a, b, K, spacing)
    np.testing.assert_allclose(ours[:, 1:], wanted[:, 1:].numpy(), rtol=1e-5)


def test_hausdorff_agrees_with_scikit_image() -> None:
    from skimage.metrics import hausdorff_distance

    a, b = blobs("a", 2)[0], blobs("b", 2)[0]
    ours, _ = frame_distances(a, b, K)
    for frame in range(len(a)):
        for k in range(1, K):
            wanted = hausdorff_distance((a[frame] == k).numpy(), (b[frame] == k).numpy())
            assert ours[frame, k] == pytest.approx(wanted)


def test_empty_rules() -> None:
    nothing, something = torch.zeros(2, 1, 1, 8, 8, dtype=torch.int64)
    something[..., 2:4, 2:4] = 1
    assert dice(something, something, K).tolist() == [1, 1, 1, 1]
    assert float(dice(nothing, something, K)[1]) == 0
    assert hausdorff(something, something, K)[1:].tolist() == [0, 0, 0]
    for metric in (hausdorff, hd95):
        assert metric(nothing, something, K)[1] == math.inf
        assert metric(something, nothing, K)[1] == math.inf


def test_unlabelled_pixels_and_frames_count_nowhere() -> None:
    prediction, truth = blobs("a", 3), blobs("b", 3)
    alone = [f(prediction[:, :2], truth[:, :2], K) for f in (dice, hausdorff, hd95)]
    truth[:, 2] = IGNORE
    together = [f(prediction, truth, K) for f in (dice, hausdorff, hd95)]
    for a, b in zip(alone, together):
        assert torch.allclose(a[1:], b[1:])
    assert frame_dice(prediction, truth, K)[2].isnan().all()
    half = blobs("b", 3)
    half[..., :12] = IGNORE
    changed = prediction.clone()
    changed[..., :12] = 1
    assert torch.equal(dice(prediction, half, K), dice(changed, half, K))
    assert hd95(prediction, half, K)[1] == hd95(changed, half, K)[1]


def test_frame_dice_shows_a_dead_frame() -> None:
    truth = blobs("truth")
    prediction = truth.clone()
    prediction[:, 1][prediction[:, 1] == 2] = 0
    values = frame_dice(prediction, truth, K)
    assert values.shape == (3, K)
    assert values[1, 2] == 0
    assert values[0].tolist() == [1] * K


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted the same shape"):
        dice(torch.zeros(2, 3).long(), torch.zeros(3, 2).long(), K)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 3))
def test_symmetry_and_translation(seed: int, down: int, right: int) -> None:
    a, b = blobs("a", seed, frames=1, size=12), blobs("b", seed, frames=1, size=12)
    pad = (4 + right, 4 - right, 4 + down, 4 - down)
    moved_a, moved_b = (torch.nn.functional.pad(x, pad) for x in (a, b))
    still_a, still_b = (torch.nn.functional.pad(x, (4, 4, 4, 4)) for x in (a, b))
    for metric in (dice, hausdorff, hd95):
        there, back = metric(still_a, still_b, K)[1:], metric(still_b, still_a, K)[1:]
        assert torch.allclose(there, back)
        assert torch.allclose(there, metric(moved_a, moved_b, K)[1:])
    assert bool((hd95(a, b, K)[1:].nan_to_num(posinf=99) >= 0).all())


