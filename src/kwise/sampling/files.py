"""Masks given in a file, e.g. a pattern that a scanner or another program computed."""

import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from kwise.atomic import write_atomically


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


def save_mask(path: str | Path, mask: Tensor, about: str = "") -> None:
    """Write a mask (t, ky) bool as .txt (a row of 0 and 1 per frame, `about` above it behind #) or .npy, as
    `load_mask` reads them.

    The file is there whole or not at all. ValueError for another suffix or shape.
    """
    path = Path(path)
    doing = f"writing mask {path}"
    if path.suffix not in (".txt", ".npy"):
        raise ValueError(f"{doing}: got suffix {path.suffix!r}; wanted .txt or .npy")
    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise ValueError(f"{doing}: got {mask.dtype} {tuple(mask.shape)}; wanted torch.bool (t, ky)")
    rows = mask.to(torch.uint8).numpy()
    if path.suffix == ".txt":
        write_atomically(path, lambda part: np.savetxt(part, rows, fmt="%d", header=about))
    else:
        buffer = io.BytesIO()
        np.save(buffer, rows)
        write_atomically(path, lambda part: part.write_bytes(buffer.getvalue()))


def lines_in_words(mask: Tensor) -> str:
    """The acquired lines of a mask (t, ky), a row of text per frame: indices from 0, and offsets from DC.

    What a sequence programmer needs to type in: DC is index n_lines // 2, offset 0.
    """
    n_frames, n_lines = mask.shape
    rows = [f"# {n_lines} phase-encoding lines (ky 0 to {n_lines - 1}), DC is line {n_lines // 2}"]
    rows.append("# frame; lines acquired; their indices from 0; their offsets from DC")
    for frame in range(n_frames):
        lines = mask[frame].nonzero().flatten().tolist()
        offsets = " ".join(f"{line - n_lines // 2:+d}" for line in lines)
        rows.append(f"{frame + 1}; {len(lines)}; {' '.join(map(str, lines))}; {offsets}")
    return "\n".join(rows) + "\n"


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
