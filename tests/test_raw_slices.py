"""Some slices of a file are what they are in the whole, and cost what they hold; side files; bulk reading."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch

from kwise.data.kspace_file import write_scan
from kwise.data.raw import open_any
from kwise.data.raw_mrd_rows import readouts_of, through_hdf5
from kwise.types import Scan
from raw_files import (
    MRD_ROW,
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

every = pytest.mark.parametrize
C, Z, T, KY, KX = 2, 5, 3, 12, 10


def stack(off: tuple[int, int] = (0, 0)) -> np.ndarray:
    """(c, z, t, ky, kx), no slice like another, DC shifted by `off`."""
    kspace = kspace_of(C, Z, T, KY, KX) * (1 + np.arange(Z, dtype=np.float32)[:, None, None, None])
    return np.roll(kspace.astype(np.complex64), off, axis=(-2, -1))


def own(path: Path) -> Path:
    mask = torch.ones(Z, T, KY, KX, dtype=torch.bool)
    mask[:, :, ::3] = False
    affine = torch.tensor([[0, 2, 0, 3], [-1.5, 0, 0, 4], [0, 0, 8, 5], [0, 0, 0, 1]], dtype=torch.float64)
    labels = torch.arange(Z)[:, None, None, None].expand(Z, T, KY, KX) % 4
    maps = torch.from_numpy(stack()[:, :, 0])
    scan = Scan(
        "own", kspace=torch.from_numpy(stack()) * mask, mask=mask, labels=labels, coil_maps=maps,
        spacing_mm=(8.0, 2.0, 1.5), affine=affine,
    )  # fmt: skip
    write_scan(path, scan)
    return path


def noisy_mrd(path: Path) -> Path:
    noise = mrd_row(kspace_of(C, 1, 1, 1, 64)[:, 0, 0, 0], flags=(19,))
    return write_mrd_rows(path, mrd_header(KY, KX), [noise, *mrd_rows(stack(), every=2)])


def npz(path: Path, save: Callable[..., None]) -> Path:
    mask = np.ones((Z, 1, KY, 1), dtype=bool)
    mask[2, :, ::2] = False
    save(path, kspace=stack((2, -1)), mask=mask)
    return path


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def nifti(path: Path) -> Path:
    image = np.abs(stack())[0].transpose(3, 2, 0, 1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([1.5, 2, 8, 1])), path)
    return path


def dicom(folder: Path) -> Path:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    for z in range(Z):
        place = {"ImagePositionPatient": [0, 0, 8 * z], "InstanceNumber": z + 1}
        write_dicom(folder / f"{z}.dcm", np.full((KY, KX), z + 1), **place)
    return folder


def bart(kspace: np.ndarray) -> np.ndarray:
    c, z, t, ky, kx = kspace.shape
    return kspace.transpose(4, 3, 0, 2, 1).reshape(kx, ky, 1, c, *[1] * 6, t, 1, 1, z)


MATLAB = (4, 3, 0, 1, 2)
FILES: dict[str, Callable[[Path], Path]] = {
    "kwise": lambda f: own(f / "k.h5"),
    "mrd": lambda f: noisy_mrd(f / "m.h5"),
    "fastmri": lambda f: write_fastmri(f / "f.h5", stack()[:, :, 0].transpose(1, 0, 3, 2)),
    "mat73": lambda f: write_mat73(f / "x.mat", kspace_full=stack((1, -1)).transpose(MATLAB)),
    "mat5": lambda f: write_mat5(f / "x.mat", kspace_full=stack((0, -1)).transpose(MATLAB)),
    "mat single": lambda f: write_mat5(f / "x.mat", kspace_single=stack()[0].transpose(3, 2, 0, 1)),
    "cfl": lambda f: write_cfl(f / "x.cfl", bart(stack())),
    "npy": lambda f: npy(f / "x.npy", stack((-1, 0))),
    "npy image": lambda f: npy(f / "x.npy", np.abs(stack())[0]),
    "npz": lambda f: npz(f / "x.npz", np.savez),
    "npz packed": lambda f: npz(f / "x.npz", np.savez_compressed),
    "nifti": lambda f: nifti(f / "x.nii.gz"),
    "dicom": lambda f: dicom(f),
}  # fmt: skip


@every("kind", FILES)
def test_some_slices_are_those_of_the_whole(kind: str, tmp_path: Path) -> None:
    path = FILES[kind](tmp_path)
    whole = open_any(path)
    assert len(whole.mask if whole.mask is not None else whole.image) == Z
    for asked, numbers in ((3, [3]), (slice(1, 5, 2), [1, 3]), (slice(None), list(range(Z)))):
        part = open_any(path, slices=asked)
        for name, axis in {"image": 0, "kspace": 1, "mask": 0, "labels": 0, "coil_maps": 1}.items():
            mine, theirs = getattr(part, name), getattr(whole, name)
            assert (mine is None) == (theirs is None)
            if mine is not None:
                assert torch.equal(mine, theirs.index_select(axis, torch.tensor(numbers))), (name, asked)
        step = 2 if len(numbers) == 2 and "spacing" not in whole.notes else 1
        assert part.spacing_mm == pytest.approx((whole.spacing_mm[0] * step, *whole.spacing_mm[1:]))
        if whole.affine is not None:
            assert part.affine is not None
            for i, number in enumerate(numbers):  # every slice stays where it was in the scanner
                here = part.affine @ torch.tensor([1.0, 2, i, 1], dtype=torch.float64)
                assert torch.allclose(here, whole.affine @ torch.tensor([1.0, 2, number, 1]).double())
        assert {k: v for k, v in part.notes.items() if k != "dead coils"} == whole.notes
    for wrong in (Z, -1, slice(4, 2), slice(7, 9), slice(None, None, -1), slice(0, 1, 0)):
        with pytest.raises(
            ValueError, match=rf"reading .*: got slices .* asked of {Z}; wanted some of 0 to 4"
        ):
            open_any(path, slices=wrong)


LARGE = (2, 16, 2, 64, 64)  # 2 MB of k-space, 16 slices
COSTLY: dict[str, Callable[[Path], Path]] = {
    "mat73": lambda f: write_mat73(f / "x.mat", kspace_full=kspace_of(*LARGE).transpose(MATLAB)),
    "mat5": lambda f: write_mat5(f / "x.mat", kspace_full=kspace_of(*LARGE).transpose(MATLAB)),
    "cfl": lambda f: write_cfl(f / "x.cfl", bart(kspace_of(*LARGE))),
    "npy": lambda f: npy(f / "x.npy", kspace_of(*LARGE)),
    "npz": lambda f: npz(f / "x.npz", lambda path, **_: np.savez(path, kspace=kspace_of(*LARGE))),
    "fastmri": lambda f: write_fastmri(f / "f.h5", kspace_of(*LARGE)[:, :, 0].transpose(1, 0, 3, 2)),
    "mrd": lambda f: write_mrd_rows(f / "m.h5", mrd_header(64, 64), mrd_rows(kspace_of(*LARGE))),
}


@every("kind", COSTLY)
def test_a_slice_costs_a_slice(kind: str, tmp_path: Path) -> None:
    """What numpy takes (torch is not traced) stays near a slice, or two: one is looked at for the centre."""
    path = COSTLY[kind](tmp_path)
    open_any(path, slices=0)  # imports
    tracemalloc.start()
    open_any(path, slices=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    heads = (
        0 if kind != "mrd" else 16 * 2 * 64 * (2 * MRD_ROW.itemsize + 1200)
    )  # the headers, read for their order
    assert peak < 0.35 * path.stat().st_size + heads + 3e5, f"{peak / path.stat().st_size:.2f} of the file"


# -- bulk reading of MRD


def mixed_rows() -> list[np.ndarray]:
    rows = mrd_rows(kspace_of(3, 1, 2, KY, KX))
    for i, row in enumerate(rows):
        row["traj"][0] = np.arange(2 * (i % 4), dtype=np.float32)
    return rows


@every("layout", ["contiguous", "rows of one", "rows of seven", "gzip", "user block", "wide"])
def test_bulk_reading_gives_what_the_library_gives(layout: str, tmp_path: Path) -> None:
    rows, path = np.concatenate(mixed_rows()), tmp_path / "m.h5"
    options = {
        "rows of one": {"chunks": (1,), "maxshape": (None,)},
        "rows of seven": {"chunks": (7,), "maxshape": (None,)},
        "gzip": {"chunks": (5,), "compression": 1},
    }.get(layout, {})
    with h5py.File(path, "w", userblock_size=512 if layout == "user block" else 0) as file:
        if layout == "wide":
            wide = np.dtype([("head", MRD_ROW["head"]), ("data", h5py.vlen_dtype(np.dtype("<f8"))),
                             ("traj", MRD_ROW["traj"])])  # fmt: skip
            rows = _widened(rows, wide)
        file.create_dataset("dataset/data", data=rows, **options)
    with h5py.File(path) as file, path.open("rb") as plain:
        data = file["dataset/data"]
        found, true = readouts_of(data, plain.fileno()), through_hdf5(data)
        assert found.heads.tobytes() == true.heads.tobytes()
        direct = found.data.fetch.__qualname__.startswith("Places")
        assert direct == (layout in ("contiguous", "rows of one", "rows of seven"))
        order = np.arange(len(rows))[::-3]
        for name in ("data", "traj"):
            for mine, row in zip(getattr(found, name).fetch(order), rows[name][order]):
                assert np.array_equal(mine, row)
        with pytest.raises(ValueError, match="got"):
            found.data.block(np.array([0, 1]), 4)


def _widened(rows: np.ndarray, kind: np.dtype) -> np.ndarray:
    wide = np.empty(len(rows), dtype=kind)
    for name in ("head", "traj"):
        wide[name] = rows[name]
    for i, values in enumerate(rows["data"]):
        wide["data"][i] = values.astype(np.float64)
    return wide


# -- CSV files beside CMRxRecon's k-space

TABLES = {
    "rows": "Pixel size (mm),1.5 x 2.0\nSlice thickness (mm),8\nTemporal resolution (ms),42.5\nVendor,A\n",
    "columns": "Voxel size (mm),Slice thickness,Frame time (ms)\n1.5*2.0,8,42.5\n",
    "voxel": "voxel,1.5,2.0,8.0\ntemporal_resolution_ms,42.5\n",
    "field": f"FOV (mm),{1.5 * KX},{2.0 * KY}\nthickness,8\nframe time,42.5\n",
}


@every("kind", TABLES)
@every("ending", ["_info.csv", ".csv"])
def test_side_files_tell_geometry_and_time(kind: str, ending: str, tmp_path: Path) -> None:
    path = write_mat5(tmp_path / "cine_sax.mat", kspace_full=stack().transpose(MATLAB))
    (tmp_path / f"cine_sax{ending}").write_text("\ufeff" + TABLES[kind], encoding="utf-8")
    scan = open_any(path)
    assert scan.spacing_mm == pytest.approx((8, 2, 1.5)) and scan.frame_ms == 42.5
    assert "spacing" not in scan.notes and f"cine_sax{ending} tells" in scan.notes["side file"]


@every(
    ("text", "said"),
    [
        ("pixel size,none", r"cine\.csv: got pixel size = 'none'; wanted numbers above 0"),
        ("pixel size,-1 0", r"wanted numbers above 0"),
        ("a,b\n" * 300000, r"wanted a small table"),
    ],
)
def test_bad_side_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = write_mat5(tmp_path / "cine.mat", kspace_full=stack().transpose(MATLAB))
    (tmp_path / "cine.csv").write_text(text)
    with pytest.raises(ValueError, match=said):
        open_any(path)


def test_side_files_that_tell_little(tmp_path: Path) -> None:
    path = write_mat5(tmp_path / "cine.mat", kspace_full=stack().transpose(MATLAB))
    (tmp_path / "cine.csv").write_text("Vendor,A\nTemporal resolution,9999\n")
    scan = open_any(path)
    assert scan.spacing_mm == (1, 1, 1) and scan.frame_ms is None
    assert "left out" in scan.notes["frame time"] and "spacing" in scan.notes
    (tmp_path / "cine.csv").write_text("Pixel spacing,1.5\n")
    scan = open_any(path)
    assert scan.spacing_mm == (1, 1.5, 1.5) and "not told" in scan.notes["slice distance"]
