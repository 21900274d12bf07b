"""The MRD server answers a real client over loopback, and outlives whatever else comes to its port."""

import contextlib
import io
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.checkpoint import load_checkpoint
from kwise.data.raw import open_any
from kwise.data.raw_mrd_stream import Spool, read_stream
from kwise.models import MODELS
from kwise.predict import answer, measurement_of
from kwise.predict.facts import zero_filled_magnitude
from kwise.predict.outputs import Delivery
from kwise.serve.limits import warning_of
from kwise.serve.mrd_reply import write_reply
from kwise.serve.worker import Desk
from kwise.uncertainty import Intervals
from raw_files import MRD_HEAD, kspace_of, mrd_header, mrd_row, mrd_rows, write_mrd_rows

ismrmrd = pytest.importorskip("ismrmrd", reason="ismrmrd is not installed: no MRD server")
C, Z, T, KY, KX = 2, 2, 3, 24, 20


@pytest.fixture(scope="module")
def port(desk: Desk) -> Iterator[int]:
    from kwise.serve.mrd import MrdServer

    with MrdServer("127.0.0.1", 0, desk) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server.port
        server.shutdown()
        thread.join(5)


def scan_rows() -> list[np.ndarray]:
    """Undersampled, with a noise scan, its DC in the middle."""
    noise = mrd_row(kspace_of(C, 1, 1, 1, 64)[:, 0, 0, 0], flags=(19,))
    return [noise, *mrd_rows(kspace_of(C, Z, T, KY, KX), every=2)]


def message_of(row: np.ndarray) -> bytes:
    head, traj, data = row[0]
    return struct.pack("<H", 1008) + head.tobytes() + traj.tobytes() + data.tobytes()


def text(kind: int, content: bytes) -> bytes:
    return struct.pack("<HI", kind, len(content)) + content


HEADER = text(3, mrd_header(KY, KX).encode() + b"\0")
CLOSE = struct.pack("<H", 4)


class Client:
    """A client that speaks through the reference library."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.stream = self.socket.makefile("rwb")

    def send(self, *parts: bytes) -> "Client":
        try:
            for part in parts:
                self.stream.write(part)
            self.stream.flush()
        except OSError:
            pass  # the server may have had enough
        return self

    def answer(self) -> list:
        """Everything until the server's close message."""
        found = []
        try:
            for item in ismrmrd.ProtocolDeserializer(self.stream).deserialize():
                found.append(item)
        except (EOFError, OSError):
            found.append(None)  # no close message
        self.socket.close()
        return found


def serialized(rows: list[np.ndarray]) -> bytes:
    """The same stream, written by the reference library's own serialiser."""
    out = io.BytesIO()
    writer = ismrmrd.ProtocolSerializer(out)
    writer.serialize(ismrmrd.ConfigFile("/etc/passwd"))
    writer.serialize(ismrmrd.ConfigText('{"parameters": {"config": "../../x"}}'))
    out.write(HEADER)
    for row in rows:
        c, n = int(row["head"]["active_channels"][0]), int(row["head"]["number_of_samples"][0])
        one = ismrmrd.Acquisition(row["head"].tobytes())
        one.data[:] = row["data"][0].view("<c8").reshape(c, n)
        writer.serialize(one)
    wave = ismrmrd.Waveform.from_array(np.ones((2, 30), np.uint32))
    writer.serialize(wave)
    writer.serialize(ismrmrd.Image.from_array(np.ones((4, 5), np.float32), transpose=False))
    writer.serialize("a text for the log")
    writer.close()
    return out.getvalue()


def test_a_stream_gives_the_scan_of_the_file(tmp_path: Path) -> None:
    """One place decides where readouts belong: stream and file give the same scan, bit for bit."""
    rows = scan_rows()
    rows[5]["traj"][0] = np.zeros(2 * KX, np.float32)
    rows[5]["head"]["trajectory_dimensions"] = 2
    file = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows))
    (tmp_path / "stream").mkdir()
    spool = Spool(tmp_path / "stream", 10**7)
    spool.header(mrd_header(KY, KX).encode())
    for row in rows:
        content = iter([row["head"].tobytes(), row["traj"][0].tobytes(), row["data"][0].tobytes()])
        spool.acquisition(lambda size, content=content: _exactly(next(content), size))
    spool.close()
    scan = read_stream(tmp_path / "stream")
    assert torch.equal(scan.kspace, file.kspace) and torch.equal(scan.mask, file.mask)
    assert scan.notes == file.notes and "prewhitened" in scan.notes and torch.equal(scan.affine, file.affine)


def _exactly(content: bytes, size: int) -> bytes:
    assert len(content) == size
    return content


def test_a_client_gets_segmentation_and_image_back(port: int, tiny_checkpoint: Path, tmp_path: Path) -> None:
    rows = scan_rows()
    found = Client(port).send(serialized(rows)).answer()
    assert len(found) == 2 * Z * T and all(isinstance(image, ismrmrd.Image) for image in found)
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), rows))
    truth = answer(scan, load_checkpoint(tiny_checkpoint, MODELS))
    image, labels = np.zeros((Z, T, KY, KX)), np.zeros((Z, T, KY, KX))
    for one in found:
        series = {1: image, 2: labels}[one.image_series_index]
        series[one.slice, one.phase] = one.data[0, 0]
        assert tuple(one.field_of_view) == pytest.approx((KX * 1.5, KY * 2.0, 10.0))
        assert tuple(one.position) == pytest.approx((3, 4, 5 + 10 * one.slice), abs=1e-3)
        assert tuple(one.read_dir) == pytest.approx((1, 0, 0)) and one.data.dtype == np.uint16
        assert one.meta["kwise_acceleration_achieved"] == "2" and "kwise_note_prewhitened" in one.meta
    assert np.array_equal(labels, truth.labels.numpy()) and truth.labels.unique().numel() > 1
    step = float(next(one for one in found if one.image_series_index == 1).meta["kwise_units_per_step"])
    expected = zero_filled_magnitude(measurement_of(scan)).numpy()
    assert np.abs(image * step - expected).max() <= 0.51 * step and image.max() == 4095
    meta = found[-1].meta
    assert meta["DataRole"] == "Segmentation" and meta["kwise_classes"][1] == "LV pool"
    assert found[0].meta["DataRole"] == "Image" and found[0].meta["ImageComment"].startswith("zero-filled")


def test_cautions_and_intervals_go_with_every_image(tiny_checkpoint: Path, tmp_path: Path) -> None:
    scan = open_any(write_mrd_rows(tmp_path / "m.h5", mrd_header(KY, KX), scan_rows()))
    loaded, curve = load_checkpoint(tiny_checkpoint, MODELS), torch.ones(T)
    found = replace(
        answer(scan, loaded),
        ejection_fraction=55.0,
        cautions=("unlike any heart, EF < 60", "too little"),
        intervals=Intervals(0.9, (curve, curve), (1.0, 2.0), (0.5, 1.0), (41.0, 62.25), 0.5, 2.0, ()),
    )
    write_reply(tmp_path / "reply", Delivery(found, loaded, "abc"), 0)
    stream = io.BytesIO((tmp_path / "reply").read_bytes() + CLOSE)
    images = list(ismrmrd.ProtocolDeserializer(stream).deserialize())
    assert len(images) == 2 * Z * T
    for image in images:
        assert image.meta["kwise_area_ejection_fraction_low_percent"] == "41.00"
        assert image.meta["kwise_area_ejection_fraction_high_percent"] == "62.25"
        assert image.meta["kwise_caution_1"] == found.cautions[0]
        assert image.meta["kwise_caution_2"] == "too little"
        assert image.meta["ImageComment"].endswith("; caution: unlike any heart, EF < 60")


def refused(found: list, said: str) -> None:
    assert len(found) == 1 and isinstance(found[0], str), found
    assert re.search(said, found[0]) and "\n" not in found[0] and "/tmp" not in found[0], found[0]


def _head(**changes: int) -> bytes:
    head = np.zeros(1, MRD_HEAD)
    for name, value in ({"version": 1} | changes).items():
        head[name] = value
    return struct.pack("<H", 1008) + head.tobytes()


def _image(**changes: object) -> bytes:
    head = ismrmrd.ImageHeader()
    for name, value in changes.items():
        setattr(head, name, value)
    return struct.pack("<H", 1022) + bytes(head) + bytes(8)


ONE = message_of(mrd_rows(kspace_of(C, 1, 1, KY, KX))[0])
RUBBISH: dict[str, tuple[bytes, str]] = {
    "nothing but close": (CLOSE, "got nothing; wanted readouts"),
    "header alone": (HEADER + CLOSE, "got nothing; wanted readouts"),
    "unknown message": (struct.pack("<H", 777) + bytes(100), "got message 777"),
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "got message"),
    "random": (bytes(range(256)) * 40, "got message"),
    "text without end": (struct.pack("<HI", 5, 2**31), "a text of 2147483648 bytes"),
    "header without end": (struct.pack("<HI", 3, 2**32 - 1), "a text of 4294967295 bytes"),
    "damaged header": (text(3, b"<ismrmrdHeader><x>") + CLOSE, "XML header that is damaged"),
    "entities": (text(3, b'<!DOCTYPE x [<!ENTITY a "b">]><x/>') + CLOSE, "XML header with entities"),
    "another version": (_head(version=9), "a readout of version 9"),
    "absurd readout": (_head(number_of_samples=65535, active_channels=65535), "wanted at most 10 MB"),
    "absurd image": (_image(data_type=5, matrix_size=(65535, 65535, 65535), channels=9), "no raw data"),
    "image of no type": (_image(data_type=99, matrix_size=(1, 1, 1), channels=1), "an image of type 99"),
    "too many readouts": (HEADER + ONE * 16000 + CLOSE, "wanted at most 10 MB"),
    "no samples": (HEADER + _head(active_channels=1) + CLOSE, "a readout without samples"),
    "noise alone": (HEADER + message_of(scan_rows()[0]) + CLOSE, "none of them of an image"),
    "zeros alone": (HEADER + message_of(mrd_row(np.zeros((C, KX)))) + CLOSE, "k-space of zeros alone"),
    "NaN": (HEADER + message_of(mrd_row(np.full((C, KX), np.nan))) + CLOSE, "NaN or Inf"),
    "absurd matrix": (
        text(3, mrd_header(KY, KX).replace("<y>24</y>", "<y>90000000</y>").encode()) + ONE + CLOSE,
        "GB of k-space",
    ),
    "spiral": (
        text(3, mrd_header(KY, KX).replace("cartesian", "spiral").encode()) + ONE + CLOSE, "trajectory spiral"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish_gets_one_line(kind: str, port: int) -> None:
    sent, said = RUBBISH[kind]
    refused(Client(port).send(sent).answer(), said)


def test_half_messages_and_slow_clients(port: int, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = HEADER + b"".join(map(message_of, scan_rows())) + CLOSE
    for length in (1, 2, 4, 700, len(HEADER) + 100, len(whole) - 700, len(whole) - 1):
        client = Client(port).send(whole[:length])
        client.socket.shutdown(socket.SHUT_WR)
        refused(client.answer(), "wanted a whole one, and a close message")
    Client(port).send(whole[:900]).socket.close()  # gone without a word
    monkeypatch.setattr(desk, "limits", replace(desk.limits, upload_seconds=0.2))
    refused(Client(port).send(whole[:900]).answer(), "no whole scan within 0.2 s")
    monkeypatch.undo()
    assert len(Client(port).send(whole).answer()) == 2 * Z * T  # and it lives


def test_clients_may_connect_long_before_they_send(
    port: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = HEADER + b"".join(map(message_of, scan_rows())) + CLOSE
    monkeypatch.setattr("kwise.serve.mrd._SILENT", desk.limits.waiting + 3)
    limits = desk.limits
    monkeypatch.setattr(desk, "limits", replace(limits, upload_seconds=3.0))
    silent = [Client(port) for _ in range(limits.waiting + 2)]  # more than there are places in the queue
    late = Client(port)
    time.sleep(3.2)
    monkeypatch.setattr(desk, "limits", limits)
    assert len(late.send(whole).answer()) == 2 * Z * T
    more = [Client(port) for _ in range(2)]
    sent_away = select.select([client.socket for client in silent], [], [], 20)[0]  # of too many, the first
    (gone,) = (client for client in silent if client.socket in sent_away)
    refused(gone.answer(), "an end after 0 of 2 bytes")
    silent.remove(gone)
    for client in (silent.pop(), more.pop()):
        assert len(client.send(whole).answer()) == 2 * Z * T
    for client in (*silent, *more):
        client.socket.close()


def settled(desk: Desk) -> None:
    """Nobody is inside any more: a thread leaves a moment after its client."""
    end = time.monotonic() + 5
    while desk.inside:
        assert time.monotonic() < end, f"{desk.inside} inside"
        time.sleep(0.01)


def test_more_clients_than_places_are_told_so(port: int, desk: Desk) -> None:
    settled(desk)
    with contextlib.ExitStack() as taken:
        for _ in range(desk.limits.waiting + 1):
            taken.enter_context(desk.place())
        refused(Client(port).send(HEADER).answer(), "busy: 3 clients")
    whole = HEADER + b"".join(map(message_of, scan_rows())) + CLOSE
    clients = [Client(port) for _ in range(3)]
    for client in clients:
        client.send(whole)
    assert [len(client.answer()) for client in clients] == [2 * Z * T] * 3
    settled(desk)


def test_a_worker_that_hangs_or_dies_is_replaced(
    port: int, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = HEADER + b"".join(map(message_of, scan_rows())) + CLOSE
    worker = desk._worker
    monkeypatch.setattr(worker, "limits", replace(desk.limits, answer_seconds=0.0))
    refused(Client(port).send(whole).answer(), "no answer within 0 s")
    monkeypatch.undo()
    assert len(Client(port).send(whole).answer()) == 2 * Z * T
    worker._process.kill()
    worker._process.join()
    assert len(Client(port).send(whole).answer()) == 2 * Z * T
    settled(desk)


def test_only_loopback_goes_without_a_warning() -> None:
    assert warning_of("127.0.0.1", 9002) is None and warning_of("localhost", 1) is None
    assert "no password" in (warning_of("0.0.0.0", 9002) or "")


def test_ctrl_c_ends_the_command(tiny_checkpoint: Path) -> None:
    words = ["serve", "--mrd", "--port", "0", "--host", "0.0.0.0", "--checkpoint", str(tiny_checkpoint)]
    with subprocess.Popen(
        [sys.executable, "-m", "kwise", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        lines = [run.stderr.readline(), run.stderr.readline()]
        assert "can be reached from other machines" in lines[0], lines
        port = int(re.search(r"serves MRD on 0.0.0.0:(\d+)", lines[1])[1])
        assert len(Client(port).send(serialized(scan_rows())).answer()) == 2 * Z * T
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
        assert run.wait(20) == 0 and "ended by Ctrl-C" in rest and "Traceback" not in rest
