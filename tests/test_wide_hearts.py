"""Wide hearts: every pose, ventricles of every size, and still hearts whose labels obey their surfaces."""

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from kwise.cli import main
from kwise.data import DATASETS, sized
from kwise.data.kspace_file import read_scan
from kwise.data.loader import Acquisition, TrainingBatches
from kwise.phantom import draw_heart, heart_scan, kind_of, sample, short_axis_points, wide_heart_scan
from kwise.phantom.wide import UPRIGHT, WIDE_KINDS, Pose, draw_pose, draw_wide_heart
from kwise.types import IGNORE, Scan

CASES = [f"wide-train-{i:06d}" for i in range(150)]


@lru_cache(1)
def scans() -> list[Scan]:
    return [wide_heart_scan(case, n_frames=4, shape=(48, 48)) for case in CASES]


def test_a_third_of_wide_hearts_are_held_upright() -> None:
    upright = [
        torch.equal(scan.labels, heart_scan(scan.case, n_frames=4, shape=(48, 48)).labels) for scan in scans()
    ]
    assert sum(upright) / len(upright) == pytest.approx(UPRIGHT, abs=0.1)


def test_a_pose_moves_turns_mirrors_and_scales_about_the_middle() -> None:
    grid = short_axis_points((8, 8), 16.0)
    x, y = grid[..., 0], grid[..., 1]
    still = Pose(0.0, False, (0.0, 0.0), 1.0).points(grid, (5.0, -3.0), -7.0)
    torch.testing.assert_close(still, torch.stack([x, y, torch.full_like(x, -7.0)], dim=-1))
    turned = Pose(math.pi / 2, False, (0.0, 0.0), 1.0).points(grid, (0.0, 0.0), 0.0)
    torch.testing.assert_close(turned[..., :2], torch.stack([y, -x], dim=-1), atol=1e-5, rtol=0)
    moved = Pose(0.0, True, (2.0, 4.0), 2.0).points(grid, (0.0, 0.0), 0.0)
    torch.testing.assert_close(moved[..., :2], torch.stack([(2 - x) / 2, (y - 4) / 2], dim=-1))


def test_a_turn_of_the_pose_is_a_turn_of_the_image() -> None:
    """The RV lies where the drawn angle, the pose's turn and its mirror say."""
    apart = []
    for scan in scans():
        heart, pose = draw_wide_heart(scan.case), draw_pose(scan.case)
        labels = scan.labels[0, 0]
        if torch.equal(labels, heart_scan(scan.case, n_frames=1, shape=(48, 48)).labels[0, 0]):
            continue
        lv, rv = ((labels == k).nonzero().float() for k in (1, 3))
        if len(rv) < 60 or len(lv) < 20:
            continue
        dy, dx = (rv.mean(0) - lv.mean(0)).tolist()
        angle = heart.rv.angle + pose.turn
        wanted = math.pi - angle if pose.mirrored else angle
        apart.append(abs((math.atan2(dy, dx) - wanted + math.pi) % (2 * math.pi) - math.pi))
    assert len(apart) > 50
    # The crescent leans, and the edge of the image may cut it off.
    assert sum(x < math.radians(30) for x in apart) > 0.95 * len(apart)


def test_ventricles_are_of_every_size_and_lie_everywhere() -> None:
    ratio, quadrants = [], set()
    for scan in scans():
        labels = scan.labels[0, 0]
        lv, rv = (labels == 1).nonzero().float(), (labels == 3).nonzero().float()
        if not len(lv) or not len(rv):
            continue
        ratio.append(len(rv) / len(lv))
        quadrants.add(tuple((rv.mean(0) > lv.mean(0)).tolist()))
    assert len(quadrants) == 4
    upright = [heart_scan(f"heart-train-{i:06d}", n_frames=1).labels for i in range(150)]
    usual = [int((x == 3).sum()) / int((x == 1).sum()) for x in upright]
    assert sum(r > 3 for r in ratio) >= 6 > 5 >= sum(r > 3 for r in usual)
    assert sum(r < 0.3 for r in ratio) >= 5 > 2 >= sum(r < 0.3 for r in usual)
    assert min(ratio) < 0.2 < min(usual)


def test_wide_hearts_are_scans_whose_cavity_is_smallest_at_end_systole() -> None:
    for scan in scans():
        assert scan.image.shape == scan.labels.shape == (1, 4, 48, 48)
        assert torch.isfinite(scan.image).all() and scan.image.min() >= 0 and scan.image.max() > 0.1
        assert scan.ed == 0 and scan.es is not None and (scan.labels > 0).any()
        area = (scan.labels == 1).sum((0, 2, 3)).float()
        assert area[scan.es] <= area.min() * 1.15 + 6, scan.case  # slices move through the heart


@pytest.mark.parametrize(("ventricle", "label"), [("lv", 1), ("rv", 3)])
def test_the_lining_hides_pool_behind_what_looks_like_muscle_and_leaves_labels_alone(
    ventricle: str, label: int
) -> None:
    heart = draw_heart("heart-train-000004")
    points, times = short_axis_points((64, 64), 160.0), torch.tensor([0.0, heart.beat.es_time])
    bare = sample(heart, points, times)
    inner = replace(getattr(heart, ventricle), lining=2.5)
    lined = sample(replace(heart, **{ventricle: inner}), points, times)
    assert torch.equal(bare.labels, lined.labels)
    darker, pool = bare.image - lined.image, bare.labels == label
    assert darker.min() > -0.06  # strands of the RV may be darker than its wall
    assert darker[~pool].sum() < 0.3 * darker[pool].sum()  # an edge is as wide as a pixel
    assert all(((darker > 0.1) & pool)[t].sum() > 30 for t in (0, 1))


def test_every_kind_of_wide_heart_is_drawn_and_names_are_kept_apart() -> None:
    assert {kind_of(f"wide-val-{i:06d}", WIDE_KINDS) for i in range(100)} == set(WIDE_KINDS)
    wide = DATASETS["heart_wide"]
    assert wide.cases(None, "test", 2)[1] == "wide-test-000001"
    assert wide.cases(None, "train")[5:6][0] == "wide-train-000005"
    assert sized("heart_wide", 5, (32, 40)).read(None, "wide-val-000001").shape == (1, 5, 32, 40)
    with pytest.raises(ValueError, match="wanted a name such as wide-test-000000"):
        wide.read(None, "heart-test-000000")


def test_drawn_cases_are_drawn_anew_at_the_number_of_frames_of_a_step() -> None:
    def redraw(case: str, n_frames: int) -> Scan:
        return wide_heart_scan(case, n_frames=n_frames, shape=(16, 16))

    def stored(case: str) -> Scan:
        raise AssertionError("a case that can be drawn anew is not interpolated")

    batches = TrainingBatches(
        CASES[:4], stored, Acquisition(matrix=(16, 16)), 2, 2, frame_counts=(5, 9), redraw=redraw
    )
    drawn = [batches(step) for step in range(8)]
    assert {batch.measurement.n_frames for batch in drawn} == {5, 9}
    assert all((batch.targets.labels != IGNORE).all() for batch in drawn)


def test_a_wide_heart_can_be_simulated_by_its_name(tmp_path: Path) -> None:
    for words in (["--case", "wide-test-000003"], ["--from", "wide-test-000003"]):
        path = tmp_path / f"{words[0]}.h5"
        assert main(["simulate", *words, "--acceleration", "8", "-o", str(path)]) == 0
        assert read_scan(path).case == "wide-test-000003"
