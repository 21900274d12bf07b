""".npy and .npz files: k-space where they are complex, magnitude images where they are real."""

import errno
import struct
import zlib
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
import torch
from torch import Tensor

from kwise.data.kspace_checks import one_line
from kwise.data.raw_checks import (
    NO_SPACING,
    acquired_samples,
    case_name,
    check_acquired,
    check_room,
    dead_coils,
    peak_shift,
    refused,
    rolled,
)
from kwise.data.raw_slices import Slices, picked
from kwise.types import Scan

# What an array without names means, by its number of axes; `axes` of `read_numpy` says otherwise.
KSPACE_AXES = {2: "ky kx", 3: "c ky kx", 4: "c t ky kx", 5: "c z t ky kx"}
IMAGE_AXES = {2: "y x", 3: "t y x", 4: "z t y x"}
FRAMES = "t ky kx"  # what three axes of k-space may mean as well: a cine of one coil
_VOLUMES = ("vol", "volume")  # 3-D arrays of these names are (z, y, x)
_SIMULATE = "magnitude images: k-space is simulated"


def read_numpy(path: Path, slices: Slices = None, axes: str | None = None) -> Scan:
    """The scan of a .npy file, or of the largest array of a .npz file, with its `mask` where there is one.

    Arrays are mapped, not read, unless a .npz file is compressed: some `slices` cost no more than they hold.

    `axes` names the axes, e.g. "t c ky kx" or "z y x"; by default `KSPACE_AXES` or `IMAGE_AXES`. The notes
    say how the array was read. ValueError in one line for damage, pickles, other types and unfitting axes.
    """
    arrays = _load(path)
    key = max(arrays, key=lambda name: (name.startswith("kspace"), arrays[name].size))
    values = arrays[key]
    if values.dtype.kind not in "cfiu" or 0 in values.shape:
        raise refused(path, f"{values.dtype} of shape {values.shape}", "complex k-space or a real image")
    if values.dtype.kind == "c":
        return _kspace(path, values, axes, arrays.get("mask"), slices)
    chosen = axes or ("z y x" if values.ndim == 3 and key in _VOLUMES else IMAGE_AXES.get(values.ndim, ""))
    part, _ = _some(path, values, chosen, "z t y x", slices)
    image = _arranged(part, chosen, "z t y x").to(torch.float32)
    ignored = [name for name in arrays if name != key]
    notes = {
        "format": "numpy array",
        "source": _SIMULATE,
        "axes": _read_as(chosen, axes),
        "spacing": NO_SPACING,
    }
    if ignored:
        notes["left out"] = f"arrays {', '.join(ignored)}"
    return Scan(case_name(path), image=image, notes=notes)


def _kspace(
    path: Path, values: np.ndarray, axes: str | None, told: np.ndarray | None, slices: Slices
) -> Scan:
    chosen = axes or KSPACE_AXES.get(values.ndim, "")
    part, numbers = _some(path, values, chosen, "c z t ky kx", slices)
    kspace = _arranged(part, chosen, "c z t ky kx").to(torch.complex64)
    mask = acquired_samples(kspace)
    if told is not None:
        shape = (_slices_of(values, chosen), *kspace.shape[2:])
        mask = mask & _told_mask(path, told, shape)[list(numbers)]
    middle = _slices_of(values, chosen) // 2  # judged by one slice, the same whichever are asked for
    if middle in numbers:
        judged = kspace[:, numbers.index(middle)].unsqueeze(1)
    else:
        judged = _arranged(_some(path, values, chosen, "c z t ky kx", middle)[0], chosen, "c z t ky kx")
    shift, moved = peak_shift(judged.to(torch.complex64))
    kspace, mask = rolled(kspace, shift), check_acquired(path, rolled(mask, shift))
    notes = {"format": "numpy array", "axes": _read_as(chosen, axes), "spacing": NO_SPACING} | moved
    return Scan(case_name(path), kspace=kspace, mask=mask, notes=notes | dead_coils(kspace))


def _read_as(chosen: str, told: str | None) -> str:
    """The note of how an array was read, with a doubt where its axes may well be others."""
    if told is not None:
        return f"read as ({chosen}), as told"
    doubt = f": if these are frames, say {FRAMES!r} (--axes)" if chosen == KSPACE_AXES[3] else ""
    return f"read as ({chosen}){doubt}"


def _told_mask(path: Path, told: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """A mask on the grid `shape` (z, t, ky, kx), from one whose shape ends like it, or from (ky,) lines."""
    mask = torch.from_numpy(np.asarray(told) != 0)
    mask = mask[:, None] if mask.ndim == 1 else mask
    if mask.ndim > 4 or any(m not in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1])):
        raise refused(path, f"a mask of shape {tuple(mask.shape)}", f"one that broadcasts to {shape}")
    return mask.expand(shape)


def _slices_of(values: np.ndarray, axes: str) -> int:
    names = axes.split()
    return values.shape[names.index("z")] if "z" in names else 1


def _some(path: Path, values: np.ndarray, axes: str, order: str, slices: Slices) -> tuple[np.ndarray, range]:
    """The slices asked for of an array, not read yet, and their numbers; ValueError for unfitting axes."""
    names, wanted = axes.split(), order.split()
    if len(names) != values.ndim or len(set(names)) < len(names) or not set(names) <= set(wanted):
        got = f"shape {values.shape} as axes ({', '.join(names)})"
        raise refused(path, got, f"{values.ndim} axes out of ({', '.join(wanted)})")
    if not set(wanted[-2:]) <= set(names):
        raise refused(path, f"axes ({', '.join(names)})", f"{wanted[-2]} and {wanted[-1]} among them")
    numbers = picked(path, slices, _slices_of(values, axes))
    if "z" not in names:
        return values, numbers
    index = (slice(None),) * names.index("z") + (slice(numbers.start, numbers.stop, numbers.step),)
    return values[index], numbers


def _arranged(values: np.ndarray, axes: str, order: str) -> Tensor:
    """The array with exactly the axes of `order`; axes it does not name get length 1."""
    names, wanted = axes.split(), order.split()
    kept = values.transpose([names.index(name) for name in wanted if name in names])
    plain = kept[tuple(slice(None) if name in names else None for name in wanted)]
    kind = np.dtype(np.float32) if plain.dtype.kind in "iu" else plain.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(plain, dtype=kind, order="C"))


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                arrays = _from_archive(path)
            else:
                arrays = {"array": np.load(path, allow_pickle=False, mmap_mode="r")}
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        BadZipFile,
        MemoryError,
        SyntaxError,
        RuntimeError,
        struct.error,
        zlib.error,
        NotImplementedError,
    ) as error:
        if getattr(error, "errno", None) == errno.ENOMEM:
            raise MemoryError from error
        got = f"a damaged file, or Python objects ({one_line(error)})"
        raise refused(path, got, "numbers as numpy.save writes them") from error
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "bcfiu"}
    if not numeric:
        raise refused(path, f"arrays {list(arrays)[:5]}, none of numbers", "k-space or an image")
    return numeric


def _from_archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by name: mapped where they were stored plainly, else unpacked."""
    arrays = {}
    with ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with archive.open(member) as packed:
                if packed.read(6) != b"\x93NUMPY":
                    continue
            if member.compress_type == ZIP_STORED and (mapped := _mapped(path, file, member)) is not None:
                arrays[name] = mapped
                continue
            check_room(path, -(-member.file_size // 8))
            with archive.open(member) as packed:
                arrays[name] = np.lib.format.read_array(packed, allow_pickle=False)
    return arrays


def _mapped(path: Path, file: BinaryIO, member: ZipInfo) -> np.ndarray | None:
    """An array within a zip file, not read; None where only reading will do."""
    file.seek(member.header_offset + 26)  # of the local header: how long name and extra field are
    name, extra = struct.unpack("<HH", file.read(4))
    start = member.header_offset + 30 + name + extra
    file.seek(start)
    version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
    if version == (1, 0):
        shape, fortran, kind = np.lib.format.read_array_header_1_0(file)  # type: ignore[arg-type]
    elif version == (2, 0):
        shape, fortran, kind = np.lib.format.read_array_header_2_0(file)  # type: ignore[arg-type]
    else:
        return None
    if kind.hasobject or not shape or 0 in shape:
        return None
    place = file.tell()
    if place + kind.itemsize * int(np.prod(shape, dtype=object)) > start + member.file_size:
        raise ValueError(f"an array of {shape} {kind} in {member.file_size} bytes")
    return np.memmap(path, kind, "r", place, shape, "F" if fortran else "C")
