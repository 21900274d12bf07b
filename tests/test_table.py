"""Statistics against known values and scikit-learn; tables from folders of scores, the same every time."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwise.cli import main
from kwise.evaluate import write_scores
from kwise.report.results import Results, Row, read_results, read_scores
from kwise.report.statistics import agreement, bootstrap_interval, case_means, compare, summarise, wilcoxon_p
from kwise.report.table import (
    QUANTITIES,
    agreement_table,
    difference_table,
    frame_table,
    score_table,
    to_markdown,
    to_text,
)
from made_up_scores import write_made_up_scores

FINITE = st.floats(-10, 10, allow_nan=False)


def test_bootstrap_interval_covers_as_theory_says() -> None:
    x = np.random.default_rng(3).normal(5, 2, size=400)
    low, high = bootstrap_interval(x)
    half = 1.96 * x.std(ddof=1) / 20
    assert low == pytest.approx(x.mean() - half, abs=0.03)
    assert high == pytest.approx(x.mean() + half, abs=0.03)
    assert bootstrap_interval(x) == (low, high)
    assert np.isnan(bootstrap_interval([1.0])).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(FINITE, min_size=2, max_size=12), FINITE)
def test_interval_holds_the_mean_and_moves_with_the_values(values: list[float], shift: float) -> None:
    low, high = bootstrap_interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    moved = bootstrap_interval([v + shift for v in values])
    assert moved == pytest.approx((low + shift, high + shift), abs=1e-6)


def test_a_summary_pools_seeds_and_counts_failures() -> None:
    s = summarise({0: {"a": 1.0, "b": 3.0}, 1: {"a": 2.0, "b": math.inf}})
    assert (s.mean, s.n, s.n_seeds, s.n_values, s.failures) == (2.0, 2, 2, 4, 1)
    assert s.sd == pytest.approx(1.0)
    assert s.seed_sd == pytest.approx(0.0)
    assert 1.5 <= s.low <= s.high <= 3.0
    assert case_means({0: {"b": 3.0, "a": 1.0}, 1: {"a": 2.0, "b": math.nan}}) == {"a": 1.5, "b": 3.0}


def test_repeating_a_seed_does_not_narrow_the_interval() -> None:
    cases = {f"c{i}": float(v) for i, v in enumerate(np.random.default_rng(1).normal(size=30))}
    one, three = summarise({0: cases}), summarise({0: cases, 1: cases, 2: cases})
    assert (one.low, one.high) == pytest.approx((three.low, three.high))


def test_a_comparison_is_paired_and_antisymmetric() -> None:
    rng = np.random.default_rng(5)
    base = {f"c{i}": float(v) for i, v in enumerate(rng.normal(size=40))}
    better = {case: v + 0.1 + 0.01 * float(rng.normal()) for case, v in base.items()} | {"only here": 99.0}
    d, back = compare({0: better}, {0: base}), compare({0: base}, {0: better})
    assert d.n == 40
    assert 0.09 < d.low < d.mean < d.high < 0.11
    assert d.p < 1e-6
    assert d.mean == pytest.approx(-back.mean)
    assert d.p == pytest.approx(back.p)
    same = compare({0: base}, {0: base})
    assert (same.mean, same.p) == (0.0, 1.0)
    assert math.isnan(wilcoxon_p([]))


def test_agreement_matches_scikit_learn() -> None:
    from sklearn.metrics import r2_score

    rng = np.random.default_rng(7)
    true = rng.normal(60, 10, size=50)
    guess = true + rng.normal(2, 4, size=50)
    fit = agreement([*guess, math.nan, 3.0], [*true, 50.0, math.nan])
    assert fit.r2 == pytest.approx(r2_score(true, guess))
    assert fit.bias == pytest.approx((guess - true).mean())
    assert fit.r == pytest.approx(np.corrcoef(guess, true)[0, 1])
    assert (fit.n, fit.failures) == (50, 1)
    constant = agreement(np.full(50, true.mean()).tolist(), true.tolist())
    assert constant.r2 == pytest.approx(0, abs=1e-9)
    assert math.isnan(constant.r)


def rows(shift: float, *, failed: bool = False) -> list[Row]:
    out: list[Row] = []
    for r in (8.0, 16.0):
        for i in range(12):
            row: Row = {
                "case": f"heart-{i}",
                "acceleration": r,
                "dice_foreground": 0.8 + shift + 0.01 * i - r / 200,
            }
            row["hd_foreground_px"] = math.inf if failed and i == 0 else 4.0 + shift
            for predicted, true, _ in QUANTITIES.values():
                row[predicted], row[true] = 100.0 + 5 * i + 10 * shift, 100.0 + 5 * i
            out.append(row)
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """results/<table> with model `good` of two seeds in one file each, and `bad` with a file per
    acceleration.
    """
    for seed in (0, 1):
        write_scores(tmp_path / "good" / f"seed{seed}" / "scores.csv", rows(0.1 + 0.01 * seed))
    bad = rows(0.0, failed=True)
    write_scores(tmp_path / "bad" / "seed0" / "scores_r8.csv", bad[:12])
    write_scores(tmp_path / "bad" / "seed0" / "scores_r16.csv", bad[12:])
    return tmp_path


@pytest.fixture
def results(folder: Path) -> Results:
    return read_results(folder)


def test_the_layout_is_read_whole(results: Results) -> None:
    assert {m: {s: len(r) for s, r in seeds.items()} for m, seeds in results.items()} == {
        "good": {0: 24, 1: 24},
        "bad": {0: 24},
    }


def test_score_table_with_the_published_row_beside_its_model(results: Results) -> None:
    published = {"good": {8.0: (0.902, 0.089)}, "stranger": {16.0: (0.8, 0.1)}}
    table = score_table(results, order=["good"], published=published)
    assert table.header == ("model", "R = 8", "R = 16", "cases")
    assert [row[0] for row in table.rows] == ["good", "good, published", "bad", "stranger, published"]
    assert table.rows[0][1].startswith("0.920 ± 0.03")
    assert table.rows[0][3] == "12 x 2 seeds"
    assert table.rows[1][1:] == ("0.902 ± 0.089", "-", "published")
    assert table.rows[2][3] == "12"


def test_seeds_can_stand_alone(results: Results) -> None:
    table = score_table(results, per_seed=True)
    assert [row[0] for row in table.rows] == ["bad, seed 0", "good, seed 0", "good, seed 1"]


def test_failures_are_counted_in_the_open(results: Results) -> None:
    cell = score_table(results, "hd_foreground_px").rows[0][1]
    assert cell.startswith("4.00 ± 0.00")
    assert "(1 of 12 failed)" in cell


def test_differences_to_a_reference(results: Results) -> None:
    table = difference_table(results, "bad")
    assert [row[0] for row in table.rows] == ["good"]
    assert table.rows[0][1].startswith("+0.105 [+0.105, +0.105], p < 0.001, n = 12")


def test_agreement_of_areas(results: Results) -> None:
    cell = agreement_table(results, "LV area at ED").rows[1][1]
    assert cell.startswith("R2 1.00, r 1.00, bias +1.0 ± 0.1 mm2")


def test_dead_outputs_show_frame_by_frame(tmp_path: Path) -> None:
    lines: list[Row] = [
        {"case": c, "acceleration": 8.0, "frame": f, "class": k, "dice": 0.0 if (f, k) == (1, "LV") else 0.9}
        for c in ("a", "b")
        for f in range(3)
        for k in ("LV", "RV")
    ]
    write_scores(tmp_path / "rival" / "seed0" / "frames.csv", lines)
    table = frame_table(read_results(tmp_path, "frames"), 8.0)
    assert table.rows == (("rival LV", "0.90", "0.00", "0.90"), ("rival RV", "0.90", "0.90", "0.90"))


def test_both_renderings_hold_every_cell_and_never_change(results: Results) -> None:
    table = score_table(results)
    for render in (to_markdown, to_text):
        text = render(table)
        assert text == render(score_table(results))
        for row in table.rows:
            assert all(cell in text for cell in row)
    assert to_markdown(table).splitlines()[2] == "| model | R = 8 | R = 16 | cases |"
    assert "\x1b" not in to_text(table)


def test_bad_input_is_one_clear_line(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metric 'dice_foregroud'; wanted one of dice_foreground"):
        score_table(results, "dice_foregroud")
    with pytest.raises(ValueError, match="reference 'godo'; wanted good"):
        difference_table(results, "godo")
    with pytest.raises(ValueError, match="quantity 'LV area'"):
        agreement_table(results, "LV area")
    with pytest.raises(ValueError, match="got no scores"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="got no file"):
        read_scores(tmp_path / "none.csv")
    broken = tmp_path / "broken.csv"
    broken.write_text("case,acceleration\na,eight\n")
    with pytest.raises(ValueError, match="row 1: got 'eight' in column acceleration"):
        read_scores(broken)
    broken.write_text("case,acceleration\na\n")
    with pytest.raises(ValueError, match="another length"):
        read_scores(broken)
    broken.write_text("case,dice\na,1\n")
    with pytest.raises(ValueError, match="columns case and acceleration"):
        read_scores(broken)
    write_scores(tmp_path / "bad" / "seed0" / "scores_again.csv", rows(0.0)[:1])
    with pytest.raises(ValueError, match="twice"):
        read_results(tmp_path)


def test_a_table_prints_as_markdown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_made_up_scores(tmp_path / "disk_small" / "mean_shape" / "seed0")
    assert main(["table", "disk", "--results", str(tmp_path), "--markdown"]) == 0
    printed = capsys.readouterr().out
    assert "**dice_foreground**" in printed and "| mean_shape | 0.200" in printed
    assert main(["table", "disk", "--results", str(tmp_path)]) == 0
    assert "| mean_shape" not in capsys.readouterr().out


def test_frames_count_by_the_cases_behind_them() -> None:
    def line(of: str, dice: float) -> Row:
        return {"case": of, "acceleration": 8.0, "frame": 0.0, "class": "LV", "dice": dice}

    frames: Results = {"model": {0: [line("mean of 51", 0.9), line("mean of 6", 0.3)]}}
    assert frame_table(frames, 8.0).rows == (("model LV", "0.84"),)
    assert frame_table({"model": {0: [line("a", 0.9), line("b", 0.3)]}}, 8.0).rows == (("model LV", "0.60"),)
