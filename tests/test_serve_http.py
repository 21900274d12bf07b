"""The HTTP server answers uploads of every kind over loopback, and outlives whatever else is posted."""

import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from kwise.serve.job import Job
from kwise.serve.worker import Desk, Worker
from raw_files import (
    kspace_of,
    mrd_header,
    mrd_rows,
    write_cfl,
    write_dicom,
    write_fastmri,
    write_mat5,
    write_mat73,
    write_mrd_rows,
)

for name in ("fastapi", "uvicorn", "httpx", "python_multipart"):
    pytest.importorskip(name, reason=f"{name} is not installed: no HTTP server")
import httpx  # noqa: E402

every = pytest.mark.parametrize
C, T, KY, KX = 2, 3, 24, 20


@pytest.fixture(scope="module")
def url(desk: Desk) -> Iterator[str]:
    import uvicorn

    from kwise.serve.http import app_of

    server = uvicorn.Server(uvicorn.Config(app_of(desk), log_level="error", timeout_graceful_shutdown=1))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    listening.close()


def truth() -> np.ndarray:
    return kspace_of(C, 1, T, KY, KX)


def nifti(path: Path) -> Path:
    nibabel.save(
        nibabel.Nifti1Image(np.abs(truth())[0].transpose(3, 2, 0, 1).astype(np.float32), np.eye(4)), path
    )
    return path


def npz(path: Path) -> Path:
    np.savez(path, kspace=truth()[:, 0])
    return path


def npy(path: Path) -> Path:
    np.save(path, truth()[:, 0])
    return path


def cfl(path: Path) -> list[Path]:
    data = write_cfl(path, truth().transpose(4, 3, 0, 2, 1).reshape(KX, KY, 1, C, *[1] * 6, T))
    return [data.with_suffix(".hdr"), data]


def dicom(folder: Path) -> list[Path]:
    pytest.importorskip("pydicom", reason="pydicom is not installed: no DICOM")
    image = np.abs(truth())[0, 0] * 100
    return [
        write_dicom(folder / f"{t}.dcm", image[t], TriggerTime=40 * t, InstanceNumber=t + 1) for t in range(T)
    ]


FILES = {
    "mrd": lambda f: write_mrd_rows(f / "a.h5", mrd_header(KY, KX), mrd_rows(truth(), every=2)),
    "fastmri": lambda f: write_fastmri(f / "a.h5", truth()[:, 0].transpose(1, 0, 3, 2)),
    "mat5": lambda f: write_mat5(f / "a.mat", kspace_full=truth().transpose(4, 3, 0, 1, 2)),
    "mat73": lambda f: write_mat73(f / "a.mat", kspace_full=truth().transpose(4, 3, 0, 1, 2)),
    "npy": lambda f: npy(f / "a.npy"),
    "npz": lambda f: npz(f / "a.npz"),
    "nifti": lambda f: nifti(f / "a.nii.gz"),
    "bart": lambda f: cfl(f / "a.cfl"),
    "dicom": dicom,
}


def posted(url: str, paths: list[Path] | Path, **options: object) -> httpx.Response:
    paths = [paths] if isinstance(paths, Path) else paths
    files = [("file", (path.name, path.read_bytes())) for path in paths]
    return httpx.post(f"{url}/predict", files=files, timeout=60, **options)  # type: ignore[arg-type]


def refused(reply: httpx.Response, status: int, said: str) -> None:
    line = reply.json()["error"]
    assert reply.status_code == status and said in line, (reply.status_code, line)
    assert "\n" not in line and "/tmp" not in line and "kwise-serve" not in line, line


@every("kind", FILES)
def test_uploads_of_every_format(kind: str, url: str, tmp_path: Path) -> None:
    reply = posted(url, FILES[kind](tmp_path))
    assert reply.status_code == 200, reply.text
    facts = reply.json()
    frames = 1 if kind == "fastmri" else T
    assert [row["frame"] for row in facts["areas"]] == list(range(frames)) and facts["phenotypes"]
    card = facts["run_card"]
    assert card["model"]["name"] == "syn_net" and len(card["model"]["weights_sha256"]) == 64
    assert card["measurement"]["acceleration_achieved"] == (2 if kind == "mrd" else 1)
    assert (card["simulated"] is not None) == (kind in ("nifti", "dicom"))
    assert facts["case"] == ("0" if kind == "dicom" else "a")


def test_all_files_of_an_answer_as_zip(url: str, tmp_path: Path) -> None:
    path = FILES["mrd"](tmp_path)
    more = httpx.post(f"{url}/predict?format=zip&also=mrd", content=path.read_bytes(), timeout=60)
    assert "images.mrd.h5" in zipfile.ZipFile(io.BytesIO(more.content)).namelist()
    refused(httpx.post(f"{url}/predict?also=exe", content=path.read_bytes()), 422, "wanted some of nifti")
    for options in ({"params": {"format": "zip"}}, {"headers": {"Accept": "application/zip"}}):
        reply = posted(url, path, **options)
        assert reply.status_code == 200 and reply.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(reply.content)) as archive:
            assert {"answer.json", "segmentation.nii.gz", "areas.csv", "report.html"} <= set(
                archive.namelist()
            )
            facts = json.loads(archive.read("answer.json"))
            (tmp_path / "s.nii.gz").write_bytes(archive.read("segmentation.nii.gz"))
        assert nibabel.load(tmp_path / "s.nii.gz").shape == (KX, KY, 1, T) and facts["case"] == "a"


def test_a_mask_file_and_a_plain_body(url: str, tmp_path: Path) -> None:
    lines = np.zeros((KX, KY))
    lines[:, ::4] = 1
    scan, mask = FILES["mat5"](tmp_path), write_mat5(tmp_path / "m.mat", mask=lines)
    files = [("file", ("x.mat", scan.read_bytes())), ("mask", ("y.mat", mask.read_bytes()))]
    reply = httpx.post(f"{url}/predict", files=files, timeout=60)
    assert reply.json()["run_card"]["measurement"]["acceleration_achieved"] == 4
    plain = httpx.post(f"{url}/predict?name=my.mat", content=scan.read_bytes(), timeout=60)
    assert plain.status_code == 200 and plain.json()["case"] == "my"


def test_health_and_page(url: str) -> None:
    told = httpx.get(f"{url}/health").json()
    assert told["status"] == "ok" and told["model"] == "syn_net" and told["clients"] == 0
    page = httpx.get(url)
    assert page.status_code == 200 and "http://" not in page.text and "https://" not in page.text
    assert httpx.get(f"{url}/health", headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{url}/../../etc/passwd").status_code == 404


@every(
    "name",
    ["../../../tmp/evil.npy", "/etc/cron.d/evil.npy", "a\\..\\b.npy", "", "\u202e.npy", "x" * 999 + ".npy"],
)
def test_no_path_of_a_client_is_used(name: str, url: str, tmp_path: Path) -> None:
    content = npy(tmp_path / "a.npy").read_bytes()
    reply = httpx.post(f"{url}/predict", files=[("file", (name or "e", content))], timeout=60)
    assert reply.status_code == 200, reply.text
    assert set(reply.json()["case"]) <= set("abcdefghijklmnopqrstuvwxyz_") and len(reply.json()["case"]) <= 60
    assert not Path("/tmp/evil.npy").exists() and not Path("/etc/cron.d/evil.npy").exists()


def outside(path: Path, kind: str) -> Path:
    """A file that would make the server read another one of its machine."""
    secret = write_fastmri(path.with_name("secret.h5"), truth()[:, 0].transpose(1, 0, 3, 2))
    with h5py.File(path, "w") as file:
        if kind == "link":
            file["kspace"] = h5py.ExternalLink(str(secret), "kspace")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((T, C, KX, KY), np.complex64)
            layout[:] = h5py.VirtualSource(str(secret), "kspace", (T, C, KX, KY))
            file.create_virtual_dataset("kspace", layout)
        else:
            file.create_dataset("kspace", (4, 4, 4), np.complex64, external=[(str(secret), 0, 512)])
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.txt", "x")
    return path


def bomb(path: Path) -> Path:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("kspace.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<c8", "fortran_order": False, "shape": (1024, 10240)}
        )
        for _ in range(20):
            member.write(bytes(2**22))
    return path


def named(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


RUBBISH = {
    "text": (lambda f: named(f / "x.npy", b"hello"), 422, "no format kwise knows"),
    "empty": (lambda f: named(f / "x.mat", b""), 422, "an empty file"),
    "half": (lambda f: named(f / "x.npy", npy(f / "a.npy").read_bytes()[:900]), 422, "damaged file"),
    "pickle": (lambda f: _pickled(f / "x.npy"), 422, "Python objects"),
    "archive": (lambda f: zipped(f / "x.zip"), 422, "none of numbers"),
    "gzip": (lambda f: named(f / "x.tar.gz", b"\x1f\x8b" + bytes(99)), 422, "no format kwise knows"),
    "bomb": (lambda f: bomb(f / "x.npz"), 422, "GB of k-space"),
    "terabytes": (lambda f: _absurd(f / "x.h5"), 422, "GB of k-space"),
    "too large": (lambda f: named(f / "x", bytes(10**7 + 1)), 413, "more than 10 MB"),
    "external link": (lambda f: outside(f / "x.h5", "link"), 422, "lies in another file"),
    "virtual data": (lambda f: outside(f / "x.h5", "virtual"), 422, "lies in another file"),
    "external data": (lambda f: outside(f / "x.h5", "external"), 422, "lies in another file"),
    "two scans": (lambda f: [npy(f / "a.npy"), npy(f / "b.npy")], 422, "wanted DICOM images"),
    "lone header": (lambda f: cfl(f / "a.cfl")[:1], 422, "no such file"),
    "pair of data": (lambda f: cfl(f / "a.cfl") + cfl(f / "b.cfl"), 422, "wanted one pair"),
}


def _pickled(path: Path) -> Path:
    np.save(path, np.array([{}, 1], dtype=object))
    return path


def _absurd(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("kspace", (10**6, 10**4, 10**3), np.complex64, chunks=(1, 100, 100))
    return path


@every("kind", RUBBISH)
def test_rubbish_gets_one_line(kind: str, url: str, tmp_path: Path) -> None:
    make, status, said = RUBBISH[kind]
    refused(posted(url, make(tmp_path)), status, said)


def test_bodies_that_are_no_upload(url: str) -> None:
    post, form = f"{url}/predict", {"Content-Type": "multipart/form-data; boundary=x"}
    refused(httpx.post(post), 422, "an empty file")
    refused(httpx.post(post, content=b"abc", headers=form), 422, "a damaged form")
    refused(
        httpx.post(post, content=b"abc", headers={"Content-Type": "multipart/form-data"}), 422, "boundary"
    )
    half = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    refused(httpx.post(post, content=half, headers=form), 422, "half a form")
    refused(httpx.post(post, data={"a": "b"}, files={"c": ("", b"")}), 422, "wanted a scan")
    endless = b"--x\r\nContent-Disposition: " + b"y" * 2**15
    refused(httpx.post(post, content=endless, headers=form), 422, "a damaged form")
    refused(httpx.post(f"{post}?format=exe", content=b"x"), 422, "wanted json or zip")
    assert httpx.get(post).status_code == 405


def test_slow_and_vanishing_clients(url: str, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "limits", replace(desk.limits, upload_seconds=0.3, upload_bytes=10**5))

    def slow() -> Iterator[bytes]:
        yield b"abc"
        time.sleep(0.6)
        yield b"abc"

    refused(httpx.post(f"{url}/predict", content=slow(), timeout=30), 408, "no whole upload within 0.3 s")
    many = (bytes(10**4) for _ in range(100))  # chunked: no length told beforehand
    refused(httpx.post(f"{url}/predict", content=many, timeout=30), 413, "more than 0 MB")
    monkeypatch.undo()
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as gone:
        gone.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\nabc")
    with socket.create_connection(("127.0.0.1", port)) as rubbish:
        rubbish.sendall(bytes(range(256)))
        assert b"400" in rubbish.recv(99)
    settled(desk)
    assert httpx.get(f"{url}/health").json()["status"] == "ok"


def test_who_sends_nothing_keeps_nobody_waiting(
    url: str, desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, port = npy(tmp_path / "a.npy"), int(url.rpartition(":")[2])
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n"
    monkeypatch.setattr(desk, "limits", replace(desk.limits, receiving=desk.limits.waiting + 3))
    with contextlib.ExitStack() as idle:
        for _ in range(desk.limits.waiting + 2):  # more than there are places in the queue
            idle.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(head)
        sending(desk, desk.limits.waiting + 2)
        assert posted(url, path).status_code == 200
        idle.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(head)
        sending(desk, desk.limits.receiving)
        refused(posted(url, path), 503, f"{desk.limits.receiving} clients send at once")
    sending(desk, 0)
    monkeypatch.setattr(desk, "limits", replace(desk.limits, idle_seconds=0.3))

    def stops() -> Iterator[bytes]:
        yield b"abc"
        time.sleep(1.0)
        yield b"abc"

    refused(httpx.post(f"{url}/predict", content=stops(), timeout=30), 408, "nothing of an upload for 0.3 s")
    assert posted(url, path).status_code == 200


def sending(desk: Desk, n: int) -> None:
    """Wait until so many clients send."""
    end = time.monotonic() + 20
    while desk._sending != n:
        assert time.monotonic() < end, f"{desk._sending} send"
        time.sleep(0.01)


def settled(desk: Desk) -> None:
    end = time.monotonic() + 10
    while desk.inside:
        assert time.monotonic() < end, f"{desk.inside} inside"
        time.sleep(0.01)


def test_clients_queue_and_too_many_are_told_so(url: str, desk: Desk, tmp_path: Path) -> None:
    path, places = npy(tmp_path / "a.npy"), desk.limits.waiting + 1
    with ThreadPoolExecutor(places) as pool:
        replies = list(pool.map(lambda _: posted(url, path), range(places)))
    assert [reply.status_code for reply in replies] == [200] * places
    settled(desk)
    with contextlib.ExitStack() as taken:
        for _ in range(places):
            taken.enter_context(desk.place())
        reply = posted(url, path)
        refused(reply, 503, f"{places} clients")
        assert reply.headers["Retry-After"] == "10"
    assert posted(url, path).status_code == 200


def test_a_scan_beyond_the_memory_is_refused(desk: Desk, tmp_path: Path) -> None:
    worker = Worker(desk._worker.checkpoint, replace(desk.limits, memory_bytes=3 * 10**7))
    (tmp_path / "job").mkdir()
    np.save(tmp_path / "big.npy", np.ones((4, 1000, 1000), np.complex64))
    worker.start()
    try:
        with pytest.raises(ValueError, match=r"more than fits into memory|needs more memory than allowed"):
            worker.answer(Job(tmp_path / "job", tmp_path / "big.npy"))
        assert worker._process.is_alive()
    finally:
        worker.stop()


def test_ctrl_c_ends_the_command(tiny_checkpoint: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", "--http", "--port", str(port), "--checkpoint", str(tiny_checkpoint)]
    with subprocess.Popen(
        [sys.executable, "-m", "kwise", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        assert f"kwise serves http://127.0.0.1:{port}, model syn_net" in run.stderr.readline()
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
        assert run.wait(20) == 0 and "ended by Ctrl-C" in rest and "Traceback" not in rest
