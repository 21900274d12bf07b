"""kwise's own k-space file: what goes in comes out, what is wrong is refused, nothing half-written stays."""

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from kwise.data.kspace_file import describe, read_scan, write_scan
from kwise.seeding import generator
from kwise.types import IGNORE, Scan

SHAPE = (2, 3, 8, 6)  # z t y x


def scan_of(n_coils: int = 2) -> Scan:
    draw = generator("kspace file")
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :, ::2] = True
    labels = torch.full(SHAPE, IGNORE)
    labels[:, 1] = torch.randint(0, 4, SHAPE[:1] + SHAPE[2:], generator=draw)
    return Scan(
        case="somebody",
        kspace=torch.randn(n_coils, *SHAPE, dtype=torch.complex64, generator=draw),
        mask=mask,
        labels=labels,
        coil_maps=torch.randn(n_coils, *SHAPE[:1], *SHAPE[2:], dtype=torch.complex64, generator=draw),
        trajectory=torch.rand(*SHAPE, 2, generator=draw) - 0.5,
        image_shape=SHAPE[2:],
        spacing_mm=(10.0, 1.4, 1.3),
        frame_ms=31.5,
        affine=torch.diag(torch.tensor([1.3, 1.4, 10.0, 1.0], dtype=torch.float64)),
        ed=0,
        es=2,
        notes={"phase": "smooth field, simulated", "group": "DCM"},
    )


def test_everything_comes_back(tmp_path: Path) -> None:
    scan = scan_of()
    write_scan(tmp_path / "a.h5", scan, acceleration=8)
    back = read_scan(tmp_path / "a.h5")
    assert back.kspace is not None and scan.kspace is not None and scan.mask is not None
    assert back.kspace.dtype == torch.complex64
    assert torch.equal(back.kspace, scan.kspace * scan.mask)
    for name in ("mask", "labels", "coil_maps", "trajectory", "affine"):
        assert torch.equal(getattr(back, name), getattr(scan, name)), name
        assert getattr(back, name).dtype == getattr(scan, name).dtype
    for name in ("case", "spacing_mm", "frame_ms", "ed", "es", "image_shape"):
        assert getattr(back, name) == getattr(scan, name), name
    assert back.notes == {**scan.notes, "acceleration": "8"}
    write_scan(tmp_path / "b.h5", back)
    assert read_scan(tmp_path / "b.h5").notes == back.notes
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.h5", "b.h5"]


def test_a_trajectory_says_which_grid_it_stands_for(tmp_path: Path) -> None:
    import h5py

    spokes = torch.ones(1, 1, 2, 3, 10, dtype=torch.complex64)
    path = torch.zeros(1, 2, 3, 10, 2)
    write_scan(tmp_path / "a.h5", Scan("radial", kspace=spokes, trajectory=path, image_shape=(12, 9)))
    assert read_scan(tmp_path / "a.h5").shape == (1, 2, 12, 9)
    with h5py.File(tmp_path / "a.h5", "a") as file:  # as files were before
        del file.attrs["image_shape"]
    assert read_scan(tmp_path / "a.h5").shape == (1, 2, 10, 10)
    assert "points of a spoke" in read_scan(tmp_path / "a.h5").notes["image shape"]
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["image_shape"] = [12, 0]
    with pytest.raises(ValueError, match=r"got image_shape = \[12\.0, 0\.0\]; wanted two whole numbers"):
        read_scan(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs["image_shape"] = [12, 9]
        file["trajectory"][0, 0, 0, 0] = 0.7
    with pytest.raises(ValueError, match=r"got positions from 0 to 0\.7; wanted -0\.5 to 0\.5"):
        read_scan(tmp_path / "a.h5")


def test_only_what_is_known_comes_back(tmp_path: Path) -> None:
    kspace = torch.ones(1, 1, 1, 4, 5, dtype=torch.complex64)
    write_scan(tmp_path / "a.h5", Scan("bare", kspace=kspace))
    back = read_scan(tmp_path / "a.h5")
    assert back.mask is not None and bool(back.mask.all())
    optional = ("labels", "coil_maps", "trajectory", "image_shape", "frame_ms", "affine", "ed", "es")
    assert all(getattr(back, name) is None for name in optional)
    assert back.notes == {}


def test_describe_reads_the_header(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.h5", scan_of(), acceleration=4)
    told = describe(tmp_path / "a.h5")
    assert told["case"] == "somebody" and told["acceleration"] == "4.0" and told["version"] == "1"
    assert told["kspace"] == "(c, z, t, ky, kx) = (2, 2, 3, 8, 6) complex64"
    assert told["phase"] == "smooth field, simulated"


def test_what_was_not_acquired_is_zero_in_the_file(tmp_path: Path) -> None:
    scan = scan_of()
    assert scan.kspace is not None and scan.mask is not None
    write_scan(tmp_path / "a.h5", scan)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.all(file["kspace"][:][:, ~scan.mask.numpy()] == 0)
        assert file["mask"].dtype == bool


def test_rubbish_where_nothing_was_acquired_is_not_believed(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.h5", scan_of())
    clean = read_scan(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["kspace"][:, :, :, 1] = np.nan
    again = read_scan(tmp_path / "a.h5")
    assert again.kspace is not None and clean.kspace is not None
    assert torch.equal(again.kspace, clean.kspace)


def replaced(name: str, change: object) -> object:
    """An edit that puts another array in the place of one of the file's."""

    def edit(file: h5py.File) -> None:
        values = change(file[name][:])  # type: ignore[operator]
        del file[name]
        file[name] = values

    return edit


def said(key: str, value: object) -> object:
    return lambda file: file.attrs.__setitem__(key, value)


def without(name: str) -> object:
    return lambda file: file.__delitem__(name)


def nan_in_an_acquired_sample(values: np.ndarray) -> np.ndarray:
    values[0, 0, 0, 0, 0] = np.nan
    return values


DAMAGE = {
    "another format": (said("format", "fastmri"), "another format"),
    "newer": (said("version", 2), "version 2"),
    "no version": (lambda file: file.attrs.__delitem__("version"), "version none"),
    "no kspace": (without("kspace"), "no data set kspace"),
    "no mask": (without("mask"), "no data set mask"),
    "real": (replaced("kspace", lambda a: a.real), "kspace of type float32"),
    "four axes": (replaced("kspace", lambda a: a[0]), "axes (c, z, t, ky, kx)"),
    "zero frames": (replaced("kspace", lambda a: a[:, :, :0]), "at least one element along t"),
    "NaN": (replaced("kspace", nan_in_an_acquired_sample), "NaN or Inf in kspace"),
    "all false": (replaced("mask", np.zeros_like), "all-false mask"),
    "integers": (replaced("mask", lambda a: a.astype(np.uint8)), "mask of type uint8"),
    "another grid": (replaced("mask", lambda a: a[:, :, :-1]), "shape (2, 3, 7, 6); wanted (2, 3, 8, 6)"),
    "fewer frames of labels": (replaced("labels", lambda a: a[:, :1]), "labels of shape"),
    "bent affine": (said("affine", np.eye(3)), "shape (4, 4)"),
    "late ed": (said("ed", 3), "a frame from 0 to 2"),
    "worded es": (said("es", "last"), "es = 'last'"),
    "flat voxels": (said("spacing_mm", [0.0, 1.0, 1.0]), "positive"),
    "notes": (said("notes", "{"), "no JSON"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    edit, words = DAMAGE[name]
    path = tmp_path / "wrong.h5"
    write_scan(path, scan_of())
    with h5py.File(path, "r+") as file:
        edit(file)  # type: ignore[operator]
    with pytest.raises(ValueError) as error:
        read_scan(path)
    message = str(error.value)
    assert words in message and "\n" not in message
    assert str(path) in message and "got" in message and "wanted" in message


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.h5", tmp_path / "cut.h5"
    write_scan(whole, scan_of())
    contents = whole.read_bytes()
    for content in (contents[: len(contents) // 2], contents[:-8], contents[:20], b"", b"hello"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cut\.h5: got no HDF5, or a truncated one") as error:
            read_scan(path)
        assert "\n" not in str(error.value)
    with h5py.File(path, "w") as file:
        file["reconstruction_rss"] = np.zeros(3)
    with pytest.raises(ValueError, match="holding reconstruction_rss"):
        describe(path)
    with pytest.raises(ValueError, match="no such file"):
        read_scan(tmp_path / "nowhere.h5")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    scan = scan_of()
    with pytest.raises(ValueError, match="wanted k-space"):
        write_scan(tmp_path / "a.h5", Scan("image", image=torch.ones(1, 1, 4, 4)))
    with pytest.raises(ValueError, match="got coil_maps of shape"):
        write_scan(tmp_path / "a.h5", replace(scan, coil_maps=torch.ones(3, 2, 8, 6)))
    with pytest.raises(OSError, match="No such file or directory"):
        write_scan(tmp_path / "no folder" / "a.h5", scan)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 1 kB: the write fails half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path: Path, full_disk: None) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match=r"writing .*a\.h5: got .*; wanted a folder with room") as error:
        write_scan(path, scan_of())
    assert "\n" not in str(error.value)
    assert [f.name for f in tmp_path.iterdir()] == ["a.h5"]
    assert path.read_bytes() == b"before"


def test_light_compression_pays_for_unacquired_lines(tmp_path: Path) -> None:
    scan = scan_of(n_coils=8)
    kspace = torch.randn(8, 1, 10, 64, 64, dtype=torch.complex64, generator=generator("size"))
    mask = torch.zeros(1, 10, 64, 64, dtype=torch.bool)
    mask[:, :, ::8] = True
    write_scan(tmp_path / "a.h5", Scan(scan.case, kspace=kspace, mask=mask))
    assert (tmp_path / "a.h5").stat().st_size < kspace.numel() * 8 / 6
