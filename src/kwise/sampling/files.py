"""Masks given in a file, e.g. a pattern that a scanner or another program computed."""

import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor


def load_mask(path: str | Path, n_lines: int, n_frames: int) -> Tensor:
    """(t, ky) bool from a .txt (0 and 1, by spaces or commas), .npy or .npz file of one matrix, ky x t or t x
    ky.

    The shape tells which; a square matrix is read as t x ky, kwise's own order. ValueError where the file
    cannot be read, has another shape, holds anything but 0 and 1, or acquires nothing.
    """
    path = Path(path)
    doing = f"reading mask {path}"
    matrix = _read_matrix(path, doing)
    if matrix.shape not in {(n_frames, n_lines), (n_lines, n_frames)}:
        wanted = f"({n_frames} frames, {n_lines} lines) or ({n_lines} lines, {n_frames} frames)"
        raise ValueError(f"{doing}: got shape {matrix.shape}; wanted {wanted}")
    if matrix.dtype.kind not in "bif" and matrix.dtype.kind != "u":
        raise ValueError(f"{doing}: got dtype {matrix.dtype}; wanted 0 and 1, or booleans")
    other = matrix[(matrix != 0) & (matrix != 1)]
    if other.size:
        raise ValueError(f"{doing}: got {other.size} values such as {other.flat[0]}; wanted only 0 and 1")
    if not matrix.any():
        raise ValueError(f"{doing}: got a mask that is all false; wanted at least one acquired line")
    mask = torch.from_numpy(matrix != 0)
    return (mask if mask.shape == (n_frames, n_lines) else mask.T).contiguous()


def _read_matrix(path: Path, doing: str) -> np.ndarray:
    readers = {".txt": _read_text, ".npy": _read_npy, ".npz": _read_npz}
    if path.suffix not in readers:
        raise ValueError(f"{doing}: got suffix {path.suffix!r}; wanted one of {', '.join(readers)}")
    if not path.is_file():
        raise ValueError(f"{doing}: got no such file; wanted a {path.suffix} file with one 0/1 matrix")
    try:
        return readers[path.suffix](path)
    except (OSError, ValueError, EOFError, BadZipFile, KeyError) as error:
        raise ValueError(f"{doing}: got an unreadable file ({error}); wanted one 0/1 matrix") from error


def _read_text(path: Path) -> np.ndarray:
    text = path.read_text().replace(",", " ")
    if not text.strip():
        raise ValueError("it is empty")
    return np.loadtxt(io.StringIO(text), ndmin=2)


def _read_npy(path: Path) -> np.ndarray:
    matrix = np.load(path, allow_pickle=False)
    if not isinstance(matrix, np.ndarray):
        raise ValueError("it is no single array")
    return matrix


def _read_npz(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        names = list(arrays)
        if "mask" not in names and len(names) != 1:
            raise ValueError(f"it holds arrays {names}, none named mask")
        return arrays["mask" if "mask" in names else names[0]]
