"""Damaged and foreign raw files: one clear line, or a scan with the repair told; never anything else."""

import string
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import h5py
import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwise.data.raw import format_of, open_any
from kwise.data.raw_mrd_header import Header, parse_header
from kwise.seeding import generator
from raw_files import (
    kspace_of,
    mrd_header,
    mrd_row,
    mrd_rows,
    write_cfl,
    write_dicom,
    write_fastmri,
    write_mat5,
    write_mat73,
    write_mrd_rows,
)

KY, KX = 12, 10
quick = settings(
    max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


def some_kspace() -> np.ndarray:
    return kspace_of(2, 1, 2, KY, KX)


def nifti(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.ones((5, 6, 1, 3), np.float32), np.eye(4)), path)
    return path


def npy(path: Path) -> Path:
    np.save(path, some_kspace()[:, 0])
    return path


def npz(path: Path) -> Path:
    np.savez(path, kspace=some_kspace()[:, 0])
    return path


GOOD: dict[str, Callable[[Path], Path]] = {
    "mrd": lambda f: write_mrd_rows(f / "x.h5", mrd_header(KY, KX), mrd_rows(some_kspace())),
    "fastmri": lambda f: write_fastmri(f / "x.h5", some_kspace()[:, 0].transpose(1, 0, 3, 2)),
    "mat5": lambda f: write_mat5(f / "x.mat", kspace_full=some_kspace().transpose(4, 3, 0, 1, 2)),
    "mat73": lambda f: write_mat73(f / "x.mat", kspace_full=some_kspace().transpose(4, 3, 0, 1, 2)),
    "cfl": lambda f: write_cfl(f / "x.cfl", some_kspace()[:, 0, 0].T[:, :, None]),
    "npy": lambda f: npy(f / "x.npy"),
    "npz": lambda f: npz(f / "x.npz"),
    "nifti": lambda f: nifti(f / "x.nii"),
    "nifti.gz": lambda f: nifti(f / "x.nii.gz"),
    "dicom": lambda f: write_dicom(f / "x.dcm", np.ones((6, 5))),
}
# HDF5 itself does not survive every flipped bit: those files are cut short, and spoilt through h5py below.
FLIPPED = ("mat5", "cfl", "npy", "npz", "nifti", "nifti.gz", "dicom")


def good(kind: str, folder: Path) -> Path:
    if kind == "dicom":
        pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    return GOOD[kind](folder)


def refused_or_read(path: Path) -> bool:
    """True where a file was refused in one line that names it; anything but a ValueError fails the test."""
    try:
        open_any(path)
        return False
    except ValueError as error:
        line = str(error)
    assert "\n" not in line and "got" in line and "; wanted" in line, line
    assert str(path.with_suffix("")) in line, line
    return True


@pytest.mark.parametrize("kind", GOOD)
def test_cut_short(kind: str, tmp_path: Path) -> None:
    path = good(kind, tmp_path)
    whole = path.read_bytes()
    assert not refused_or_read(path)
    lengths = sorted({int(len(whole) * share) for share in np.linspace(0, 0.97, 20)})
    refused = []
    for length in lengths:
        path.write_bytes(whole[:length])
        refused.append(refused_or_read(path))
    assert all(refused[: len(refused) // 2]), "half a file is no file"


@pytest.mark.parametrize("kind", FLIPPED)
@pytest.mark.filterwarnings("ignore")  # what libraries say about damage is not the point
def test_flipped_bytes(kind: str, tmp_path: Path) -> None:
    import torch

    path = good(kind, tmp_path)
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    draw = generator("damage", kind)
    for _ in range(20):
        spoilt = whole.copy()
        reach = min(len(whole), 600)  # headers lie at the start
        where = torch.randint(0, reach, (4,), generator=draw).numpy()
        spoilt[where] ^= torch.randint(1, 256, (4,), generator=draw).numpy().astype(np.uint8)
        path.write_bytes(spoilt.tobytes())
        refused_or_read(path)


FOREIGN = {
    "empty": (b"", "an empty file"),
    "text": (b"hello, this is no scan", "no format kwise knows"),
    "pdf": (b"%PDF-1.4 " * 40, "no format kwise knows"),
    "mrd2": (b"yardl" + bytes(100), "MRD version 2"),
    "twix": (bytes(4) + (2).to_bytes(4, "little") + bytes(500), "Siemens"),
    "lone hdr": (b"# Dimensions\n4 4\n", "BART header"),
    "gzip": (b"\x1f\x8b" + bytes(50), "no format kwise knows"),
    "hdf5": (None, "HDF5 of another format"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(kind: str, tmp_path: Path) -> None:
    content, said = FOREIGN[kind]
    path = tmp_path / "x"
    if content is None:
        with h5py.File(path, "w") as file:
            file["temperature"] = [1.0]
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=said):
        open_any(path)
    assert refused_or_read(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        format_of(tmp_path / "nothing")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"got a folder of a\.txt; wanted DICOM images"):
        open_any(tmp_path)
    with pytest.raises(ValueError, match=r"axes for numpy arrays alone"):
        open_any(good("cfl", tmp_path), axes="ky kx")
    with pytest.raises(ValueError, match=r"a mask for CMRxRecon files alone"):
        open_any(good("npy", tmp_path), mask=tmp_path / "m.mat")


def mrd_with(folder: Path, rows: list[np.ndarray], header: str | None = None) -> Path:
    return write_mrd_rows(folder / "x.h5", mrd_header(KY, KX) if header is None else header, rows)


BAD_MRD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "noise alone": (
        lambda f: mrd_with(f, [mrd_row(np.ones((2, KX)), flags=(19,))]),
        "none of them of an image",
    ),
    "mixed coils": (
        lambda f: mrd_with(f, [mrd_row(np.ones((n, KX)), kspace_encode_step_1=n) for n in (1, 2)]),
        r"readouts of \[1, 2\] coils",
    ),
    "two slabs": (
        lambda f: mrd_with(f, [mrd_row(np.ones((2, KX)), kspace_encode_step_2=n, slice=n) for n in (0, 1)]),
        "2 slabs of partitions",
    ),
    "undersampled along partitions": (
        lambda f: mrd_with(
            f, [mrd_row(np.ones((2, KX)), kspace_encode_step_1=n, kspace_encode_step_2=n) for n in (0, 1)]
        ),
        "undersampled along its partitions",
    ),
    "a trajectory in partitions": (
        lambda f: mrd_with(
            f,
            [mrd_row(np.ones((2, KX)), kspace_encode_step_2=n) for n in (0, 1)],
            mrd_header(KY, KX).replace("cartesian", "radial"),
        ),
        "a trajectory in 2 partitions",
    ),
    "radial": (
        lambda f: mrd_with(f, mrd_rows(some_kspace()), mrd_header(KY, KX).replace("cartesian", "radial")),
        "with 0 numbers of trajectory for",
    ),
    "NaN": (lambda f: mrd_with(f, mrd_rows(some_kspace() * np.nan)), "NaN or Inf"),
    "zeros": (lambda f: mrd_with(f, [mrd_row(np.ones((2, 0)))]), "without samples"),
    "no XML": (
        lambda f: mrd_with(f, mrd_rows(some_kspace()), "<ismrmrdHeader>"),
        "XML header that is damaged",
    ),
    "entities": (
        lambda f: mrd_with(f, mrd_rows(some_kspace()), "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"),
        "entities",
    ),
    "words for numbers": (
        lambda f: mrd_with(
            f, mrd_rows(some_kspace()), mrd_header(KY, KX).replace("<y>12</y>", "<y>many</y>")
        ),
        "matrixSize/y = 'many'",
    ),
    "absurd matrix": (
        lambda f: mrd_with(
            f, mrd_rows(some_kspace()), mrd_header(KY, KX).replace("<y>12</y>", "<y>90000000</y>")
        ),
        "a header of .* GB of k-space",
    ),
    "short data": (
        lambda f: mrd_with(f, [_shortened(mrd_row(np.ones((2, KX))))]),
        "readouts near 0 of another",
    ),
}


def _shortened(row: np.ndarray) -> np.ndarray:
    row["data"][0] = row["data"][0][:7]
    return row


@pytest.mark.parametrize("kind", BAD_MRD)
def test_bad_mrd(kind: str, tmp_path: Path) -> None:
    make, said = BAD_MRD[kind]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=said):
        open_any(path)
    assert refused_or_read(path)


BAD_ARRAYS = {
    "mat real": (lambda f: write_mat5(f / "x.mat", kspace_full=np.ones((5, 4))), "wanted complex k-space"),
    "mat rank": (lambda f: write_mat5(f / "x.mat", kspace_full=np.ones((2,) * 6) + 1j), "wanted axes"),
    "mat other": (lambda f: write_mat5(f / "x.mat", T1=np.ones((5, 4))), "wanted k-space named"),
    "mat zeros": (lambda f: write_mat73(f / "x.mat", kus=np.zeros((5, 4), "c8")), "k-space of zeros alone"),
    "mat NaN": (lambda f: write_mat73(f / "x.mat", kus=np.full((5, 4), np.nan + 1j)), "NaN or Inf"),
    "fastmri real": (lambda f: write_fastmri(f / "x.h5", np.ones((2, 8, 6))), "wanted complex"),
    "fastmri rank": (lambda f: write_fastmri(f / "x.h5", np.ones((8, 6)) + 1j), "wanted complex"),
    "cfl sizes": (lambda f: write_cfl(f / "x.cfl", np.ones((2, 2)), dims=(0, 2)), "whole numbers above 0"),
    "npy text": (lambda f: _saved(f, np.array(["a", "b"])), "none of numbers"),
    "npy objects": (lambda f: _saved(f, np.array([{}, 1], dtype=object)), "Python objects"),
    "npy line": (lambda f: _saved(f, np.ones(5)), "wanted 1 axes out of"),
    "npy empty": (lambda f: _saved(f, np.ones((0, 5))), "wanted complex k-space or a real image"),
    "npy Inf": (lambda f: _saved(f, np.full((4, 4), np.inf)), "NaN or Inf"),
}


def _saved(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "x.npy", array)
    return folder / "x.npy"


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_bad_arrays(kind: str, tmp_path: Path) -> None:
    make, said = BAD_ARRAYS[kind]
    path = make(tmp_path)
    with pytest.raises(ValueError, match=said):
        open_any(path)
    assert refused_or_read(path)


@quick
@given(
    st.text(string.printable, max_size=30), st.sampled_from(["trajectory", "x", "TR", "maximum", "center"])
)
def test_headers_of_any_text(text: str, field: str) -> None:
    header = mrd_header(KY, KX)
    start = header.index(f"<{field}>") + len(field) + 2
    spoilt = header[:start] + escape(text) + header[header.index(f"</{field}>") :]
    try:
        assert isinstance(parse_header(spoilt, "reading it"), Header)
    except ValueError as error:
        assert str(error).startswith("reading it: got") and "; wanted" in str(error)


@quick
@given(
    st.tuples(*[st.integers(1, 3)] * 3, st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from(["mrd", "cfl", "npy"]),
    st.integers(1, 3),
)
def test_shapes_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, ...], kind: str, every: int
) -> None:
    folder, truth = tmp_path_factory.mktemp("shape"), kspace_of(*shape)
    truth[..., [ky for ky in range(shape[3]) if ky % every], :] = 0
    if kind == "mrd":
        path = write_mrd_rows(folder / "x", mrd_header(*shape[3:]), mrd_rows(truth, every))
    elif kind == "cfl":
        c, z, t, ky, kx = shape
        path = write_cfl(
            folder / "x.cfl", truth.transpose(4, 3, 0, 2, 1).reshape(kx, ky, 1, c, *[1] * 6, t, 1, 1, z)
        )
    else:
        path = _saved(folder, truth)
    scan = open_any(path)
    assert scan.kspace is not None and scan.mask is not None
    assert scan.kspace.shape == shape
    if "centre of k-space" not in scan.notes:
        assert np.allclose(scan.kspace.numpy(), truth, atol=1e-5)
