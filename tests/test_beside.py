"""Labels beside scans are the scans' truth, never scans themselves."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.cli import main
from kwise.data.raw import open_any
from kwise.predict.cohort import scans_below
from kwise.study.cohort import open_cohort
from kwise.types import IGNORE

SHAPE = (16, 16, 2, 4)  # x, y, z, t


def write_nifti(path: Path, array: np.ndarray) -> None:
    import nibabel

    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)


def heart(n_classes: int = 4) -> np.ndarray:
    """Labels (x, y, z, t) drawn on the first and the third of four frames, in the first slice at once."""
    labels = np.zeros(SHAPE, dtype=np.int16)
    labels[4:10, 4:10, :, ::2] = 2
    labels[6:8, 6:8, :, ::2] = 1
    labels[11:13, 5:9, :, ::2] = n_classes - 1
    labels[:, :, 1, 0] = 0
    return labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cines with labels that fit, of another grid, of other values, of several frames for one; an array."""
    place = tmp_path / "cines"
    place.mkdir()
    cine = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    for name in "abcd":
        write_nifti(place / f"{name}.nii.gz", cine)
    write_nifti(place / "a_gt.nii.gz", heart())
    write_nifti(place / "b_seg.nii.gz", heart()[:8])
    write_nifti(place / "c_label.nii.gz", heart(6))
    np.save(place / "e.npy", cine.transpose(2, 3, 1, 0))
    np.save(place / "e_gt.npy", heart().transpose(2, 3, 1, 0))
    write_nifti(place / "alone_gt.nii.gz", cine)  # of no scan there: a scan of an odd name
    return place


NAMES = ["a.nii.gz", "alone_gt.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz", "e.npy"]


def test_labels_are_not_among_the_scans(folder: Path, tmp_path: Path) -> None:
    assert [name for _, name in scans_below(folder, tmp_path / "out")] == NAMES
    cohort = open_cohort(str(folder), None, None, 60)
    assert list(cohort.cases) == NAMES and not cohort.left_out
    assert cohort.read("a.nii.gz").labels is not None and cohort.read("d.nii.gz").labels is None


@pytest.mark.parametrize("name", ["a.nii.gz", "e.npy"])
def test_labels_that_fit_are_the_truth(folder: Path, name: str) -> None:
    scan = open_any(folder / name)
    assert scan.labels is not None and scan.labels.shape == scan.shape == (2, 4, 16, 16)
    assert torch.equal(scan.labels[0, 0], torch.from_numpy(heart()[:, :, 0, 0].T.astype(np.int64)))
    assert bool((scan.labels[:, 1::2] == IGNORE).all()) and bool((scan.labels[1, 0] == 0).all())
    assert "1 LV pool, 2 LV myocardium, 3 RV pool" in scan.notes["labels"]
    part = open_any(folder / name, slices=1)  # its first frame is empty, and somebody looked
    assert part.labels is not None and torch.equal(part.labels, scan.labels[1:])


@pytest.mark.parametrize(("name", "why"), [("b", "got grid (2, 4, 16, 8)"), ("c", "got values 0, 1, 2, 5")])
def test_labels_that_do_not_fit_are_left_out_in_words(folder: Path, name: str, why: str) -> None:
    scan = open_any(folder / f"{name}.nii.gz")
    assert scan.labels is None and scan.notes["labels"].startswith("left out") and why in scan.notes["labels"]


def test_acdc_numbers_its_classes_the_other_way(tmp_path: Path) -> None:
    write_nifti(tmp_path / "patient001_frame01.nii.gz", np.ones(SHAPE[:3], dtype=np.float32))
    write_nifti(tmp_path / "patient001_frame01_gt.nii.gz", heart()[..., 0])
    labels = open_any(tmp_path / "patient001_frame01.nii.gz").labels
    assert labels is not None and labels[0, 0, 6, 6] == 3 and labels[0, 0, 6, 11] == 1


def test_kspace_takes_no_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.ones((1, 4, 16, 16), dtype=np.complex64))
    np.save(tmp_path / "k_gt.npy", np.ones((1, 4, 16, 16), dtype=np.int16))
    scan = open_any(tmp_path / "k.npy")
    assert scan.labels is None and "left out: k_gt.npy: they lie beside k-space" in scan.notes["labels"]


def test_a_labelled_folder_is_answered_with_dice(
    folder: Path, tmp_path: Path, save_tiny: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny, out = str(save_tiny(tmp_path / "tiny", {"matrix": [16, 16]})), tmp_path / "out"
    words = ["predict", str(folder), "-o", str(out), "--checkpoint", tiny]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "6 of 6 answered" in said and "; labels left out: b_seg.nii.gz: got grid" in said
    with (out / "phenotypes.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert list(rows) == NAMES and "got grid" in rows["b.nii.gz"]["labels"] and not rows["d.nii.gz"]["labels"]
    assert "Dice" in (out / "a.nii.gz" / "report.html").read_text()
    assert "Dice" not in (out / "d.nii.gz" / "report.html").read_text()
    write_nifti(folder / "d_gt.nii.gz", heart())  # came later: the scan is answered again
    assert main(words) == 0 and "Dice" in (out / "d.nii.gz" / "report.html").read_text()
    capsys.readouterr()
    one = ["predict", str(folder / "a.nii.gz"), "-o", str(tmp_path / "one"), "--checkpoint", tiny]
    assert main(one) == 0 and "Dice against the truth" in capsys.readouterr().out
