"""BART's .cfl and .hdr pairs: complex float32 in column-major order, 16 axes of fixed meaning."""

from pathlib import Path

import numpy as np
import torch

from kwise.data.raw_checks import (
    NO_SPACING,
    acquired_samples,
    case_name,
    check_acquired,
    dead_coils,
    refused,
)
from kwise.data.raw_slices import Slices, picked
from kwise.types import Scan

# bart/src/misc/mri.h; of these axes a 2-D cine fills READ, PHS1, COIL, TIME, TIME2, SLICE and AVG.
AXES = (
    "READ", "PHS1", "PHS2", "COIL", "MAPS", "TE", "COEFF", "COEFF2", "ITER", "CSHIFT", "TIME", "TIME2",
    "LEVEL", "SLICE", "AVG", "BATCH",
)  # fmt: skip
_USED = ("AVG", "SLICE", "TIME2", "TIME", "COIL", "PHS1", "READ")


def is_bart(path: Path) -> bool:
    """Whether a file is one of a pair .cfl and .hdr, by the first line of its header."""
    header = path.with_suffix(".hdr")
    if not header.is_file() or path.suffix not in (".cfl", ".hdr"):
        return False
    with header.open("rb") as file:
        return file.read(12) == b"# Dimensions"


def read_bart(path: Path, slices: Slices = None) -> Scan:
    """The scan of a pair, given either file; averages are averaged, both time axes are frames.

    A big-endian file is turned, and `notes` say so. ValueError in one line for another size than the header
    says, and for axes a 2-D cine does not have.
    """
    data, header = path.with_suffix(".cfl"), path.with_suffix(".hdr")
    shape = _dimensions(header)
    for axis, n in zip(AXES, shape):
        if n > 1 and axis not in _USED:
            raise refused(header, f"{n} elements along {axis}", "1: a 2-D scan without maps or echoes")
    values, notes = _values(data, shape)
    kept = values.reshape([shape[AXES.index(axis)] for axis in _USED])  # the axes left out have length 1
    chosen = picked(data, slices, kept.shape[1])
    kept = kept[:, chosen.start : chosen.stop : chosen.step]
    array = torch.from_numpy(np.array(kept, dtype=np.complex64)).flatten(2, 3)  # (average, z, t, c, ky, kx)
    if len(array) > 1:
        times = (array != 0).any(dim=3, keepdim=True).sum(dim=0).clamp(min=1)
        notes["averaged"] = f"{len(array)} averages"
        array = (array.sum(dim=0) / times).unsqueeze(0)
    kspace = array[0].permute(2, 0, 1, 3, 4).contiguous()
    notes = {"format": "BART cfl", "spacing": NO_SPACING} | notes
    mask = check_acquired(data, acquired_samples(kspace))
    return Scan(case_name(path), kspace=kspace, mask=mask, notes=notes | dead_coils(kspace))


def _dimensions(header: Path) -> tuple[int, ...]:
    """16 sizes, READ first."""
    lines = header.read_text(encoding="ascii", errors="replace").splitlines()
    words = lines[1].split() if len(lines) > 1 else []
    if not 2 <= len(words) <= 16 or not all(word.isdecimal() and 0 < int(word) < 2**31 for word in words):
        got = f"dimensions {' '.join(words)[:60]!r}"
        raise refused(header, got, "up to 16 whole numbers above 0 under # Dimensions")
    return tuple([int(word) for word in words] + [1] * (16 - len(words)))


def _values(data: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, str]]:
    """Samples with the axes reversed, BATCH first; not read into memory yet."""
    if not data.is_file():
        raise refused(data, "no such file", "the data beside the .hdr")
    count, size = 1, data.stat().st_size
    for n in shape:
        count *= n
    if size != 8 * count:
        raise refused(data, f"{size} bytes", f"{8 * count}, as the dimensions in its .hdr say")
    values = np.memmap(data, dtype="<c8", mode="r").reshape(shape[::-1])
    flat = values.reshape(-1)
    some = flat[:: max(1, count // 4096)].copy()
    swapped = some.view("<f4").view(">f4")
    if _plausible(swapped) > 0.99 and _plausible(some.view("<f4")) < 0.8:
        return values.view(">c8"), {"byte order": "big-endian file turned to little-endian"}
    return values, {}


def _plausible(values: np.ndarray) -> float:
    """The share of float32 that are zero or of a size that measurements have."""
    with np.errstate(invalid="ignore"):
        size = np.abs(values.astype(np.float64))
    return float(((size == 0) | ((size > 1e-20) & (size < 1e20))).mean())
