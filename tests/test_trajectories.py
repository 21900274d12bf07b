"""Laws of TRAJECTORIES: budget, range, determinism, golden angle; a new trajectory inherits them by its line.
"""

import math

import pytest
import torch

from kwise.sampling import TRAJECTORIES, draw_mask, draw_trajectory
from kwise.seeding import generator

every = pytest.mark.parametrize("name", sorted(TRAJECTORIES))
SIZES = [((64, 64), 12, 8.0), ((64, 64), 12, 64.0), ((9, 14), 3, 2.5), ((14, 9), 5, 1.0)]


@every
@pytest.mark.parametrize(("shape", "n_frames", "rate"), SIZES)
def test_as_many_samples_as_whole_lines_of_that_acceleration(
    name: str, shape: tuple[int, int], n_frames: int, rate: float, global_state_untouched: None
) -> None:
    path = draw_trajectory(name, shape, n_frames, rate, generator("law"))
    lines = int(draw_mask("uniform", shape[0], n_frames, rate, generator("law")).sum()) * shape[1]
    points = path.positions.shape[2]
    assert lines - points < path.n_samples <= lines, "never more, and less only by what fills no spoke"
    assert path.achieved_acceleration(shape) >= rate - 1e-9
    assert path.mask.shape == path.positions.shape[:2] and len(path.mask) == n_frames
    counts = path.mask.sum(dim=1)
    assert int(counts.max() - counts.min()) <= 1, "frames share the spokes evenly"


@every
@pytest.mark.parametrize(("shape", "n_frames", "rate"), SIZES)
def test_positions_stay_in_k_space_and_pass_its_centre(
    name: str, shape: tuple[int, int], n_frames: int, rate: float
) -> None:
    path = draw_trajectory(name, shape, n_frames, rate, generator("law"))
    assert path.positions.dtype == torch.float32
    assert float(path.positions.min()) >= -0.5 and float(path.positions.max()) < 0.5
    distance = path.positions.norm(dim=-1)[path.mask]
    assert float(distance.amin(dim=-1).max()) < 1e-6, "a spoke misses DC"
    assert float(distance.max()) > 0.4, "the edge of k-space is never reached"


@every
def test_same_seed_same_trajectory_and_frames_differ(name: str) -> None:
    first, again, other = (
        draw_trajectory(name, (16, 16), 4, 4, generator(word)).positions for word in "aab"
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_radial_spokes_turn_by_the_golden_angle_from_frame_to_frame() -> None:
    path = draw_trajectory("golden_angle_radial", (32, 32), 6, 8, generator("angle"))
    ends = path.positions[path.mask][:, -1]
    angles = torch.atan2(ends[:, 0], ends[:, 1])
    turns = (angles[1:] - angles[:-1]).remainder(math.pi)
    torch.testing.assert_close(turns, torch.full_like(turns, math.radians(111.246)), atol=1e-4, rtol=0)


def test_spiral_arms_keep_their_pace() -> None:
    path = draw_trajectory("spiral", (32, 32), 2, 4, generator("pace"))
    steps = (path.positions[:, :, 1:] - path.positions[:, :, :-1]).norm(dim=-1)
    assert float(steps.max()) < 1.1 / 32, "neighbours on an arm lie more than a cell apart"
    assert float(steps.max() / steps.min()) < 1.1


def test_an_unknown_trajectory_and_an_impossible_rate_are_refused() -> None:
    with pytest.raises(ValueError, match="got the name 'radial'; wanted golden_angle_radial"):
        draw_trajectory("radial", (8, 8), 2, 2, generator())
    with pytest.raises(ValueError, match=r"got R 0\.5; wanted 1 to"):
        draw_trajectory("spiral", (8, 8), 2, 0.5, generator())
