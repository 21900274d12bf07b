"""The HTTP server: POST /predict takes a file of any format kwise reads, GET /health says what answers."""

import asyncio
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kwise import __version__
from kwise.serve.job import ANSWER
from kwise.serve.limits import LOOPBACK, BusyError, LargeError, LateError, Limits, LostError, SlowError
from kwise.serve.page import PAGE
from kwise.serve.upload import receive
from kwise.serve.worker import Desk

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

# What a client is told -> the status of the response.
_STATUS: dict[type[Exception], int] = {
    LargeError: 413,
    SlowError: 408,
    LateError: 504,
    LostError: 500,
    BusyError: 503,
    ValueError: 422,
}
_CONNECTIONS = 64


def app_of(desk: Desk, host: str = "127.0.0.1") -> "FastAPI":
    """The application, answering at an open desk; on loopback it has no other host name than that."""
    from fastapi import FastAPI, Request, Response
    from fastapi.responses import HTMLResponse, JSONResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(title="kwise", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOOPBACK:  # else a page of any site could ask on behalf of who reads it (DNS rebinding)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    async def health() -> Response:
        about = {"status": "ok", "software": f"kwise {__version__}", "clients": desk.inside}
        return JSONResponse(about | desk.about)

    async def page() -> Response:
        return HTMLResponse(PAGE)

    async def predict(request: Request) -> Response:
        try:
            return await _predict(request, desk)
        except tuple(_STATUS) as error:
            status = next(code for kind, code in _STATUS.items() if isinstance(error, kind))
            line = " ".join(str(error).split())
            _log(f"{status}: {line}")
            again = {"Retry-After": "10"} if status == 503 else {}
            return JSONResponse({"error": line}, status, headers=again | {"Connection": "close"})

    app.add_api_route("/health", health, methods=["GET"])
    app.add_api_route("/", page, methods=["GET"])
    app.add_api_route("/predict", predict, methods=["POST"])
    return app


async def _predict(request: "Request", desk: Desk) -> "Response":
    from fastapi.responses import FileResponse, JSONResponse
    from starlette.background import BackgroundTask
    from starlette.requests import ClientDisconnect

    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > desk.limits.upload_bytes + 2**20:
        raise LargeError(f"an upload of more than {desk.limits.upload_bytes / 1e6:.0f} MB")
    zipped, also = _wants_zip(request), tuple(filter(None, request.query_params.get("also", "").split(",")))
    folder = Path(tempfile.mkdtemp(prefix="kwise-serve-"))
    sent = False
    try:
        kind, name = request.headers.get("content-type", ""), request.query_params.get("name", "")
        try:
            with desk.receiving():
                job = await receive(request.stream(), kind, name, folder, desk.limits)
        except ClientDisconnect as error:
            raise ValueError("reading an upload: got half of it; wanted all") from error
        with desk.place():
            facts = await _elsewhere(desk, desk.answer, replace(job, also=also))
        if not zipped:
            return JSONResponse(facts)
        packed = await _elsewhere(desk, _pack, folder, facts)
        sent = True
        clean = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
        name = f"{facts['case']}.zip"
        return FileResponse(packed, media_type="application/zip", filename=name, background=clean)
    finally:
        if not sent:
            shutil.rmtree(folder, ignore_errors=True)


async def _elsewhere(desk: Desk, work: Callable[..., Any], *arguments: object) -> Any:
    """What `work` gives, done in a thread of the desk: the server goes on listening."""
    return await asyncio.get_running_loop().run_in_executor(desk.threads, work, *arguments)


def _wants_zip(request: "Request") -> bool:
    asked = request.query_params.get("format")
    if asked not in (None, "json", "zip"):
        raise ValueError(f"answering: got format {asked[:20]!r}; wanted json or zip")
    return asked == "zip" or (asked is None and "application/zip" in request.headers.get("accept", ""))


def _pack(folder: Path, facts: dict[str, Any]) -> Path:
    """All files of an answer, and its facts, as a zip file."""
    packed = folder / "answer.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("answer.json", json.dumps(facts, indent=1))
        for file in sorted((folder / ANSWER).rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder / ANSWER))
    return packed


def serve_http(host: str, port: int, checkpoint: Path, limits: Limits) -> None:
    """Answer HTTP clients until Ctrl-C."""
    import uvicorn

    with Desk(checkpoint, limits) as desk:
        app = app_of(desk, host)

        @asynccontextmanager
        async def started(_: object) -> AsyncIterator[None]:
            _log(f"kwise serves http://{host}:{port}, model {desk.about['model']}; Ctrl-C ends it")
            yield

        app.router.lifespan_context = started
        config = uvicorn.Config(
            app, host, port, log_level="warning", limit_concurrency=_CONNECTIONS, timeout_keep_alive=5,
            timeout_graceful_shutdown=2, server_header=False,
        )  # fmt: skip
        uvicorn.Server(config).run()


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
