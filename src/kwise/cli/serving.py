"""`kwise serve`: its options, and the server they start."""

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from kwise.cli.words import count, positive, whole

Verb = Callable[[str, str, str, Callable[[argparse.Namespace], None]], argparse.ArgumentParser]
MRD_PORT, HTTP_PORT = 9002, 8000


def add_serve(verb: Verb) -> None:
    """The verb and its options."""
    about = "answer raw data over the network: an MRD stream from a scanner, or uploads over HTTP"
    parser = verb("serve", about, "kwise serve --mrd", run_serve)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--mrd", action="store_true", help="speak the MRD streaming protocol (FIRE, OpenRecon)")
    kind.add_argument("--http", action="store_true", help="answer POST /predict and GET /health")
    add = parser.add_argument
    add(
        "--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone; 0.0.0.0 for all networks"
    )
    add("--port", type=whole, help=f"default: {MRD_PORT} for --mrd, {HTTP_PORT} for --http; 0: any free one")
    add("--checkpoint", type=Path, metavar="DIR", help="default: the one that comes with kwise")
    add("--max-mb", type=positive, default=2000.0, metavar="MB", help="largest upload; default: 2000")
    add("--timeout", type=positive, default=300.0, metavar="S", help="to send it; default: 300 s")
    idle = "without a byte of it (HTTP); default: 30 s"
    add("--idle-timeout", type=positive, default=30.0, metavar="S", help=idle)
    add("--answer-timeout", type=positive, default=600.0, metavar="S", help="to answer it; default: 600 s")
    add("--memory-mb", type=positive, default=8000.0, metavar="MB", help="to answer it; default: 8000")
    add("--queue", type=count, default=4, metavar="N", help="clients that may wait; default: 4")


def run_serve(options: argparse.Namespace) -> None:
    """Serve until Ctrl-C; ValueError where an extra is missing, OSError where the port is taken."""
    from kwise.checkpoint import find_checkpoint
    from kwise.serve.limits import Limits, warning_of

    limits = Limits(
        int(options.max_mb * 1e6), options.timeout, options.answer_timeout, int(options.memory_mb * 1e6),
        options.queue, options.idle_timeout,
    )  # fmt: skip
    checkpoint = find_checkpoint(options.checkpoint)
    port = options.port if options.port is not None else MRD_PORT if options.mrd else HTTP_PORT
    if port > 65535:
        raise ValueError(f"reading the command line: got --port {port}; wanted 0 to 65535")
    if warning := warning_of(options.host, port):
        print(warning, file=sys.stderr)
    try:
        _server(options.mrd)(options.host, port, checkpoint, limits)
    except KeyboardInterrupt:
        print("kwise serve: ended by Ctrl-C", file=sys.stderr)
    except OSError as error:
        why = error.strerror or error
        raise OSError(f"listening to {options.host}:{port}: got {why}; wanted a free port") from error


def _server(mrd: bool) -> Callable[..., None]:
    needed = ("ismrmrd",) if mrd else ("fastapi", "uvicorn", "python_multipart")
    if lacking := [name for name in needed if find_spec(name) is None]:
        wanted = "it installed: pip install 'kwise[serve]'"
        raise ValueError(f"starting the server: got no {lacking[0]}; wanted {wanted}")
    if mrd:
        from kwise.serve.mrd import serve_mrd

        return serve_mrd
    from kwise.serve.http import serve_http

    return serve_http
