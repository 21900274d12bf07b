"""Which folders are one scan: nothing that could be another scan may vanish in one."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from kwise.data.raw import format_of
from kwise.predict.cohort import scans_below
from raw_files import write_dicom


def nifti(path: Path, *shape: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.float32), np.diag([1.5, 2, 8, 1])), path)


def acdc(folder: Path, name: str = "p1") -> Path:
    nifti(folder / f"{name}_4d.nii.gz", 8, 8, 2, 3)
    for ending in ("frame01", "frame01_gt"):
        nifti(folder / f"{name}_{ending}.nii.gz", 8, 8, 2)
    (folder / "Info.cfg").write_text("ED: 1\nES: 2\n")
    return folder


def mnms(folder: Path, name: str = "A1") -> Path:
    for ending in ("sa", "sa_gt"):
        nifti(folder / f"{name}_{ending}.nii.gz", 8, 8, 2, 3)
    return folder


def dicom(folder: Path) -> Path:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(2):
        write_dicom(folder / f"{t}", np.full((8, 8), 7), TriggerTime=40 * t)
    return folder


KINDS = {"acdc": acdc, "mnms": mnms, "dicom": dicom}


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_beside_one_scan_changes_nothing(kind: str, tmp_path: Path) -> None:
    folder = KINDS[kind](tmp_path / "one")
    for name in (".hidden.h5", "README", "notes.txt", "Thumbs.db", "DICOMDIR"):
        (folder / name).write_text("nobody's scan")
    (folder / "answer").mkdir()
    (folder / "answer" / "run.json").write_text("{}")
    (folder / "empty").mkdir()
    assert format_of(folder) == kind
    assert [name for _, name in scans_below(tmp_path, tmp_path / "out")] == ["one"]


STRAYS = {
    "another format": lambda folder: (folder / "other.h5").write_bytes(b"1"),
    "another image": lambda folder: nifti(folder / "z.nii.gz", 8, 8, 2, 3),
    "another patient": lambda folder: nifti(folder / "p2_4d.nii.gz", 8, 8, 2, 3),
    "frames of another": lambda folder: nifti(folder / "p2_frame01.nii.gz", 8, 8, 2),
    "another folder": lambda folder: nifti(folder / "below" / "z.nii.gz", 8, 8, 2, 3),
    "a damaged file": lambda folder: (folder / "z.dcm").write_bytes(b""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stray", STRAYS)
def test_no_scan_vanishes_in_a_folder_of_another(kind: str, stray: str, tmp_path: Path) -> None:
    folder = KINDS[kind](tmp_path / "one")
    STRAYS[stray](folder)
    with pytest.raises(ValueError, match=r"got a folder of [A-Z]+ and .*; wanted a folder of one"):
        format_of(folder)
    found = {path for path, _ in scans_below(tmp_path, tmp_path / "out")}
    # Labels beside their image come with it: the frame of an ACDC patient, the cine of an M&Ms one.
    own = {path for path in folder.rglob("*") if path.is_file() and "_gt" not in path.name}
    assert found == own


def test_a_table_of_contents_is_no_series(tmp_path: Path) -> None:
    dicom(tmp_path / "disc" / "series")
    write_dicom(tmp_path / "disc" / "DICOMDIR", np.ones((8, 8)))
    with pytest.raises(ValueError, match="wanted DICOM images, or a patient"):
        format_of(tmp_path / "disc")


def test_a_cine_packed_and_not_packed_is_no_one_patient(tmp_path: Path) -> None:
    nifti(acdc(tmp_path / "one") / "p1_4d.nii", 8, 8, 2, 3)
    with pytest.raises(ValueError, match="wanted a folder of one scan"):
        format_of(tmp_path / "one")
