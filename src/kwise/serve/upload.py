"""Receiving an upload: bounded in bytes, files and time, kept under names the server makes."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kwise.serve.job import Job
from kwise.serve.limits import LargeError, Limits, SlowError

# All that is used of a client's file name: an ending out of this list.
ENDINGS = (".nii.gz", ".nii", ".cfl", ".hdr", ".npy", ".npz", ".mat", ".h5", ".mrd", ".dcm")
_MOST_FILES = 4096


@dataclass
class Upload:
    """What a request holds so far: files under `folder`, and what their form fields were called."""

    folder: Path
    most_bytes: int
    size: int = 0
    files: list[tuple[str, Path]] = field(default_factory=list)
    case: str = "upload"
    _open: BinaryIO | None = None

    def begin(self, name: str, client_name: str) -> None:
        """Open the next file for a form field; ValueError for too many."""
        if len(self.files) >= _MOST_FILES:
            raise ValueError(f"reading an upload: got over {_MOST_FILES} files; wanted one scan")
        ending = next((e for e in ENDINGS if client_name.lower().endswith(e)), "")
        place = self.folder / ("mask" if name == "mask" else "scan")
        place.mkdir(exist_ok=True)
        stem = "pair" if ending in (".cfl", ".hdr") else f"{len(self.files):04d}"
        path = place / f"{stem}{ending}"
        if path.exists():
            raise ValueError(f"reading an upload: got two files {ending}; wanted one pair of .cfl and .hdr")
        self.files.append((name, path))
        self._open = path.open("xb")
        self.case = _for_people(client_name) if len(self.files) == 1 else self.case

    def write(self, data: bytes) -> None:
        """More of the open file; LargeError beyond the limit."""
        self.size += len(data)
        if self.size > self.most_bytes:
            raise LargeError(f"an upload of more than {self.most_bytes / 1e6:.0f} MB")
        if self._open is not None:
            self._open.write(data)

    def end(self) -> None:
        """The open file is complete."""
        if self._open is not None:
            self._open.close()
        self._open = None

    def job(self) -> Job:
        """The job they make: one file, a pair of .cfl and .hdr, or a folder of DICOM images."""
        masks = [path for name, path in self.files if name == "mask"]
        scans = [path for name, path in self.files if name != "mask"]
        if not scans or len(masks) > 1:
            got = f"{len(scans)} files and {len(masks)} masks"
            raise ValueError(
                f"reading an upload: got {got}; wanted a scan in the field file, and one mask at most"
            )
        single = len(scans) == 1 or {path.suffix for path in scans} == {".cfl", ".hdr"}
        file = scans[0] if single else scans[0].parent
        return Job(self.folder, file, masks[0] if masks else None, self.case)


def _for_people(client_name: str) -> str:
    """A name to show, of letters, digits and dashes alone."""
    stem = re.split(r"[/\\]", client_name)[-1].split(".")[0]
    return re.sub(r"[^\w-]+", "_", stem, flags=re.ASCII)[:60] or "upload"


async def receive(
    stream: AsyncIterator[bytes], content_type: str, name: str, folder: Path, limits: Limits
) -> Job:
    """The job of a request's body: a form with files, or one file as it is, called `name`.

    ValueError in one line, LargeError, SlowError.
    """
    upload, stream = Upload(folder, limits.upload_bytes), _lively(stream, limits.idle_seconds)
    kind, _, rest = content_type.partition(";")
    try:
        async with asyncio.timeout(limits.upload_seconds):
            if kind.strip().lower() == "multipart/form-data":
                await _form(stream, rest, upload)
            else:
                upload.begin("file", name)
                async for chunk in stream:
                    upload.write(chunk)
    except TimeoutError as error:
        raise SlowError(f"no whole upload within {limits.upload_seconds:g} s") from error
    finally:
        upload.end()
    return upload.job()


async def _lively(stream: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """The same stream; SlowError where nothing of it comes for so long."""
    while True:
        try:
            async with asyncio.timeout(seconds):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise SlowError(f"nothing of an upload for {seconds:g} s") from error
        yield chunk


async def _form(stream: AsyncIterator[bytes], parameters: str, upload: Upload) -> None:
    """Files of a multipart form; fields that are no files are ignored."""
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser, parse_options_header

    boundary = parse_options_header(f"x; {parameters}")[1].get(b"boundary", b"")
    if not boundary or len(boundary) > 200:
        raise ValueError("reading an upload: got a form without a boundary; wanted multipart/form-data")
    form = _Form(upload)
    parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
    try:
        async for chunk in stream:
            parser.write(chunk)
        parser.finalize()
    except MultipartParseError as error:
        got = f"a damaged form ({error})"
        raise ValueError(f"reading an upload: got {got}; wanted multipart/form-data") from error
    if not form.done:
        raise ValueError("reading an upload: got half a form; wanted all of it")


class _Form:
    """What the parser of a form calls: headers are gathered, files go to the upload."""

    def __init__(self, upload: Upload) -> None:
        self.upload, self.done = upload, False
        self.name = self.value = self.disposition = b""

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_header_field": self.field,
            "on_header_value": self.content,
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_finished,
            "on_part_data": lambda data, start, end: self.upload.write(data[start:end]),
            "on_part_end": self.upload.end,
            "on_end": self.finished,
        }

    def field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def content(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        if self.name.lower() == b"content-disposition":
            self.disposition = self.value
        self.name = self.value = b""

    def headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, told = parse_options_header(self.disposition)
        self.disposition = b""
        if b"filename" in told:
            field, name = (told.get(key, b"").decode("utf-8", "replace") for key in (b"name", b"filename"))
            self.upload.begin(field, name)

    def finished(self) -> None:
        self.done = True
