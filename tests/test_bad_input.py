"""Bad input through the command line: one clear line, non-zero exit, no traceback, no half-written file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from kwise import cli
from kwise.checkpoint import save_checkpoint
from kwise.cli import main
from kwise.models import MODELS

Spoil = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", {"matrix": [32, 32]})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "p.h5"
    assert main(["simulate", "--acceleration", "8", "-o", str(path)]) == 0
    return path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs words that must fail; gives the one line that says why."""

    def run(*words: object, code: int = 2) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        said = capsys.readouterr()
        lines = said.err.splitlines()
        assert len(lines) == 1, said.err
        assert "Traceback" not in lines[0]
        return lines[0]

    return run


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files as well."""
    return sorted(path.name for path in folder.iterdir())


def replaced(file: h5py.File, name: str, array: np.ndarray) -> None:
    del file[name]
    file[name] = array


def spoil_kspace(value: complex) -> Spoil:
    def spoil(file: h5py.File) -> None:
        line = np.argwhere(file["mask"][0, 0].any(axis=-1))[0, 0]
        file["kspace"][0, 0, 0, line, 3] = value

    return spoil


def without(axis: int) -> Spoil:
    """No element along an axis of k-space (c, z, t, ky, kx)."""

    def spoil(file: h5py.File) -> None:
        replaced(file, "kspace", np.take(file["kspace"][()], [], axis=axis))
        replaced(file, "mask", np.take(file["mask"][()], [], axis=axis - 1))

    return spoil


BAD_FILES: dict[str, tuple[Spoil, str]] = {
    "wrong rank": (lambda f: replaced(f, "kspace", f["kspace"][0]), "got kspace of shape"),
    "wrong shape": (lambda f: replaced(f, "mask", f["mask"][..., :9]), "got mask"),
    "NaN": (spoil_kspace(complex("nan")), "got NaN or Inf"),
    "Inf": (spoil_kspace(complex("inf")), "got NaN or Inf"),
    "all-false mask": (lambda f: replaced(f, "mask", np.zeros_like(f["mask"])), "got an all-false mask"),
    "integer mask": (lambda f: replaced(f, "mask", f["mask"][()].astype(np.int64)), "wanted bool"),
    "real k-space": (lambda f: replaced(f, "kspace", f["kspace"][()].real), "wanted complex64"),
    "zero frames": (without(2), "wanted at least one element along t"),
    "foreign HDF5": (lambda f: f.attrs.__delitem__("format"), "got HDF5 of another format"),
    "newer version": (lambda f: f.attrs.__setitem__("version", 99), "got layout version 99"),
    "no k-space": (lambda f: f.__delitem__("kspace"), "wanted kspace and mask"),
}


@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.parametrize("verb", ["predict", "info"])
def test_bad_files(
    verb: str, case: str, good: Path, checkpoint: Path, tmp_path: Path, refused: Callable
) -> None:
    spoil, said = BAD_FILES[case]
    bad, out = tmp_path / "bad.h5", tmp_path / "out"
    bad.write_bytes(good.read_bytes())
    with h5py.File(bad, "r+") as file:
        spoil(file)
    words = ["predict", bad, "-o", out, "--checkpoint", checkpoint] if verb == "predict" else ["info", bad]
    line = refused(*words)
    assert line.startswith(f"kwise {verb}: ") and said in line and "; wanted" in line and str(bad) in line
    assert names(tmp_path) == ["bad.h5"]


def test_truncated_missing_and_no_hdf5(
    good: Path, checkpoint: Path, tmp_path: Path, refused: Callable
) -> None:
    bad = tmp_path / "bad.h5"
    words = ["predict", bad, "-o", tmp_path / "out", "--checkpoint", checkpoint]
    assert "got no such file" in refused(*words)
    for content in (good.read_bytes()[: good.stat().st_size // 2], b"no HDF5 at all", b""):
        bad.write_bytes(content)
        assert "truncated" in refused(*words)
    assert names(tmp_path) == ["bad.h5"]


# -- names nobody knows ------------------------------------------------------------------


def test_unknown_names_tell_the_nearest(tmp_path: Path, refused: Callable) -> None:
    out = tmp_path / "p.h5"
    assert "gaussian_lines" in refused("simulate", "--acceleration", 8, "--mask", "gausian_lines", "-o", out)
    assert "smooth" in refused("simulate", "--acceleration", 8, "--phase", "smoth", "-o", out)
    assert "disk_plus_small" in refused("train", "disk_pluss_small", "-o", tmp_path / "run")
    assert "wanted models" in refused("list", "modles")
    assert "wanted predict" in refused("predikt", "p.h5")
    assert "wanted --acceleration" in refused("simulate", "--aceleration", 8, "--acceleration", 8, "-o", out)
    assert "wanted disk" in refused("table", "dsik")
    assert names(tmp_path) == []


def test_unknown_model_in_recipe_or_checkpoint(checkpoint: Path, tmp_path: Path, refused: Callable) -> None:
    line = refused("train", "disk_plus_small", "--set", "model=disk_pls", "-o", tmp_path / "run")
    assert "got 'disk_pls'; wanted" in line and "disk_plus" in line
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in checkpoint.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    config = copy / "config.json"
    config.write_text(config.read_text().replace("syn_net", "syn_nett"))
    assert "got model 'syn_nett'; wanted" in refused("info", copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.stepps=3", "wanted steps"),
        ("stages.steps=many", "changing stages.steps: got 'many'; wanted int"),
        ("batch_size=2.5", "changing batch_size: got '2.5'; wanted int"),
        ("acquisition.accelerations=4,x", "changing acquisition.accelerations: got '4,x'"),
        ("options.widht=8", "got option 'widht'; wanted"),
        ("options.width=wide", "wanted int"),
        ("steps", "wanted KEY=VALUE"),
    ],
)
def test_overrides(change: str, said: str, tmp_path: Path, refused: Callable) -> None:
    assert said in refused("train", "disk_plus_small", "--set", change, "-o", tmp_path / "run")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--acceleration", "none"],
        ["--acceleration", "-3"],
        ["--acceleration", "nan"],
        ["--acceleration", "0.5"],
        ["--acceleration", "8", "--coils", "0"],
        ["--acceleration", "8", "--snr", "-1"],
        ["--acceleration", "8", "--fov", "0.1"],
        ["--acceleration", "8", "--case", "no-heart"],
        ["--acceleration", "8", "--from", "/no/such/patient"],
        [],
    ],
)
def test_wrong_values(words: list[str], tmp_path: Path, refused: Callable) -> None:
    line = refused("simulate", *words, "-o", tmp_path / "p.h5")
    assert "got" in line and "wanted" in line
    assert names(tmp_path) == []


# -- checkpoints ------------------------------------------------------------------


def test_a_checkpoint_from_another_model(
    good: Path, checkpoint: Path, tmp_path: Path, refused: Callable
) -> None:
    other = tmp_path / "other"
    save_checkpoint(other, MODELS["mean_shape"](), "mean_shape", {}, {"matrix": [32, 32]})
    (other / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    line = refused("predict", good, "-o", tmp_path / "out", "--checkpoint", other)
    assert "the checkpoint is from another model" in line
    assert "got no config.json" in refused("predict", good, "-o", tmp_path / "out", "--checkpoint", tmp_path)
    (other / "model.safetensors").write_bytes(b"short")
    assert "broken" in refused("predict", good, "-o", tmp_path / "out", "--checkpoint", other)
    assert names(tmp_path) == ["other"]


def test_a_file_where_answers_should_go(
    good: Path, checkpoint: Path, tmp_path: Path, refused: Callable
) -> None:
    (tmp_path / "out").write_text("mine")
    line = refused("predict", good, "-o", tmp_path / "out", "--checkpoint", checkpoint)
    assert "got a file of that name" in line and (tmp_path / "out").read_text() == "mine"


# -- full disks ------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A file system of 64 kB; the test is skipped where nobody may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk_for_real(tiny_disk: Path, good: Path, checkpoint: Path, refused: Callable) -> None:
    line = refused("simulate", "--acceleration", 1, "-o", tiny_disk / "p.h5")
    assert "No space left" in line and names(tiny_disk) == []
    line = refused("predict", good, "-o", tiny_disk / "out", "--checkpoint", checkpoint)
    assert "No space left" in line and names(tiny_disk) == []


def test_full_device(refused: Callable) -> None:
    """Where nothing can be mounted: a folder that is not there, and a device in place of a folder."""
    assert "wanted" in refused("simulate", "--acceleration", 8, "-o", "/no/such/folder/p.h5")
    assert "wanted" in refused("simulate", "--acceleration", 8, "-o", "/dev/full/p.h5")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file"),
        type("SafetensorError", (Exception,), {})(
            'IoError(Os { code: 28, kind: StorageFull, message: "No ..." })'
        ),
    ],
)
def test_every_writers_full_disk_is_one_line(error: Exception) -> None:
    line = cli.explain(error)
    assert line is not None and "wanted free space on the disk" in line and "\n" not in line


def test_defects_are_not_hidden() -> None:
    assert cli.explain(RuntimeError("shapes do not match")) is None
    assert cli.explain(KeyError("x")) is None


# -- Ctrl-C ------------------------------------------------------------------


def test_ctrl_c_is_one_line(refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parse", stop)
    line = refused("train", "disk_plus_small", code=130)
    assert line == "kwise train: stopped by Ctrl-C; the same command goes on from the last saved step"


def test_ctrl_c_in_training(tmp_path: Path) -> None:
    """A real run, a real signal: what was saved stays whole, nothing else is left."""
    run = tmp_path / "run"
    changes = [
        "batch_size=1",
        "frames=1",
        "stages.steps=100000",
        "stages.save_every=1",
        "stages.validate_every=0",
    ]
    words = ["train", "syn_net_small", "-o", str(run), "--set", "options.channels=(4,8)", *changes]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "kwise", *words], stderr=subprocess.PIPE, text=True, env=environment
    )
    patience = time.monotonic() + 60
    while not (run / "train.state.pt").exists() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert [line for line in said.splitlines() if line.startswith("kwise train: stopped by Ctrl-C")], said
    assert "Traceback" not in said
    assert names(run) == ["log.jsonl", "recipe.json", "train.state.pt"]


def test_no_traceback_from_a_real_process(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "kwise", "predict", str(tmp_path / "no.h5"), "-o", str(tmp_path / "out")]
    run = subprocess.run([*words, "--checkpoint", str(tmp_path)], capture_output=True, text=True)
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1 and not run.stdout
    assert names(tmp_path) == []
