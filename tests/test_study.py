"""The acceleration study: what is judged, which R is allowed, what is written, and that it goes on where it
stopped.
"""

import csv
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.cli import main
from kwise.data.kspace_file import write_scan
from kwise.predict.answer import answer
from kwise.report.coverage import coverage_rows
from kwise.report.endpoints import ENDPOINTS, expand
from kwise.report.results import read_scores
from kwise.report.statistics import bootstrap_interval, share_interval
from kwise.report.study import Point, best_line, largest_allowed, mean_heart_error, study_lines, summary_rows
from kwise.report.study_page import verdict
from kwise.sampling import draw_mask, lines_in_words, load_mask, save_mask
from kwise.seeding import generator
from kwise.study import Plan, check_plan, run_study
from kwise.study.bench import open_bench
from kwise.study.deliver import deliver
from kwise.study.masks import joint_choice
from kwise.study.plan import Judgement
from kwise.study.run import bench_of
from kwise.study.scores import Row, case_scores
from kwise.types import IGNORE, Scan

PREPROCESSING: dict[str, object] = {"matrix": [32, 32], "fov_mm": 160.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path_factory.mktemp("study") / "tiny", PREPROCESSING)


def row(
    case: str, rate: float, said: float, true: float = 40.0, mask: str = "uniform"
) -> dict[str, float | str]:
    head: Row = {"checkpoint": "m", "mask": mask, "case": case, "acceleration": rate}
    scores = {"area_ef_percent": said, "area_ef_true_percent": true, "dice": 1 - said / 100}
    return head | {"achieved_acceleration": rate} | scores


def point(rate: float, low: float, high: float, failures: int = 0) -> Point:
    nan = math.nan
    return Point(rate, rate, 10, failures, (low + high) / 2, low, high, high, nan, nan, nan)


# -- which R is allowed --------------------------------------------------------------------------------------


def test_the_largest_r_needs_every_smaller_r_too() -> None:
    assert largest_allowed([point(2, 1, 2), point(4, 2, 4), point(8, 3, 6), point(16, 1, 2)], 5, False) == 4
    assert largest_allowed([point(2, 1, 6)], 5, False) is None
    assert largest_allowed([point(2, 0.9, 0.95), point(4, 0.8, 0.9)], 0.85, True) == 2


def test_a_case_without_an_answer_or_an_interval_forbids() -> None:
    assert largest_allowed([point(2, 1, 2), point(4, 1, 2, failures=1)], 5, False) == 2
    assert largest_allowed([point(2, math.nan, math.nan)], 5, False) is None


def test_lines_count_errors_bias_and_failures() -> None:
    rows = [row(str(i), 2, 40 + (-1) ** i * 3 + 1) for i in range(10)] + [row("10", 2, math.nan)]
    (line,) = study_lines(rows, ["area_ef"], {})
    (found,) = line.points
    assert (found.n, found.failures) == (10, 1)
    assert found.centre == pytest.approx(3) and found.bias == pytest.approx(1)
    assert found.low <= found.centre <= found.high and line.allowed is None
    (median,) = study_lines(rows[:9], ["area_ef"], {}, "median")
    assert median.points[0].centre == pytest.approx(np.median([4, 2, 4, 2, 4, 2, 4, 2, 4]))


def test_tolerances_decide_and_the_verdict_says_so() -> None:
    rows = [row(str(i), r, 40 + r * (0.9 + 0.02 * i)) for r in (2.0, 4.0, 8.0) for i in range(8)]
    assert study_lines(rows, ["area_ef"], {"area_ef": 5})[0].allowed == 4
    every = study_lines(rows, ["area_ef"], {"area_ef": 50})
    assert every[0].allowed == 8 and every[0].censored and "beyond" in verdict(every)
    none = study_lines(rows, ["area_ef"], {"area_ef": 0.1})
    assert best_line(none) is None and "no R tested" in verdict(none)


def test_the_mask_has_to_please_every_endpoint() -> None:
    rows = [
        row(str(i), r, 40 + r, mask=m) for m in ("uniform", "random") for r in (2.0, 4.0) for i in range(4)
    ]
    lines = study_lines(rows, ["area_ef", "dice"], {"area_ef": 9, "dice": 0.57})
    assert joint_choice(lines) == ("m", "uniform", 2.0)
    assert joint_choice(study_lines(rows, ["area_ef", "dice"], {"dice": 0.99})) is None


def test_endpoints_that_nobody_can_judge_are_refused() -> None:
    with pytest.raises(ValueError, match="another endpoint"):
        study_lines([row("a", 2, 40)], ["lvef"], {})
    assert expand(("lv_area", "dice", "dice")) == ("lv_area_ed", "lv_area_es", "dice")


def test_mean_heart_is_the_spread_of_the_truth() -> None:
    rows = [row("a", 2, 0, 30), row("b", 2, 0, 50), row("a", 4, 0, 30), row("b", 4, 0, 50)]
    assert mean_heart_error(rows, "area_ef") == pytest.approx(10)
    assert math.isnan(mean_heart_error(rows, "dice"))


def test_summary_has_a_row_per_r() -> None:
    rows = [row(str(i), r, 41) for r in (2.0, 4.0) for i in range(3)]
    told = summary_rows(study_lines(rows, ["area_ef", "dice"], {}))
    assert [(r["endpoint"], r["acceleration"]) for r in told] == [
        ("area_ef", 2), ("area_ef", 4), ("dice", 2), ("dice", 4),
    ]  # fmt: skip
    assert told[0]["within"] == 1 and told[0]["unit"] == "points"


def test_intervals_of_shares_and_medians() -> None:
    low, high = share_interval(10, 10)
    assert high == pytest.approx(1) and 0.69 < low < 0.73  # Wilson: 10 of 10 is no certainty
    assert all(map(math.isnan, share_interval(0, 0)))
    low, high = bootstrap_interval([1, 1, 1, 1, 100], statistic="median")
    assert low == 1 and high in (1, 100)


def test_coverage_and_flags_are_counted() -> None:
    assert coverage_rows([row("a", 2, 40)]) == []
    inside = {
        "ef_inside": 1.0,
        "ed_inside": 1.0,
        "es_inside": 0.0,
        "frames_inside": 0.5,
        "expected_error": 1.0,
    }
    rows = [
        row("a", 2, 40) | inside | {"flagged": 1.0, "error_of_mean_heart": 2.0},
        row("b", 2, 40) | inside | {"flagged": 1.0, "error_of_mean_heart": 0.5},
        row("c", 2, 40) | inside | {"flagged": 0.0, "error_of_mean_heart": 0.5},
    ]
    one, everything = coverage_rows(rows)
    assert str(one["area EF"]).startswith("100 %") and str(one["LV area ES"]).startswith("0 %")
    assert (one["frames"], one["false alarms"], one["misses"]) == ("50 %", "50 %", "0 %")
    assert everything["mask"] == "all" and everything["n"] == 3


# -- scores of a case ----------------------------------------------------------------------------------


def test_a_perfect_answer_scores_perfectly() -> None:
    truth = torch.zeros(6, 3, 8, 8, dtype=torch.int64)
    for frame, size in enumerate((6, 3, 4)):
        truth[:, frame, :size, :4] = 1
        truth[:, frame, 7, :4] = 2
        truth[:, frame, :4, 6] = 3
    found = case_scores(truth, truth, (10.0, 2.0, 2.0), (0, 1, 2, 3), 4)
    assert found["dice"] == found["dice_LV"] == found["dice_RV"] == 1
    for name in ("area_ef", "lv_area_ed", "lv_area_es", "lvef"):
        assert ENDPOINTS[name].value(found) == 0 and ENDPOINTS[name].known(found)
    assert found["lvef_percent"] == pytest.approx(50) and found["lv_area_ed_mm2"] == 6 * 24 * 4


def test_what_nobody_can_know_is_nan() -> None:
    labels = torch.ones(1, 1, 4, 4, dtype=torch.int64)
    found = case_scores(labels, labels, (1.0, 1.0, 1.0), (1,), 4)
    assert math.isnan(float(found["dice"])) and math.isnan(float(found["lvef_percent"]))
    assert not ENDPOINTS["area_ef"].known(found) and ENDPOINTS["lv_area_ed"].known(found)
    nothing = case_scores(labels, torch.full_like(labels, IGNORE), (1.0, 1.0, 1.0), (0, 1, 2, 3), 4)
    assert not any(endpoint.known(nothing) for endpoint in ENDPOINTS.values())


# -- masks on disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["txt", "npy"])
def test_a_written_mask_is_read_again(tmp_path: Path, ending: str) -> None:
    mask = draw_mask("kt_variable_density", 32, 12, 4.0, generator("study test"))
    save_mask(tmp_path / f"m.{ending}", mask, "R = 4\ntwo lines of words")
    assert torch.equal(load_mask(tmp_path / f"m.{ending}", 32, 12), mask)
    with pytest.raises(ValueError, match=r"wanted \.txt or \.npy"):
        save_mask(tmp_path / "m.csv", mask)
    with pytest.raises(ValueError, match="bool"):
        save_mask(tmp_path / "m.txt", mask.float())


def test_lines_are_told_from_dc() -> None:
    mask = torch.zeros(2, 8, dtype=torch.bool)
    mask[0, [1, 4]] = mask[1, 7] = True
    words = lines_in_words(mask).splitlines()
    assert words[2:] == ["1; 2; 1 4; -3 +0", "2; 1; 7; +3"]


# -- a whole study -------------------------------------------------------------------------------------


def test_a_study_writes_everything_and_goes_on(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "study",
        str(checkpoint),
        "--n",
        "3",
        "--acceleration",
        "2",
        "4",
        "--mask",
        "uniform",
        "--processes",
        "1",
    ]
    easy = [
        "--tolerance",
        "area_ef=500",
        "lv_area=5000",
        "dice=0.0001",
        "--endpoint",
        "area_ef",
        "lv_area",
        "-o",
    ]
    assert main([*words, *easy, str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "[2/2] tiny, uniform, R = 4" in told and "area ejection fraction" in told
    there = {path.name for path in tmp_path.iterdir()}
    assert {
        "scores.csv",
        "study.csv",
        "study.html",
        "area_ef.png",
        "lv_area_ed.png",
        "lv_area_es.png",
    } <= there
    page = (tmp_path / "study.html").read_text()
    assert "http" not in page.replace("http://www.w3.org", "") and "synthetic" in page
    scores = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert len(scores) == 6 and {r["case"] for r in scores} == {f"heart-study-{i:06d}" for i in range(3)}
    if "mask.txt" in there:
        assert load_mask(tmp_path / "mask.txt", 64, 12).any() and "lines.txt" in there
    assert main([*words, *easy, str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("was there") == 2
    assert list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())) == scores


def test_every_cell_depends_on_its_own_words_alone(tmp_path: Path, checkpoint: Path) -> None:
    plan = check_plan(Plan((checkpoint,), n=2, accelerations=(4.0,), masks=("uniform",)))
    first = run_study(plan, tmp_path / "a", processes=1)
    again = run_study(check_plan(Plan((checkpoint,), n=2, accelerations=(2.0, 4.0), masks=("uniform",))),
                      tmp_path / "b", processes=1)  # fmt: skip
    same = [r for r in again if r["acceleration"] == 4.0]
    assert [list(map(str, r.values())) for r in same] == [
        list(map(str, r.values())) for r in first
    ]  # NaN too
    other = Plan(plan.checkpoints, n=3, accelerations=(4.0,), masks=("uniform",))
    assert plan.cells[0].file(tmp_path, plan) != plan.cells[0].file(tmp_path, other)


def test_a_mask_from_a_file_has_its_own_r(tmp_path: Path, checkpoint: Path) -> None:
    file = tmp_path / "mine.txt"
    save_mask(file, draw_mask("uniform", 64, 12, 6.0, generator("mine")))
    rows = run_study(check_plan(Plan((checkpoint,), n=2, masks=(str(file),))), tmp_path / "out", processes=1)
    assert {(r["mask"], r["acceleration"]) for r in rows} == {("mine.txt", 6.0)}


def test_mask_files_of_one_name_are_told_apart(tmp_path: Path, checkpoint: Path) -> None:
    files = [tmp_path / folder / "mask.npy" for folder in ("a", "b")]
    for i, file in enumerate(files):
        file.parent.mkdir()
        save_mask(file, draw_mask("uniform", 64, 12, 4.0 + 2 * i, generator("named", i)))
    masks = (str(files[0]), str(files[1]), str(tmp_path / "b" / ".." / "a" / "mask.npy"))
    plan = check_plan(Plan((checkpoint,), n=2, masks=(*masks, "uniform", "uniform"), accelerations=(2.0,)))
    rows = run_study(plan, tmp_path / "out", processes=1)
    told = Counter((r["mask"], r["acceleration"]) for r in rows)
    assert told == {("uniform", 2.0): 2, ("a/mask.npy", 4.0): 2, ("b/mask.npy", 6.0): 2}
    wish = Judgement(("area_ef",), {"area_ef": 5000.0})
    deliver(plan, rows, wish, tmp_path / "out")
    assert torch.equal(load_mask(tmp_path / "out" / "mask.npy", 64, 12), load_mask(files[1], 64, 12))
    alone = check_plan(Plan((checkpoint,), n=2, masks=masks[:1]))
    assert {r["mask"] for r in run_study(alone, tmp_path / "out", processes=1)} == {"mask.npy"}


def test_scores_of_files_that_have_changed_are_not_taken_over(tmp_path: Path, checkpoint: Path) -> None:
    folder = tmp_path / "scans"
    (folder / "study").mkdir(parents=True)

    def put(name: str, seed: int) -> None:
        drawn = torch.randn(1, 1, 4, 32, 32, dtype=torch.complex64, generator=generator("put", seed))
        write_scan(folder / name, Scan(name, kspace=drawn))

    def run() -> list[Row]:
        wish = Plan((checkpoint,), dataset=str(folder), accelerations=(2.0,), masks=("uniform",))
        plan = check_plan(wish)
        return run_study(plan, folder / "study", 1, lambda cell, rows, seconds: seen.append(seconds == 0))

    seen: list[bool] = []
    put("a.h5", 0)
    first, again = run(), run()
    put("a.h5", 1)
    changed = run()
    put("b.h5", 2)
    assert len(run()) == 2 and seen == [False, True, False, False]
    assert list(map(str, first)) == list(map(str, again)) != list(map(str, changed))


def test_files_without_labels_are_judged_by_the_models_own_answer(tmp_path: Path, checkpoint: Path) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    kspace = torch.randn(1, 1, 4, 32, 32, dtype=torch.complex64, generator=generator("own"))
    write_scan(folder / "full.h5", Scan("full", kspace=kspace))
    (folder / "notes.md").write_text("no scan")
    plan = check_plan(Plan((checkpoint,), dataset=str(folder), accelerations=(1.0,), masks=("uniform",)))
    (found,) = run_study(plan, tmp_path / "out", processes=1)
    assert found["own_truth"] == 1 and found["dice"] == 1  # R = 1: the same measurement
    mask = torch.zeros(1, 4, 32, 32, dtype=torch.bool)
    mask[:, :, ::2] = True
    write_scan(tmp_path / "half.h5", Scan("half", kspace=kspace, mask=mask))
    with pytest.raises(ValueError, match=r"half\.h5: got 50 % of its k-space; wanted a fully sampled scan"):
        check_plan(Plan((checkpoint,), dataset=str(tmp_path / "half.h5"), masks=("uniform",)))


def test_what_cannot_be_studied_is_left_out_and_counted(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, mask = tmp_path / "scans", tmp_path / "mine.txt"
    folder.mkdir()
    save_mask(mask, draw_mask("uniform", 32, 4, 4.0, generator("left out")))
    for name, frames in (("a.h5", 4), ("b.h5", 3), ("c.h5", 4)):
        shape = 1, 1, frames, 32, 32
        kspace = torch.randn(shape, dtype=torch.complex64, generator=generator(name))
        write_scan(folder / name, Scan(name, kspace=kspace))
    data = (folder / "c.h5").read_bytes()
    (folder / "c.h5").write_bytes(data[: len(data) // 2])
    words = ["study", str(checkpoint), "--dataset", str(folder), "--processes", "1", "--endpoint", "dice"]
    words.append("-o")
    assert main([*words, str(tmp_path / "out"), "--mask", str(mask)]) == 0
    told, page = capsys.readouterr().out, (tmp_path / "out" / "study.html").read_text()
    for text in (told, page):
        assert "Left out: 2 of 3 files" in text and "Left out: c.h5: reading" in text
        assert "Left out: b.h5: reading mask" in text and "3 frames" in text
    assert [r["case"] for r in read_scores(tmp_path / "out" / "scores.csv")] == ["a.h5"]
    # A study whose mask fits more of them has other cases, so no cell of the first one.
    assert main([*words, str(tmp_path / "out"), "--mask", "uniform", "--acceleration", "2"]) == 0
    assert len(read_scores(tmp_path / "out" / "scores.csv")) == 2
    (folder / "a.h5").unlink()
    assert main([*words, str(tmp_path / "out"), "--mask", str(mask)]) == 2
    assert "got nobody who can be studied" in capsys.readouterr().err


def test_noise_of_measured_kspace_is_its_own(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    kspace = torch.randn(1, 1, 4, 32, 32, dtype=torch.complex64, generator=generator("noise"))
    write_scan(folder / "full.h5", Scan("full", kspace=kspace))
    words = ["study", str(checkpoint), "--dataset", str(folder), "--processes", "1", "--mask", "uniform"]
    words += ["--acceleration", "2", "--endpoint", "dice", "-o", str(tmp_path / "out")]
    assert main([*words, "--snr", "3"]) == 2
    told = capsys.readouterr().err
    assert "got SNR 3 for full.h5" in told and told.count("\n") == 1
    assert main(words) == 0
    page = (tmp_path / "out" / "study.html").read_text()
    assert "<td>as measured</td>" in page
    told = capsys.readouterr().out.splitlines()
    own = "against the model's own answer to all of k-space; its own error is not in it"
    assert [own in line for line in told[:2]] == [True, True] and "dice" in told[1].lower()
    assert page.replace("&#x27;", "'").count(own) == 1
    np.save(folder / "image.npy", np.ones((1, 4, 32, 32), dtype=np.float32))
    assert main(words) == 0
    assert "as measured in 1 of 2 cases; SNR drawn" in (tmp_path / "out" / "study.html").read_text()


def wide_image(folder: Path) -> Path:
    """A folder with one magnitude cine (z, t, y, x) of 240 mm as NIfTI: 4 frames of 48 lines."""
    import nibabel

    folder.mkdir()
    image = torch.rand(1, 4, 48, 48, generator=generator("wide")).permute(3, 2, 0, 1).numpy()
    file = nibabel.Nifti1Image(image, np.diag([5.0, 5.0, 8.0, 1.0]))  # type: ignore[attr-defined]
    file.header.set_xyzt_units("mm", "msec")
    file.header.set_zooms((5.0, 5.0, 8.0, 40.0))
    nibabel.save(file, folder / "wide.nii.gz")  # type: ignore[attr-defined]
    return folder


def test_a_mask_of_all_lines_measures_all_of_an_image(tmp_path: Path, checkpoint: Path) -> None:
    folder, plans = wide_image(tmp_path / "scans"), {}
    for lines in (32, 48, 40):
        save_mask(tmp_path / f"m{lines}.txt", draw_mask("uniform", lines, 4, 4.0, generator("of", lines)))
    for lines in (32, 48):
        masks = (str(tmp_path / f"m{lines}.txt"), "uniform")
        wish = Plan((checkpoint,), dataset=str(folder), masks=masks, accelerations=(2.0,))
        plans[lines] = check_plan(wish)
    assert plans[32].roll.cropped == plans[48].roll.whole == ("wide.nii.gz",)
    assert [bench_of(p, checkpoint).scan("wide.nii.gz").shape[2] for p in plans.values()] == [32, 48]
    same = [next(c for c in p.cells if c.mask == "uniform").file(tmp_path, p) for p in plans.values()]
    assert same[0] != same[1]  # R = 2 of another number of lines
    rows = run_study(plans[48], tmp_path / "out", processes=1)
    deliver(plans[48], rows, Judgement(("dice",), {"dice": 1e-4}), tmp_path / "out")
    assert "because a mask file has its lines (1 of 1 cases)" in (tmp_path / "out" / "study.html").read_text()
    neither = Plan((checkpoint,), dataset=str(folder), masks=(str(tmp_path / "m40.txt"),))
    with pytest.raises(ValueError, match=r"48 lines.*or the lines of its centre.*: 32 \(160 mm\)"):
        check_plan(neither)


@pytest.mark.parametrize("labelled", [False, True])
def test_a_wide_scan_is_answered_as_predict_answers_it(
    tmp_path: Path, checkpoint: Path, labelled: bool
) -> None:
    lines = draw_mask("uniform", 48, 4, 4.0, generator("wide"))
    save_mask(tmp_path / "m48.txt", lines)
    kspace = torch.randn(2, 1, 4, 48, 48, dtype=torch.complex64, generator=generator("wide kspace"))
    labels = torch.ones(1, 4, 48, 48, dtype=torch.int64) if labelled else None
    (tmp_path / "scans").mkdir()
    scan = Scan("wide", kspace=kspace, spacing_mm=(8.0, 5.0, 5.0), labels=labels)
    write_scan(tmp_path / "scans" / "wide.h5", scan)
    masks = (str(tmp_path / "m48.txt"),)
    plan = check_plan(Plan((checkpoint,), dataset=str(tmp_path / "scans"), masks=masks))
    bench = bench_of(plan, checkpoint)
    (found,) = bench.answers(masks[0], None)
    mask = lines[None, :, :, None].expand(scan.shape).contiguous()
    told = answer(replace(scan, mask=mask), bench.loaded)
    assert told.labels is not None and torch.equal(found.labels, told.labels)
    assert found.seen.shape[-2:] == (48, 32) and found.labels.shape[-1] == 48  # pixels of 5 mm, two looks
    (row,) = run_study(plan, tmp_path / "out", processes=1)
    assert row["area_ef_percent"] == pytest.approx(told.ejection_fraction, rel=1e-4)
    if not labelled:
        whole = answer(replace(scan, mask=torch.ones(scan.shape, dtype=torch.bool)), bench.loaded)
        blind = open_bench(checkpoint, bench.cohort, control="centre_only")
        truth = blind.scan("wide.h5").labels  # a control changes what is answered, not the truth
        assert truth is not None and whole.labels is not None and torch.equal(truth, whole.labels)
        assert row["area_ef_true_percent"] == pytest.approx(whole.ejection_fraction, rel=1e-4)


def test_a_mask_that_fits_nobody_is_refused_before_anything_is_simulated(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_mask(tmp_path / "m.txt", torch.ones(12, 60, dtype=torch.bool))
    monkeypatch.setattr("kwise.study.bench.simulate", None)
    with pytest.raises(ValueError, match=r"got shape \(12, 60\); wanted \(12 frames, 64 lines\)"):
        check_plan(Plan((checkpoint,), masks=(str(tmp_path / "m.txt"),)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mask", "gausian_lines"], "gaussian_lines"),
        (["--dataset", "hart"], "heart"),
        (["--split", "tset"], "test"),
        (["--endpoint", "area_fe"], "area_ef"),
        (["--tolerance", "area_ef"], "NAME=VALUE"),
        (["--tolerance", "area_ef=-5"], "NAME=VALUE"),
        (["--acceleration", "0.5"], "a number from 1"),
        (["--grid", "156"], "LINESxFRAMES"),
        (["--control", "shuffled"], "shuffled_kspace"),
        (["nowhere"], "demo"),
    ],
)
def test_bad_words_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", *words, "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and "wanted" in told
