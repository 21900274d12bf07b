"""Images as MRD (ISMRMRD) image series in HDF5, as its own library reads them: a series an array."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from torch import Tensor

from kwise.atomic import write_atomically
from kwise.data.out_geometry import place_of
from kwise.data.raw_mrd_write import mrd_header
from kwise.types import Scan

# ImageHeader of ismrmrd.h, version 1.
_HEAD: list[Any] = [
    ("version", "<u2"), ("data_type", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"),
    ("matrix_size", "<u2", (3,)), ("field_of_view", "<f4", (3,)), ("channels", "<u2"),
    ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)), ("phase_dir", "<f4", (3,)),
    ("slice_dir", "<f4", (3,)), ("patient_table_position", "<f4", (3,)), ("average", "<u2"),
    ("slice", "<u2"), ("contrast", "<u2"), ("phase", "<u2"), ("repetition", "<u2"), ("set", "<u2"),
    ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)), ("image_type", "<u2"),
    ("image_index", "<u2"), ("image_series_index", "<u2"), ("user_int", "<i4", (8,)),
    ("user_float", "<f4", (8,)), ("attribute_string_len", "<u4"),
]  # fmt: skip
_TYPES = {"uint16": 1, "float32": 5}  # ISMRMRD_DataTypes
_MAGNITUDE = 1  # ISMRMRD_ImageTypes
_TICK_MS = 2.5  # of the time stamps, as Siemens scanners count


def write_mrd_images(path: Path, series: Mapping[str, Tensor], scan: Scan) -> None:
    """Write arrays (z, t, y, x) as series image_0, image_1, ... of one file, an image per slice and frame.

    `series` name -> float32 magnitudes, or integer labels, which become uint16; names go into attributes.
    The file is there whole or not at all. ValueError for a geometry MRD cannot hold.
    """
    place_of(scan)  # refuses before anything is written
    write_atomically(path, lambda part: _write(part, series, scan))


def _write(path: Path, series: Mapping[str, Tensor], scan: Scan) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        text = np.array([mrd_header(scan)], dtype=object)
        file.create_dataset("dataset/xml", data=text, dtype=h5py.string_dtype("utf-8"))
        for index, (name, array) in enumerate(series.items()):
            values = array.numpy()
            values = values.astype("<f4" if values.dtype.kind == "f" else "<u2")
            attributes = meta_text(_attributes(name))
            z, t, y, x = values.shape
            group = file.create_group(f"dataset/image_{index}")
            group["header"] = image_heads(scan, values.dtype.name, index, len(attributes))
            texts = np.array([attributes] * (z * t), dtype=object)
            group.create_dataset("attributes", data=texts, dtype=h5py.string_dtype("utf-8"))
            group["data"] = values.reshape(z * t, 1, 1, y, x)


def _attributes(name: str) -> dict[str, str]:
    """What an image is, and that it is derived."""
    return {
        "DataRole": "Segmentation" if name == "segmentation" else "Image",
        "ImageComment": f"kwise {name}",
    }


def meta_text(attributes: Mapping[str, str | list[str]]) -> str:
    """The meta container of an image: names, each with a value or several."""
    metas = ""
    for name, told in attributes.items():
        values = "".join(f"<value>{escape(v)}</value>" for v in ([told] if isinstance(told, str) else told))
        metas += f"<meta><name>{escape(name)}</name>{values}</meta>"
    return f'<?xml version="1.0"?><ismrmrdMeta>{metas}</ismrmrdMeta>'


def image_heads(scan: Scan, kind: str, series: int, n_text: int) -> np.ndarray:
    """Headers (z * t,) of the images of a scan, slices slowest; `n_text` bytes of attributes follow each."""
    place, (n_slices, n_frames, y, x) = place_of(scan), scan.shape
    heads = np.zeros((n_slices, n_frames), dtype=_HEAD)
    heads["version"], heads["data_type"], heads["channels"] = 1, _TYPES[kind], 1
    heads["matrix_size"] = (x, y, 1)
    heads["field_of_view"] = (x * place.pixel_mm[1], y * place.pixel_mm[0], place.pitch_mm)
    heads["position"] = place.centres((y, x))[:, None]
    heads["read_dir"], heads["phase_dir"], heads["slice_dir"] = place.right, place.down, place.through
    heads["slice"], heads["phase"] = np.arange(n_slices)[:, None], np.arange(n_frames)
    if scan.frame_ms:
        stamps = (np.arange(n_frames) * scan.frame_ms / _TICK_MS).round()
        heads["physiology_time_stamp"][..., 0] = stamps
    heads["image_type"], heads["image_series_index"] = _MAGNITUDE, series
    heads["image_index"] = 1 + np.arange(n_slices * n_frames).reshape(n_slices, n_frames)
    heads["attribute_string_len"] = n_text
    return heads.reshape(-1)
