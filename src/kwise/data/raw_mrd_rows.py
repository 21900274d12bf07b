"""Where the samples of every MRD readout lie in a file, and reading them in bulk.

HDF5 keeps the samples of each readout as an object of its own in a global heap, and its library fetches them
one by one. Here their places are looked up once (HDF5 File Format Specification 3.0, section III.E) and then
read by the MB; whatever is not laid out as that needs, or fails its checks, goes through the library instead.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_DESCRIPTOR = np.dtype([("count", "<u4"), ("heap", "<u8"), ("index", "<u4")])  # of a sequence in the file
_GAP = 2**14  # bytes of something else that are read along rather than skipped
_LOOK = 2**12  # bytes of a heap collection looked at at once, the least HDF5 makes


class _OtherLayoutError(Exception):
    """The file is fine as far as we know, but not laid out for reading in bulk."""


@dataclass(frozen=True)
class Column:
    """Sequences of float32, one a readout: `counts` (n,) of them; `fetch(rows)` gives them one by one."""

    counts: np.ndarray
    fetch: Callable[[np.ndarray], list[np.ndarray]]

    def block(self, rows: np.ndarray, count: int) -> np.ndarray:
        """(rows, count) float32; ValueError where one of the rows holds another number of them."""
        if len(rows) and not (self.counts[rows] == count).all():
            raise ValueError(f"got rows of {sorted(set(self.counts[rows].tolist()))[:4]} values")
        if not count:
            return np.zeros((len(rows), 0), np.float32)
        block = np.empty((len(rows), count), np.float32)
        for line, values in zip(block, self.fetch(rows)):
            if len(values) != count:
                raise ValueError(f"got a row of {len(values)} values")
            line[:] = values
        return block


@dataclass(frozen=True)
class Readouts:
    """The readouts of a scan: acquisition headers `heads` (n,), their samples and their trajectories."""

    heads: np.ndarray
    data: Column
    traj: Column


class Places:
    """Sequences of float32 at byte offsets `starts` (n,) of a file open to read, `counts` (n,) long."""

    def __init__(self, handle: int, starts: np.ndarray, counts: np.ndarray) -> None:
        self.handle, self.starts, self.counts = handle, starts, counts
        self._buffer = np.empty(0, np.uint8)

    def column(self) -> Column:
        """These sequences as a column."""
        return Column(self.counts, self.fetch)

    def fetch(self, rows: np.ndarray) -> list[np.ndarray]:
        """The sequences of some rows, good until the next call."""
        starts, sizes = self.starts[rows], 4 * self.counts[rows].astype(np.int64)
        order = np.argsort(starts, kind="stable")
        ends = starts + sizes
        far = np.flatnonzero(starts[order][1:] > ends[order][:-1] + _GAP) + 1
        found: list[np.ndarray] = [np.empty(0, np.float32)] * len(rows)
        runs = np.split(order, far) if len(rows) else []
        lengths = [int(ends[run].max() - starts[run[0]]) for run in runs]
        if sum(lengths) > len(self._buffer):
            self._buffer = np.empty(sum(lengths), np.uint8)
        at = 0
        for run, length in zip(runs, lengths):
            first = int(starts[run[0]])
            part = self._buffer[at : at + length]
            read_exactly(self.handle, part.data, first)
            for i, begin, size in zip(run.tolist(), (starts[run] - first).tolist(), sizes[run].tolist()):
                found[i] = part[begin : begin + size].view(np.float32)
            at += length
        return found


def read_exactly(handle: int, into: memoryview, offset: int) -> None:
    """Fill a buffer from an offset of an open file; ValueError where the file ends before."""
    done = 0
    while done < len(into):
        got = os.preadv(handle, [into[done:]], offset + done)
        if not got:
            raise ValueError("got a file that ends inside its readouts")
        done += got


def readouts_of(data: Any, handle: int) -> Readouts:
    """The readouts of MRD's data set `data`, whose file is open a second time under `handle`."""
    try:
        return _located(data, handle)
    except (_OtherLayoutError, ValueError):
        return through_hdf5(data)


def through_hdf5(data: Any) -> Readouts:
    """Readouts fetched by the library of HDF5, object by object: any layout, and slow."""
    heads = data.fields("head")[:]

    def column(name: str, counts: np.ndarray) -> Column:
        def fetch(rows: np.ndarray) -> list[np.ndarray]:
            first, last = int(rows.min()), int(rows.max()) + 1
            if last - first > 4 * len(rows):
                return [np.asarray(data.fields(name)[int(row)], np.float32) for row in rows]
            return [np.asarray(x, np.float32) for x in data.fields(name)[first:last][rows - first]]

        return Column(counts, fetch)

    names = heads.dtype.names or ()
    told = [heads[n].astype(np.int64) if n in names else np.zeros(len(heads), np.int64) for n in _LENGTHS]
    samples, channels, axes = told
    return Readouts(heads, column("data", 2 * samples * channels), column("traj", samples * axes))


_LENGTHS = ("number_of_samples", "active_channels", "trajectory_dimensions")


def _located(data: Any, handle: int) -> Readouts:
    """Readouts by their places; what they are is checked against what HDF5 says of the first and the last."""
    table = _table(data, handle)
    kind = data.id.get_type()
    members = {
        kind.get_member_name(i).decode(): (kind.get_member_offset(i), kind.get_member_type(i))
        for i in range(kind.get_nmembers())
    }
    start, head = members["head"]
    if head.dtype.itemsize != head.get_size():
        raise _OtherLayoutError
    heads = _column_of(table, start, head.dtype)
    columns = []
    for name in ("data", "traj"):
        if name not in members or not _is_sequence(members[name][1]):
            raise _OtherLayoutError
        told = _column_of(table, members[name][0], _DESCRIPTOR)
        columns.append(Places(handle, _in_heap(handle, told), told["count"].astype(np.int64)))
    for row in {0, len(heads) - 1} if len(heads) else ():
        seen, true = columns[0].fetch(np.array([row])), data[row]
        if heads[row].tobytes() != true["head"].tobytes() or not np.array_equal(
            seen[0].view(np.uint32), np.asarray(true["data"], np.float32).view(np.uint32)
        ):
            raise _OtherLayoutError
    return Readouts(heads, columns[0].column(), columns[1].column())


def _is_sequence(kind: Any) -> bool:
    """Whether an HDF5 type is a sequence of little-endian float32."""
    import h5py

    return kind.get_class() == h5py.h5t.VLEN and kind.get_super().dtype == np.dtype("<f4")


def _column_of(table: np.ndarray, start: int, kind: np.dtype) -> np.ndarray:
    return np.ascontiguousarray(table[:, start : start + kind.itemsize]).view(kind)[:, 0]


def _table(data: Any, handle: int) -> np.ndarray:
    """The rows of a data set (n, bytes) as they stand in the file: headers, and where sequences lie."""
    made, size = data.id.get_create_plist(), data.id.get_type().get_size()
    plain = not made.get_nfilters() and not data.is_virtual and not made.get_external_count()
    if not plain or data.file.userblock_size or data.file.id.get_create_plist().get_sizes() != (8, 8):
        raise _OtherLayoutError
    n = len(data)
    if data.chunks is None:
        start = data.id.get_offset()
        if start is None:
            raise _OtherLayoutError
        table = np.empty((n, size), np.uint8)
        read_exactly(handle, table.reshape(-1).data, start)
        return table
    step = data.chunks[0]
    table = np.empty((-(-n // step) * step, size), np.uint8)
    seen = 0

    def take(chunk: Any) -> None:
        nonlocal seen
        row = chunk.chunk_offset[0]
        if chunk.size != step * size or row + step > len(table):
            raise _OtherLayoutError
        read_exactly(handle, table[row : row + step].reshape(-1).data, chunk.byte_offset)
        seen += step

    data.id.chunk_iter(take)
    if seen != len(table):
        raise _OtherLayoutError
    return table[:n]


def _in_heap(handle: int, told: np.ndarray) -> np.ndarray:
    """(n,) byte offsets of the sequences that descriptors point to; an empty one points anywhere."""
    starts = np.zeros(len(told), np.int64)
    rows = np.flatnonzero(told["count"] > 0)
    if len(rows) and int(told["heap"][rows].max()) >= os.fstat(handle).st_size:
        raise _OtherLayoutError
    rows = rows[np.argsort(told["heap"][rows], kind="stable")]
    heap, objects = -1, dict[int, tuple[int, int]]()
    pairs = zip(rows.tolist(), told["heap"][rows].tolist(), told["index"][rows].tolist())
    needed = (4 * told["count"].astype(np.int64)).tolist()
    for row, place, index in pairs:
        if place != heap:
            heap, objects = place, _collection(handle, place)
        start, size = objects.get(index, (0, -1))
        if size < needed[row]:
            raise _OtherLayoutError
        starts[row] = start
    return starts


def _collection(handle: int, place: int) -> dict[int, tuple[int, int]]:
    """Index -> byte offset and size of every object of a global heap collection."""
    head = os.pread(handle, _LOOK, place)
    size = int.from_bytes(head[8:16], "little")
    if head[:5] != b"GCOL\x01" or size < _LOOK:
        raise _OtherLayoutError
    found, at = {}, 16
    while at + 16 <= size:
        one = head[at : at + 16] if at + 16 <= len(head) else os.pread(handle, 16, place + at)
        if len(one) < 16:
            raise _OtherLayoutError
        index, length = int.from_bytes(one[:2], "little"), int.from_bytes(one[8:16], "little")
        if index == 0:  # the free space, always last
            break
        at += 16
        if at + length > size:
            raise _OtherLayoutError
        found[index] = (place + at, length)
        at += -(-length // 8) * 8
    return found
