"""Scans that are slow to draw, kept on disk by name: a second run reads what the first one drew, bit for bit.

Nothing is kept unless the environment variable KWISE_KEEP names a folder for it.
"""

import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from kwise.atomic import write_atomically
from kwise.types import Scan

KEEP_VARIABLE = "KWISE_KEEP"
_TENSORS = ("image", "kspace", "mask", "labels", "coil_maps", "trajectory", "affine")


def kept(read: Callable[[str], Scan], *words: object) -> Callable[[str], Scan]:
    """`read` behind the folder that KWISE_KEEP names, in a subfolder named by `words` (what decides a scan
    beside its name: frames, grid, field of view); `read` itself where nothing is named.

    A file that cannot be read is drawn again.
    """
    root = os.environ.get(KEEP_VARIABLE)
    if not root:
        return read
    folder = Path(root) / "-".join(str(word) for word in words)

    def remembered(case: str) -> Scan:
        path = folder / f"{case}.npz"
        try:
            return _load(path)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            scan = read(case)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda part: _save(part, scan))
            return scan

    return remembered


def _save(path: Path, scan: Scan) -> None:
    arrays = {name: getattr(scan, name).numpy() for name in _TENSORS if getattr(scan, name) is not None}
    if "labels" in arrays:
        arrays["labels"] = arrays["labels"].astype(np.int8)
    plain = {f.name: getattr(scan, f.name) for f in fields(scan) if f.name not in _TENSORS}
    with path.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(plain)), **arrays)


def _load(path: Path) -> Scan:
    with np.load(path, allow_pickle=False) as arrays:
        plain = json.loads(str(arrays["about"]))
        tensors: dict[str, Any] = {n: torch.from_numpy(arrays[n]) for n in arrays if n != "about"}
    if "labels" in tensors:
        tensors["labels"] = tensors["labels"].long()
    plain["spacing_mm"] = tuple(plain["spacing_mm"])
    plain["views"] = None if plain["views"] is None else tuple(plain["views"])
    return Scan(**plain, **tensors)
