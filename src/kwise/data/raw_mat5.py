"""MATLAB v5 .mat files: their numeric arrays, by the published layout, with every length checked before use.

A damaged length takes other readers of this format down with the whole process; here it is one line. Layout:
MathWorks, "MAT-File Format", chapter 1.
"""

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kwise.data.raw_checks import refused

_MATRIX, _COMPRESSED = 14, 15
# Type number of stored values -> numpy type, without byte order.
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC = range(6, 16)  # classes double to uint64
_COMPLEX = 0x0800
_LARGEST, _SWELL = 2**26, 1100  # bytes anything may unpack to, and how far zlib can swell at all


@dataclass(frozen=True)
class Variable:
    """An array of a .mat file, not read yet: its `shape` in MATLAB's order, and numpy's `kind` of number.

    `some(axis, chosen)` gives the elements `chosen` along an axis (None: all), complex ones as complex64.
    """

    shape: tuple[int, ...]
    kind: str
    some: Callable[[int | None, range], np.ndarray]

    def whole(self) -> np.ndarray:
        """All of it."""
        return self.some(None, range(0))


class _DamageError(Exception):
    """What is wrong inside, before the file's name is put to it."""


def read_mat5(path: Path) -> dict[str, Variable]:
    """Numeric variables by name; ValueError in one line for a damaged file.

    The file is mapped: what was not compressed is read where it is asked for.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise refused(path, f"a .mat header that ends in {content[126:128]!r}", "IM or MI, as MATLAB v5 has")
    try:
        found = (_matrix(body, order) for body in _matrices(memoryview(content)[128:], order))
        return {name: array for name, array in found if array is not None}
    except (_DamageError, struct.error, zlib.error) as error:
        raise refused(path, f"a damaged .mat file ({error})", "MATLAB v5 or v7.3") from error


def _matrices(rest: memoryview, order: str) -> Iterator[memoryview]:
    """The bodies of all matrices, unpacked."""
    while len(rest):
        kind, body, rest = _element(rest, order)
        if kind == _COMPRESSED:
            most = max(_LARGEST, _SWELL * len(body))
            unpacked = memoryview(zlib.decompressobj().decompress(body, most))
            kind, body, _ = _element(unpacked, order)
        if kind == _MATRIX:
            yield body


def _element(data: memoryview, order: str) -> tuple[int, memoryview, memoryview]:
    """Type, content and what follows of the element at the start of `data`."""
    if len(data) < 8:
        raise _DamageError(f"{len(data)} bytes where an element should start")
    kind, size = struct.unpack(f"{order}II", data[:8])
    if kind >> 16:  # a small element: type, length and up to 4 bytes in 8
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise _DamageError(f"a small element of {size} bytes")
        return kind, data[4 : 4 + size], data[8:]
    if size > len(data) - 8:
        raise _DamageError(f"an element of {size} bytes where {len(data) - 8} are left")
    padded = size if kind == _COMPRESSED else -(-size // 8) * 8
    return kind, data[8 : 8 + size], data[8 + padded :]


def _matrix(body: memoryview, order: str) -> tuple[str, Variable | None]:
    """Name and values of a matrix; None for one that is not numeric."""
    _, flags, body = _element(body, order)
    _, sizes, body = _element(body, order)
    _, name, body = _element(body, order)
    if len(flags) < 4 or len(sizes) % 4 or not len(sizes):
        raise _DamageError("a matrix without flags or sizes")
    word = struct.unpack(f"{order}I", flags[:4])[0]
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    title = bytes(name).decode("ascii", errors="replace")
    if word & 0xFF not in _NUMERIC:
        return title, None
    real, body = _values(body, shape, order)
    imaginary = _values(body, shape, order)[0] if word & _COMPLEX else None
    return title, _variable(real, imaginary)


def _variable(real: np.ndarray, imaginary: np.ndarray | None) -> Variable:
    def some(axis: int | None, chosen: range) -> np.ndarray:
        index = (
            () if axis is None else (slice(None),) * axis + (slice(chosen.start, chosen.stop, chosen.step),)
        )
        if imaginary is None:
            return real[index]
        merged = np.empty(real[index].shape, np.complex64, order="F")
        merged.real, merged.imag = real[index], imaginary[index]
        return merged

    return Variable(real.shape, real.dtype.kind if imaginary is None else "c", some)


def _values(body: memoryview, shape: tuple[int, ...], order: str) -> tuple[np.ndarray, memoryview]:
    kind, content, rest = _element(body, order)
    if kind not in _TYPES:
        raise _DamageError(f"values of type {kind}")
    stored = np.dtype(order + _TYPES[kind])
    if len(content) % stored.itemsize:
        raise _DamageError(f"{len(content)} bytes of values of {stored.itemsize} bytes each")
    values = np.frombuffer(content, dtype=stored)
    count = 1
    for n in shape:
        count *= n
    if count != len(values) or min(shape) < 0:
        raise _DamageError(f"{len(values)} values for a matrix of {shape}")
    return values.reshape(shape, order="F"), rest
