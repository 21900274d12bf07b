"""Writing a file whole or not at all."""

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def part_of(path: Path) -> Path:
    """A temporary place of this process beside `path`: hidden, and short however long that name is."""
    return path.with_name(f"{_stem(path)}.{os.getpid()}.part")


def parts_left(path: Path) -> list[Path]:
    """The temporary places beside `path` that are there, of any process."""
    return list(path.parent.glob(f"{_stem(path)}.*.part"))


def _stem(path: Path) -> str:
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Run `write(temporary)` beside `path`, flush it to the disk and move it there.

    Whatever fails, an older file stays as it was, nothing half-written is left, and the error goes on.
    FileNotFoundError where there is no folder to write to.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))  # not of `temporary`
    temporary = part_of(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
