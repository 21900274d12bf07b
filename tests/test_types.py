"""The nouns refuse bad input with one line that says what was checked, what came in and what was wanted."""

from dataclasses import replace

import pytest
import torch

from kwise.types import Batch, Measurement, Prediction, Query, Samples, Scan, Targets

KSPACE = torch.ones(2, 1, 1, 3, 8, 6, dtype=torch.complex64)
MASK = torch.ones(2, 1, 3, 8, 1, dtype=torch.bool)
NAN = torch.full((), torch.nan, dtype=torch.complex64)
EMPTY_CASE = MASK.clone()
EMPTY_CASE[1] = False

BAD_MEASUREMENTS = {
    "missing axis": ((KSPACE[0], MASK), r"shape \(1, 1, 3, 8, 6\); wanted axes \(b, c, z, t, ky, kx\)"),
    "zero frames": ((KSPACE[:, :, :, :0], MASK), "wanted at least one element along t"),
    "no frame in the mask": ((KSPACE, MASK[:, :, :0]), "wanted at least one element along t"),
    "real k-space": ((KSPACE.real, MASK), "got dtype torch.float32; wanted complex64"),
    "trailing 2": ((torch.view_as_real(KSPACE), MASK), "got dtype torch.float32; wanted complex64"),
    "NaN": ((KSPACE * NAN, MASK), "got 288 NaN or Inf values; wanted finite"),
    "Inf": ((torch.where(KSPACE == 1, torch.inf, KSPACE), MASK), "NaN or Inf values; wanted finite"),
    "integer mask": ((KSPACE, MASK.int()), "got dtype torch.int32; wanted torch.bool with True = acquired"),
    "float mask": ((KSPACE, MASK.float()), "got dtype torch.float32; wanted torch.bool"),
    "mask without a case axis": ((KSPACE, MASK[0]), r"wanted axes \(b, z, t, ky, kx\)"),
    "mask of other lines": (
        (KSPACE, MASK[:, :, :, :5]),
        r"wanted a shape that broadcasts to \(2, 1, 3, 8, 6\)",
    ),
    "nothing acquired": ((KSPACE, ~MASK), "without a single acquired sample"),
    "one case without samples": ((KSPACE, EMPTY_CASE), "a case without acquired samples"),
    "coil maps of another coil count": (
        (KSPACE, MASK, torch.ones(2, 4, 1, 8, 6, dtype=torch.complex64)),
        r"Measurement.coil_maps: got shape \(2, 4, 1, 8, 6\); wanted \(2, 1, 1, 8, 6\)",
    ),
    "trajectory of another shape": (
        (KSPACE, MASK, None, torch.zeros(2, 1, 3, 8, 2), (8, 6)),
        r"Measurement.trajectory: .* wanted \(2, 1, 3, 8, 6, 2\)",
    ),
    "trajectory without a grid": (
        (KSPACE, MASK, None, torch.zeros(2, 1, 3, 8, 6, 2)),
        "a trajectory without image_shape",
    ),
}


@pytest.mark.parametrize("name", BAD_MEASUREMENTS)
def test_measurement_refuses(name: str) -> None:
    arguments, message = BAD_MEASUREMENTS[name]
    with pytest.raises(ValueError, match=message) as error:
        Measurement(*arguments)
    assert "\n" not in str(error.value)


BAD_SCANS = {
    "a view nobody knows": (
        {"image": torch.ones(2, 3, 4, 4), "views": ("SAX", "sa")},
        "got views SAX, sa; wanted 2 words out of SAX, LAX_2CH, LAX_3CH, LAX_4CH",
    ),
    "views of other slices": ({"image": torch.ones(2, 3, 4, 4), "views": ("SAX",)}, "wanted 2 words"),
    "nothing": ({}, "both or neither of image and kspace"),
    "both": ({"image": torch.ones(1, 2, 4, 4), "kspace": KSPACE[0]}, "both or neither"),
    "image without frames": ({"image": torch.ones(1, 4, 4)}, r"wanted axes \(z, t, y, x\)"),
    "zero frames": ({"image": torch.ones(1, 0, 4, 4)}, "at least one element along t"),
    "NaN image": ({"image": torch.full((1, 2, 4, 4), torch.nan)}, "Scan.image: got 32 NaN"),
    "real k-space": ({"kspace": KSPACE[0].real}, "Scan.kspace: got dtype torch.float32"),
    "NaN k-space": ({"kspace": KSPACE[0] * NAN}, "Scan.kspace: got 144 NaN"),
    "integer mask": ({"kspace": KSPACE[0], "mask": MASK[0].int()}, "Scan.mask: got dtype torch.int32"),
    "all-false mask": ({"kspace": KSPACE[0], "mask": ~MASK[0]}, "without a single acquired"),
    "mask of other frames": ({"kspace": KSPACE[0], "mask": MASK[0, :, :2]}, r"broadcasts to \(1, 3, 8, 6\)"),
    "labels of another grid": (
        {"image": torch.ones(1, 2, 4, 4), "labels": torch.zeros(1, 2, 4, 5)},
        r"Scan.labels: got shape \(1, 2, 4, 5\); wanted \(1, 2, 4, 4\)",
    ),
}


@pytest.mark.parametrize("name", BAD_SCANS)
def test_scan_refuses(name: str) -> None:
    arguments, message = BAD_SCANS[name]
    with pytest.raises(ValueError, match=message):
        Scan(case="patient", **arguments)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(1, 1, 2, 4, 4), "got dtype torch.float32; wanted int64 class indices"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.int64), "wanted axes"),
        (torch.zeros(1, 1, 0, 4, 4, dtype=torch.int64), "at least one element along f"),
    ],
)
def test_targets_refuse(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets(labels)


def test_unacquired_positions_of_a_scan_may_hold_anything() -> None:
    mask = MASK[0].clone()
    mask[..., 2, :] = False
    kspace = torch.where(mask, KSPACE[0], NAN)
    assert Scan(case="patient", kspace=kspace, mask=mask).shape == (1, 3, 8, 6)


def test_measurement_spreads_its_mask_and_knows_its_shape() -> None:
    measurement = Measurement(KSPACE, MASK[:1])
    assert measurement.mask.shape == (2, 1, 3, 8, 6)
    assert measurement.shape == (2, 1, 3, 8, 6)
    assert (measurement.n_slices, measurement.n_frames) == (1, 3)
    assert Measurement(KSPACE.to(torch.complex128), MASK).kspace.dtype == torch.complex64


def test_an_emptier_mask_hides_more() -> None:
    fewer = MASK.clone()
    fewer[:, :, :, 3:] = False
    assert replace(Measurement(KSPACE, MASK), mask=fewer).kspace.abs().sum() == 2 * 3 * 3 * 6


def test_fold_slices_keeps_each_slice_with_its_own_things(make_measurement, make_complex) -> None:
    maps = make_complex(2, 4, 3, 8, 8)
    spacing = torch.tensor([[8.0, 1.0, 1.0], [8.0, 2.0, 2.0]])
    stack = replace(make_measurement(c=4, z=3), coil_maps=maps, spacing_mm=spacing)
    folded = stack.fold_slices()
    assert folded.shape == (6, 1, 3, 8, 8)
    assert torch.equal(folded.kspace[4, :, 0], stack.kspace[1, :, 1])
    assert torch.equal(folded.mask[4, 0], stack.mask[1, 1])
    assert torch.equal(folded.coil_maps[4, :, 0], maps[1, :, 1])
    assert torch.equal(folded.spacing_mm[4], spacing[1])


def test_stack_joins_cases(make_measurement) -> None:
    whole = make_measurement(b=3)
    parts = [Measurement(whole.kspace[i : i + 1], whole.mask[i : i + 1]) for i in range(3)]
    again = Measurement.stack(parts)
    assert torch.equal(again.kspace, whole.kspace) and torch.equal(again.mask, whole.mask)
    assert again.coil_maps is None and again.image_shape == (8, 8)


def test_moving_carries_everything(make_measurement) -> None:
    labels = torch.zeros(2, 1, 2, 8, 8, dtype=torch.int64)
    query = Query(frames=torch.tensor([[0, 1], [1, 2]]), resolution=(8, 8))
    targets = Targets(labels, query=query, ed=torch.tensor([0, 1]))
    there = targets.to("meta")
    assert there.labels.is_meta and there.query.frames.is_meta and there.ed.is_meta
    assert there.query.resolution == (8, 8) and there.image is None
    assert torch.equal(make_measurement().to("cpu").kspace, make_measurement().kspace)


def test_query_repeats_for_slices_and_targets_answer_at_points() -> None:
    points = torch.tensor([[0, 17], [3, 31]])
    repeated = Query(frames=torch.tensor([[0], [1]]), points=points).repeat_slices(3)
    assert repeated.frames.flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(repeated.points[3], points[1])
    labels = torch.arange(64).reshape(2, 1, 2, 4, 4)
    assert Targets(labels, query=Query(points=points)).at_points()[:, 0].tolist() == [[0, 17], [35, 63]]
    assert Targets(labels).at_points().shape == (2, 1, 32)


def test_prediction_turns_logits_into_answers(make_measurement) -> None:
    logits = torch.zeros(1, 4, 1, 2, 3, 3)
    logits[:, 2] = 5
    prediction = Prediction(logits)
    assert (prediction.labels() == 2).all()
    assert torch.allclose(prediction.probabilities().sum(dim=1), torch.ones(()))
    batch = Batch(("a",), make_measurement(b=1), Targets(prediction.labels()), (4.0,))
    assert len(batch.cases) == len(batch.accelerations) == 1
    assert Samples(KSPACE, KSPACE).valid is None


def test_numbers_too_large_for_single_precision_are_refused() -> None:
    kspace = torch.full((1, 1, 1, 2, 4, 4), 1e300 + 0j, dtype=torch.complex128)
    with pytest.raises(ValueError, match=r"Measurement\.kspace.*NaN or Inf"):
        Measurement(kspace, torch.ones(1, 1, 2, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", ["views", "coil_maps", "spacing_mm"])
def test_stack_refuses_what_some_cases_alone_have(make_measurement, name: str, order: int) -> None:
    extra = {
        "views": torch.zeros(1, 1, dtype=torch.int64),
        "coil_maps": torch.ones(1, 1, 1, 8, 8, dtype=torch.complex64),
        "spacing_mm": torch.ones(1, 3),
    }
    parts = [make_measurement(b=1), replace(make_measurement(b=1), **{name: extra[name]})]
    with pytest.raises(ValueError, match=f"got {name} of some alone; wanted {name} of all or of none"):
        Measurement.stack(parts[::order])


def test_one_case_of_a_batch_has_all_of_its_own_things(make_measurement) -> None:
    views = torch.tensor([[0, 1], [2, 3]])
    both = replace(make_measurement(z=2), views=views, spacing_mm=torch.tensor([[8.0, 1, 1], [9, 2, 2]]))
    for i in range(2):
        one = both.only(i)
        assert torch.equal(one.kspace, both.kspace[i : i + 1]) and torch.equal(one.views, views[i : i + 1])
        assert one.spacing_mm.tolist() == both.spacing_mm[i : i + 1].tolist() and one.coil_maps is None
    again = Measurement.stack([both.only(0), both.only(1)])
    assert torch.equal(again.views, views) and torch.equal(again.kspace, both.kspace)
