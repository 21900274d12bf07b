"""`open_any`: a scan from any file kwise can read, its format found by what is in it."""

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from kwise.data.acdc import read_patient
from kwise.data.beside import with_labels
from kwise.data.cohort_files import FORMAT as COHORT_FORMAT
from kwise.data.cohort_files import read_subject
from kwise.data.kspace_checks import FORMAT, as_text
from kwise.data.kspace_file import read_scan
from kwise.data.mnms import read_folder
from kwise.data.nifti import read_nifti
from kwise.data.raw_bart import is_bart, read_bart
from kwise.data.raw_checks import case_name, open_hdf5, refused
from kwise.data.raw_cmrxrecon import (
    holds_mask_alone,
    kspace_key,
    read_cmrxrecon,
    read_mask_mat,
)
from kwise.data.raw_dicom import read_dicom
from kwise.data.raw_fastmri import is_fastmri, read_fastmri
from kwise.data.raw_folder import folder_format
from kwise.data.raw_mrd import mrd_group, read_mrd
from kwise.data.raw_numpy import read_numpy
from kwise.data.raw_slices import Slices, cut_slices
from kwise.fourier import fft2c
from kwise.types import Scan

_NIFTI = {b"n+1\0": 344, b"ni1\0": 344, b"n+2\0": 4}  # magic -> where it stands


@dataclass(frozen=True)
class Format:
    """A format kwise reads: its name for people, and its reader."""

    about: str
    read: Callable[[Path, Slices], Scan]


def read_nifti_cine(path: Path, slices: Slices = None) -> Scan:
    """A 3-D NIfTI image as one frame, a 4-D one as a cine (x, y, z, t): a magnitude, k-space is simulated."""
    scan = replace(read_patient(path), case=case_name(path)) if _axes_of(path) == 4 else _volume(path)
    return cut_slices(path, replace(scan, notes={"format": "NIfTI"} | scan.notes), slices)


def _read_dicom(path: Path, slices: Slices = None) -> Scan:
    return cut_slices(path, read_dicom(path), slices)


def _read_mnms(path: Path, slices: Slices = None) -> Scan:
    return cut_slices(path, read_folder(path), slices)


def _read_acdc(path: Path, slices: Slices = None) -> Scan:
    return cut_slices(path, read_patient(path), slices)


def _read_subject(path: Path, slices: Slices = None) -> Scan:
    told = {"format": "a subject of a kwise cohort"}
    scan = read_subject(path)
    return cut_slices(path, replace(scan, notes=told | scan.notes), slices)


FORMATS: dict[str, Format] = {
    "kwise": Format("kwise's own k-space file (HDF5)", read_scan),
    "subject": Format("a subject's file of a kwise cohort (HDF5), magnitude images", _read_subject),
    "mrd": Format("MRD (ISMRMRD) raw data in HDF5, OCMR's as well", read_mrd),
    "fastmri": Format("fastMRI HDF5, single- or multi-coil", read_fastmri),
    "cmrxrecon": Format("CMRxRecon .mat of 2023, 2024 or 2025", read_cmrxrecon),
    "bart": Format("BART .cfl with its .hdr", read_bart),
    "numpy": Format("numpy .npy or .npz", read_numpy),
    "nifti": Format("NIfTI magnitude images", read_nifti_cine),
    "dicom": Format("DICOM magnitude images, a file or a folder", _read_dicom),
    "mnms": Format("a patient's folder of M&Ms", _read_mnms),
    "acdc": Format("a patient's folder in the ACDC layout", _read_acdc),
}


def open_any(
    path: str | Path, axes: str | None = None, mask: str | Path | None = None, slices: Slices = None
) -> Scan:
    """The scan of any readable file or folder; magnitude images come as `image`, raw data as `kspace`.

    `axes` names the axes of a numpy array ("t c ky kx"); `mask` is a CMRxRecon mask file to undersample with;
    `slices` (3, or slice(2, 5)) reads these alone, and of raw data no more of the file than they need.
    Labels of magnitude images that lie beside them (X_gt.nii.gz) come with them: `with_labels`.
    ValueError in one line: what was found, what was looked for, what is missing.
    """
    path = Path(path)
    name = format_of(path)

    def read_labels(file: Path) -> Scan:
        if (kind := format_of(file)) != name:
            raise refused(file, FORMATS[kind].about, f"labels in the scan's format, {FORMATS[name].about}")
        return _reader(file, name, axes, None)(file, None)

    try:
        scan = _reader(path, name, axes, None if mask is None else Path(mask))(path, slices)
        return scan if path.is_dir() else with_labels(path, scan, read_labels, slices)
    except MemoryError as error:
        raise refused(path, "more than fits into memory", "a smaller file, or a larger machine") from error
    except ValueError as error:
        if str(path.with_suffix("")) in str(error) or str(mask) in str(error):
            raise
        raise ValueError(f"reading {path}: {error}") from error  # checks of the nouns do not know the file


def _reader(path: Path, name: str, axes: str | None, mask: Path | None) -> Callable[[Path, Slices], Scan]:
    if axes is not None and name != "numpy":
        raise refused(path, f"axes {axes!r} for {FORMATS[name].about}", "axes for numpy arrays alone")
    if mask is not None and name != "cmrxrecon":
        raise refused(path, f"a mask for {FORMATS[name].about}", "a mask for CMRxRecon files alone")
    if axes is not None:
        return partial(read_numpy, axes=axes)
    return FORMATS[name].read if mask is None else partial(read_cmrxrecon, mask=mask)


def format_of(path: str | Path) -> str:
    """The key in FORMATS of a file, by its content; ValueError says what there is, and what kwise reads."""
    path = Path(path)
    if not path.exists():
        raise refused(path, "no such file or folder", "a scan")
    if path.is_dir():
        return folder_format(path)
    if path.stat().st_size == 0:
        raise refused(path, "an empty file", "a scan")
    with path.open("rb") as file:
        head = file.read(512)
    if is_bart(path):
        return "bart"
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"\x93NUMPY") or head.startswith(b"PK\x03\x04"):
        return "numpy"
    if head.startswith(b"MATLAB 5.0 MAT-file"):
        return "cmrxrecon"
    if _is_nifti(path, head):
        return "nifti"
    return _hdf5_format(path, head)


def lone_mask(path: Path) -> Tensor | None:
    """(t, ky, kx) bool of a file that holds a CMRxRecon mask and no k-space; None for any other file."""
    if path.is_dir() or format_of(path) != "cmrxrecon":
        return None
    return read_mask_mat(path) if holds_mask_alone(path) else None


def with_kspace(scan: Scan) -> Scan:
    """A scan with k-space: itself, or the transform of its magnitude image, which `notes` call simulated."""
    if scan.image is None:
        return scan
    told = {"simulated": "k-space from a magnitude image", "phase": "no", "coils": "1", "snr": "none"}
    kspace = fft2c(scan.image).unsqueeze(0)
    return replace(scan, image=None, kspace=kspace, notes=scan.notes | told)


def _hdf5_format(path: Path, head: bytes) -> str:
    import h5py

    if not h5py.is_hdf5(path):
        raise refused(path, _guess(head), "one of: " + "; ".join(form.about for form in FORMATS.values()))
    with open_hdf5(path, "MRI data") as file:
        names = list(file)
        named = as_text(file.attrs.get("format", ""))
        if named in (FORMAT, COHORT_FORMAT):
            return "kwise" if named == FORMAT else "subject"
        if mrd_group(file) is not None:
            return "mrd"
        if head.startswith(b"MATLAB") or "real" in (_pair(file, kspace_key(names)) or ()):
            return "cmrxrecon"
        if is_fastmri(file):
            return "fastmri"
    wanted = f"attribute format = {FORMAT}, MRD's xml and data, fastMRI's kspace, or CMRxRecon's kspace..."
    raise refused(path, f"HDF5 of another format, holding {', '.join(names[:5]) or 'nothing'}", wanted)


def _pair(file: object, key: str | None) -> tuple[str, ...] | None:
    return getattr(getattr(file[key], "dtype", None), "names", None) if key else None  # type: ignore[index]


def _guess(head: bytes) -> str:
    """What an unknown file may be, for the error."""
    if head.startswith(b"yardl"):
        return "an MRD version 2 stream (not read yet: convert it to MRD 1 HDF5)"
    if (
        len(head) > 8
        and int.from_bytes(head[:4], "little") == 0
        and 0 < int.from_bytes(head[4:8], "little") <= 64
    ):
        return "what may be Siemens raw data (convert it with siemens_to_ismrmrd)"
    if head.startswith(b"# Dimensions"):
        return "a BART header without the .cfl and .hdr names"
    return f"no format kwise knows (it starts with {head[:8]!r})"


def _is_nifti(path: Path, head: bytes) -> bool:
    if head.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(path, "rb") as file:
                head = file.read(352)
        except (OSError, EOFError, zlib.error):
            return path.name.endswith(".nii.gz")  # damaged: its reader says how
    return any(head[start : start + 4] == magic for magic, start in _NIFTI.items())


def _axes_of(path: Path) -> int:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return len(nibabel.load(path).shape)  # type: ignore[attr-defined]
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error):
        return 4  # the reader says what is wrong


def _volume(path: Path) -> Scan:
    volume = read_nifti(path, 3)
    return Scan(
        case=case_name(path),
        image=volume.image().unsqueeze(1),
        spacing_mm=volume.spacing_mm,
        affine=volume.affine,
        notes={"source": "magnitude images: k-space is simulated"} | volume.notes,
    )
