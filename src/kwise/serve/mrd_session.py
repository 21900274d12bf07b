"""One MRD stream: messages by number, every length bounded before it is believed."""

import ctypes
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kwise.data.raw_mrd_stream import Spool
from kwise.serve.limits import LargeError, Limits, SlowError

CONFIG_FILE, CONFIG_TEXT, HEADER, CLOSE, TEXT = 1, 2, 3, 4, 5
ACQUISITION, IMAGE, WAVEFORM = 1008, 1022, 1026
_CONFIG_BYTES, _TEXT_BYTES, _XML_BYTES = 1024, 2**20, 2**24
_NAMES = {ACQUISITION: "readouts", IMAGE: "images", WAVEFORM: "waveforms", TEXT: "texts"}


class Wire:
    """A connection read by exact lengths, to be done within some seconds of its first byte."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self.connection, self.end = connection, time.monotonic() + seconds
        self._seconds = seconds

    def begin(self) -> None:
        """Wait for the first byte and start the clock with it: scanners connect long before they send."""
        self.connection.settimeout(None)
        self.connection.recv(1, socket.MSG_PEEK)
        self.end = time.monotonic() + self._seconds

    def read(self, size: int) -> bytes:
        """Exactly so many bytes; ValueError where the client ends before, SlowError where it is slow."""
        parts, missing = [], size
        while missing:
            left = self.end - time.monotonic()
            if left <= 0:
                raise SlowError(f"no whole scan within {self._seconds:g} s")
            self.connection.settimeout(left)
            try:
                part = self.connection.recv(min(missing, 2**20))
            except TimeoutError as error:
                raise SlowError(f"no whole scan within {self._seconds:g} s") from error
            if not part:
                got = f"an end after {size - missing} of {size} bytes of a message"
                raise ValueError(f"reading a stream: got {got}; wanted a whole one, and a close message")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


@dataclass(frozen=True)
class Received:
    """What came: how many readouts, in words, and the uid of the measurement (0: not told)."""

    n_readouts: int
    told: str
    measurement_uid: int
    case: str = "mrd stream"


def receive(wire: Wire, folder: Path, limits: Limits) -> Received:
    """Keep the readouts of a stream in a folder until its close message.

    Configurations are read and left alone: nothing a client names is opened. Waveforms and images are left
    out and counted. ValueError in one line for an unknown message or a damaged one, LargeError, SlowError.
    """
    spool, count = Spool(folder, limits.upload_bytes), Counter[int]()
    left_out = 0
    try:
        while (kind := struct.unpack("<H", wire.read(2))[0]) != CLOSE:
            count[kind] += 1
            if kind == CONFIG_FILE:
                wire.read(_CONFIG_BYTES)
            elif kind in (CONFIG_TEXT, TEXT):
                wire.read(_length(wire, _TEXT_BYTES))
            elif kind == HEADER:
                spool.header(wire.read(_length(wire, _XML_BYTES)).rstrip(b"\0"))
            elif kind == ACQUISITION:
                spool.acquisition(wire.read)
            elif kind in (WAVEFORM, IMAGE):
                left_out += _skip(wire, kind, limits.upload_bytes - left_out)
            else:
                raise ValueError(f"reading a stream: got message {kind}; wanted one of the MRD protocol")
    finally:
        spool.close()
    words = [f"{n} {_NAMES[kind]}" for kind, n in sorted(count.items()) if kind in _NAMES]
    return Received(spool.n_readouts, ", ".join(words) or "nothing", spool.measurement_uid)


def _length(wire: Wire, most: int) -> int:
    size = int(struct.unpack("<I", wire.read(4))[0])
    if size > most:
        raise LargeError(f"a text of {size} bytes; at most {most}")
    return size


def _skip(wire: Wire, kind: int, room: int) -> int:
    """Read an image or a waveform, and forget it; how many bytes that were."""
    import ismrmrd

    if kind == WAVEFORM:
        told = ismrmrd.WaveformHeader.from_buffer_copy(wire.read(ctypes.sizeof(ismrmrd.WaveformHeader)))
        size = 4 * told.channels * told.number_of_samples
    else:
        image = ismrmrd.ImageHeader.from_buffer_copy(wire.read(ctypes.sizeof(ismrmrd.ImageHeader)))
        text = int(struct.unpack("<Q", wire.read(8))[0])
        x, y, z = image.matrix_size
        size = text + x * y * z * image.channels * _bytes_of(image.data_type)
    if size > room:
        raise LargeError(f"a message of {size / 1e6:.0f} MB; wanted less of what is no raw data")
    for start in range(0, size, 2**20):
        wire.read(min(2**20, size - start))
    return size


def _bytes_of(data_type: int) -> int:
    from ismrmrd.image import get_dtype_from_data_type

    try:
        return int(get_dtype_from_data_type(data_type).itemsize)
    except TypeError as error:
        raise ValueError(f"reading a stream: got an image of type {data_type}; wanted 1 to 8") from error


def send_text(connection: socket.socket, line: str) -> None:
    """A line for people as a message."""
    text = line.encode()
    connection.sendall(struct.pack("<HI", TEXT, len(text)) + text)


def send_close(connection: socket.socket) -> None:
    """The last message."""
    connection.sendall(struct.pack("<H", CLOSE))
