"""The MRD server: a scanner streams raw data and gets segmentation and image back (FIRE, OpenRecon)."""

import shutil
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kwise.serve.job import REPLY, Job
from kwise.serve.limits import BusyError, LargeError, LateError, Limits, LostError, without_paths
from kwise.serve.mrd_session import Wire, receive, send_close, send_text
from kwise.serve.worker import Desk

REPLY_SECONDS = 60.0  # a client that does not take its answer loses it
_CONNECTIONS = 16  # beyond the queue: those who only learn that it is full
_SILENT = 64  # clients that have connected and sent nothing yet


class MrdServer(socketserver.ThreadingTCPServer):
    """Listens on a port; every client is a thread, and all of them queue at one desk."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = _CONNECTIONS

    def __init__(self, host: str, port: int, desk: Desk) -> None:
        self.desk = desk
        self._silent: list[socket.socket] = []
        self._counting = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Client)

    @property
    def port(self) -> int:
        """The port listened to, which the system chose where 0 was asked for."""
        return int(self.server_address[1])

    @contextmanager
    def silence(self, client: socket.socket) -> Iterator[None]:
        """While a client sends nothing, which it may do for hours; of too many, the first that came goes."""
        with self._counting:
            self._silent.append(client)
            longest = self._silent.pop(0) if len(self._silent) > _SILENT else None
        if longest is not None:
            with suppress(OSError):
                longest.shutdown(socket.SHUT_RD)
        try:
            yield
        finally:
            with self._counting:
                if client in self._silent:
                    self._silent.remove(client)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client must not take the server down: one line in the log."""
        _log(f"{client_address}: {type(sys.exception()).__name__}: {sys.exception()}")


class _Client(socketserver.BaseRequestHandler):
    """One connection: receive, answer, send back, close."""

    server: MrdServer

    def handle(self) -> None:
        try:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            wire = Wire(self.request, self.server.desk.limits.upload_seconds)
            with self.server.silence(self.request):
                wire.begin()
            said = self._answer(wire)
        except BusyError as error:
            said = f"busy: {error}"
            self._refuse(said)
        except (ValueError, LateError, LargeError, LostError) as error:
            said = f"refused: {' '.join(str(error).split())}"
            self._refuse(said)
        except OSError as error:
            said = f"lost the connection ({error})"
        _log(f"{self.client_address[0]}: {said}")

    def _answer(self, wire: Wire) -> str:
        folder = Path(tempfile.mkdtemp(prefix="kwise-serve-"))
        try:
            with self.server.desk.receiving():
                found = receive(wire, folder, self.server.desk.limits)
            if not found.n_readouts:
                raise ValueError(f"reading a stream: got {found.told}; wanted readouts of a scan")
            job = Job(folder, case=found.case, measurement_uid=found.measurement_uid)
            with self.server.desk.place():
                facts = self.server.desk.answer(job)
            self.request.settimeout(REPLY_SECONDS)
            with (folder / REPLY).open("rb") as reply:
                self.request.sendfile(reply)
            send_close(self.request)
            ef = facts["area_ejection_fraction_percent"]
            return f"answered {found.told}" + ("" if ef is None else f", area EF {ef:.1f} %")
        except ValueError as error:
            raise ValueError(without_paths(str(error), folder)) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _refuse(self, line: str) -> None:
        """Say why, and close; a client that is gone, or does not listen, is none of our business."""
        try:
            self.request.settimeout(2.0)
            send_text(self.request, f"kwise {line}")
            send_close(self.request)
            self.request.shutdown(socket.SHUT_WR)
            for _ in range(
                64
            ):  # what it still sends is read, or its system drops our line with the connection
                if not self.request.recv(2**20):
                    return
        except OSError:
            return


def serve_mrd(host: str, port: int, checkpoint: Path, limits: Limits) -> None:
    """Answer MRD clients until Ctrl-C."""
    with Desk(checkpoint, limits) as desk, MrdServer(host, port, desk) as server:
        _log(f"kwise serves MRD on {host}:{server.port}, model {desk.about['model']}; Ctrl-C ends it")
        server.serve_forever(poll_interval=0.2)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
