"""The command line: every verb explains itself at once, and the verbs do what they say."""

import csv
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.checkpoint import save_checkpoint
from kwise.cli import main
from kwise.cli.parser import SECTIONS, build
from kwise.cli.showing import acs_of, draw_lines, first_sentence
from kwise.cli.simulating import Wish, simulated
from kwise.cli.words import positive
from kwise.data.acdc import read_patient
from kwise.data.kspace_file import read_scan
from kwise.data.nifti import read_nifti
from kwise.models import MODELS
from kwise.recipes.overrides import apply_overrides, check_options

VERBS = (
    "convert", "demo", "simulate", "predict", "info", "list", "train", "evaluate", "table", "figure", "serve",
    "phenotypes", "study", "calibrate",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", {"matrix": [32, 32], "fov_mm": 160.0})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "p.h5"
    assert main(["simulate", "--acceleration", "8", "--coils", "2", "-o", str(path)]) == 0
    return path


# -- help ------------------------------------------------------------------------------------------------


def test_the_verbs() -> None:
    assert set(build()[1]) == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"example:\n  kwise {verb}" in capsys.readouterr().out


def test_examples_parse() -> None:
    parser, verbs = build()
    for verb in verbs.values():
        assert verb.epilog is not None
        parser.parse_args(verb.epilog.splitlines()[1].split()[1:])


def test_help_takes_under_a_second_and_loads_nothing_heavy() -> None:
    def used() -> float:  # processor time: other tests run at the same time
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    words = [sys.executable, "-m", "kwise", "simulate", "--help"]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode == 0 and "example:" in run.stdout
    assert used() - before < 1.0
    heavy = "{'torch', 'numpy', 'rich', 'h5py'} & set(sys.modules)"
    program = f"import sys, kwise.cli; sys.exit(' '.join({heavy}) or 0)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("kwise 0.")


# -- simulate, info, predict -----------------------------------------------------------------------------


def test_simulated_file_tells_what_it_is(file: Path) -> None:
    scan = read_scan(file)
    assert scan.case == "heart-test-000000" and scan.labels is not None and scan.coil_maps is not None
    assert (
        scan.notes["simulated"]
        and scan.notes["lines"] == "gaussian_lines"
        and scan.notes["acceleration"] == "8"
    )
    assert scan.mask is not None and scan.kspace is not None
    assert 7.5 < scan.mask.numel() / int(scan.mask.sum()) < 8.5
    assert not scan.kspace[:, ~scan.mask].any()


def test_same_words_same_file_other_seed_other_lines(tmp_path: Path) -> None:
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert main(["simulate", "--acceleration", "6", "--seed", seed, "-o", str(tmp_path / name)]) == 0
    a, b, c = (read_scan(tmp_path / name) for name in "abc")
    assert torch.equal(a.kspace, b.kspace) and torch.equal(a.mask, b.mask)  # type: ignore[arg-type]
    assert not torch.equal(a.mask, c.mask)  # type: ignore[arg-type]


def test_mask_from_a_file(tmp_path: Path) -> None:
    mask = np.zeros((12, 64), bool)
    mask[:, 20:44:3] = True
    np.save(tmp_path / "m.npy", mask)
    words = ["--mask", str(tmp_path / "m.npy"), "-o", str(tmp_path / "p.h5")]
    for told in ([], ["--acceleration", "99"]):
        assert main(["simulate", *words, *told]) == 0
        scan = read_scan(tmp_path / "p.h5")
        assert scan.mask is not None and np.array_equal(scan.mask[0, :, :, 0].numpy(), mask)
        assert float(scan.notes["acceleration"]) == mask.size / mask.sum() == 8


def test_mask_from_a_file_that_fits_only_the_uncropped_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "m.npy", np.ones((12, 64), bool))
    words = ["simulate", "--mask", str(tmp_path / "m.npy"), "-o", str(tmp_path / "p.h5"), "--fov", "80"]
    assert main(words) == 2
    assert "32 lines" in (told := capsys.readouterr().err) and "cropped to 80 mm, --fov" in told


def test_real_cine_keeps_its_resolution_and_place(real_data: Path) -> None:
    patient = real_data / "acdc-cine" / "patient002"
    scan, before = simulated(read_patient(patient), Wish(fov_mm=100.0)), read_patient(patient)
    assert scan.spacing_mm == before.spacing_mm and scan.shape[:2] == before.shape[:2]
    assert max(scan.shape[2] * scan.spacing_mm[1], scan.shape[3] * scan.spacing_mm[2]) <= 100
    assert before.affine is not None and scan.affine is not None
    x, y = (b // 2 - a // 2 for a, b in zip(scan.shape[:1:-1], before.shape[:1:-1]))
    corner = torch.tensor([x, y, 0.0, 1.0], dtype=torch.float64)
    assert torch.allclose(scan.affine[:3, 3], (before.affine @ corner)[:3])


def test_predict_a_simulated_file(
    file: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(file), "-o", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]) == 0
    said = capsys.readouterr()
    assert "Dice against the truth" in said.out and not said.err
    assert read_nifti(tmp_path / "out" / "segmentation.nii.gz", 4).array.shape == (64, 64, 1, 12)
    with (tmp_path / "out" / "areas.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 12 and sum(row["ED"] == "1" for row in rows) == 1
    assert {"LV_pool_mm2", "LV_myocardium_mm2", "RV_pool_mm2", "LV_area_EF_percent"} <= set(rows[0])


def test_info_draws_the_mask(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(file)]) == 0
    said = capsys.readouterr().out
    assert "(c, z, t, ky, kx) = (2, 1, 12, 64, 64)" in said and "acceleration achieved" in said
    assert len([line for line in said.splitlines() if set(line) <= set("·▀▄█#.")]) in (32, 64)


def test_info_on_a_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint)]) == 0
    said = capsys.readouterr().out
    assert "syn_net" in said and "matrix" in said and "[32, 32]" in said


def test_masks_as_text() -> None:
    lines = torch.tensor([[True, False, True], [False, False, True]])  # (t, ky)
    assert draw_lines(lines) == "▀·\n▀▀"
    assert draw_lines(lines, plain=True) == "#.\n..\n##"
    assert max(map(len, draw_lines(torch.ones(300, 200, dtype=torch.bool)).splitlines())) <= 100


def test_acs_counts_the_lines_around_dc_of_every_frame() -> None:
    lines = torch.zeros(2, 3, 16, dtype=torch.bool)
    assert acs_of(lines) == 0
    lines[..., 6:10] = True
    lines[0, ..., 5] = True
    assert acs_of(lines) == 4
    assert acs_of(torch.ones(1, 1, 7, dtype=torch.bool)) == 7


def test_demo_compares_and_names_its_report(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "weights"
    for name in ("demo", "syn_net"):
        shutil.copytree(checkpoint, shelf / name)
    save_checkpoint(shelf / "mean_shape", MODELS["mean_shape"](), "mean_shape", {}, {"matrix": [64, 64]})
    monkeypatch.setattr("kwise.checkpoint.SHIPPED", shelf)
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["demo", "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for row in ("syn_net", "mean_shape", "another patient", "centre line alone", "truth"):
        assert row in said
    report = tmp_path / "out" / "report.html"
    assert f"report: {report}" in said and "never saw" in report.read_text()


@pytest.mark.parametrize("section", SECTIONS)
def test_list(section: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", section]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == section and len(lines) > 2
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines[1:]), "every name has a sentence"


def test_first_sentence() -> None:
    assert first_sentence(build) == "The parser of `kwise`, and those of its verbs by name"
    assert first_sentence(partial(positive, 3.0)) == "A finite number above 0 (at 3)"


# -- typed changes of a recipe ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[float, float] | None = None
    shuffle: bool = False


@dataclass(frozen=True)
class Outer:
    name: str = "x"
    inner: Inner = Inner()
    stages: tuple[Inner, ...] = (Inner(), Inner())
    options: dict[str, object] = field(default_factory=lambda: {"width": 8})


@pytest.mark.parametrize(
    ("change", "look", "value"),
    [
        ("name=y", lambda o: o.name, "y"),
        ("inner.steps=3", lambda o: o.inner.steps, 3),
        ("inner.rate=1", lambda o: o.inner.rate, 1.0),
        ("inner.rate=2e-3", lambda o: o.inner.rate, 2e-3),
        ("inner.sizes=4,8", lambda o: o.inner.sizes, (4, 8)),
        ("inner.sizes=(4,)", lambda o: o.inner.sizes, (4,)),
        ("inner.pair=1,2.5", lambda o: o.inner.pair, (1.0, 2.5)),
        ("inner.pair=none", lambda o: o.inner.pair, None),
        ("inner.shuffle=true", lambda o: o.inner.shuffle, True),
        ("stages.steps=7", lambda o: [s.steps for s in o.stages], [7, 7]),
        ("stages.1.steps=7", lambda o: [s.steps for s in o.stages], [10, 7]),
        ("options.width=16", lambda o: o.options, {"width": 16}),
        ("options.tokens=lines", lambda o: o.options, {"width": 8, "tokens": "lines"}),
        ("options.sizes=(1, 2)", lambda o: o.options["sizes"], (1, 2)),
    ],
)
def test_overrides(change: str, look: object, value: object) -> None:
    changed = apply_overrides(Outer(), [change])
    assert look(changed) == value and Outer() == Outer()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("inner.step=3", r"changing inner.step: got no field 'step' in Inner; wanted steps"),
        ("iner.steps=3", r"changing iner.steps: got no field 'iner' in Outer; wanted inner"),
        ("inner.steps=3.5", r"changing inner.steps: got '3.5'; wanted int"),
        ("inner.shuffle=maybe", r"changing inner.shuffle: got 'maybe'; wanted bool"),
        ("inner.sizes=4,x", r"changing inner.sizes: got '4,x'; wanted tuple\[int, ...\]"),
        ("inner.pair=1,2,3", r"changing inner.pair: got '1,2,3'; wanted"),
        ("inner=3", r"changing inner: got a value for all of it; wanted inner.FIELD"),
        ("stages.2.steps=1", r"changing stages.2.steps: got index 2; wanted 0 to 1"),
        ("name.x=1", r"changing name.x: got the field 'x' of name; wanted name=VALUE"),
        ("options.width=wide", r"changing options.width: got 'wide'; wanted int"),
        ("steps", r"got 'steps'; wanted KEY=VALUE"),
    ],
)
def test_wrong_overrides(change: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        apply_overrides(Outer(), [change])


def test_options_are_checked_against_the_model() -> None:
    check_options(MODELS["syn_net"], {"channels": (4, 8)}, "building")
    with pytest.raises(ValueError, match="got option 'chanels'; wanted channels"):
        check_options(MODELS["syn_net"], {"chanels": (4, 8)}, "building")
    with pytest.raises(ValueError, match="got n_frames = 'many'; wanted int"):
        check_options(MODELS["syn_net"], {"n_frames": "many"}, "building")


def test_masks_of_points_are_listed_and_simulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from kwise.data.kspace_file import read_scan
    from kwise.sampling import PLANE_MASKS

    assert main(["list", "masks"]) == 0
    told = capsys.readouterr().out
    assert set(PLANE_MASKS) <= set(told.split())
    kinds = [line.split(",")[0].strip() for line in told.splitlines() if line.endswith(":")]
    assert kinds == ["lines", "points", "trajectories"]
    lines = told.partition(" points,")[0]
    assert "uniform_1d_centre" in lines and "gaussian_2d" not in lines
    path = tmp_path / "p.h5"
    assert main(["simulate", "--acceleration", "8", "--mask", "gaussian_2d_centre", "-o", str(path)]) == 0
    mask = read_scan(path).mask
    assert mask is not None and bool((mask.any(dim=-1) != mask.all(dim=-1)).any())


def test_a_missing_folder_is_named_and_no_temporary_file(tmp_path: Path) -> None:
    from kwise.atomic import write_atomically

    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "none" / "p.csv", lambda part: part.write_text("x"))
    assert caught.value.filename == str(tmp_path / "none" / "p.csv")
