"""Data sets: the true layouts on tiny files, splits that never depend on the folder, geometry that stays
aligned.
"""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from kwise.data import DATASETS, dataset, heart_dataset, splits
from kwise.data.acdc import read_patient, read_patient_stack
from kwise.data.splits import default_root, split_of
from kwise.data.sunnybrook import lv_or_rest
from kwise.types import IGNORE

REAL = default_root()
X, Y, Z, T = 7, 5, 3, 6
AFFINE = np.array([[-1.5, 0, 0, 90], [0, 1.25, 0, -66], [0, 0, 10, -35], [0, 0, 0, 1.0]])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults look into an empty folder, never at what lies on this machine."""
    monkeypatch.setenv(splits.DATA_VARIABLE, str(tmp_path / "nowhere"))


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (REAL / name).exists(), reason=f"real data {name} are not beside the repository"
    )


def save(
    array: np.ndarray, path: Path, unit: str = "sec", frame: float = 1.0, affine: np.ndarray = AFFINE
) -> None:
    image = nibabel.Nifti1Image(array, affine)
    zooms = (1.5, 1.25, 10.0, frame)
    image.header.set_zooms(zooms[: array.ndim])
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)


def cine() -> np.ndarray:
    return np.arange(X * Y * Z * T, dtype=np.int16).reshape(X, Y, Z, T)


def truth(frame: int) -> np.ndarray:
    return ((np.arange(X * Y * Z) + frame) % 4).astype(np.uint8).reshape(X, Y, Z)


def make_patient(
    folder: Path, info: str = "ED: 1\nES: 4\nGroup: DCM\nHeight: 160.0\n", **header: object
) -> Path:
    """A patient in the true layout: ED and ES are frames 1 and 4 of 6."""
    folder.mkdir(parents=True)
    name = folder.name
    (folder / "Info.cfg").write_text(info)
    save(cine(), folder / f"{name}_4d.nii.gz", **header)  # type: ignore[arg-type]
    for frame in (1, 4):
        save(cine()[..., frame - 1], folder / f"{name}_frame{frame:02d}.nii.gz")
        save(truth(frame), folder / f"{name}_frame{frame:02d}_gt.nii.gz")
    return folder


# -- ACDC
# ----------


def test_acdc_axes_labels_and_geometry(tmp_path: Path) -> None:
    make_patient(tmp_path / "patient007")
    scan = DATASETS["acdc"].read(tmp_path, "patient007")
    assert scan.case == "patient007" and scan.shape == (Z, T, Y, X)
    assert scan.image is not None and scan.labels is not None and scan.affine is not None
    assert scan.image.dtype == torch.float32 and scan.labels.dtype == torch.int64
    assert scan.image[2, 4, 3, 6] == cine()[6, 3, 2, 4]
    assert (scan.ed, scan.es) == (0, 3)
    remap = {0: 0, 1: 3, 2: 2, 3: 1}
    for frame in range(T):
        if frame not in (0, 3):
            assert bool((scan.labels[:, frame] == IGNORE).all())
            continue
        for x, y, z in ((0, 0, 0), (6, 4, 2), (3, 2, 1), (5, 1, 0), (1, 1, 1)):
            assert scan.labels[z, frame, y, x] == remap[int(truth(frame + 1)[x, y, z])]
    assert scan.spacing_mm == (10.0, 1.25, 1.5)
    assert np.allclose(scan.affine.numpy(), AFFINE)
    assert scan.frame_ms is None  # 1 s a frame is a header nobody filled in
    assert scan.notes == {"source": "magnitude images: k-space is simulated", "group": "DCM"}


@pytest.mark.parametrize(
    ("unit", "frame", "wanted"),
    [
        ("sec", 0.03, 30.0),
        ("msec", 40.0, 40.0),
        ("unknown", 40.0, None),
        ("sec", 0.0, None),
        ("msec", 1.0, None),
    ],
)
def test_frame_spacing_is_believed_only_where_plausible(
    tmp_path: Path, unit: str, frame: float, wanted: float | None
) -> None:
    folder = make_patient(tmp_path / "patient001", unit=unit, frame=frame)
    got = read_patient(folder).frame_ms
    assert got == (None if wanted is None else pytest.approx(wanted, rel=1e-5))


def test_acdc_without_optional_fields(tmp_path: Path) -> None:
    folder = make_patient(tmp_path / "patient001", info="")
    scan = read_patient(folder)
    assert (scan.ed, scan.es) == (None, None) and "group" not in scan.notes
    assert scan.labels is not None  # the file names say which frames they are
    stack = read_patient_stack(folder)
    assert (stack.ed, stack.es) == (0, 1)
    for file in folder.glob("*_gt*"):
        file.unlink()
    (folder / "Info.cfg").unlink()
    assert read_patient(folder).labels is None
    assert DATASETS["acdc"].cases(folder, None) == ["patient001"]


def test_an_affine_in_voxels_is_brought_to_mm(tmp_path: Path) -> None:
    folder = make_patient(tmp_path / "patient001", affine=np.diag([-1.0, -1, 1, 1]))
    file = folder / "patient001_4d.nii.gz"
    image = nibabel.Nifti1Image(cine(), np.diag([-1.0, -1, 1, 1]))
    image.header["pixdim"][1:4] = (1.5, 1.25, 10)
    image.header["sform_code"], image.header["qform_code"] = 2, 0
    nibabel.save(image, file)
    scan = read_patient(folder)
    assert scan.affine is not None
    lengths = scan.affine[:3, :3].norm(dim=0).tolist()
    assert lengths == pytest.approx(scan.spacing_mm[::-1])
    assert scan.affine[0, 0] < 0


def test_a_stack_is_two_frames(tmp_path: Path) -> None:
    make_patient(tmp_path / "patient001")
    scan = DATASETS["acdc_stack"].read(tmp_path, "patient001")
    assert scan.shape == (Z, 2, Y, X) and (scan.ed, scan.es) == (0, 1)
    assert scan.image is not None and scan.labels is not None
    assert scan.image[1, 1, 2, 3] == cine()[3, 2, 1, 3]
    assert not bool((scan.labels == IGNORE).any())


def test_a_single_nifti_cine_is_a_scan_without_labels(tmp_path: Path) -> None:
    save(cine(), tmp_path / "anyone.nii.gz")
    scan = read_patient(tmp_path / "anyone.nii.gz")
    assert scan.case == "anyone" and scan.shape == (Z, T, Y, X) and scan.labels is None


def test_labels_on_another_grid_are_left_out_and_said(tmp_path: Path) -> None:
    folder = make_patient(tmp_path / "patient001")
    save(truth(1)[:-1], folder / "patient001_frame01_gt.nii.gz")
    scan = read_patient(folder)
    assert scan.labels is None and "left out" in scan.notes["labels"]


def spoil_file(folder: Path) -> None:
    file = folder / "patient001_4d.nii.gz"
    file.write_bytes(file.read_bytes()[:200])


def nan_in_cine(folder: Path) -> None:
    array = cine().astype(np.float32)
    array[0, 0, 0, 0] = np.nan
    save(array, folder / "patient001_4d.nii.gz")


SPOIL = {
    "truncated": (spoil_file, "damaged or foreign"),
    "foreign": (lambda d: (d / "patient001_4d.nii.gz").write_bytes(b"hello"), "damaged or foreign"),
    "NaN": (nan_in_cine, "NaN"),
    "three axes": (lambda d: save(truth(1), d / "patient001_4d.nii.gz"), "wanted axes (x, y, z, t)"),
    "no cine": (lambda d: (d / "patient001_4d.nii.gz").unlink(), "acdc_stack"),
    "late ES": (lambda d: (d / "Info.cfg").write_text("ED: 1\nES: 7\n"), "a frame from 1 to 6"),
    "worded ED": (lambda d: (d / "Info.cfg").write_text("ED: first\n"), "got ED: first"),
    "labels": (lambda d: save(truth(1) + 1, d / "patient001_frame01_gt.nii.gz"), "wanted ACDC's 0, 1, 2, 3"),
    "late labels": (lambda d: save(truth(1), d / "patient001_frame09_gt.nii.gz"), "got frame 9"),
}


@pytest.mark.parametrize("name", SPOIL)
def test_a_spoilt_patient_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    folder = make_patient(tmp_path / "patient001")
    spoil, words = SPOIL[name]
    spoil(folder)
    with pytest.raises(ValueError) as error:
        read_patient(folder)
    assert words in str(error.value) and "\n" not in str(error.value) and str(folder) in str(error.value)


def test_acdc_csv_is_honoured(tmp_path: Path) -> None:
    for number in range(1, 7):
        make_patient(tmp_path / "acdc-cine" / f"patient{number:03d}")
    rows = [f"patient{n:03d},NOR,{'val' if n % 3 == 0 else 'train'}" for n in range(1, 7)]
    (tmp_path / "acdc.csv").write_text("\n".join(["patient,group,split", *rows]))
    acdc = DATASETS["acdc"]
    assert acdc.cases(tmp_path, "val") == ["patient003", "patient006"]
    assert acdc.cases(tmp_path / "acdc-cine", "train", 2) == ["patient001", "patient002"]
    assert acdc.cases(tmp_path / "acdc-cine" / "patient003", "val") == ["patient003"]
    with pytest.raises(ValueError, match=r"split test, which is empty; wanted one of train \(4\), val \(2\)"):
        acdc.cases(tmp_path, "test")
    with pytest.raises(ValueError, match=r"train, val, test"):
        acdc.cases(tmp_path, "vall")
    with pytest.raises(ValueError, match=r"got 'patient01'; wanted one like patient001"):
        acdc.read(tmp_path, "patient01")


def test_the_distribution_keeps_its_test_folder(tmp_path: Path) -> None:
    for number in range(1, 13):
        make_patient(tmp_path / ("training" if number < 10 else "testing") / f"patient{number:03d}")
    chosen = {split: DATASETS["acdc"].cases(tmp_path, split) for split in splits.SPLITS}
    assert chosen["test"] == ["patient010", "patient011", "patient012"]
    assert len(chosen["train"]) + len(chosen["val"]) == 9
    assert DATASETS["acdc"].read(tmp_path, "patient011").case == "patient011"


def test_folds_hold_out_every_patient_once(tmp_path: Path) -> None:
    names = [f"patient{n:03d}" for n in range(1, 14)]
    for home in ("acdc-cine", "acdc-stack"):
        for name in names:
            make_patient(tmp_path / home / name)
    make_patient(tmp_path / "acdc-stack" / "patient099")  # no cine: in no fold, trained on in all
    rows = [f"{name},NOR,{'test' if name == 'patient013' else 'train'}" for name in names]
    (tmp_path / "acdc.csv").write_text("\n".join(["patient,group,split", *rows, "patient099,NOR,val"]))
    held = []
    for k in range(5):
        fold = dataset(f"acdc_fold{k}")
        out, seen = fold.cases(tmp_path, "val"), fold.cases(tmp_path, "train")
        assert 2 <= len(out) <= 3 and not set(out) & {case.removesuffix("-stack") for case in seen}
        assert "patient099-stack" in seen and not any("patient013" in case for case in seen)
        held += out
    assert sorted(held) == names[:12]
    with pytest.raises(ValueError, match="listing fold 0 of ACDC: got split test, which is empty"):
        dataset("acdc_fold0").cases(tmp_path, "test")


@pytest.mark.parametrize("name", ["acdc", "acdc_stack", "sunnybrook"])
def test_an_absent_root_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=str(tmp_path / "nowhere")):
        DATASETS[name].cases()
    with pytest.raises(ValueError, match=str(tmp_path / "other")):
        DATASETS[name].read(str(tmp_path / "other"), "somebody")


# -- splits
# ------------------------------------------------------------------------------------------------------------


def test_splits_depend_on_name_and_salt_alone() -> None:
    names = [f"patient{n:03d}" for n in range(1000)]
    drawn = [split_of(name, "acdc") for name in names]
    assert (
        760 < drawn.count("train") < 840 and 70 < drawn.count("val") < 130 and 70 < drawn.count("test") < 130
    )
    assert drawn == [split_of(name, "acdc") for name in names]
    assert drawn != [split_of(name, "other salt") for name in names]
    # Fixed for ever: a change here would let test patients into training.
    first = ["train"] * 7 + ["test", "train", "test", "train", "train"]
    assert drawn[1:13] == first
    with pytest.raises(ValueError, match="sum to 1"):
        split_of("a", "b", {"train": 0.5})


def test_default_root_sees_the_folder_beside_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_root() == tmp_path / "nowhere"
    monkeypatch.delenv(splits.DATA_VARIABLE)
    (tmp_path / "house" / ".git").mkdir(parents=True)
    (tmp_path / "house" / "inner").mkdir()
    (tmp_path / "shared" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "house" / "inner")
    assert default_root() == tmp_path / "shared" / "data"


def test_heart_names_are_lazy_and_disjoint() -> None:
    heart = DATASETS["heart"]
    train = heart.cases()
    assert len(train) == 1_000_000
    assert train[0] == "heart-train-000000" and train[-1] == "heart-train-999999"
    assert list(train[5:7]) == ["heart-train-000005", "heart-train-000006"]
    assert len(heart.cases(None, "val")) == 200 and len(heart.cases(None, "test")) == 100
    assert len(heart.cases(None, "test", 300)) == 300
    everyone = [set(heart.cases(None, split, 300)) for split in splits.SPLITS]
    assert len(set.union(*everyone)) == 900
    for split, n in (("tests", None), (None, None), ("test", 0), ("test", 1_000_001)):
        with pytest.raises(ValueError, match="got"):
            heart.cases(None, split, n)


def test_heart_cases_are_scans() -> None:
    pytest.importorskip("kwise.phantom.heart")
    scan = DATASETS["heart"].read(None, "heart-test-000000")
    assert scan.shape == (1, 12, 64, 64) and scan.case == "heart-test-000000"
    assert scan.labels is not None and set(scan.labels.unique().tolist()) >= {0, 1, 2, 3}
    assert heart_dataset(4, (32, 40)).read(None, "heart-test-000000").shape == (1, 4, 32, 40)
    with pytest.raises(ValueError, match="wanted a name such as"):
        DATASETS["heart"].read(None, "patient001")


def test_an_unknown_data_set_names_its_neighbours() -> None:
    with pytest.raises(ValueError, match="got 'acdcstack'; wanted one like acdc_stack"):
        dataset("acdcstack")
    assert all(name == entry.name for name, entry in DATASETS.items())


# -- Sunnybrook
# --------------------------------------------------------------------------------------------------------


def make_sunnybrook(path: Path) -> Path:
    n = 12
    with h5py.File(path, "w") as file:
        file["image"] = np.arange(n * 30, dtype=np.uint16).reshape(n, 6, 5).astype(np.uint8)
        file["label"] = (np.arange(n * 30).reshape(n, 6, 5) % 7 == 0).astype(np.uint8)
        file["name"] = np.array([f"SC-HF-I-{i // 3:02d}-IM-{i:04d}" for i in range(n)], dtype="S24")
        file["patient"] = np.array([f"SC-HF-I-{i // 3:02d}" for i in range(n)], dtype="S11")
        file["group"] = np.array(["HF-I"] * n, dtype="S5")
    return path


def test_sunnybrook_knows_the_lv_pool_alone(tmp_path: Path) -> None:
    file = make_sunnybrook(tmp_path / "sunnybrook_slices.h5")
    data = DATASETS["sunnybrook"]
    scan = data.read(tmp_path, "SC-HF-I-01-IM-0004")
    assert (
        scan.shape == (1, 1, 6, 5) and scan.notes["group"] == "HF-I" and "pixel size" in scan.notes["spacing"]
    )
    assert scan.image is not None and scan.labels is not None
    with h5py.File(file) as raw:
        assert np.array_equal(scan.image[0, 0].numpy(), raw["image"][4])
        pool = torch.from_numpy(raw["label"][4] == 1)
    assert torch.equal(scan.labels[0, 0] == 1, pool) and torch.equal(scan.labels[0, 0] == IGNORE, ~pool)
    binary = lv_or_rest(scan).labels
    assert binary is not None and torch.equal(binary[0, 0], pool.long())
    assert data.labelled == (1,)
    with pytest.raises(ValueError, match="wanted one like SC-HF-I-01-IM-0004"):
        data.read(file, "SC-HF-I-01-IM-4")


def test_sunnybrook_patients_stay_in_one_split(tmp_path: Path) -> None:
    file = make_sunnybrook(tmp_path / "sunnybrook_slices.h5")
    everyone = DATASETS["sunnybrook"].cases(file, None)
    assert len(everyone) == 12
    homes: dict[str, str] = {}
    for split in {split_of(name[:10], "sunnybrook") for name in everyone}:
        for name in DATASETS["sunnybrook"].cases(file, split):
            assert homes.setdefault(name[:10], split) == split
    assert len(homes) == 4
    file.write_bytes(b"hello")
    with pytest.raises(ValueError, match="damaged or foreign"):
        DATASETS["sunnybrook"].cases(tmp_path)


# -- real data, where they lie beside the repository
# -------------------------------------------------------------------


@needs("acdc-cine")
def test_real_cines() -> None:
    acdc = DATASETS["acdc"]
    train, val = acdc.cases(REAL, "train"), acdc.cases(REAL, "val")
    assert (len(train), len(val)) == (51, 6) and not set(train) & set(val)
    scan = acdc.read(REAL, "patient002")
    assert scan.shape == (3, 30, 95, 100) and (scan.ed, scan.es) == (0, 11)
    assert scan.spacing_mm == pytest.approx((10.0, 1.367, 1.367))
    assert scan.labels is not None
    pool = [int((scan.labels[:, frame] == 1).sum()) for frame in (0, 11)]
    muscle = [int((scan.labels[:, frame] == 2).sum()) for frame in (0, 11)]
    assert pool[0] > pool[1] > 0  # the LV empties from ED to ES; the RV label of ACDC would be elsewhere
    assert min(muscle) > 0 and bool((scan.labels[:, 5] == IGNORE).all())


@needs("acdc-stack")
def test_real_stacks() -> None:
    stack = DATASETS["acdc_stack"]
    assert len(stack.cases(REAL, None)) == 80
    assert set(DATASETS["acdc"].cases(REAL, "val")) <= set(stack.cases(REAL, "val"))
    scan = stack.read(REAL, "patient002")
    assert scan.shape == (10, 2, 160, 160) and scan.labels is not None
    volumes = [int((scan.labels[:, frame] == 1).sum()) * 18.692e-3 for frame in (0, 1)]
    assert volumes == pytest.approx([265.74, 188.3], rel=0.01)  # LVEDV_mL, LVESV_mL of acdc.csv


@needs("acdc-original")
def test_real_distribution() -> None:
    acdc = DATASETS["acdc"]
    assert acdc.cases(REAL / "acdc-original", None) == ["patient001"]
    scan = acdc.read(REAL / "acdc-original" / "patient001", "patient001")
    assert scan.shape == (7, 30, 95, 100) and scan.labels is None and "left out" in scan.notes["labels"]
    stack = DATASETS["acdc_stack"].read(REAL / "acdc-original", "patient001")
    assert stack.shape == (10, 2, 256, 216) and stack.labels is not None and stack.affine is not None
    assert stack.affine[:3, :3].norm(dim=0).tolist() == pytest.approx([1.5625, 1.5625, 10.0])


@needs("sunnybrook_slices.h5")
def test_real_sunnybrook() -> None:
    data = DATASETS["sunnybrook"]
    assert sum(len(data.cases(REAL, split)) for split in ("train", "val", "test")) == 513
    scan = data.read(REAL, "SC-HF-I-01-IM-0001-0048")
    assert scan.shape == (1, 1, 256, 256) and scan.labels is not None
    assert scan.labels.unique().tolist() == [IGNORE, 1]
