"""One subject of a cohort as an HDF5 file: int16 magnitude of its views, contiguous, and labels."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.atomic import write_atomically
from kwise.data.kspace_checks import as_text, one_line, read_frame, read_notes, read_numbers, read_spacing
from kwise.types import IGNORE, Scan

FORMAT = "kwise-cohort-subject"
VERSION = 1
VIEWS = ("LAX_2CH", "LAX_3CH", "LAX_4CH", *["SAX"] * 6)  # what a subject should have, in this order
_LARGEST = 32767


def write_subject(path: Path, scan: Scan) -> None:
    """Write image and labels of one scan, whole or not at all; its traits belong in the manifest.

    Stored int16 x `scale` = magnitude. `scan.mask`, where a view or frame is not all there, is kept per
    frame. ValueError for a scan without an image or views; OSError in one line where the file cannot be
    written.
    """
    if scan.image is None or scan.views is None:
        got = "k-space" if scan.image is None else "no views"
        raise ValueError(f"writing subject {scan.case}: got {got}; wanted an image with views")
    content = _encoded(scan)
    try:
        write_atomically(path, lambda part: part.write_bytes(content))
    except OSError as error:
        wish = f"a folder with room for {len(content)} bytes"
        raise OSError(f"writing {path}: got {error.strerror or error}; wanted {wish}") from error


def _encoded(scan: Scan) -> bytes:
    import h5py

    assert scan.image is not None
    scale = max(float(scan.image.max()), 1e-12) / _LARGEST
    stored = (scan.image / scale).round().to(torch.int16).numpy()
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        image = file.create_dataset("image", data=stored)
        image.attrs.update({"axes": "z t y x", "scale": scale})
        if scan.labels is not None:
            chunk = (1, 1, *stored.shape[2:])
            labels = scan.labels.to(torch.int8).numpy()
            file.create_dataset("labels", data=labels, chunks=chunk, compression=1).attrs["axes"] = "z t y x"
        if scan.mask is not None:
            there = scan.mask.expand(scan.shape).flatten(2).any(dim=2).numpy()
            file.create_dataset("acquired", data=there).attrs["axes"] = "z t"
        file.attrs.update(_attributes(scan))
        file.flush()
        return bytes(file.id.get_file_image())


def _attributes(scan: Scan) -> dict[str, Any]:
    optional = {"frame_ms": scan.frame_ms, "ed": scan.ed, "es": scan.es}
    return {
        "format": FORMAT,
        "version": VERSION,
        "case": scan.case,
        "views": json.dumps(scan.views),
        "spacing_mm": np.array(scan.spacing_mm, dtype=np.float64),
        "notes": json.dumps(scan.notes),
    } | {key: value for key, value in optional.items() if value is not None}


def read_subject(path: Path) -> Scan:
    """The scan of one subject's file, always with the nine views of VIEWS in their order.

    A view or frame that is missing is zero in `image`, IGNORE in `labels`, False in `mask`, and named in
    `notes["missing"]`; nothing is guessed. ValueError in one line for a missing, foreign or damaged file.
    """
    image, labels, acquired, attributes = _arrays(path)
    views = _views(path, attributes, image.shape[0])
    places, missing = _places(path, views)
    full = torch.zeros(len(VIEWS), *image.shape[1:])
    truth = torch.full(full.shape, IGNORE, dtype=torch.int64)
    there = torch.zeros(full.shape[:2], dtype=torch.bool)
    full[places], there[places] = image, acquired
    if labels is not None:
        truth[places] = labels.long()
    truth[~there] = IGNORE
    full[~there] = 0
    partly = [
        f"{int((~row).sum())} frames of view {z} ({VIEWS[z]})"
        for z, row in enumerate(there)
        if 0 < row.sum() < len(row)
    ]
    missing += partly + ([] if labels is not None else ["labels"])
    notes = read_notes(path, attributes) | ({"missing": ", ".join(missing)} if missing else {})
    frame_ms = read_numbers(path, attributes, "frame_ms", ())
    return Scan(
        case=as_text(attributes.get("case", path.stem)),
        image=full,
        mask=None if bool(there.all()) else there[:, :, None, None].expand(full.shape),
        labels=truth,
        spacing_mm=read_spacing(path, attributes),
        frame_ms=None if frame_ms is None else float(frame_ms),
        ed=read_frame(path, attributes, "ed", full.shape[1]),
        es=read_frame(path, attributes, "es", full.shape[1]),
        notes=notes,
        views=VIEWS,
    )


def shape_of(path: Path) -> tuple[int, ...] | None:
    """Shape (z, t, y, x) of the image of a whole file of this version, None for any other file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            same = file.attrs.get("format") == FORMAT and file.attrs.get("version") == VERSION
            return tuple(file["image"].shape) if same else None
    except (OSError, KeyError):
        return None


def _bad(path: Path, got: str, wish: str) -> ValueError:
    return ValueError(f"reading subject {path}: got {got}; wanted {wish}")


def _arrays(path: Path) -> tuple[Tensor, Tensor | None, Tensor, dict[str, Any]]:
    """Image (float32), labels, acquired (z, t) and attributes, with shapes that fit each other."""
    import h5py

    if not path.is_file():
        raise _bad(path, "no such file", f"a file of format {FORMAT}")
    try:
        with h5py.File(path, "r") as file:
            attributes = dict(file.attrs)
            told = [as_text(attributes.get(key, "none")) for key in ("format", "version")]
            if told != [FORMAT, str(VERSION)]:
                raise _bad(path, f"format {told[0]}, version {told[1]}", f"{FORMAT} of version {VERSION}")
            data = {key: file[key][()] for key in ("image", "labels", "acquired") if key in file}
            scale = float(file["image"].attrs.get("scale", 0.0)) if "image" in file else 0.0
    except OSError as error:
        raise _bad(path, f"no HDF5, or a damaged one ({one_line(error)})", "a whole file") from error
    if "image" not in data or data["image"].dtype != np.int16 or data["image"].ndim != 4 or not scale > 0:
        raise _bad(path, "no int16 image (z, t, y, x) with a scale", "one")
    image = torch.from_numpy(data["image"]).float().clamp_min(0) * scale
    labels = torch.from_numpy(data["labels"]) if "labels" in data else None
    acquired = (
        torch.from_numpy(data["acquired"]) if "acquired" in data else torch.ones(image.shape[:2]).bool()
    )
    for name, array, shape in (("labels", labels, image.shape), ("acquired", acquired, image.shape[:2])):
        if array is not None and array.shape != shape:
            raise _bad(path, f"{name} of shape {tuple(array.shape)}", f"{tuple(shape)}, as the image")
    if labels is not None and not -1 <= int(labels.min()) <= int(labels.max()) <= 5:
        raise _bad(path, f"labels from {int(labels.min())} to {int(labels.max())}", "-1 (unknown) to 5")
    return image, labels, acquired.bool(), attributes


def _views(path: Path, attributes: dict[str, Any], n_slices: int) -> list[str]:
    try:
        views = json.loads(as_text(attributes.get("views", "[]")))
    except json.JSONDecodeError as error:
        raise _bad(path, f"views that are no JSON ({one_line(error)})", "a JSON list of names") from error
    if not isinstance(views, list) or len(views) != n_slices:
        raise _bad(path, f"views {views} of {n_slices} slices", "the name of every slice")
    return views


def _places(path: Path, views: list[str]) -> tuple[list[int], list[str]]:
    """Where each stored view goes among VIEWS, and the names of those that nothing fills."""
    unfilled = list(range(len(VIEWS)))
    places = []
    for view in views:
        place = next((i for i in unfilled if VIEWS[i] == view), None)
        if place is None:
            got = f"{Counter(views)[view]} views called {view}"
            raise _bad(path, got, f"at most {Counter(VIEWS)[view]}, out of {', '.join(dict.fromkeys(VIEWS))}")
        unfilled.remove(place)
        places.append(place)
    return places, [f"view {i} ({VIEWS[i]})" for i in unfilled]
