"""kwise's own k-space file, HDF5 layout version 1 (docs/formats.md): one scan with what was acquired of
it.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.atomic import write_atomically
from kwise.data.kspace_checks import (
    AXES,
    FORMAT,
    VERSION,
    as_text,
    bad_file,
    check_fit,
    check_header,
    one_line,
    open_file,
    read_frame,
    read_image_shape,
    read_notes,
    read_numbers,
    read_spacing,
)
from kwise.data.raw_checks import check_room
from kwise.data.raw_slices import Slices, picked, placed
from kwise.types import VIEWS, Scan


def write_scan(path: str | Path, scan: Scan, acceleration: float | None = None) -> None:
    """Write a scan with k-space to a file that is there whole or not at all; what was not acquired is
    written as zero.

    `acceleration` is the nominal R, by default the one in `scan.notes`. ValueError for a scan that holds an
    image; OSError in one line where the file cannot be written (no such folder, full disk).
    """
    path = Path(path)
    content = _encoded(path, scan, acceleration)
    try:
        write_atomically(path, lambda part: part.write_bytes(content))
    except OSError as error:
        why = error.strerror or error
        wanted = f"a folder with room for {len(content)} bytes"
        raise OSError(f"writing k-space file {path}: got {why}; wanted {wanted}") from error


def read_scan(path: str | Path, slices: Slices = None) -> Scan:
    """The scan of a kwise k-space file, or its `slices` alone; `notes["acceleration"]` is the nominal R where
    the file tells it.

    ValueError in one line (file, got, wanted) for a missing, foreign, truncated or newer file, k-space that
    is real, empty or not finite, a mask that is not bool or has nothing acquired, and shapes that do not fit
    each other.
    """
    path = Path(path)
    with open_file(path) as file:
        check_header(path, file)
        try:
            n_slices = file["kspace"].shape[1]
            chosen = picked(path, slices, n_slices)
            there = {name: file[name] for name in AXES if name in file}
            arrays = {name: _some(path, name, data, chosen, slices is None) for name, data in there.items()}
        except (OSError, TypeError, RuntimeError) as error:
            raise bad_file(path, f"damaged data ({one_line(error)})", "a whole file") from error
        attributes = dict(file.attrs)
    views = _views(path, attributes, n_slices)
    scan = _decoded(path, arrays, attributes)
    spacing, affine = placed(scan.spacing_mm, scan.affine, chosen)
    chosen_views = None if views is None else tuple(views[z] for z in chosen)
    return replace(scan, spacing_mm=spacing, affine=affine, views=chosen_views)


def _some(path: Path, name: str, data: Any, chosen: range, everything: bool) -> Tensor:
    """The slices chosen of one data set, and no more of it."""
    check_room(path, *data.shape)
    if everything:
        return torch.from_numpy(data[()])
    axis = AXES[name].split().index("z")
    if data.shape[axis] <= chosen[-1]:
        raise bad_file(path, f"{name} of shape {data.shape}", "as many slices as kspace has")
    index = (slice(None),) * axis + (slice(chosen.start, chosen.stop, chosen.step),)
    return torch.from_numpy(data[index])


def describe(path: str | Path) -> dict[str, str]:
    """What a k-space file holds, by its header alone, for people: case, shapes, geometry, notes."""
    path = Path(path)
    with open_file(path) as file:
        check_header(path, file)
        shapes = {
            name: f"({axes.replace(' ', ', ')}) = {file[name].shape} {file[name].dtype}"
            for name, axes in AXES.items()
            if name in file
        }
        plain = {key: as_text(value) for key, value in file.attrs.items() if key != "notes"}
        return plain | shapes | read_notes(path, dict(file.attrs))


def _encoded(path: Path, scan: Scan, acceleration: float | None) -> bytes:
    """The file in memory: a full disk then meets a plain write, which fails cleanly, and never HDF5's own
    cache.
    """
    import h5py

    doing = f"writing k-space file {path}"
    if scan.kspace is None:
        raise ValueError(f"{doing}: got scan {scan.case} with an image; wanted k-space")
    arrays = _arrays(scan)
    check_fit(doing, arrays)
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        for name, array in arrays.items():
            _put(file, name, array)
        file.attrs.update(_attributes(scan, acceleration))
        file.flush()
        return bytes(file.id.get_file_image())


def _arrays(scan: Scan) -> dict[str, Tensor]:
    assert scan.kspace is not None
    grid = scan.kspace.shape[1:]
    mask = torch.ones(grid, dtype=torch.bool) if scan.mask is None else scan.mask.expand(grid)
    arrays = {
        "kspace": (torch.where(mask, scan.kspace, 0), torch.complex64),
        "mask": (mask, torch.bool),
        "labels": (scan.labels, torch.int8),
        "coil_maps": (scan.coil_maps, torch.complex64),
        "trajectory": (scan.trajectory, torch.float32),
    }
    return {name: array.to(dtype) for name, (array, dtype) in arrays.items() if array is not None}


def _put(file: Any, name: str, array: Tensor) -> None:
    """One chunk a frame, lightly compressed: unacquired lines are zeros and cost nothing."""
    chunk = (1,) * (array.ndim - 2) + tuple(array.shape[-2:])
    values = array.cpu().resolve_conj().contiguous().numpy()
    data = file.create_dataset(name, data=values, chunks=chunk, compression=1)
    data.attrs["axes"] = AXES[name]


def _attributes(scan: Scan, acceleration: float | None) -> dict[str, Any]:
    nominal = acceleration if acceleration is not None else scan.notes.get("acceleration")
    optional = {
        "frame_ms": scan.frame_ms,
        "affine": None if scan.affine is None else scan.affine.to(torch.float64).numpy(),
        "ed": scan.ed,
        "es": scan.es,
        "image_shape": None if scan.image_shape is None else np.array(scan.image_shape),
        "acceleration": None if nominal is None else float(nominal),
        "views": None if scan.views is None else json.dumps(scan.views),
    }
    always = {
        "format": FORMAT,
        "version": VERSION,
        "case": scan.case,
        "spacing_mm": np.array(scan.spacing_mm, dtype=np.float64),
        "notes": json.dumps({key: value for key, value in scan.notes.items() if key != "acceleration"}),
    }
    return always | {key: value for key, value in optional.items() if value is not None}


def _decoded(path: Path, arrays: dict[str, Tensor], attributes: Mapping[str, Any]) -> Scan:
    kspace, mask, labels = arrays["kspace"], arrays["mask"], arrays.get("labels")
    if mask.shape == kspace.shape[1:]:  # what was not acquired may hold anything
        arrays = arrays | {"kspace": torch.where(mask, kspace, 0).to(torch.complex64)}
    check_fit(f"reading k-space file {path}", arrays)
    frame_ms = read_numbers(path, attributes, "frame_ms", ())
    affine = read_numbers(path, attributes, "affine", (4, 4))
    image_shape, told = read_image_shape(path, attributes, arrays)
    return Scan(
        case=as_text(attributes.get("case", path.stem)),
        kspace=arrays["kspace"],
        mask=mask,
        labels=None if labels is None else labels.to(torch.int64),
        coil_maps=arrays.get("coil_maps"),
        trajectory=arrays.get("trajectory"),
        spacing_mm=read_spacing(path, attributes),
        frame_ms=None if frame_ms is None else float(frame_ms),
        affine=None if affine is None else torch.from_numpy(affine),
        ed=read_frame(path, attributes, "ed", kspace.shape[2]),
        es=read_frame(path, attributes, "es", kspace.shape[2]),
        notes=_all_notes(path, attributes) | told,
        image_shape=image_shape,
    )


def _views(path: Path, attributes: Mapping[str, Any], n_slices: int) -> tuple[str, ...] | None:
    """The name of every view, None where the file names none."""
    if "views" not in attributes:
        return None
    try:
        names = json.loads(as_text(attributes["views"]))
    except ValueError as error:
        raise bad_file(path, f"views that are no JSON ({one_line(error)})", "a JSON list of names") from error
    if not isinstance(names, list) or len(names) != n_slices or not set(names) <= set(VIEWS):
        wanted = f"{n_slices} names out of {', '.join(VIEWS)}"
        raise bad_file(path, f"views {names}", wanted)
    return tuple(names)


def _all_notes(path: Path, attributes: Mapping[str, Any]) -> dict[str, str]:
    notes = read_notes(path, attributes)
    nominal = read_numbers(path, attributes, "acceleration", ())
    return notes if nominal is None else notes | {"acceleration": f"{float(nominal):g}"}
