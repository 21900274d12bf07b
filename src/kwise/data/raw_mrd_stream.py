"""Readouts that come as a stream: kept in a folder while they arrive, then read as an MRD file is.

Nothing in the stream decides where it is kept; the `Scan` is the same as of the file with the same readouts.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kwise.data.raw_checks import refused
from kwise.data.raw_mrd import scan_of_readouts
from kwise.data.raw_mrd_header import Header, parse_header
from kwise.data.raw_mrd_rows import Places, Readouts
from kwise.data.raw_mrd_write import ACQUISITION_HEADER
from kwise.types import Scan

Read = Callable[[int], bytes]  # exactly so many bytes, or an exception
_SAMPLES, _HEADS, _XML = "stream", "heads", "xml"  # names in the folder


@dataclass
class Spool:
    """Readouts on their way into `folder`, which exists; `size` bytes of them are kept so far."""

    folder: Path
    most_bytes: int
    size: int = 0
    _heads: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._samples = (self.folder / _SAMPLES).open("wb")

    def header(self, text: bytes) -> None:
        """Keep the XML header; ValueError for one that is damaged."""
        parse_header(text, "reading the header of a stream")
        (self.folder / _XML).write_bytes(text)

    def acquisition(self, read: Read) -> None:
        """Keep the readout that `read` gives next: header, trajectory, samples; ValueError for no room."""
        head = read(ACQUISITION_HEADER.itemsize)
        told = np.frombuffer(head, ACQUISITION_HEADER)[0]
        if told["version"] != 1:
            got = f"a readout of version {told['version']}"
            raise ValueError(f"reading a stream: got {got}; wanted ISMRMRD version 1")
        samples = int(told["number_of_samples"])
        axes, channels = int(told["trajectory_dimensions"]), int(told["active_channels"])
        sizes = (4 * samples * axes, 8 * samples * channels)
        self.size += len(head) + sum(sizes)
        if self.size > self.most_bytes:
            wanted = f"at most {self.most_bytes / 1e6:.0f} MB"
            raise ValueError(f"reading a stream: got more than that of readouts; wanted {wanted}")
        for size in sizes:
            self._samples.write(read(size))
        self._heads.append(head)

    @property
    def n_readouts(self) -> int:
        """Readouts kept so far."""
        return len(self._heads)

    @property
    def measurement_uid(self) -> int:
        """The number of the measurement, as its first readout tells; 0 without one."""
        return (
            int(np.frombuffer(self._heads[0], ACQUISITION_HEADER)["measurement_uid"][0]) if self._heads else 0
        )

    def close(self) -> None:
        """Nothing more comes."""
        self._samples.close()
        (self.folder / _HEADS).write_bytes(b"".join(self._heads))


def read_stream(folder: Path) -> Scan:
    """The scan of the readouts kept in a folder; ValueError in one line as for an MRD file."""
    path = folder / _SAMPLES
    heads = np.frombuffer((folder / _HEADS).read_bytes(), ACQUISITION_HEADER)
    if not len(heads):
        raise refused(path, "no readouts", "at least one")
    xml = folder / _XML
    header = parse_header(xml.read_bytes(), f"reading {path}") if xml.is_file() else Header()
    samples = heads["number_of_samples"].astype(np.int64)
    traj = samples * heads["trajectory_dimensions"]
    data = 2 * samples * heads["active_channels"]
    ends = np.cumsum(4 * (traj + data))
    with path.open("rb") as file:
        starts = ends - 4 * (traj + data)
        columns = (Places(file.fileno(), starts + 4 * traj, data), Places(file.fileno(), starts, traj))
        return scan_of_readouts(path, header, Readouts(heads, *(column.column() for column in columns)))
