"""`kwise info` and `kwise predict` on one file of every format kwise reads, and on every real raw file."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from kwise.cli import main
from kwise.data import population
from kwise.data.cohort_files import write_subject
from kwise.data.kspace_file import write_scan
from kwise.data.raw import FORMATS, lone_mask, open_any
from kwise.types import Scan
from raw_files import (
    kspace_of,
    mrd_header,
    mrd_rows,
    write_cfl,
    write_dicom,
    write_fastmri,
    write_mat73,
    write_mrd_rows,
)

KY, KX = 24, 20
KSPACE = kspace_of(3, 1, 4, KY, KX)  # (c, z, t, ky, kx): several coils


def nifti_cine(path: Path) -> Path:
    image = np.abs(np.random.default_rng(0).normal(size=(KX, KY, 2, 3))).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([2.0, 1.5, 8.0, 1.0])), path)
    return path


def acdc_patient(folder: Path) -> Path:
    folder.mkdir()
    (folder / "Info.cfg").write_text("ED: 1\nES: 2\nGroup: NOR\n")
    nifti_cine(folder / "patient901_4d.nii.gz")
    return folder


def mnms_patient(folder: Path) -> Path:
    folder.mkdir()
    nifti_cine(folder / f"{folder.name}_sa.nii.gz")
    return folder


def kwise_file(path: Path) -> Path:
    mask = torch.zeros(1, 4, KY, KX, dtype=torch.bool)
    mask[:, :, ::3] = True
    write_scan(path, Scan("prospective", kspace=torch.from_numpy(KSPACE), mask=mask, spacing_mm=(8, 2, 2)))
    return path


def subject_file(path: Path) -> Path:
    scan = population.read(None, "population-000001", n_frames=3, shape=(24, 24))
    write_subject(path, scan)
    return path


def numpy_file(path: Path) -> Path:
    np.save(path, KSPACE)
    return path


def dicom_series(folder: Path) -> Path:
    folder.mkdir()
    for t in range(3):
        write_dicom(folder / f"{t}.dcm", np.full((KY, KX), 9 + t), TriggerTime=40 * t, InstanceNumber=t)
    return folder


MADE: dict[str, Callable[[Path], Path]] = {  # a file of every format, by its key in FORMATS
    "kwise": lambda at: kwise_file(at / "p.h5"),
    "subject": lambda at: subject_file(at / "s.h5"),
    "mrd": lambda at: write_mrd_rows(at / "p.mrd", mrd_header(KY, KX), mrd_rows(KSPACE, every=2)),
    "fastmri": lambda at: write_fastmri(at / "f.h5", KSPACE[:, :1, 0].transpose(1, 0, 3, 2)),
    "cmrxrecon": lambda at: write_mat73(at / "c.mat", kspace_full=KSPACE.transpose(4, 3, 0, 1, 2)),
    "bart": lambda at: write_cfl(at / "b.cfl", KSPACE[:, 0, 0].transpose(2, 1, 0)[:, :, None]),
    "numpy": lambda at: numpy_file(at / "k.npy"),
    "nifti": lambda at: nifti_cine(at / "n.nii.gz"),
    "dicom": lambda at: dicom_series(at / "series"),
    "mnms": lambda at: mnms_patient(at / "A0S9V9"),
    "acdc": lambda at: acdc_patient(at / "patient901"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    """A stand-in with the preprocessing of the shipped one, so that whatever is wide gets two looks."""
    told = {"matrix": [16, 16], "fov_mm": 30.0}
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", told)


def answer_everything(path: Path, out: Path, checkpoint: Path) -> dict[str, object]:
    """`info`, then `predict` into all outputs; gives the run card."""
    assert main(["info", str(path)]) == 0
    words = ["--checkpoint", str(checkpoint), "--also", "dicom", "mrd", "parquet"]
    assert main(["predict", str(path), "-o", str(out), *words]) == 0
    scan, image = open_any(path), nibabel.load(out / "segmentation.nii.gz")
    z, t, y, x = scan.shape
    assert image.shape == (x, y, z, t)
    if scan.affine is not None:
        assert np.allclose(image.affine, scan.affine, atol=1e-4)
    for name in ("report.html", "phenotypes.csv", "images.mrd.h5", "dicom/images.dcm", "areas.parquet"):
        assert (out / name).stat().st_size > 0
    assert len(list((out / "dicom").glob("seg_*.dcm"))) == t
    return dict(json.loads((out / "run.json").read_text()))


def test_there_is_a_file_of_every_format() -> None:
    assert set(MADE) == set(FORMATS)


@pytest.mark.parametrize("name", MADE)
def test_law_every_format_is_described_and_answered(name: str, tmp_path: Path, checkpoint: Path) -> None:
    path = MADE[name](tmp_path)
    card = answer_everything(path, tmp_path / "out", checkpoint)
    from_images = name in ("subject", "nifti", "dicom", "acdc", "mnms")
    assert (card["simulated"] is not None) == from_images
    if name in ("mrd", "kwise"):  # really undersampled, and several coils
        measurement = card["measurement"]
        assert isinstance(measurement, dict) and measurement["coils"] == 3
        assert measurement["acceleration_achieved"] == {"mrd": 2.0, "kwise": 3.0}[name]


def test_every_real_raw_file(real_data: Path, tmp_path: Path, checkpoint: Path) -> None:
    files = sorted(path for path in (real_data / "raw").iterdir() if path.is_file())
    assert files
    for path in files:
        if lone_mask(path) is not None:  # belongs to a file of k-space: described, and refused in one line
            assert main(["info", str(path)]) == 0
            assert main(["predict", str(path), "-o", str(tmp_path / path.name)]) == 2
        elif path.stat().st_size < 3e6 or path.suffix == ".mat":
            answer_everything(path, tmp_path / path.name, checkpoint)
        else:  # 160 slices: described, and opened
            assert main(["info", str(path)]) == 0 and open_any(path).shape[0] > 1


def test_three_axes_of_kspace_are_coils_unless_told(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "k.npy", KSPACE[0, 0])  # (t, ky, kx)
    words = ["predict", str(tmp_path / "k.npy"), "-o", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "one frame: areas" in said and "axes read as (c ky kx): if these are frames, say 't ky kx'" in said
    assert main([*words, "--axes", "t ky kx"]) == 0
    said = capsys.readouterr().out
    assert "1 slice(s), 4 frames" in said and "axes read as" not in said


def test_a_folder_is_answered_again_where_other_axes_are_told(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans").mkdir()
    np.save(tmp_path / "scans" / "k.npy", KSPACE[0, 0])
    out = tmp_path / "out"
    words = ["predict", str(tmp_path / "scans"), "-o", str(out), "--checkpoint", str(checkpoint)]
    for told, frames in ([], 1), (["--axes", "t ky kx"], 4), ([], 1):
        assert main([*words, *told]) == 0
        assert json.loads((out / "k.npy" / "run.json").read_text())["measurement"]["frames"] == frames
