"""OASIS and fastMRI readers on tiny files of the true format."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from kwise.data import dataset
from kwise.fourier import fft2c, ifft2c
from kwise.operator import crop_centre

X, Y, Z = 6, 8, 25
HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>24</x><y>14</y><z>1</z></matrixSize>
<fieldOfView_mm><x>280.0</x><y>162.4</y><z>4.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>12</x><y>12</y><z>1</z></matrixSize></reconSpace></encoding></ismrmrdHeader>"""


def brain() -> np.ndarray:
    return np.arange(X * Y * Z, dtype=np.int16).reshape(X, Y, Z)


@pytest.fixture
def oasis(tmp_path: Path) -> Path:
    """Two sessions of one subject in Analyze, with a fourth axis as distributed, and one in NIfTI."""
    for session, disc in (("OAS1_0001_MR1", "disc1"), ("OAS1_0001_MR2", "disc2")):
        folder = tmp_path / disc / session / "PROCESSED" / "MPRAGE" / "T88_111"
        folder.mkdir(parents=True)
        image = nibabel.AnalyzeImage(brain()[..., None], np.diag([1.0, 2.0, 3.0, 1.0]))
        image.to_filename(folder / f"{session}_mpr_n4_anon_111_t88_gfc.img")
    for number in range(2, 12):
        folder = tmp_path / "disc1" / f"OAS1_{number:04d}_MR1" / "RAW"
        folder.mkdir(parents=True)
        nifti = nibabel.Nifti1Image(brain(), np.eye(4))
        nibabel.save(nifti, folder / f"OAS1_{number:04d}_MR1_mpr-1_anon.nii.gz")
    return tmp_path


def test_an_oasis_slice_is_a_scan(oasis: Path) -> None:
    scan = dataset("oasis").read(oasis, "OAS1_0001_MR2/015")
    assert scan.image is not None and scan.labels is None
    assert torch.equal(scan.image[0, 0], torch.from_numpy(brain()[:, :, 15].T.astype(np.float32)))
    assert scan.spacing_mm == (3.0, 2.0, 1.0)
    other = dataset("oasis").read(oasis, "OAS1_0003_MR1/015")
    assert torch.equal(other.image, scan.image)


def test_oasis_takes_every_tenth_slice_and_keeps_subjects_together(oasis: Path) -> None:
    names = dataset("oasis").cases(oasis, None)
    assert [n.split("/")[1] for n in names[:2]] == ["005", "015"] and len(names) == 12 * 2
    split_of = {name: s for s in ("train", "test") for name in dataset("oasis").cases(oasis, s)}
    assert split_of["OAS1_0001_MR1/005"] == split_of["OAS1_0001_MR2/015"]
    assert len(dataset("oasis").cases(oasis, "train", 3)) == 3


@pytest.mark.parametrize(
    ("case", "message"),
    [("OAS1_0001_MR3/005", "OAS1_0001_MR"), ("OAS1_0001_MR1", "session/slice"),
     ("OAS1_0001_MR1/099", "got slice 99; wanted 0 to 24")],
)  # fmt: skip
def test_bad_oasis_names_are_refused(oasis: Path, case: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataset("oasis").read(oasis, case)


def test_bad_oasis_files_are_refused(oasis: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wanted folders OAS1_0001_MR1"):
        dataset("oasis").cases(oasis / "disc1" / "OAS1_0001_MR1")
    file = next((oasis / "disc1" / "OAS1_0005_MR1" / "RAW").glob("*"))
    file.write_bytes(b"not a brain")
    with pytest.raises(ValueError, match="damaged or foreign"):
        dataset("oasis").read(oasis, "OAS1_0005_MR1/005")


# -- fastMRI


def knee(n_lines: int = 14) -> torch.Tensor:
    """(slices, readout, lines) k-space of a soft blob, oversampled twice along the readout."""
    readout, line = torch.meshgrid(torch.arange(24.0) - 12, torch.arange(n_lines) - 7.0, indexing="ij")
    blob = torch.exp(-((readout - 2) ** 2 + (line + 1) ** 2) / 8)
    return fft2c(blob.expand(7, -1, -1) * torch.arange(1.0, 8).view(-1, 1, 1)).to(torch.complex64)


@pytest.fixture
def fastmri(tmp_path: Path) -> Path:
    for split, undersampled in (("train", False), ("test", True)):
        folder = tmp_path / f"singlecoil_{split}"
        folder.mkdir()
        kspace = knee()
        with h5py.File(folder / f"file_{split}.h5", "w") as file:
            file["ismrmrd_header"] = HEADER
            file.attrs["acquisition"] = "CORPD_FBK"
            if undersampled:
                lines = np.arange(14) % 4 == 3
                kspace = kspace * torch.from_numpy(lines)
                file["mask"] = lines
                file.attrs["acceleration"] = 4
            else:
                file["reconstruction_esc"] = crop_centre(ifft2c(kspace), (12, 12)).abs().numpy()
            file["kspace"] = kspace.numpy()
    return tmp_path


def test_a_full_fastmri_slice_gives_the_files_own_reconstruction(fastmri: Path) -> None:
    assert dataset("fastmri").cases(fastmri, "train") == ["file_train/005", "file_train/006"]
    scan = dataset("fastmri").read(fastmri, "file_train/006")
    assert scan.kspace is not None and scan.kspace.shape == (1, 1, 1, 12, 12) and scan.mask is None
    with h5py.File(fastmri / "singlecoil_train" / "file_train.h5") as file:
        wanted = torch.from_numpy(file["reconstruction_esc"][6])
    torch.testing.assert_close(ifft2c(scan.kspace)[0, 0, 0].abs().T, wanted, atol=1e-5, rtol=0)
    assert scan.spacing_mm == pytest.approx((4.5, 162.4 / 14, 280 / 24))


def test_an_undersampled_fastmri_slice_keeps_its_lines_and_its_acceleration(fastmri: Path) -> None:
    scan = dataset("fastmri").read(fastmri, "file_test/005")
    assert scan.kspace is not None and scan.kspace.shape == (1, 1, 1, 14, 12)
    assert scan.mask is not None and scan.mask[0, 0, :, 0].tolist() == [i % 4 == 3 for i in range(14)]
    assert (scan.kspace[0, 0, 0][~scan.mask[0, 0]].abs() < 1e-5).all()
    assert scan.notes["acceleration"] == "4" and scan.notes["acquisition"] == "CORPD_FBK"


def test_bad_fastmri_input_is_refused(fastmri: Path, tmp_path: Path) -> None:
    data = dataset("fastmri")
    with pytest.raises(ValueError, match="wanted \\['singlecoil_val'\\] there"):
        data.cases(fastmri, "val")
    with pytest.raises(ValueError, match="files like file_test"):
        data.read(fastmri, "file_tset/005")
    with pytest.raises(ValueError, match="got slice 7; wanted 0 to 6"):
        data.read(fastmri, "file_test/007")
    (fastmri / "singlecoil_val").mkdir()
    (fastmri / "singlecoil_val" / "a.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged or foreign"):
        data.read(fastmri, "a/000")
    with h5py.File(fastmri / "singlecoil_val" / "b.h5", "w") as file:
        file["kspace"] = np.zeros((2, 15, 8, 8), np.complex64)
    with pytest.raises(ValueError, match="a single coil"):
        data.read(fastmri, "b/000")
