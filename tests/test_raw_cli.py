"""Raw files on the command line: `info`, `predict` take any; `convert` writes kwise's layout and MRD."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.checkpoint import save_checkpoint
from kwise.cli import main
from kwise.data.raw import open_any
from kwise.models import MODELS
from raw_files import kspace_of, mrd_header, mrd_rows, write_cfl, write_mat5, write_mat73, write_mrd_rows

KY, KX = 24, 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("raw")
    truth = kspace_of(3, 1, 2, KY, KX)
    rows = [row for row in mrd_rows(truth) if row["head"]["idx"]["kspace_encode_step_1"][0] % 2 == 0]
    np.save(folder / "cine.npy", np.abs(truth[0, 0]))
    lines = np.zeros((KX, KY))
    lines[:, ::4] = 1
    return {
        "mrd": write_mrd_rows(folder / "scan.h5", mrd_header(KY, KX), rows),
        "mat": write_mat73(folder / "cine.mat", kspace_full=truth.transpose(4, 3, 0, 1, 2)),
        "cfl": write_cfl(folder / "b.cfl", truth[:, 0, 0].transpose(2, 1, 0)[:, :, None]),
        "image": folder / "cine.npy",
        "mask": write_mat5(folder / "mask.mat", mask=lines),
    }


def said_by(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("mrd", ["MRD", "(3, 1, 2, 24, 20)", "2.00", "12 of 24", "42.5 ms"]),
        ("mat", ["CMRxRecon", "coils", "missing", "pixel size", "mask: ky down"]),
        ("cfl", ["BART", "frames"]),
        ("image", ["numpy", "magnitude: k-space has to be simulated"]),
        ("mask", ["sampling mask, no k-space", "4.00", "6 of 24"]),
    ],
)
def test_info(
    kind: str, facts: list[str], files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by(capsys, "info", files[kind])
    for fact in facts:
        assert fact in said, said


def test_info_shows_every_item_of_a_scan(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same items whatever the format: MRD, and what it becomes in kwise's own layout."""
    said_by(capsys, "convert", files["mrd"], tmp_path / "own.h5")
    for path in (files["mrd"], tmp_path / "own.h5"):
        said = said_by(capsys, "info", path)
        facts = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in said.splitlines()}
        assert facts["kspace"].startswith("(c, z, t, ky, kx) = (3, 1, 2, 24, 20)"), said
        assert [facts[name] for name in ("coils", "slices", "frames")] == ["3", "1", "2"]
        assert facts["matrix"] == "24 x 20 (y, x)" and facts["trajectory"] == "Cartesian"
        assert facts["voxel"] == "8 x 2 x 1.5 mm (z, y, x)" and facts["frame time"] == "42.5 ms"
        assert facts["field of view"] == "48 x 30 mm (y, x)" and facts["missing"] == "coil maps"
        assert facts["acceleration achieved"] == "2.00" and facts["acs"].startswith("1 central")
        assert facts["models that fit"] == "none that comes with kwise" and "mask: ky down" in said


def test_some_slices_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = kspace_of(1, 5, 1, KY, KX)
    np.save(tmp_path / "s.npy", truth)
    assert "(1, 2, 1, 24, 20)" in said_by(capsys, "info", tmp_path / "s.npy", "--slices", "1:5:3")
    said_by(capsys, "convert", tmp_path / "s.npy", tmp_path / "one.h5", "--slices", 3)
    assert torch.allclose(open_any(tmp_path / "one.h5").kspace, torch.from_numpy(truth[:, [3]]), atol=1e-5)
    for wrong, said in (("9", "got slices 9 asked of 5"), ("x", "wanted a slice such as 3"), ("-1", "-1")):
        assert main(["info", str(tmp_path / "s.npy"), f"--slices={wrong}"]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("target", ["out.h5", "out.mrd"])
def test_convert(
    target: str, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by(capsys, "convert", files["mat"], tmp_path / target, "--mask", files["mask"], "--coils", 2)
    assert "2 coil(s)" in said and "virtual coils" in said
    scan, source = open_any(tmp_path / target), open_any(files["mat"], mask=files["mask"])
    assert scan.kspace is not None and scan.kspace.shape == (2, 1, 2, KY, KX)
    assert scan.mask is not None and source.mask is not None and torch.equal(scan.mask, source.mask)
    assert scan.notes["undersampled by"] == "mask.mat" and scan.notes["virtual coils"] == "2 from 3, by SVD"


def test_convert_says_that_images_were_simulated(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = said_by(capsys, "convert", files["image"], tmp_path / "x", "--to", "mrd", "--axes", "t y x")
    assert "simulated: k-space from a magnitude image" in said
    assert "simulated" in open_any(tmp_path / "x").notes
    assert main(["convert", str(files["mask"]), str(tmp_path / "y")]) == 2
    assert "got a sampling mask without k-space" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["x"]


def test_predict_takes_raw_files_and_never_loads_what_simulates(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """In a fresh process, into every output: undersampled raw data of several coils, compressed to two, and
    an image whose k-space is said to be simulated.
    """
    options = {"channels": (4, 8)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        told = {"matrix": [16, 16], "virtual_coils": 2}
        save_checkpoint(tmp_path / "c", MODELS["syn_net"](**options), "syn_net", options, told)
    program = (
        "import sys; from kwise.cli import main\n"
        "out, checkpoint, *files = sys.argv[1:]\n"
        "for i, file in enumerate(files):\n"
        "    words = ['-o', f'{out}/{i}', '--checkpoint', checkpoint, '--also', 'dicom', 'mrd', 'parquet']\n"
        "    assert main(['predict', file, *words]) == 0, file\n"
        "faking = {'simulate', 'sampling', 'phantom', 'recipes'}\n"
        "bad = [m for m in sys.modules if m.startswith('kwise.') and m.split('.')[1] in faking]\n"
        "assert not bad, bad\n"
    )
    words = [tmp_path, tmp_path / "c", *(files[kind] for kind in ("mrd", "mat", "image"))]
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    pages = [(tmp_path / str(i) / "report.html").read_text() for i in range(3)]
    assert ["was simulated" in page for page in pages] == [False, False, True]
    card = json.loads((tmp_path / "0" / "run.json").read_text())
    assert card["simulated"] is None and card["measurement"]["coils"] == 3
    assert card["measurement"]["acceleration_achieved"] == 2 and card["measurement"]["lines_per_frame"] == [
        12,
        12,
    ]
    assert card["model"]["saw"].endswith("of 2 virtual coils")
