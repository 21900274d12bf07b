"""Laws of every mask family, figures of single families, and masks from files."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kwise.sampling import FLAT, MASKS, achieved_acceleration, draw_mask, load_mask
from kwise.sampling.lines import equispaced_lines, random_lines
from kwise.seeding import generator

ALL = pytest.mark.parametrize("name", sorted(MASKS))
SIZES = [(64, 12), (80, 50), (31, 7), (1, 1), (5, 1), (1, 6), (256, 25)]


def mean_mask(name: str, n_lines: int, n_frames: int, acceleration: float, n: int = 60) -> Tensor:
    masks = [draw_mask(name, n_lines, n_frames, acceleration, generator(name, i)) for i in range(n)]
    return torch.stack(masks).float().mean(dim=(0, 1))


@ALL
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("acceleration", [1, 1.01, 2, 3.7, 8, 64, 1e9])
def test_acceleration_is_exact_to_one_line(name: str, size: tuple[int, int], acceleration: float) -> None:
    full = size[0] * size[1]
    acceleration = min(acceleration, full)
    mask = draw_mask(name, *size, acceleration, generator(name, size, acceleration))
    assert mask.shape == (size[1], size[0])
    assert mask.dtype == torch.bool
    assert int(mask.sum()) == max(1, int(full / acceleration + 1e-9))
    assert achieved_acceleration(mask) >= acceleration - 1e-9


@ALL
def test_acceleration_one_acquires_everything(name: str) -> None:
    assert draw_mask(name, 33, 5, 1, generator(0)).all()


@ALL
@pytest.mark.parametrize("acceleration", [2, 8, 31, 64, 80])
def test_every_frame_has_a_line(name: str, acceleration: float) -> None:
    for seed in range(20):
        mask = draw_mask(name, 80, 50, acceleration, generator(seed))
        assert mask.any(dim=1).all()


@ALL
def test_same_seed_same_mask_and_other_seed_other_mask(name: str) -> None:
    first, again, other = (draw_mask(name, 64, 12, 8, generator(s)) for s in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@ALL
def test_frames_differ(name: str) -> None:
    mask = draw_mask(name, 64, 12, 8, generator(1))
    assert all(not torch.equal(a, b) for a, b in pairwise(mask))


@ALL
def test_global_random_state_is_untouched(name: str, global_state_untouched: None) -> None:
    draw_mask(name, 64, 12, 8, generator(2))


@ALL
def test_centre_is_sampled_more_often_than_outer_lines(name: str) -> None:
    share = mean_mask(name, 64, 12, 4)
    centre, outer = share[32], share[:8].mean()
    if name in FLAT:
        assert abs(float(centre - outer)) < 0.06
    else:
        assert centre > 2 * outer


@ALL
@pytest.mark.parametrize("acceleration", [0.5, 0, -4, float("nan"), float("inf"), 64 * 12 + 1])
def test_impossible_acceleration_is_refused(name: str, acceleration: float) -> None:
    with pytest.raises(ValueError, match="wanted 1 to 768"):
        draw_mask(name, 64, 12, acceleration, generator(0))


@ALL
def test_empty_grid_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="0 frames"):
        draw_mask(name, 64, 0, 4, generator(0))


def test_unknown_name_teaches_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'gausian_lines'.*gaussian_lines"):
        draw_mask("gausian_lines", 64, 12, 4, generator(0))


@pytest.mark.parametrize(("acceleration", "lines"), [(4, 20), (8, 10), (16, 5), (32, 2), (64, 1)])
def test_gaussian_lines_per_frame_follow_the_paper(acceleration: float, lines: int) -> None:
    counts = draw_mask("gaussian_lines", 80, 50, acceleration, generator(acceleration)).sum(dim=1)
    assert int(counts.min()) == lines
    left = int(80 * 50 / acceleration) - lines * 50
    assert int((counts - lines).sum()) == left


def test_gaussian_lines_at_64_are_ragged() -> None:
    counts = draw_mask("gaussian_lines", 80, 50, 64, generator("ragged")).sum(dim=1)
    assert {1, 2} <= set(counts.tolist())


def test_gaussian_lines_have_the_stated_variance() -> None:
    share = mean_mask(
        "gaussian_lines", 80, 50, 80, n=200
    )  # one line per frame: no distortion by distinctness
    position = torch.arange(80) - 40.0
    mean = float((share * position).sum() / share.sum())
    sd = float((share * (position - mean) ** 2).sum() / share.sum()) ** 0.5
    assert abs(mean) < 0.6
    assert 15.2 < sd < 16.3  # sqrt(80 / 0.3) = 16.3, a little less because the axis ends at 2.45 sd


@pytest.mark.parametrize(("acceleration", "seen"), [(4, 0.96), (8, 0.92), (16, 0.81), (32, 0.72), (64, 0.48)])
def test_gaussian_lines_see_the_published_share_of_ky(acceleration: float, seen: float) -> None:
    masks = [draw_mask("gaussian_lines", 80, 50, acceleration, generator(i)) for i in range(30)]
    share = torch.stack([m.any(dim=0).float().mean() for m in masks]).mean()
    assert abs(float(share) - seen) < 0.06


@pytest.mark.parametrize("draw", [equispaced_lines, random_lines])
def test_acs_lines_are_in_every_frame(draw: object) -> None:
    mask = draw(64, 12, 4, generator(0), acs=6)  # type: ignore[operator]
    assert mask[:, 29:35].all()
    assert int(mask.sum()) == 64 * 12 // 4
    with pytest.raises(ValueError, match="acs=17; wanted 0 to 16"):
        draw(64, 12, 4, generator(0), acs=17)  # type: ignore[operator]


def test_equispaced_lines_are_equally_spaced_and_complementary() -> None:
    mask = equispaced_lines(64, 12, 4, generator(3), acs=0)
    for frame in mask:
        assert set(frame.nonzero().squeeze(1).diff().tolist()) == {4}
    for t in range(9):
        assert mask[t : t + 4].any(dim=0).all()
        assert int(mask[t : t + 4].sum()) == 64


def test_kt_variable_density_meets_the_acceptance_figures() -> None:
    for seed in range(10):
        mask = draw_mask("kt_variable_density", 156, 25, 4, generator(seed))
        times = mask.sum(dim=0)
        assert set(mask.sum(dim=1).tolist()) == {39}
        assert float((times > 0).float().mean()) >= 0.94
        assert 10 <= int(times[70:86].min()) <= int(times[70:86].max()) <= 25
        assert 2 <= float(times[:30].float().mean()) <= 4


def test_kt_variable_density_keeps_a_constant_number_of_lines() -> None:
    counts = draw_mask("kt_variable_density", 64, 12, 7, generator(0)).sum(dim=1)
    assert int(counts.max() - counts.min()) == 1  # 768 / 7 = 109 lines: 9 or 10 per frame


def test_kt_variable_density_spreads_outer_lines_over_time() -> None:
    mask = draw_mask("kt_variable_density", 156, 25, 4, generator(0))
    outer = torch.cat([mask[:, :50], mask[:, -50:]], dim=1)
    repeated = (outer & outer.roll(1, dims=0)).sum()
    assert int(repeated) == 0, "an outer line came in two neighbouring frames"
    for line in outer.T:
        times = line.nonzero().squeeze(1)
        if len(times) > 1:
            gaps = torch.cat([times.diff(), times[:1] + 25 - times[-1:]])  # the cine is periodic
            assert int(gaps.max()) <= 25 // len(times) * 2 + 4


def test_achieved_acceleration_refuses_empty_and_integer_masks() -> None:
    with pytest.raises(ValueError, match="all false"):
        achieved_acceleration(torch.zeros(3, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"torch\.int64"):
        achieved_acceleration(torch.ones(3, 4, dtype=torch.int64))


def write_mask(path: Path, matrix: np.ndarray) -> Path:
    if path.suffix == ".txt":
        np.savetxt(path, matrix, fmt="%g")
    elif path.suffix == ".npy":
        np.save(path, matrix)
    else:
        np.savez(path, mask=matrix, other=np.zeros(3))
    return path


@pytest.mark.parametrize("suffix", [".txt", ".npy", ".npz"])
@pytest.mark.parametrize("turned", [False, True])
def test_file_masks_are_read_either_way_round(tmp_path: Path, suffix: str, turned: bool) -> None:
    mask = draw_mask("gaussian_lines", 16, 5, 4, generator(0))
    matrix = (mask.T if turned else mask).numpy().astype(np.uint8)
    assert torch.equal(load_mask(write_mask(tmp_path / f"m{suffix}", matrix), 16, 5), mask)


def test_square_file_masks_are_frames_by_lines(tmp_path: Path) -> None:
    matrix = np.tril(np.ones((6, 6), dtype=bool))
    loaded = load_mask(write_mask(tmp_path / "m.npy", matrix), 6, 6)
    assert int(loaded[0].sum()) == 1
    assert int(loaded[5].sum()) == 6


def test_text_masks_may_use_commas(tmp_path: Path) -> None:
    path = tmp_path / "m.txt"
    path.write_text("1, 0, 1\n0, 1, 0\n")
    assert load_mask(path, 3, 2).tolist() == [[True, False, True], [False, True, False]]


BAD = {
    "shape": (np.ones((4, 4)), r"got shape \(4, 4\)"),
    "counts": (np.full((5, 16), 3), "got 80 values such as 3"),
    "nan": (np.full((5, 16), np.nan), "such as nan"),
    "empty": (np.zeros((5, 16), dtype=bool), "all false"),
    "words": (np.full((5, 16), "x"), "got dtype"),
    "objects": (np.full((5, 16), None), "unreadable"),
}


@pytest.mark.parametrize("case", sorted(BAD))
def test_bad_matrices_get_a_clear_line(tmp_path: Path, case: str) -> None:
    matrix, message = BAD[case]
    np.save(tmp_path / "m.npy", matrix, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        load_mask(tmp_path / "m.npy", 16, 5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.txt", b"", "empty"),
        ("m.txt", b"1 0\n1\n", "unreadable"),
        ("m.txt", b"\xff\xfe\x00", "unreadable"),
        ("m.npy", b"rubbish", "unreadable"),
        ("m.npz", b"rubbish", "unreadable"),
        ("m.mat", b"", "suffix '.mat'"),
        ("m.npy", None, "no such file"),
    ],
)
def test_bad_files_get_a_clear_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_mask(tmp_path / name, 16, 5)


def test_npz_without_a_mask_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", a=np.ones(3), b=np.ones(3))
    with pytest.raises(ValueError, match="none named mask"):
        load_mask(tmp_path / "m.npz", 16, 5)
