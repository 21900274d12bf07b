""".npy and .npz files: k-space where they are complex, magnitude images where they are real."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from kwise.data.kspace_checks import one_line
from kwise.data.raw_checks import (
    NO_SPACING,
    acquired_samples,
    case_name,
    check_acquired,
    dead_coils,
    peak_shift,
    refused,
    rolled,
)
from kwise.types import Scan

# What an array without names means, by its number of axes; `axes` of `read_numpy` says otherwise.
KSPACE_AXES = {2: "ky kx", 3: "c ky kx", 4: "c t ky kx", 5: "c z t ky kx"}
IMAGE_AXES = {2: "y x", 3: "t y x", 4: "z t y x"}
_VOLUMES = ("vol", "volume")  # 3-D arrays of these names are (z, y, x)
_SIMULATE = "magnitude images: k-space is simulated"


def read_numpy(path: Path, axes: str | None = None) -> Scan:
    """The scan of a .npy file, or of the largest array of a .npz file, with its `mask` where there is one.

    `axes` names the axes, e.g. "t c ky kx" or "z y x"; by default `KSPACE_AXES` or `IMAGE_AXES`. The notes
    say how the array was read. ValueError in one line for damage, pickles, other types and unfitting axes.
    """
    arrays = _load(path)
    key = max(arrays, key=lambda name: (name.startswith("kspace"), arrays[name].size))
    values = arrays[key]
    if values.dtype.kind not in "cfiu" or 0 in values.shape:
        raise refused(path, f"{values.dtype} of shape {values.shape}", "complex k-space or a real image")
    if values.dtype.kind == "c":
        return _kspace(path, values, axes, arrays.get("mask"))
    chosen = axes or ("z y x" if values.ndim == 3 and key in _VOLUMES else IMAGE_AXES.get(values.ndim, ""))
    image = _arranged(path, values, chosen, "z t y x").to(torch.float32)
    ignored = [name for name in arrays if name != key]
    notes = {
        "format": "numpy array",
        "source": _SIMULATE,
        "axes": f"read as ({chosen})",
        "spacing": NO_SPACING,
    }
    if ignored:
        notes["left out"] = f"arrays {', '.join(ignored)}"
    return Scan(case_name(path), image=image, notes=notes)


def _kspace(path: Path, values: np.ndarray, axes: str | None, told: np.ndarray | None) -> Scan:
    chosen = axes or KSPACE_AXES.get(values.ndim, "")
    kspace = _arranged(path, values, chosen, "c z t ky kx").to(torch.complex64)
    mask = acquired_samples(kspace)
    if told is not None:
        mask = mask & _told_mask(path, told, kspace)
    shift, moved = peak_shift(kspace)
    kspace, mask = rolled(kspace, shift), check_acquired(path, rolled(mask, shift))
    notes = {"format": "numpy array", "axes": f"read as ({chosen})", "spacing": NO_SPACING} | moved
    return Scan(case_name(path), kspace=kspace, mask=mask, notes=notes | dead_coils(kspace))


def _told_mask(path: Path, told: np.ndarray, kspace: Tensor) -> Tensor:
    """A mask whose shape ends like (z, t, ky, kx), or (ky,) lines."""
    mask = torch.from_numpy(np.asarray(told) != 0)
    shape = tuple(kspace.shape[1:])
    mask = mask[:, None] if mask.ndim == 1 else mask
    if mask.ndim > 4 or any(m not in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1])):
        raise refused(path, f"a mask of shape {tuple(mask.shape)}", f"one that broadcasts to {shape}")
    return mask.expand(shape)


def _arranged(path: Path, values: np.ndarray, axes: str, order: str) -> Tensor:
    """The array with exactly the axes of `order`; axes it does not name get length 1."""
    names, wanted = axes.split(), order.split()
    if len(names) != values.ndim or len(set(names)) < len(names) or not set(names) <= set(wanted):
        got = f"shape {values.shape} as axes ({', '.join(names)})"
        raise refused(path, got, f"{values.ndim} axes out of ({', '.join(wanted)})")
    if not set(wanted[-2:]) <= set(names):
        raise refused(path, f"axes ({', '.join(names)})", f"{wanted[-2]} and {wanted[-1]} among them")
    kept = values.transpose([names.index(name) for name in wanted if name in names])
    shape = [values.shape[names.index(name)] if name in names else 1 for name in wanted]
    plain = kept.reshape(shape)
    if plain.dtype.kind in "iu":
        plain = plain.astype(np.float32)
    return torch.from_numpy(np.array(plain, dtype=plain.dtype.newbyteorder("=")))


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                file.seek(0)
                with np.load(file, allow_pickle=False) as found:
                    arrays = {name: found[name] for name in found.files}
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
    ) as error:
        got = f"a damaged file, or Python objects ({one_line(error)})"
        raise refused(path, got, "numbers as numpy.save writes them") from error
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "bcfiu"}
    if not numeric:
        raise refused(path, f"arrays {list(arrays)[:5]}, none of numbers", "k-space or an image")
    return numeric
