"""What a server allows one client, and the errors that say so."""

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Limits:
    """Bounds: `upload_bytes` and `upload_seconds` of what a client sends, `answer_seconds` and `memory_bytes`
    of what answers it, `waiting` clients beside the one being answered, `idle_seconds` without a byte of an
    upload over HTTP, `receiving` clients that send at a time.
    """

    upload_bytes: int = 2 * 10**9
    upload_seconds: float = 300.0
    answer_seconds: float = 600.0
    memory_bytes: int = 8 * 10**9
    waiting: int = 4
    idle_seconds: float = 30.0
    receiving: int = 16


class BusyError(Exception):
    """More clients wait than a server allows."""


class LateError(Exception):
    """An answer took longer than a server allows."""


class SlowError(LateError):
    """A client took longer to send than a server allows."""


class LargeError(Exception):
    """A client sent more than a server allows."""


class LostError(Exception):
    """The process that should have answered failed or was ended."""


def without_paths(line: str, folder: Path) -> str:
    """An error for a client: without the place where the server keeps what it was sent."""
    return line.replace(f"{folder}/", "")


def warning_of(host: str, port: int) -> str | None:
    """What to say before listening to more than this machine; None for loopback."""
    if host in LOOPBACK:
        return None
    return (
        f"warning: {host}:{port} can be reached from other machines; there is no password and no encryption"
    )
