"""M&Ms: 4-D cines with a CSV of ED and ES; labels only where somebody drew them; splits by folder."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from kwise.data import DATASETS
from kwise.data.raw import format_of, open_any
from kwise.seeding import generator
from kwise.types import IGNORE

Z, T, Y, X = 2, 5, 8, 6
COLUMNS = "External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology\n"


def patient(folder: Path, truth: bool = True) -> np.ndarray:
    """Writes one patient; labels (x, y, z, t), drawn on frames 1 and 3."""
    folder.mkdir(parents=True)
    image = torch.rand(X, Y, Z, T, generator=generator("mnms", folder.name)).numpy()
    labels = np.zeros((X, Y, Z, T), np.uint8)
    labels[1:4, 2:5, :, [1, 3]], labels[2, 3, :, [1, 3]] = 2, 1
    labels[4, 4, :, 1] = 3
    for name, array in {"sa": image, "sa_gt": labels}.items():
        if name == "sa" or truth:
            nifti = nibabel.Nifti1Image(array, np.diag([1.5, 1.25, 9, 1]))
            nibabel.save(nifti, folder / f"{folder.name}_{name}.nii.gz")
    return labels


def root_of(tmp_path: Path) -> Path:
    for place in ("Training/Labeled/A1", "Training/Labeled/B2", "Validation/C3", "Testing/D4"):
        patient(tmp_path / place)
    patient(tmp_path / "Training/Unlabeled/E5", truth=False)
    rows = "A1,Siemens,A,1,1,3,50,HCM\nC3,Philips,B,2,1,3,60,\nD4,GE,C,3,3.0,1.0,,NOR\nE5,GE,C,3,,,,\n"
    (tmp_path / "dataset_information.csv").write_text("\ufeff" + COLUMNS + rows, encoding="utf-8")
    return tmp_path


def test_splits_are_those_of_the_folders(tmp_path: Path) -> None:
    root, data = root_of(tmp_path), DATASETS["mnms"]
    assert {split: list(data.cases(root, split)) for split in ("train", "val", "test")} == {
        "train": ["A1", "B2", "E5"],
        "val": ["C3"],
        "test": ["D4"],
    }
    assert data.cases(root, None, 2) == ["A1", "B2"]
    assert data.cases(root / "Testing" / "D4", None) == ["D4"]
    loose = tmp_path / "loose"
    for i in range(30):
        patient(loose / f"P{i:02d}", truth=False)
    names = [set(data.cases(loose, split)) for split in ("train", "val", "test")]
    assert sum(map(len, names)) == 30 and not names[0] & names[1] | names[1] & names[2] | names[0] & names[2]


def test_a_patient(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    scan = DATASETS["mnms"].read(root, "A1")
    assert scan.shape == (Z, T, Y, X) and scan.spacing_mm == pytest.approx((9, 1.25, 1.5))
    assert (scan.ed, scan.es) == (1, 3) and scan.labels is not None and scan.affine is not None
    assert scan.notes["group"] == "HCM" and scan.notes["vendorname"] == "Siemens"
    assert bool((scan.labels[:, [0, 2, 4]] == IGNORE).all())
    assert scan.labels[0, 1, 3, 2] == 1 and scan.labels[0, 1, 2, 1] == 2 and scan.labels[0, 1, 4, 4] == 3
    assert scan.labels[0, 3, 4, 4] == 0
    other = DATASETS["mnms"].read(root, "D4")
    assert (other.ed, other.es) == (3, 1)
    untold = DATASETS["mnms"].read(root, "B2")  # not in the CSV: the frames that were drawn
    assert (untold.ed, untold.es) == (None, None) and untold.labels is not None
    assert bool((untold.labels[:, 0] == IGNORE).all()) and bool((untold.labels[:, 1] != IGNORE).all())
    assert DATASETS["mnms"].read(root, "E5").labels is None


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    folder = root / "Validation" / "C3"
    assert format_of(folder) == "mnms"
    scan = open_any(folder, slices=1)
    assert scan.shape == (1, T, Y, X) and "simulated" in scan.notes["source"]
    assert scan.labels is not None and scan.labels.shape == (1, T, Y, X)


@pytest.mark.parametrize(
    ("row", "said"),
    [("A1,,,,7,1,,\n", "got ED = 7; wanted a frame from 0 to 4"), ("A1,,,,first,1,,\n", "got ED = 'first'")],
)
def test_bad_rows_are_refused(row: str, said: str, tmp_path: Path) -> None:
    patient(tmp_path / "A1")
    (tmp_path / "info.csv").write_text(COLUMNS + row)
    with pytest.raises(ValueError, match=said):
        DATASETS["mnms"].read(tmp_path, "A1")


def test_bad_labels_and_missing_patients_are_refused(tmp_path: Path) -> None:
    labels = patient(tmp_path / "A1")
    for wrong, said in ((labels + 7, "got labels"), (labels[:, :, :, :2], "got grid")):
        nibabel.save(nibabel.Nifti1Image(wrong, np.eye(4)), tmp_path / "A1" / "A1_sa_gt.nii.gz")
        with pytest.raises(ValueError, match=said):
            DATASETS["mnms"].read(tmp_path, "A1")
    with pytest.raises(ValueError, match=r"got 'A2'; wanted one like A1"):
        DATASETS["mnms"].read(tmp_path, "A2")
    with pytest.raises(ValueError, match="no such folder"):
        DATASETS["mnms"].cases(tmp_path / "nowhere")
