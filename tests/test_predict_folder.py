"""A folder of scans: a row a file, failures in the open, nothing answered twice, one process or several."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.atomic import part_of, parts_left, write_atomically
from kwise.checkpoint import fingerprint
from kwise.cli import main
from kwise.data.kspace_file import write_scan
from kwise.data.out_table import Row
from kwise.fourier import fft2c
from kwise.predict import OUTPUTS, Order, is_cohort, predict_folder
from kwise.predict import cohort as cohort_of_predict
from kwise.types import Scan
from kwise.uncertainty import FEATURES, TARGETS, Calibration, Target, write_calibration
from raw_files import kspace_of, write_cfl, write_dicom


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", {"matrix": [16, 16]})


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two k-space files, one below; a BART pair; a DICOM series as a folder; a text; a damaged file."""
    folder = tmp_path / "scans"
    (folder / "site b").mkdir(parents=True)
    for seed, name in enumerate(("one.h5", "site b/two.h5")):
        image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        write_scan(folder / name, Scan(Path(name).stem, kspace=fft2c(image).unsqueeze(0)))
    write_cfl(folder / "b.cfl", kspace_of(1, 1, 1, 16, 16)[0, 0, 0].T[:, :, None, None])
    (folder / "series").mkdir()
    for t in range(2):
        write_dicom(folder / "series" / f"{t}.dcm", np.full((16, 16), 7 + t), TriggerTime=40 * t)
    (folder / "README.txt").write_text("not a scan")
    (folder / "damaged.h5").write_bytes((folder / "one.h5").read_bytes()[:700])
    (folder / ".hidden").write_text("passed over")
    return folder


NAMES = ["README.txt", "b.cfl", "damaged.h5", "one.h5", "series", str(Path("site b") / "two.h5")]


def table_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "phenotypes.csv").open() as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_every_scan_has_a_row_and_failures_stay_in_the_open(
    scans: Path, tmp_path: Path, checkpoint: Path
) -> None:
    heard: list[tuple[int, int, str]] = []
    out = tmp_path / "out"
    rows = predict_folder(
        scans, out, Order(checkpoint), told=lambda i, n, row: heard.append((i, n, str(row["file"])))
    )
    assert [row["file"] for row in rows] == NAMES and heard[-1][:2] == (6, 6)
    table = table_of(out)
    assert {name: row["status"] for name, row in table.items()} == dict.fromkeys(NAMES, "answered") | {
        "README.txt": "failed", "damaged.h5": "failed",
    }  # fmt: skip
    assert "no format kwise knows" in table["README.txt"]["error"] and not table["README.txt"]["slices"]
    assert table["one.h5"]["slices"] == "2" and table["one.h5"]["frames"] == "3"
    assert table["one.h5"]["acceleration_achieved"] == "1.00" and table["one.h5"]["LVEDV_mL"]
    assert "magnitude" in table["series"]["simulated"] and not table["one.h5"]["simulated"]
    assert (out / "site b" / "two.h5" / "report.html").is_file() and not (out / "damaged.h5").exists()


def test_cautions_stand_in_the_table_and_are_counted(
    scans: Path, tmp_path: Path, save_tiny: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights learned from 16 frames: files of 3 frames are answered with a caution, one frame is not."""
    weights = save_tiny(tmp_path / "weights", {"matrix": [16, 16], "n_frames": 16})
    out = tmp_path / "out"
    assert main(["predict", str(scans), "-o", str(out), "--checkpoint", str(weights)]) == 0
    said, table = capsys.readouterr().out.splitlines(), table_of(out)
    for name in ("one.h5", "site b/two.h5"):
        told = json.loads((out / name / "run.json").read_text())["cautions"]
        assert table[name]["cautions"] == " | ".join(told)
        assert any("The file has 3 frames of a beat" in sentence for sentence in told)
        assert any(f"] {name}: " in line and line.endswith(", with a caution") for line in said)
    assert table["README.txt"]["cautions"] == ""
    cautioned = sum(bool(row["cautions"]) for row in table.values())
    assert said[-1].startswith(f"4 of 6 answered, {cautioned} of them with cautions; a row each in ")


def test_nothing_is_answered_twice_but_what_changed(
    scans: Path, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[str] = []
    real = cohort_of_predict.Asked.answer
    monkeypatch.setattr(
        cohort_of_predict.Asked,
        "answer",
        lambda self, file, folder: (answered.append(Path(file).name), real(self, file, folder))[1],
    )
    out = tmp_path / "out"
    first = predict_folder(scans, out, Order(checkpoint))
    everything, before = list(answered), table_of(out)
    answered.clear()
    assert predict_folder(scans, out, Order(checkpoint)) == first and table_of(out) == before
    assert answered == ["README.txt", "damaged.h5"] and len(everything) == 6
    shutil.copy(scans / "site b" / "two.h5", scans / "one.h5")
    (out / "site b" / "two.h5" / "run.json").write_text("{")
    answered.clear()
    predict_folder(scans, out, Order(checkpoint))
    assert answered == ["README.txt", "damaged.h5", "one.h5", "two.h5"]
    answered.clear()
    predict_folder(scans, out, Order(checkpoint, also=("parquet",)))
    assert len(answered) == 6 and (out / "phenotypes.parquet").is_file()


def test_whatever_changes_an_answer_has_it_given_anew(
    scans: Path, tmp_path: Path, save_tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, out = save_tiny(tmp_path / "weights", {"matrix": [16, 16]}), tmp_path / "out"
    one = tmp_path / "one"
    one.mkdir()
    np.save(one / "a.npy", np.random.default_rng(0).random((3, 16, 16)))

    answered: list[Path] = []
    real = cohort_of_predict.Asked.answer
    monkeypatch.setattr(
        cohort_of_predict.Asked, "answer", lambda self, *of: (answered.append(of[0]), real(self, *of))[1]
    )

    def anew(pixel_mm: tuple[float, float] | None) -> tuple[bool, Row]:
        """Whether a scan was answered for the first question of two that are the same, and its row."""
        answered.clear()
        (row,) = predict_folder(one, out, Order(weights, pixel_mm=pixel_mm))
        n = len(answered)
        assert row["status"] == "answered" and predict_folder(one, out, Order(weights, pixel_mm=pixel_mm))
        assert len(answered) == n, "answered twice"
        return n == 1, row

    first, row = anew(None)
    assert first and "LV_ED_area_pixels" in row
    told, row = anew((1.5, 2.0))
    assert told and "LV_ED_area_mm2" in row and anew((1.5, 2.5))[0] and anew((1.5, 2.0))[0]
    calibration = made_up_calibration(fingerprint(weights))
    for changed in (calibration, replace(calibration, threshold=2.0)):
        write_calibration(weights, changed)
        assert anew((1.5, 2.0))[0] and not anew((1.5, 2.0))[0]
    monkeypatch.setattr("kwise.predict.run_card.__version__", "0.0.0")
    assert anew((1.5, 2.0))[0]


def made_up_calibration(weights: str) -> Calibration:
    target, one = Target((0.0, 0.0, 0.0), (-1.0,), (1.0,), 1.0), (0.0,) * len(FEATURES)
    square = tuple(tuple(float(i == j) for j in range(len(one))) for i in range(len(one)))
    targets, spread = dict.fromkeys(TARGETS, target), dict.fromkeys(TARGETS, 1.0)
    return Calibration(0.9, (1.0,), (1.0,), targets, spread, 1.0, one, square, 9.0, {"weights": weights})


def test_workers_answer_the_same_and_one_that_dies_costs_its_own_scan_alone(
    scans: Path, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("README.txt", "b.cfl", "b.hdr"):
        (scans / name).unlink()
    shutil.rmtree(scans / "series")
    alone = predict_folder(scans, tmp_path / "alone", Order(checkpoint))
    monkeypatch.setattr(cohort_of_predict, "_start_worker", die_on_damage)
    together = predict_folder(scans, tmp_path / "together", Order(checkpoint), workers=2)
    told = {row["file"]: row for row in together}
    assert told["damaged.h5"]["status"] == "failed" and "worker died" in str(told["damaged.h5"]["error"])
    assert [row for row in together if row["file"] != "damaged.h5"] == [
        row for row in alone if row["file"] != "damaged.h5"
    ]
    assert len(together) == 3 and not list(tmp_path.rglob("*.part"))


def die_on_damage(order: Order) -> None:
    """A worker that loads its checkpoint, and ends without a word when it meets the damaged file."""
    import os

    from kwise.predict import cohort

    torch.set_num_threads(1)
    asked = order.asked()

    class Deadly:
        outputs, question = asked.outputs, asked.question

        def answer(self, file: Path, folder: Path) -> object:
            if file.name == "damaged.h5":
                os._exit(9)
            return asked.answer(file, folder)

    cohort._worker.append(Deadly())  # type: ignore[arg-type]


PARENT = """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from kwise.predict import cohort
order = cohort.Order(Path(sys.argv[1]))
pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), cohort._start_worker, (order,))
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(600)
"""


def test_workers_end_when_their_parent_is_killed(checkpoint: Path) -> None:
    """The worker holds the pipe of its parent's output: the pipe ends when both are gone."""
    with subprocess.Popen([sys.executable, "-c", PARENT, str(checkpoint)], stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        worker = int(run.stdout.readline())
        run.kill()
        try:
            run.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.kill(worker, signal.SIGKILL)
            raise


def test_names_of_any_bytes_are_escaped_in_every_output(tmp_path: Path, checkpoint: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: no DICOM")
    scans, out = tmp_path / "scans", tmp_path / "out"
    name = Path(os.fsdecode(b"d\xfc")) / os.fsdecode(b"m\xfcller.npy")
    try:
        (scans / name).parent.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    (scans / os.fsdecode(b"\xff.txt")).write_text("not a scan")
    np.save(scans / name, np.random.default_rng(0).random((3, 16, 16)))
    words = ["predict", str(scans), "-o", str(out), "--checkpoint", str(checkpoint)]
    run = subprocess.run(
        [sys.executable, "-m", "kwise", *words, "--also", "dicom", "mrd", "parquet"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
        check=False,
    )
    assert run.returncode == 0 and not run.stderr, (run.stdout, run.stderr)
    assert b"] d\\udcfc/m\\udcfcller.npy: " in run.stdout
    table = table_of(out)
    assert table["d\\udcfc/m\\udcfcller.npy"]["status"] == "answered", table
    assert table["\\udcff.txt"]["status"] == "failed"
    answer = out / name
    card = json.loads((answer / "run.json").read_text(encoding="utf-8"))
    assert card["case"] == "m\\udcfcller" and card["file"] == "m\\udcfcller.npy"
    assert "m\\udcfcller" in (answer / "report.html").read_text(encoding="utf-8")
    assert (answer / "dicom" / "images.dcm").is_file() and (answer / "images.mrd.h5").is_file()


def test_the_longest_names_are_answered(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "scans").mkdir()
    name = "L" * 251 + ".npy"  # 255 bytes, all that file systems allow
    np.save(tmp_path / "scans" / name, np.ones((3, 16, 16)))
    (row,) = predict_folder(tmp_path / "scans", tmp_path / "out", Order(checkpoint))
    assert row["status"] == "answered" and (tmp_path / "out" / name / "run.json").is_file(), row
    kept = tmp_path / ("x" * 255)
    write_atomically(kept, lambda part: part.write_text("whole"))
    assert kept.read_text() == "whole" and not list(tmp_path.rglob("*.part"))
    part_of(kept).touch()
    assert parts_left(kept) == [part_of(kept)] and parts_left(tmp_path / "y") == []


def test_links_to_folders_multiply_no_scan(tmp_path: Path) -> None:
    source = tmp_path / "loop"
    (source / "d" / "e").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for folder in (source / "d", source / "d" / "e", tmp_path / "elsewhere"):
        np.save(folder / "a.npy", np.ones((3, 16, 16)))
    (source / "d" / "up").symlink_to("..")
    (source / "d" / "e" / "self").symlink_to(".")
    (source / "z link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(source / "d")
    names = [name for _, name in cohort_of_predict.scans_below(source, tmp_path / "out")]
    assert names == [str(Path(name)) for name in ("d/a.npy", "d/e/a.npy", "z link/a.npy")]


def test_a_scan_that_is_a_folder_is_no_cohort(scans: Path) -> None:
    assert is_cohort(scans) and not is_cohort(scans / "series") and not is_cohort(scans / "one.h5")


def test_on_the_command_line(
    scans: Path, tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(scans), "-o", str(scans / "out"), "--checkpoint", str(checkpoint)]
    assert main([*words, "--also", "mrd"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2].startswith("the k-space of 1 of 6 was simulated from magnitude images")
    assert said[-1].startswith("4 of 6 answered") and "[1/6] README.txt: failed: reading" in said[0]
    assert (scans / "out" / "series" / "images.mrd.h5").is_file()
    assert json.loads((scans / "out" / "one.h5" / "run.json").read_text())["outputs"][-1] == "mrd"
    assert main(words) == 0  # its own answers below the folder are no scans
    assert len(table_of(scans / "out")) == 6


def test_the_files_of_a_cohort_are_said_to_hold_images(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = tmp_path / "cohort"
    assert main(["simulate", "cohort", "-o", str(cohort), "--n", "1", "--frames", "3", "--size", "24"]) == 0
    words = ["predict", str(cohort), "-o", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    capsys.readouterr()
    assert main(words) == 0
    assert "a cohort's files hold images: the k-space of 1 of 1 was simulated" in capsys.readouterr().out


def test_folders_nobody_can_answer_are_one_line(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for source, target, said in (
        ("empty", "out", "got no files in it; wanted scans"),
        ("texts", "out", "got 1 files and no answer; wanted scans"),
        ("texts", "file", "got a file of that name; wanted a folder"),
    ):
        words = ["predict", str(tmp_path / source), "-o", str(tmp_path / target)]
        assert main([*words, "--checkpoint", str(checkpoint)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and said in lines[0], lines
    with pytest.raises(ValueError, match=r"choosing outputs: got 'png'"):
        predict_folder(tmp_path / "texts", tmp_path / "out2", Order(checkpoint, also=("png",)))


def test_the_command_line_knows_every_output() -> None:
    from kwise.cli.parser import ALSO

    assert set(ALSO) == {name for name, output in OUTPUTS.items() if not output.always}
