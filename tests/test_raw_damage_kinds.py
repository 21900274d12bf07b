"""The same damage done to every format: refused in one line, or read with the repair told."""

import gzip
import io
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwise.data.kspace_file import write_scan
from kwise.data.raw import open_any
from kwise.seeding import generator
from kwise.types import Scan
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

every = pytest.mark.parametrize
C, T, KY, KX = 3, 2, 12, 10
Write = Callable[[Path, np.ndarray], Path]


def own(folder: Path, kspace: np.ndarray) -> Path:
    """kwise's own layout, whatever the values: written clean, then spoilt in place."""
    clean = torch.from_numpy(np.nan_to_num(kspace_of(*kspace.shape)))
    write_scan(folder / "x.h5", Scan("x", kspace=clean))
    with h5py.File(folder / "x.h5", "r+") as file:
        del file["kspace"]
        file["kspace"] = kspace
    return folder / "x.h5"


def npy(folder: Path, kspace: np.ndarray) -> Path:
    np.save(folder / "x.npy", kspace)
    return folder / "x.npy"


def npz(folder: Path, kspace: np.ndarray) -> Path:
    np.savez(folder / "x.npz", kspace=kspace)
    return folder / "x.npz"


def bart(kspace: np.ndarray) -> np.ndarray:
    c, z, t, ky, kx = kspace.shape
    return kspace.transpose(4, 3, 0, 2, 1).reshape(kx, ky, 1, c, *[1] * 6, t, 1, 1, z)


# Each writes k-space (c, 1, t, ky, kx); fastMRI takes the frames as slices.
WRITERS: dict[str, Write] = {
    "kwise": own,
    "mrd": lambda f, k: write_mrd_rows(f / "x.h5", mrd_header(KY, KX), mrd_rows(k)),
    "fastmri": lambda f, k: write_fastmri(f / "x.h5", k[:, 0].transpose(1, 0, 3, 2), "ismrmrd_header"),
    "mat5": lambda f, k: write_mat5(f / "x.mat", kspace_full=k.transpose(4, 3, 0, 1, 2)),
    "mat73": lambda f, k: write_mat73(f / "x.mat", kspace_full=k.transpose(4, 3, 0, 1, 2)),
    "cfl": lambda f, k: write_cfl(f / "x.cfl", bart(k)),
    "npy": npy,
    "npz": npz,
}


def truth() -> np.ndarray:
    return kspace_of(C, 1, T, KY, KX)


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(ValueError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        open_any(path)
    line = str(caught.value)
    assert "\n" not in line and "got" in line and "; wanted" in line, line
    assert str(path.with_suffix("")) in line, line
    return line


def frames_of(scan: Scan) -> torch.Tensor:
    """(c, frames or slices, ky, kx)."""
    assert scan.kspace is not None
    return scan.kspace.flatten(1, 2)


@every("value", [np.nan, np.inf, complex(0, -np.inf)])
@every("kind", WRITERS)
def test_values_that_are_none(kind: str, value: complex, tmp_path: Path) -> None:
    kspace = truth()
    kspace[1, 0, 1, 3, 4] = value
    assert "NaN or Inf" in refusal(WRITERS[kind](tmp_path, kspace))


@every("kind", [kind for kind in WRITERS if kind != "kwise"])  # there the mask says what was acquired
def test_zeros_alone(kind: str, tmp_path: Path) -> None:
    assert "k-space of zeros alone" in refusal(WRITERS[kind](tmp_path, np.zeros_like(truth())))


@every("coil", range(C))
@every("kind", [kind for kind in WRITERS if kind != "kwise"])
def test_a_dead_coil_is_named(kind: str, coil: int, tmp_path: Path) -> None:
    kspace = truth()
    kspace[coil] = 0
    scan = open_any(WRITERS[kind](tmp_path, kspace))
    assert scan.notes["dead coils"] == f"{coil} (from 0) of 3 hold zeros alone"
    assert np.allclose(frames_of(scan).numpy(), kspace[:, 0], atol=1e-4)


@every("kind", ["kwise", "fastmri", "mat5", "npy", "npz"])
def test_double_precision_is_read_as_single(kind: str, tmp_path: Path) -> None:
    scan = open_any(WRITERS[kind](tmp_path, truth().astype(np.complex128)))
    assert scan.kspace is not None and scan.kspace.dtype == torch.complex64
    assert np.allclose(frames_of(scan).numpy(), truth()[:, 0], atol=1e-4)


@every("kind", ["fastmri", "mat5", "npy", "npz"])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_values_beyond_single_precision(kind: str, tmp_path: Path) -> None:
    kspace = truth().astype(np.complex128)
    kspace[0, 0, 0, 0, 0] = 1e300
    assert "NaN or Inf" in refusal(WRITERS[kind](tmp_path, kspace))


@every("kind", ["kwise", "fastmri", "mat5", "mat73"])
@every("type_", [np.float32, np.int16])
def test_real_numbers_are_no_kspace(kind: str, type_: type, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = WRITERS[kind](tmp_path, truth().astype(type_))
    assert "complex" in refusal(path)


@every("kind", ["fastmri", "mat73", "npy"])
def test_empty_axes(kind: str, tmp_path: Path) -> None:
    line = refusal(WRITERS[kind](tmp_path, np.zeros((C, 1, T, 0, KX), np.complex64)))
    assert "0" in line


# -- MRD: what its headers may say, one field at a time

FIELDS = {
    "number_of_samples": (0, 1, 5, 9, 11, 60000, 65535),
    "active_channels": (0, 1, 2, 4, 65535),
    "center_sample": (0, 1, 9, 10, 65535),
    "discard_pre": (1, 9, 10, 65535),
    "discard_post": (1, 9, 10, 65535),
    "encoding_space_ref": (1, 65535),
    "trajectory_dimensions": (1, 3, 65535),
    "version": (0, 2, 65535),
    "flags": (2**18, 2**19, 2**25, 2**63, 2**64 - 1),
}
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "slice", "phase", "repetition", "set", "contrast")


@every("which", ["first", "all"])
@every(("field", "value"), [(f, v) for f, values in FIELDS.items() for v in values])
def test_mrd_readout_headers_of_any_number(field: str, value: int, which: str, tmp_path: Path) -> None:
    rows = mrd_rows(truth())
    for row in rows if which == "all" else rows[:1]:
        row["head"][field] = value
    _refused_or_told(write_mrd_rows(tmp_path / "x.h5", mrd_header(KY, KX), rows))


@every("value", [1, 12, 300, 65535])
@every("counter", COUNTERS)
def test_mrd_counters_of_any_number(counter: str, value: int, tmp_path: Path) -> None:
    rows = mrd_rows(truth())
    rows[0]["head"]["idx"][counter] = value
    _refused_or_told(write_mrd_rows(tmp_path / "x.h5", mrd_header(KY, KX), rows))


def _refused_or_told(path: Path) -> None:
    """Every acquired line stands where it was, or a note says what became of some, or the file is refused."""
    try:
        scan = open_any(path)
    except ValueError as error:
        assert "\n" not in str(error) and "; wanted" in str(error), error
        return
    assert scan.kspace is not None and scan.mask is not None
    assert bool(torch.isfinite(scan.kspace.abs()).all()) and not bool(scan.kspace[:, ~scan.mask].any())
    if scan.shape == (1, T, KY, KX) and bool(scan.mask.all()) and not _told(scan):
        assert np.allclose(frames_of(scan).numpy(), truth()[:, 0], atol=1e-4), scan.notes


def _told(scan: Scan) -> bool:
    return any(
        word in key for key in scan.notes for word in ("left out", "averaged", "phase encoding", "frames")
    )


@every("size", [(1, 5), (30, 5), (13, 9), (1, 1), (65535, 65535)])
@every("part", ["encodedSpace", "reconSpace"])
def test_mrd_matrices_that_contradict_the_readouts(part: str, size: tuple[int, int], tmp_path: Path) -> None:
    ky, kx = size
    header = mrd_header(KY, KX)
    start = header.index(f"<{part}>")
    changed = header[start:].replace(f"<x>{KX}</x><y>{KY}</y>", f"<x>{kx}</x><y>{ky}</y>", 1)
    path = write_mrd_rows(tmp_path / "x.h5", header[:start] + changed, mrd_rows(truth()))
    try:
        scan = open_any(path)
    except ValueError as error:
        assert "GB of k-space" in str(error) and part == "encodedSpace"
        return
    assert scan.kspace is not None and scan.mask is not None
    inside = scan.kspace[:, scan.mask].reshape(C, T, -1)
    assert np.allclose(inside.numpy(), truth().reshape(C, T, -1), atol=1e-4)  # nothing lost, whatever it says


@every("center", ["-5", "0", "1", "11", "40", "1e12", "nan", "abc", ""])
def test_mrd_centres(center: str, tmp_path: Path) -> None:
    header = mrd_header(KY, KX).replace("<center>6</center>", f"<center>{center}</center>")
    _refused_or_told(write_mrd_rows(tmp_path / "x.h5", header, mrd_rows(truth())))


def test_mrd_mixed_matrix_sizes(tmp_path: Path) -> None:
    """Readouts of several lengths about the same centre are one grid; none of them is stretched or cut."""
    rows = [
        mrd_row(truth()[:, 0, 0, ky, ky % 3 : KX - ky % 2], center=KX // 2 - ky % 3, kspace_encode_step_1=ky)
        for ky in range(KY)
    ]
    scan = open_any(write_mrd_rows(tmp_path / "x.h5", mrd_header(KY, KX), rows))
    assert scan.mask is not None and scan.kspace is not None
    for ky in range(KY):
        line = scan.mask[0, 0, ky]
        assert line.nonzero().flatten().tolist() == list(range(ky % 3, KX - ky % 2))
        assert np.allclose(scan.kspace[:, 0, 0, ky, line], truth()[:, 0, 0, ky, line.numpy()], atol=1e-4)


# -- masks that contradict the data


def test_masks_that_contradict(tmp_path: Path) -> None:
    kspace, half = truth(), np.arange(KY) % 2 == 0
    np.savez(tmp_path / "x.npz", kspace=kspace[:, 0], mask=half)
    scan = open_any(tmp_path / "x.npz")  # what the mask leaves out is not used
    assert scan.mask is not None and torch.equal(scan.mask[0, 0, :, 0], torch.from_numpy(half))
    np.savez(tmp_path / "y.npz", kspace=kspace[:, 0] * 0 + half[:, None], mask=~half)
    assert "zeros alone" in refusal(tmp_path / "y.npz")
    for shape in ((5,), (3, KY, KX), (1, 1, KY, KX + 1), (2, 1, T, KY, KX)):
        np.savez(tmp_path / "z.npz", kspace=kspace[:, 0], mask=np.ones(shape))
        assert "broadcasts" in refusal(tmp_path / "z.npz")
    with h5py.File(own(tmp_path, kspace), "r+") as file:
        del file["mask"]
        file["mask"] = np.zeros((1, T, KY, KX), bool)
    assert "all-false mask" in refusal(tmp_path / "x.h5")


# -- HDF5 files that point elsewhere, and sizes nobody has


@every("kind", ["link", "deep link", "soft link", "soft link to virtual", "virtual", "external"])
@every("name", ["kspace", "dataset"])
def test_data_in_another_file_is_never_read(kind: str, name: str, tmp_path: Path) -> None:
    other = WRITERS["fastmri"](tmp_path, truth())
    with h5py.File(tmp_path / "y.h5", "w") as file:
        if kind == "link":
            file[name] = h5py.ExternalLink(str(other), "kspace")
        elif kind == "deep link":
            file[f"{name}/data"] = h5py.ExternalLink(str(other), "kspace")
        elif kind == "soft link":  # to an external one that nobody looks at
            file["a/b/c/d/e"] = h5py.ExternalLink(str(other), "kspace")
            file[name] = h5py.SoftLink("/a/b/c/d/e")
        elif kind.endswith("virtual"):
            layout = h5py.VirtualLayout((T, C, KX, KY), np.complex64)
            layout[:] = h5py.VirtualSource(str(other), "kspace", (T, C, KX, KY))
            deep = kind.startswith("soft")
            file.create_virtual_dataset("a/b/c/d/e" if deep else name, layout)
            if deep:
                file[name] = h5py.SoftLink("/a/b/c/d/e")
        else:
            file.create_dataset(name, (4, 4, 4), np.complex64, external=[(str(other), 0, 512)])
    assert "lies in another file" in refusal(tmp_path / "y.h5")


def test_soft_links_within_a_file_are_followed(tmp_path: Path) -> None:
    path = WRITERS["fastmri"](tmp_path, truth())
    with h5py.File(path, "r+") as file:
        file.move("kspace", "a/b/c/d/e")
        file["kspace"] = h5py.SoftLink("/a/b/c/d/e")
    assert np.allclose(frames_of(open_any(path)).numpy(), truth()[:, 0], atol=1e-4)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<c8", "fortran_order": False, "shape": shape})
    return out.getvalue() + bytes(800)


def _hdf5(path: Path, name: str, kind: object, shape: tuple[int, ...]) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, shape, kind, chunks=(1,) * (len(shape) - 2) + (8, 8))
    return path


def _nifti(path: Path) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_shape((32767, 32767, 100, 100))
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1", 352
    content = header.binaryblock + bytes(4) + bytes(4000)
    if path.suffix == ".gz":
        content = gzip.compress(content)
    path.write_bytes(content)
    return path


def _own(path: Path) -> Path:
    own(path.parent, truth()).rename(path)
    with h5py.File(path, "r+") as file:
        for name, shape in {"kspace": (1, 1000, 1000, 4096, 4096), "mask": (1000, 1000, 4096, 4096)}.items():
            kind = file[name].dtype
            del file[name]
            file.create_dataset(name, shape, kind, chunks=(1,) * (len(shape) - 2) + (8, 8))
    return path


def _npz_of(path: Path, content: bytes, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("kspace.npy", content)
    return path


def _mat5(path: Path) -> Path:
    content = bytearray(write_mat5(path, kspace_full=truth()[0, 0].transpose(2, 1, 0)).read_bytes())
    at = content.index(np.array([KX, KY, T], "<i4").tobytes())
    content[at : at + 12] = np.array([2**30, 2**30, 2**30], "<i4").tobytes()
    path.write_bytes(bytes(content))
    return path


PAIR = np.dtype([("real", "<f4"), ("imag", "<f4")])
ABSURD: dict[str, Callable[[Path], Path]] = {
    "kwise": lambda f: _own(f / "y.h5"),
    "fastmri": lambda f: _hdf5(f / "x.h5", "kspace", np.complex64, (10**5, 64, 4096, 4096)),
    "mat73": lambda f: _hdf5(f / "x.mat", "kspace_full", PAIR, (1000, 100, 64, 4096, 4096)),
    "mat5": lambda f: _mat5(f / "x.mat"),
    "cfl": lambda f: write_cfl(f / "x.cfl", np.ones((4, 4)), dims=(2**30, 2**30, 1, 2**20)),
    "npy": lambda f: _put(f / "x.npy", _npy_header((10**6, 10**6))),
    "npz": lambda f: _npz_of(f / "x.npz", _npy_header((10**6, 10**6)), 0),
    "npz packed": lambda f: _npz_of(f / "x.npz", _npy_header((10**6, 10**6)), 8),
    "nifti": lambda f: _nifti(f / "x.nii"),
    "nifti.gz": lambda f: _nifti(f / "x.nii.gz"),
    "mrd lines": lambda f: write_mrd_rows(f / "x.h5", mrd_header(60000, 60000), mrd_rows(truth())),
    "mrd counters": lambda f: write_mrd_rows(f / "x.h5", mrd_header(KY, KX), _far()),
    "dicom": lambda f: write_dicom(f / "x.dcm", np.ones((6, 5)), Rows=65535, Columns=65535),
    "dicom frames": lambda f: write_dicom(f / "x.dcm", np.ones((2, 6, 5)), NumberOfFrames=2**31 - 1),
}


def _far() -> list[np.ndarray]:
    rows = mrd_rows(truth())
    for i, row in enumerate(rows):
        row["head"]["idx"]["phase"], row["head"]["idx"]["repetition"] = i, i
        row["head"]["idx"]["slice"], row["head"]["idx"]["kspace_encode_step_1"] = i, 65535
    return rows * 40


def _put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


PROGRAM = """
import resource, sys, warnings
from kwise.data.raw import open_any
import h5py, nibabel
warnings.simplefilter("ignore")
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 2**30,) * 2)  # a GB more than now
for path in sys.argv[1:]:
    try:
        open_any(path)
        print("READ", path)
    except ValueError as error:
        print("REFUSED", "fits into memory" in str(error), path)
"""


def _outcomes(paths: list[Path]) -> list[str]:
    """What becomes of files in a process of its own: a crash of a library would end that one alone."""
    words = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    run = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout.splitlines()


def test_sizes_of_terabytes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    paths = []
    for kind, make in ABSURD.items():
        if kind.startswith("dicom"):
            pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
        (tmp_path / kind).mkdir()
        paths.append(make(tmp_path / kind))
    assert _outcomes(paths) == [f"REFUSED False {path}" for path in paths]


def test_flipped_bytes_of_hdf5_files(tmp_path: Path) -> None:
    """160 of them, anywhere in the file."""
    paths = []
    for kind in ("kwise", "mrd", "fastmri", "mat73"):
        (tmp_path / kind).mkdir()
        whole = np.frombuffer(WRITERS[kind](tmp_path / kind, truth()).read_bytes(), np.uint8)
        draw = generator("hdf5 damage", kind)
        for i in range(40):
            spoilt = whole.copy()
            where = torch.randint(0, len(whole), (6,), generator=draw).numpy()
            spoilt[where] ^= torch.randint(1, 256, (6,), generator=draw).numpy().astype(np.uint8)
            paths.append(_put(tmp_path / kind / f"{i}.h5", spoilt.tobytes()))
    said = _outcomes(paths)
    assert len(said) == len(paths) and sum(line.startswith("REFUSED") for line in said) > 20


# -- headers of any shape

quick = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@quick
@given(
    st.lists(st.integers(0, 2**31), min_size=0, max_size=18),
    st.sampled_from(["# Dimensions\n", "# Dimensions", "# Dimensions\r\n", "# Dimensions\n# x\n"]),
)
def test_bart_headers_of_any_numbers(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], head: str
) -> None:
    folder = tmp_path_factory.mktemp("bart")
    path = write_cfl(folder / "x.cfl", np.ones((4, 4), np.complex64))
    (folder / "x.hdr").write_text(head + " ".join(map(str, sizes)))
    try:
        scan = open_any(path)
    except ValueError as error:
        assert "; wanted" in str(error) and "\n" not in str(error)
    else:
        assert scan.kspace is not None and scan.kspace.numel() == 16


@quick
@given(
    st.sampled_from([">c8", "<c8", "<c16", "<f2", "<f4", "<i8", "|u1", "|b1", "<U3", "<M8[s]", "V7"]),
    st.lists(st.integers(0, 4), min_size=0, max_size=6),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_npy_headers_of_any_type_and_shape(
    tmp_path_factory: pytest.TempPathFactory, kind: str, shape: list[int]
) -> None:
    path = tmp_path_factory.mktemp("npy") / "x.npy"
    np.save(path, np.ones(shape, "<f4").astype(kind) if kind[1] not in "UMV7" else np.zeros(shape, kind))
    try:
        scan = open_any(path)
    except ValueError as error:
        assert "; wanted" in str(error) and "\n" not in str(error)
    else:
        held = scan.image if scan.kspace is None else scan.kspace
        assert held is not None and bool((held == 1).all()) and held.numel() == np.prod(shape)


def test_a_defect_of_kwise_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    from kwise.data.raw_checks import open_hdf5

    h5py.File(tmp_path / "x.h5", "w").close()
    with pytest.raises(TypeError), open_hdf5(tmp_path / "x.h5", "MRI data"):
        len(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="damaged"), open_hdf5(tmp_path / "x.h5", "MRI data") as file:
        assert file[3]  # h5py itself complains
