"""The segmentation task: its losses against MONAI, and the laws of its score rows."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kwise.seeding import generator
from kwise.tasks import TASKS
from kwise.tasks.segmentation import Segmentation
from kwise.types import IGNORE, Prediction, Query, Targets

K, SHAPE = 4, (2, 1, 5, 16, 12)  # b z f y x


def heart(shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Labels (b, z, f, y, x): an LV ring that contracts until frame 3, an RV beside it; cases differ."""
    b, _, f, y, x = shape
    ys, xs = torch.meshgrid(torch.arange(y) - y / 2, torch.arange(x) - x / 2, indexing="ij")
    labels = torch.zeros(shape, dtype=torch.int64)
    for case in range(b):
        for frame in range(f):
            radius = torch.hypot(ys, xs - 0.4 * case)
            pool = 3.2 - 0.5 * min(frame, 6 - frame)
            labels[case, :, frame] = torch.where(radius < pool, 1, torch.where(radius < 4.6, 2, 0))
    labels[..., -2:, 3:6] = 3
    return labels


def logits_of(labels: Tensor, scale: float = 20.0) -> Tensor:
    return scale * torch.nn.functional.one_hot(labels.clamp(min=0), K).movedim(-1, 1).float()


def noisy(*words: object, labels: Tensor | None = None) -> Tensor:
    labels = heart() if labels is None else labels
    return logits_of(labels, 2.0) + torch.randn(logits_of(labels).shape, generator=generator(*words))


def targets_of(labels: Tensor, spacing: tuple[float, float, float] = (8.0, 2.5, 2.5)) -> Targets:
    return Targets(labels, spacing_mm=torch.tensor([spacing] * len(labels)))


def one(targets: Targets, i: int) -> Targets:
    assert targets.spacing_mm is not None
    return replace(targets, labels=targets.labels[i : i + 1], spacing_mm=targets.spacing_mm[i : i + 1])


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return a.keys() == b.keys() and all(a[k] == pytest.approx(b[k], rel=1e-6, nan_ok=True) for k in a)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_disk_loss_is_monais_dice_plus_binary_cross_entropy(scale: float) -> None:
    from monai.losses import DiceLoss

    logits, truth = scale * noisy("disk"), torch.nn.functional.one_hot(heart(), K).movedim(-1, 1).double()
    p = logits.double().softmax(dim=1)
    wanted = DiceLoss()(p, truth) + torch.nn.functional.binary_cross_entropy(p, truth)
    got = Segmentation(variant="disk").loss(Prediction(logits), targets_of(heart()))
    assert torch.allclose(got.double(), wanted, rtol=1e-5)


def test_dice_ce_is_monais_on_a_batch_with_all_classes() -> None:
    from monai.losses import DiceCELoss

    logits = noisy("ce")
    truth = torch.nn.functional.one_hot(heart(), K).movedim(-1, 1).float()
    wanted = DiceCELoss(softmax=True, include_background=False)(logits, truth)
    got = Segmentation().loss(Prediction(logits), targets_of(heart()))
    assert torch.allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize("variant", ["dice_ce", "disk"])
def test_loss_of_points_is_the_loss_of_the_same_dense_pixels(variant: str) -> None:
    logits, labels = noisy("points"), heart()
    everything = torch.randperm(5 * 16 * 12, generator=generator("order")).expand(2, -1)
    task = Segmentation(variant=variant)
    points = logits.flatten(3).gather(3, everything[:, None, None].expand(-1, K, 1, -1))
    asked = replace(targets_of(labels), query=Query(points=everything))
    assert torch.allclose(
        task.loss(Prediction(points), asked), task.loss(Prediction(logits), targets_of(labels)), rtol=1e-5
    )


@pytest.mark.parametrize("variant", ["dice_ce", "disk"])
def test_ignored_pixels_have_no_loss_and_no_gradient(variant: str) -> None:
    labels = heart()
    labels[0, :, 2:] = IGNORE
    labels[1] = IGNORE
    logits = noisy("ignored").requires_grad_()
    loss = Segmentation(variant=variant).loss(Prediction(logits), targets_of(labels))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, :, :, :2].abs().sum() > 0
    assert logits.grad[0, :, :, 2:].abs().sum() == 0
    assert logits.grad[1].abs().sum() == 0
    seen = Segmentation(variant=variant).loss(Prediction(logits[:1, :, :, :2]), targets_of(labels[:1, :, :2]))
    assert torch.allclose(loss, seen, rtol=1e-5)


def test_a_batch_without_labels_has_zero_loss() -> None:
    logits = noisy("none").requires_grad_()
    loss = Segmentation().loss(Prediction(logits), targets_of(torch.full(SHAPE, IGNORE)))
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize("variant", ["dice_ce", "disk"])
def test_loss_is_the_mean_over_cases_and_finite_for_extreme_logits(variant: str) -> None:
    task, logits, targets = Segmentation(variant=variant), noisy("mean"), targets_of(heart())
    alone = [task.loss(Prediction(logits[i : i + 1]), one(targets, i)) for i in range(2)]
    assert torch.allclose(task.loss(Prediction(logits), targets), torch.stack(alone).mean(), rtol=1e-5)
    extreme = (1e4 * logits).requires_grad_()
    task.loss(Prediction(extreme), targets).backward()
    assert extreme.grad is not None
    assert torch.isfinite(extreme.grad).all()


def test_a_models_own_losses_are_added() -> None:
    logits, targets = noisy("own"), targets_of(heart())
    plain = Segmentation().loss(Prediction(logits), targets)
    more = Segmentation().loss(Prediction(logits, losses={"latent": torch.tensor(0.5)}), targets)
    assert torch.allclose(more, plain + 0.5)


def test_a_perfect_prediction_scores_perfectly() -> None:
    rows = TASKS["segmentation"]().score(Prediction(logits_of(heart())), targets_of(heart()))
    assert len(rows) == 2
    for row in rows:
        for key, value in row.items():
            if key.startswith(("dice_", "min_frame_dice")):
                assert value == 1, key
            elif key.startswith("soft_"):
                assert value == pytest.approx(1, abs=1e-4), key
            elif key.startswith(("hd", "dead")):
                assert value == 0, key
        assert row["area_LV_ED_predicted_mm2"] == row["area_LV_ED_true_mm2"] > row["area_LV_ES_true_mm2"] > 0
        assert row["area_ef_predicted_percent"] == row["area_ef_true_percent"] > 0
        assert row["area_ef_own_percent"] == row["area_ef_true_percent"]


def test_a_cases_score_ignores_its_batch() -> None:
    task, logits, targets = Segmentation(), noisy("batch"), targets_of(heart())
    together = task.score(Prediction(logits), targets)
    for i in range(2):
        assert same(together[i], task.score(Prediction(logits[i : i + 1]), one(targets, i))[0])


def test_a_missed_class_is_a_counted_failure() -> None:
    labels = heart()
    answer = labels.clone()
    answer[:, :, 3][answer[:, :, 3] == 1] = 2
    row = Segmentation().score(Prediction(logits_of(answer)), targets_of(labels))[0]
    assert row["dead_classes"] == row["hd_failures"] == 1
    assert row["min_frame_dice_LV"] == 0
    assert row["dice_LV"] > 0.5
    assert row["hd_LV_px"] == row["hd_foreground_px"] == row["hd95_LV_mm"] == math.inf
    assert row["dice_ES"] < row["dice_ED"] == 1
    assert row["area_ef_predicted_percent"] == row["area_ef_own_percent"] == 100


def test_millimetres_follow_the_spacing() -> None:
    answer, labels = heart().roll(1, dims=-2), heart()
    square = Segmentation().score(Prediction(logits_of(answer)), targets_of(labels))[0]
    oblong = Segmentation().score(Prediction(logits_of(answer)), targets_of(labels, (8.0, 3.0, 1.0)))[0]
    blind = Segmentation().score(Prediction(logits_of(answer)), Targets(labels))[0]
    assert square["hd_LV_mm"] == pytest.approx(2.5 * square["hd_LV_px"])
    assert oblong["hd_LV_px"] == square["hd_LV_px"] == blind["hd_LV_px"] == 1
    assert 1 <= oblong["hd_LV_mm"] <= 3
    assert math.isnan(blind["hd_LV_mm"])
    assert math.isnan(blind["area_LV_ED_true_mm2"])
    assert blind["area_ef_true_percent"] == pytest.approx(square["area_ef_true_percent"])


def test_ed_and_es_come_from_the_truth_or_the_data_set() -> None:
    labels = heart()
    sparse = torch.full_like(labels, IGNORE)
    sparse[:, :, 0], sparse[:, :, 3] = labels[:, :, 0], labels[:, :, 3]
    full, few = (Segmentation().score(Prediction(noisy("ed")), targets_of(x))[0] for x in (labels, sparse))
    for key in ("dice_ED", "dice_ES", "area_ef_true_percent", "area_ef_predicted_percent"):
        assert few[key] == pytest.approx(full[key]), key
    named = replace(targets_of(labels), ed=torch.tensor([1, 1]), es=torch.tensor([3, 3]))
    row = Segmentation().score(Prediction(logits_of(labels)), named)[0]
    assert row["area_LV_ED_true_mm2"] == pytest.approx(6.25 * float((labels[0, :, 1] == 1).sum()))
    single = torch.full_like(labels, IGNORE)
    single[:, :, 0] = labels[:, :, 0]
    lone = Segmentation().score(Prediction(logits_of(labels)), targets_of(single))[0]
    assert math.isnan(lone["area_ef_true_percent"])


def test_frame_scores_have_a_row_per_labelled_frame_and_class() -> None:
    labels = heart()
    labels[:, :, 4] = IGNORE
    tables = Segmentation().frame_scores(Prediction(noisy("frames")), targets_of(labels))
    assert [len(table) for table in tables] == [12, 12]
    assert tables[0][0].keys() == {"frame", "class", "dice"}


def test_bad_input_is_one_clear_line() -> None:
    task, targets = Segmentation(), targets_of(heart())
    with pytest.raises(ValueError, match="wanted dense logits"):
        task.score(Prediction(noisy("x")[..., :6]), targets)
    with pytest.raises(ValueError, match="NaN or Inf"):
        task.score(Prediction(noisy("x") * torch.nan), targets)
    with pytest.raises(ValueError, match="computing a segmentation loss"):
        task.loss(Prediction(None), targets)
    with pytest.raises(ValueError, match="computing a segmentation loss"):
        task.loss(Prediction(noisy("x")[:, :3]), targets)
    with pytest.raises(ValueError, match="label 5"):
        task.score(Prediction(noisy("x")), targets_of(heart() + 2))
    with pytest.raises(ValueError, match="without labelled pixels"):
        task.score(Prediction(noisy("x")), targets_of(torch.full(SHAPE, IGNORE)))
    with pytest.raises(ValueError, match="disk"):
        Segmentation(variant="disc")
    with pytest.raises(ValueError, match="got 1 classes"):
        Segmentation(n_classes=1)
