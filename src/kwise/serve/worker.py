"""The process that answers: a scan at a time, bounded in time and memory, replaced where it hangs or dies."""

import resource
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kwise.predict.files import Asked
from kwise.serve.job import Job, do
from kwise.serve.limits import BusyError, LateError, Limits, LostError, without_paths

_START_SECONDS = 120.0  # to import torch and load the weights, on a busy machine


class Desk:
    """Where clients queue for the one worker: at most `limits.waiting` beside the one being answered."""

    def __init__(self, checkpoint: Path, limits: Limits) -> None:
        self.limits = limits
        self._worker = Worker(checkpoint, limits)
        self.threads = ThreadPoolExecutor(limits.waiting + 2, "kwise desk")
        self._turn, self._counting = threading.Lock(), threading.Lock()
        self._inside = self._sending = 0

    def __enter__(self) -> "Desk":
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)

    @property
    def about(self) -> dict[str, str]:
        """Which model answers."""
        return self._worker.about

    @property
    def inside(self) -> int:
        """Clients answered or waiting now."""
        return self._inside

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Leave to send, to take before anything is received: who sends slowly, or not at all, holds no place
        in the queue. BusyError where too many send, or the queue is full already.
        """
        with self._counting:
            self._check_room()
            if self._sending >= self.limits.receiving:
                raise BusyError(f"{self._sending} clients send at once; come back in a while")
            self._sending += 1
        try:
            yield
        finally:
            with self._counting:
                self._sending -= 1

    def _check_room(self) -> None:
        if self._inside > self.limits.waiting:
            raise BusyError(f"{self._inside} clients are answered or wait; come back in a while")

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, to take when all was received; BusyError where all are taken."""
        with self._counting:
            self._check_room()
            self._inside += 1
        try:
            yield
        finally:
            with self._counting:
                self._inside -= 1

    def answer(self, job: Job) -> dict[str, Any]:
        """The facts of an answer, whose files are in the job's folder; wants a `place`.

        ValueError in one line for what the client sent, LateError and LostError for what became of it here.
        """
        with self._turn:
            return self._worker.answer(job)


class Worker:
    """A process with a checkpoint in memory."""

    def __init__(self, checkpoint: Path, limits: Limits) -> None:
        self.checkpoint, self.limits = checkpoint, limits
        self.about: dict[str, str] = {}
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start the process, if none runs, and wait until it is ready."""
        if self._process is not None and self._process.is_alive():
            return
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self.checkpoint, self.limits.memory_bytes, shlex.join(["kwise", *sys.argv[1:]]))
        self._process = context.Process(target=_work, args=arguments, daemon=True, name="kwise worker")
        self._process.start()
        theirs.close()
        kind, told = self._receive(_START_SECONDS)
        if kind == "refused":
            self.stop()
            raise ValueError(told)
        self.about = told

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = None

    def answer(self, job: Job) -> dict[str, Any]:
        """What `kwise.serve.job.do` says of a job in the worker; errors as in `Desk.answer`."""
        self.start()
        assert self._pipe is not None
        try:
            self._pipe.send(job)
        except OSError as error:
            self.stop()
            raise LostError("the worker was lost; send it again") from error
        kind, told = self._receive(self.limits.answer_seconds)
        if kind == "refused":
            raise ValueError(without_paths(told, job.folder))
        if kind == "failed":
            raise LostError("kwise failed on this scan; the server's log says where")
        return told

    def _receive(self, seconds: float) -> tuple[str, Any]:
        assert self._pipe is not None
        try:
            if self._pipe.poll(seconds):
                return self._pipe.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise LostError("the worker ended while it answered this scan") from error
        self.stop()
        raise LateError(f"no answer within {seconds:.0f} s; wanted a smaller scan, or a longer time")


def _work(pipe: Connection, checkpoint: Path, memory_bytes: int, command: str) -> None:
    """Load the checkpoint, then answer jobs until nobody sends any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business
    try:
        asked = Asked.of(checkpoint, command=command)
    except (ValueError, OSError) as error:
        pipe.send(("refused", " ".join(str(error).split())))
        return
    _bound_memory(memory_bytes)
    pipe.send(("ready", {"model": asked.loaded.name, "weights_sha256": asked.weights}))
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            reply: tuple[str, Any] = ("done", do(job, asked))
        except Exception as error:  # whatever a client sent: the next one is answered
            reply = _told(error)
        pipe.send(reply)


def _told(error: Exception) -> tuple[str, str]:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "not enough memory" in text or "can't allocate memory" in text:
        return "refused", "answering: got a scan that needs more memory than allowed; wanted a smaller one"
    if isinstance(error, ValueError):
        return "refused", text
    traceback.print_exception(error, file=sys.stderr)
    return "failed", text


def _bound_memory(more: int) -> None:
    """Let this process take so many bytes more than it has; an attempt to take more fails, and is told."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
