"""From scans to batches: pure functions of (seed, step) or (case, R), and truth that stays on its image."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kwise.data.acquisition import draw_scan_mask, simulate
from kwise.data.frames import resample_frames
from kwise.data.loader import (
    Acquisition,
    TrainingBatches,
    cached,
    draw_frames,
    draw_points,
    evaluation_batches,
    labelled_frames,
    measure,
    targets_of,
)
from kwise.fourier import fft2c, ifft2c
from kwise.operator import crop_centre, zero_filled
from kwise.seeding import generator, seed_of
from kwise.types import IGNORE, Batch, Scan

SIZE = 32
CASES = tuple(f"patient-{i}" for i in range(4))
CLEAN = Acquisition(phase="none", snr=None, matrix=None, fov_mm=None)


def beating(case: str, n_frames: int = 4, n_slices: int = 1) -> Scan:
    """Two discs, the larger one beating; they and their labels are the same array."""
    y, x = torch.meshgrid(torch.arange(SIZE) - SIZE // 2, torch.arange(SIZE) - SIZE // 2, indexing="ij")
    radius = 6 + seed_of(case) % 3 + torch.cos(2 * torch.pi * torch.arange(n_frames) / n_frames)
    large = (y + 4) ** 2 + (x - 3) ** 2 <= radius[:, None, None] ** 2
    small = ((y - 8) ** 2 + (x + 8) ** 2 <= 9).expand(n_frames, -1, -1)
    labels = (large.long() + 3 * small.long()).expand(n_slices, -1, -1, -1)
    image = labels.float() + 0.1
    return Scan(case, image, labels=labels, spacing_mm=(8.0, 2.0, 2.0), ed=0, es=n_frames // 2)


def loader(**options) -> TrainingBatches:
    return TrainingBatches(CASES, beating, Acquisition(matrix=(16, 16)), 3, **options)


def assert_same(a: Batch, b: Batch) -> None:
    assert (a.cases, a.accelerations) == (b.cases, b.accelerations)
    for left, right in (
        (a.measurement.kspace, b.measurement.kspace),
        (a.measurement.mask, b.measurement.mask),
        (a.targets.labels, b.targets.labels),
        (a.targets.query.frames, b.targets.query.frames),
        (a.targets.query.points, b.targets.query.points),
    ):
        assert (left is None and right is None) or torch.equal(left, right)


# -- training


def test_a_batch_is_a_pure_function_of_seed_and_step(global_state_untouched: None) -> None:
    first, again, other = loader(points=20), loader(points=20), loader(points=20, seed=1)
    late = first(5)
    assert_same(late, again(5))
    for step in (0, 5, 3):
        again(step)
    assert_same(late, again(5))
    assert other(5).cases != late.cases or not torch.equal(other(5).measurement.mask, late.measurement.mask)


def test_a_step_asks_for_what_it_was_told() -> None:
    batch = loader(frames=2, points=10)(0)
    assert batch.measurement.kspace.shape == (3, 1, 1, 4, 16, 16)
    assert batch.targets.labels.shape == (3, 1, 2, 16, 16)
    assert batch.targets.query.frames.shape == (3, 2) and batch.targets.query.points.shape == (3, 10)
    assert batch.targets.at_points().shape == (3, 1, 10)
    assert batch.targets.spacing_mm.tolist() == [[8.0, 4.0, 4.0]] * 3
    every = loader(frames=None)(0)
    assert every.targets.query.frames is None and every.targets.labels.shape[2] == 4


def test_the_labels_of_a_step_are_those_of_its_frames() -> None:
    batch = loader(frames=3)(2)
    for case, frames, labels, ed, es in zip(
        batch.cases, batch.targets.query.frames, batch.targets.labels, batch.targets.ed, batch.targets.es
    ):
        whole = targets_of(beating(case), (16, 16)).labels[0]
        assert torch.equal(labels, whole[:, frames])
        assert int(ed) == (frames.tolist().index(0) if 0 in frames else -1)
        assert int(es) == (frames.tolist().index(2) if 2 in frames else -1)


def test_cines_of_any_length_share_a_batch() -> None:
    def mixed(case: str) -> Scan:
        return beating(case, n_frames=3 + CASES.index(case))

    batches = TrainingBatches(CASES, mixed, Acquisition(matrix=(16, 16)), 4, 2, frame_counts=(6, 8))
    lengths = {batches(step).measurement.n_frames for step in range(6)}
    assert lengths == {6, 8}


def test_a_cached_reader_reads_once() -> None:
    read: list[str] = []

    def slow(case: str) -> Scan:
        read.append(case)
        return beating(case)

    remember = cached(slow)
    assert remember("a") is remember("a") and remember("b").case == "b"
    assert read == ["a", "b"]


# -- evaluation


def scored(cases: Sequence[str], size: int, acceleration: float = 4.0) -> dict[str, tuple[Tensor, Tensor]]:
    batches = evaluation_batches(cases, beating, Acquisition(matrix=(16, 16)), acceleration, size)
    return {
        name: (k, m)
        for batch in batches
        for name, k, m in zip(batch.cases, batch.measurement.kspace, batch.measurement.mask)
    }


def test_evaluation_depends_on_case_and_acceleration_alone(global_state_untouched: None) -> None:
    whole, singly, shuffled = scored(CASES, 10), scored(CASES, 1), scored(CASES[::-1], 3)
    assert list(whole) == list(CASES) and list(shuffled) == list(CASES[::-1])
    for case in CASES:
        for other in (singly, shuffled):
            assert all(torch.equal(a, b) for a, b in zip(whole[case], other[case]))
    masks = [mask for _, mask in whole.values()]
    assert not all(torch.equal(masks[0], mask) for mask in masks[1:]), "every case got the same lines"
    sparser = scored(CASES, 10, 8.0)
    for case in CASES:
        assert sparser[case][1].sum() < whole[case][1].sum()
        both = (sparser[case][1] & whole[case][1]).unsqueeze(0)
        assert torch.equal(sparser[case][0][both], whole[case][0][both]), "phase or noise depends on R"


def test_evaluation_asks_for_every_frame_and_names_the_acceleration() -> None:
    (batch,) = evaluation_batches(CASES[:2], beating, Acquisition(matrix=None), 4.0)
    assert batch.accelerations == (4.0, 4.0) and batch.targets.query.frames is None
    assert torch.equal(batch.targets.labels[0], beating(CASES[0]).labels)
    assert batch.targets.ed.tolist() == [0, 0] and batch.targets.es.tolist() == [2, 2]


def test_every_slice_gets_its_own_lines() -> None:
    mask = draw_scan_mask(beating("x", n_slices=3), "gaussian_lines", 4.0, ("words",))
    assert mask.shape == (3, 4, SIZE, 1)
    assert not torch.equal(mask[0], mask[1]) and not torch.equal(mask[1], mask[2])


# -- geometry


def test_measuring_on_a_smaller_matrix_cuts_k_space() -> None:
    scan = simulate(beating("x"), CLEAN, ("test",))
    full = torch.ones(1, 4, SIZE, 1, dtype=torch.bool)
    whole, cut = measure(scan, full, None), measure(scan, full, (16, 16))
    assert torch.equal(cut.kspace, crop_centre(whole.kspace, (16, 16)) * 0.5)
    assert cut.spacing_mm.tolist() == [[8.0, 4.0, 4.0]] and cut.image_shape == (16, 16)
    lines = draw_scan_mask(scan, "gaussian_lines", 3.0, ("test",))
    under = measure(scan, lines, (16, 16))
    assert torch.equal(under.mask[0, 0, :, :, 0], lines[0, :, SIZE // 4 : 3 * SIZE // 4, 0])


def centre(weights: Tensor, axis: int) -> Tensor:
    """(f,) centre of mass of (f, y, x) along one image axis, in pixels from index n // 2."""
    n, profile = weights.shape[axis], weights.sum(dim=3 - axis)
    return (profile * (torch.arange(n) - n // 2)).sum(dim=1) / profile.sum(dim=1)


@pytest.mark.parametrize("matrix", [None, (16, 16), (24, 20)])
def test_the_truth_lies_on_the_measured_image(matrix: tuple[int, int] | None) -> None:
    """The beating disc of the fully sampled image and its labels share their centre, in every frame."""
    scan = beating("x")
    scan = replace(scan, image=(scan.labels == 1).float())
    measurement = measure(simulate(scan, CLEAN, ("x",)), torch.ones(1, 4, SIZE, 1, dtype=torch.bool), matrix)
    image = zero_filled(measurement)[0, 0].abs()
    labels = targets_of(scan, measurement.image_shape).labels[0, 0] == 1
    bright = image * (image > 0.5 * image.amax(dim=(1, 2), keepdim=True))
    for axis in (1, 2):
        apart = (centre(bright, axis) - centre(labels.float(), axis)).abs().max()
        assert apart < 0.2, f"the labels moved by {apart} pixels against the image"


def test_simulation_keeps_the_magnitude_and_scans_with_kspace_as_they_are() -> None:
    scan = beating("x")
    simulated = simulate(scan, CLEAN, ("test",))
    image = ifft2c(simulated.kspace)[0].abs()
    torch.testing.assert_close(image / image.max(), scan.image / scan.image.max(), atol=1e-4, rtol=1e-4)
    measured = Scan("y", kspace=fft2c(scan.image).unsqueeze(0))
    assert simulate(measured, Acquisition(), ("test",)) is measured


def test_a_scan_nobody_labelled_has_targets_to_ignore() -> None:
    scan = Scan("y", kspace=fft2c(beating("x").image).unsqueeze(0))
    assert bool((targets_of(scan, (16, 16)).labels == IGNORE).all())


# -- what is asked


def half_labelled() -> Scan:
    scan = beating("x", n_frames=6)
    labels = scan.labels.clone()
    labels[:, [0, 2, 3, 5]] = IGNORE
    return Scan("x", scan.image, labels=labels, ed=1, es=4)


def test_only_labelled_frames_are_drawn() -> None:
    scan = half_labelled()
    assert labelled_frames(scan).tolist() == [1, 4]
    for n in (1, 2, 5):
        drawn = [draw_frames(scan, n, generator("frames", i)) for i in range(10)]
        assert all(len(frames) == n and set(frames.tolist()) <= {1, 4} for frames in drawn)
        assert {1, 4} == {i for frames in drawn for i in frames.tolist()}


def test_points_are_drawn_as_the_picture_is_not_by_class() -> None:
    labels = torch.zeros(2, 40, 40, dtype=torch.int64)
    labels[:, 10:20, 10:20] = 1  # one sixteenth of the picture
    points = draw_points(labels, 40_000, generator("points"))
    share = (labels.flatten()[points] > 0).float().mean().item()
    assert share == pytest.approx(1 / 16, abs=0.01)


# -- another number of frames


@pytest.mark.parametrize("n_frames", [5, 9, 12, 25])
@pytest.mark.parametrize("ed", [0, 2])
def test_resampling_a_cine_keeps_ed_and_es_exactly(n_frames: int, ed: int) -> None:
    scan = beating("x", n_frames=9)
    shifted = Scan("x", scan.image.roll(ed, 1), labels=scan.labels.roll(ed, 1), ed=ed, es=(ed + 4) % 9)
    new = resample_frames(shifted, n_frames)
    assert new.shape[1] == n_frames and new.ed == 0 and 0 < new.es < n_frames
    for now, before in ((new.ed, shifted.ed), (new.es, shifted.es)):
        assert torch.equal(new.image[:, now], shifted.image[:, before])
        assert torch.equal(new.labels[:, now], shifted.labels[:, before])
    assert bool(torch.isfinite(new.image).all())
    assert new.image.max() <= scan.image.max() and new.image.min() >= scan.image.min()


def test_frames_between_are_blends_that_nobody_labelled() -> None:
    scan = beating("x", n_frames=2)
    new = resample_frames(scan, 8)
    assert (new.ed, new.es) == (0, 4)
    quarter = 0.75 * scan.image[:, 0] + 0.25 * scan.image[:, 1]
    torch.testing.assert_close(new.image[:, 1], quarter)
    assert labelled_frames(new).tolist() == [0, 4]
    torch.testing.assert_close(new.image[:, 7], quarter, msg="the cycle has to close")


def test_resampling_to_the_same_length_or_from_one_frame() -> None:
    scan = beating("x", n_frames=4)
    assert resample_frames(scan, 4) is scan
    still = resample_frames(beating("x", n_frames=1), 3)
    assert still.shape[1] == 3 and torch.equal(still.labels[:, 2], still.labels[:, 0])


def test_native_answers_are_asked_on_the_scans_own_grid() -> None:
    scan = beating("x")
    acquisition = Acquisition(matrix=(16, 16), fov_mm=None, snr=None, native=True)
    (batch,) = evaluation_batches(["x"], lambda _: scan, acquisition, 4.0, 1)
    assert batch.measurement.image_shape == (16, 16) and batch.targets.query.resolution == (SIZE, SIZE)
    assert torch.equal(batch.targets.labels[0], scan.labels)
    assert batch.targets.spacing_mm is not None
    assert batch.targets.spacing_mm[0].tolist() == list(scan.spacing_mm)
