"""What has to hold of a k-space file before anybody believes it: layout, types, shapes, values, each
error in one line.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FORMAT = "kwise-kspace"
VERSION = 1
AXES = {
    "kspace": "c z t ky kx",
    "mask": "z t ky kx",
    "labels": "z t y x",
    "coil_maps": "c z y x",
    "trajectory": "z t ky kx 2",
}
# numpy's kind of number, and what to say where it is another.
_TYPES = {
    "kspace": ("c", "complex64"),
    "mask": ("b", "bool, True = acquired"),
    "labels": ("i", "int8"),
    "coil_maps": ("c", "complex64"),
    "trajectory": ("f", "float32"),
}


def bad_file(path: Path, got: str, wanted: str) -> ValueError:
    """The error of a file that cannot be believed."""
    return ValueError(f"reading k-space file {path}: got {got}; wanted {wanted}")


def one_line(error: Exception) -> str:
    """The message of another library, on one line and not too long."""
    return " ".join(str(error).split())[:120]


def as_text(value: Any) -> str:
    """An HDF5 attribute for people."""
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    return value.decode() if isinstance(value, bytes) else str(value)


def open_file(path: Path) -> Any:
    """An open HDF5 file to read; ValueError where there is none, or where it was cut short."""
    import h5py

    if not path.is_file():
        raise bad_file(path, "no such file", f"a file of format {FORMAT}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        got = f"no HDF5, or a truncated one ({one_line(error)})"
        raise bad_file(path, got, f"a whole file of format {FORMAT}") from error
    try:
        check_self_contained(path, file)
    except (OSError, KeyError, RuntimeError, TypeError) as error:
        file.close()
        got = f"a damaged HDF5 file ({one_line(error)})"
        raise bad_file(path, got, f"a whole file of format {FORMAT}") from error
    except BaseException:
        file.close()
        raise
    return file


def check_self_contained(path: Path, group: Any, depth: int = 3) -> None:
    """Refuses an HDF5 file any part of which lies in another file: nobody reads what was not given."""
    import h5py

    for name in group:
        link = group.get(name, getlink=True)
        outside = not isinstance(link, (h5py.HardLink, h5py.SoftLink))
        if isinstance(link, h5py.SoftLink):  # what it names is looked at where it stands, if it stands here
            outside = not _stands_here(group, link.path)
        elif not outside:
            inner = group[name]
            if isinstance(inner, h5py.Dataset):
                outside = bool(inner.is_virtual or inner.external)
            elif isinstance(inner, h5py.Group) and depth > 1:
                check_self_contained(path, inner, depth - 1)
        if outside:
            got = f"{name!r}, which lies in another file"
            raise ValueError(f"reading {path}: got {got}; wanted a file that holds all its data")


def _stands_here(group: Any, target: str) -> bool:
    """Whether a soft link leads to plain data of this file, by hard links alone."""
    import h5py

    here: Any = group.file if target.startswith("/") else group
    for part in target.strip("/").split("/"):
        if not isinstance(here, h5py.Group) or not isinstance(here.get(part, getlink=True), h5py.HardLink):
            return False
        here = here[part]
    return isinstance(here, h5py.Dataset) and not (here.is_virtual or here.external)


def check_header(path: Path, file: Any) -> None:
    """Everything that can be wrong before any array is read."""
    if as_text(file.attrs.get("format", "")) != FORMAT:
        holding = ", ".join(list(file)[:5]) or "nothing"
        raise bad_file(path, f"HDF5 of another format, holding {holding}", f"attribute format = {FORMAT}")
    version = as_text(file.attrs.get("version", "none"))
    if not version.isdecimal() or not 1 <= int(version) <= VERSION:
        wanted = f"a version from 1 to {VERSION} (newer files need a newer kwise)"
        raise bad_file(path, f"layout version {version}", wanted)
    for name in ("kspace", "mask"):
        if name not in file or not hasattr(file[name], "dtype"):
            raise bad_file(path, f"no data set {name}", "kspace and mask")
    for name, axes in AXES.items():
        if name in file:
            check_array(path, name, file[name], axes.split())


def check_array(path: Path, name: str, data: Any, axes: list[str]) -> None:
    """Type and axes of one data set, not yet read."""
    kind, wanted = _TYPES[name]
    if data.dtype.kind != kind:
        raise bad_file(path, f"{name} of type {data.dtype}", wanted)
    if data.ndim != len(axes):
        raise bad_file(path, f"{name} of shape {data.shape}", f"axes ({', '.join(axes)})")
    if 0 in data.shape:
        empty = axes[data.shape.index(0)]
        raise bad_file(path, f"{name} of shape {data.shape}", f"at least one element along {empty}")


def check_fit(doing: str, arrays: Mapping[str, Tensor]) -> None:
    """Shapes against those of k-space, finite values, something acquired; `doing` opens the error message."""
    sizes: dict[str, int] = dict(zip(AXES["kspace"].split(), arrays["kspace"].shape))
    sizes["2"] = 2
    for name, array in arrays.items():
        wanted = [sizes.get(axis) for axis in AXES[name].split()]
        if len(wanted) != array.ndim or any(w not in (None, n) for w, n in zip(wanted, array.shape)):
            fitting = ", ".join("any" if size is None else str(size) for size in wanted)
            raise ValueError(f"{doing}: got {name} of shape {tuple(array.shape)}; wanted ({fitting})")
        if (array.is_complex() or array.is_floating_point()) and not bool(torch.isfinite(array).all()):
            raise ValueError(f"{doing}: got NaN or Inf in {name}; wanted finite numbers")
    if not bool(arrays["mask"].any()):
        raise ValueError(f"{doing}: got an all-false mask; wanted at least one acquired sample")


def read_notes(path: Path, attributes: Mapping[str, Any]) -> dict[str, str]:
    """What was simulated, and other remarks: a JSON object of strings."""
    try:
        notes = json.loads(as_text(attributes.get("notes", "{}")))
    except json.JSONDecodeError as error:
        got = f"notes that are no JSON ({one_line(error)})"
        raise bad_file(path, got, "a JSON object of strings") from error
    if not isinstance(notes, dict):
        raise bad_file(path, f"notes of type {type(notes).__name__}", "a JSON object of strings")
    return {str(key): str(value) for key, value in notes.items()}


def read_numbers(
    path: Path, attributes: Mapping[str, Any], key: str, shape: tuple[int, ...]
) -> np.ndarray | None:
    """A numeric attribute of that shape, float64; None where the file does not have it."""
    if key not in attributes:
        return None
    try:
        values = np.asarray(attributes[key], dtype=np.float64)
    except ValueError as error:
        raise bad_file(path, f"{key} = {as_text(attributes[key])!r}", "numbers") from error
    if values.shape != shape or not np.isfinite(values).all():
        raise bad_file(path, f"{key} = {values.tolist()}", f"finite numbers of shape {shape}")
    return values


def read_spacing(path: Path, attributes: Mapping[str, Any]) -> tuple[float, float, float]:
    """Voxel size (z, y, x) in mm."""
    values = read_numbers(path, attributes, "spacing_mm", (3,))
    if values is None or not (values > 0).all():
        got = "no spacing_mm" if values is None else f"spacing_mm {values.tolist()}"
        raise bad_file(path, got, "three positive numbers (z, y, x) in mm")
    z, y, x = values.tolist()
    return z, y, x


def read_image_shape(
    path: Path, attributes: Mapping[str, Any], arrays: Mapping[str, Tensor]
) -> tuple[tuple[int, int] | None, dict[str, str]]:
    """(y, x) of the image that a trajectory stands for, None without one; a note where the file does not
    tell.
    """
    if "trajectory" not in arrays:
        return None, {}
    lowest, highest = (float(x) for x in arrays["trajectory"].aminmax())
    if lowest < -0.5 or highest > 0.5:
        raise bad_file(path, f"positions from {lowest:g} to {highest:g}", "-0.5 to 0.5 cycles per pixel")
    values = read_numbers(path, attributes, "image_shape", (2,))
    if values is not None:
        if not ((values >= 1) & (values == values.round())).all():
            raise bad_file(path, f"image_shape = {values.tolist()}", "two whole numbers (y, x)")
        return (int(values[0]), int(values[1])), {}
    for name in ("labels", "coil_maps"):
        if name in arrays:
            return (arrays[name].shape[-2], arrays[name].shape[-1]), {}
    points = arrays["kspace"].shape[-1]
    return (points, points), {"image shape": f"not told: {points} x {points}, the points of a spoke"}


def read_frame(path: Path, attributes: Mapping[str, Any], key: str, n_frames: int) -> int | None:
    """ED or ES, counted from 0; None where the file does not say."""
    value = read_numbers(path, attributes, key, ())
    if value is None:
        return None
    if value not in range(n_frames):
        raise bad_file(path, f"{key} = {float(value):g}", f"a frame from 0 to {n_frames - 1}")
    return int(value)
