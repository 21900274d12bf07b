"""A folder of scans -> a folder of answers and one table of phenotypes, a row a file, failures in the open.

Files are answered one at a time in each worker process, so memory holds one scan a worker; what was answered
before is not answered again unless the file, or what is asked of it, changed.
"""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kwise.atomic import parts_left
from kwise.data.beside import entries
from kwise.data.out_table import Row, Value, readable, write_csv, write_parquet
from kwise.data.raw import format_of
from kwise.predict.files import Asked, check_folder
from kwise.predict.outputs import PHENOTYPES, RUN_CARD
from kwise.predict.run_card import file_state

Told = Callable[[int, int, Row], None]


@dataclass(frozen=True)
class Job:
    """One scan of a cohort: where it lies, its name relative to the cohort, where its answer goes."""

    path: Path
    name: str
    folder: Path


@dataclass(frozen=True)
class Order:
    """What is asked of every scan: a checkpoint (None: the shipped one) and outputs beside those always
    written.
    """

    checkpoint: Path | None = None
    also: tuple[str, ...] = ()
    command: str | None = None
    pixel_mm: tuple[float, float] | None = None
    axes: str | None = None

    def asked(self) -> Asked:
        """The same with its checkpoint in memory."""
        return Asked.of(self.checkpoint, self.also, self.command, self.pixel_mm, self.axes)


def predict_folder(
    source: Path, folder: Path, order: Order, workers: int = 1, told: Told | None = None
) -> list[Row]:
    """Answer every scan below `source` into `folder`, a subfolder each, and write phenotypes.csv there.

    `told(done, total, row)` hears of each row as it is finished. The rows come back in the order of names; a
    scan that fails has its error in one line and no phenotypes. ValueError where there is no scan at all.
    """
    check_folder(folder)
    asked = order.asked()  # a wrong checkpoint fails here, once
    jobs = [Job(path, name, folder / name) for path, name in scans_below(source, folder)]
    if not jobs:
        raise ValueError(f"answering {source}: got no files in it; wanted scans, in it or in folders of it")
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Row] = {}
    try:
        for name, row in _answered(jobs, asked, order, workers):
            rows[name] = row
            if told is not None:
                told(len(rows), len(jobs), row)
    finally:  # also after Ctrl-C: the rows there are
        table = with_all_columns([rows[job.name] for job in jobs if job.name in rows])
        write_csv(folder / "phenotypes.csv", table)
        if "parquet" in order.also:
            write_parquet(folder / "phenotypes.parquet", table)
    return table


def is_cohort(path: Path) -> bool:
    """Whether a path is a folder of scans, and not one scan that is a folder (DICOM, ACDC layout)."""
    if not path.is_dir():
        return False
    try:
        format_of(path)
    except ValueError:
        return True
    return False


def scans_below(source: Path, leave_out: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, and every folder that is one scan, with its name relative to it, sorted.

    `leave_out` is passed over, what lies beside a scan and is none (`kwise.data.beside.entries`), and a
    folder that a link leads to once more.
    """
    out, walked = leave_out.resolve(), {source.resolve()}

    def walk(folder: Path) -> Iterator[Path]:
        for path in entries(folder):
            if path.resolve() == out:
                continue
            if is_cohort(path):
                if path.resolve() not in walked:
                    walked.add(path.resolve())
                    yield from walk(path)
            else:
                yield path

    for path in walk(source):
        yield path, str(path.relative_to(source))


def answer_job(job: Job, asked: Asked) -> Row:
    """The row of one scan: answered now, or before; an error of its own becomes a line in the row."""
    if not answered_before(job, asked):
        try:
            asked.answer(job.path, job.folder)
        except (ValueError, OSError, MemoryError) as error:
            return failed_row(job, " ".join(str(error).split()) or type(error).__name__)
    return row_of(job)


def failed_row(job: Job, error: str) -> Row:
    """The row of a scan that could not be answered."""
    return {"file": readable(job.name), "status": "failed", "error": readable(error)}


def row_of(job: Job) -> Row:
    """The row of a scan answered, from its files: cautions, what was measured, phenotypes, intervals where
    there are any.
    """
    card, told = _read(job.folder / RUN_CARD), _read(job.folder / PHENOTYPES)
    measurement, simulated = card["measurement"], card["simulated"] or {}
    row: dict[str, Value] = {"file": readable(job.name), "status": "answered", "error": ""}
    row |= {"cautions": " | ".join(card["cautions"]), "case": card["case"]}
    row |= {name: measurement[name] for name in ("slices", "frames", "coils", "acceleration_achieved")}
    row |= {"simulated": simulated.get("simulated", ""), "labels": card["notes"].get("labels", "")}
    row |= {"ED": told["ED"], "ES": told["ES"]}
    for name, p in told["phenotypes"].items():
        row[name] = p["value"]
        if p["low"] is not None or p["high"] is not None:
            row |= {f"{name}_low": p["low"], f"{name}_high": p["high"]}
    return row


def answered_before(job: Job, asked: Asked) -> bool:
    """Whether this very file was answered before by the same kwise, weights and calibration, told the same
    pixel size and axes, with all the outputs asked for now.
    """
    try:
        card = _read(job.folder / RUN_CARD)
        _read(job.folder / PHENOTYPES)
        return (
            card["asked"] == asked.question()
            and card["file_state"] == file_state(job.path)
            and set(asked.outputs) <= set(card["outputs"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def with_all_columns(rows: Sequence[Row]) -> list[Row]:
    """Rows with the same keys, in the order in which they first appear; None where a row had none."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _answered(jobs: Sequence[Job], asked: Asked, order: Order, workers: int) -> Iterator[tuple[str, Row]]:
    """Rows by name, as they are finished."""
    if workers == 1:
        yield from ((job.name, answer_job(job, asked)) for job in jobs)
        return
    suspects: list[Job] = []  # they ran while a worker died: one of them was why
    waiting = list(reversed(jobs))
    while waiting:
        died = yield from _pooled(waiting, order, workers)
        suspects += died
    for job in suspects:
        _sweep(job)
    for job in suspects:  # each alone now, so that none takes another one with it
        if (yield from _pooled([job], order, 1)):
            _sweep(job)
            yield job.name, failed_row(job, "the worker died: got too little memory, or a crash")


def _sweep(job: Job) -> None:
    """Remove what a worker that died, or was ended because another one had, had begun to write of a scan."""
    for left in parts_left(job.folder):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _pooled(waiting: list[Job], order: Order, workers: int) -> Generator[tuple[str, Row], None, list[Job]]:
    """Rows of jobs taken from the end of `waiting`, at most `workers` under way; gives back the jobs under
    way when a worker died.
    """
    context = multiprocessing.get_context("spawn")  # a forked torch may hang on its threads
    running: dict[Future[Row], Job] = {}
    with ProcessPoolExecutor(workers, context, _start_worker, (order,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    job = waiting.pop()
                    running[pool.submit(_work, job)] = job
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    row = future.result()
                    yield running.pop(future).name, row
        except BrokenProcessPool:
            return list(running.values())
    return []


_worker: list[Asked] = []  # the checkpoint of this worker process, loaded once


def _start_worker(order: Order) -> None:
    threading.Thread(target=_end_with_parent, daemon=True, name="kwise parent").start()
    torch.set_num_threads(1)  # workers share the cores; more threads in each would fight over them
    _worker.append(order.asked())


def _end_with_parent() -> None:
    """End this worker when the process that started it is gone, however: it would race the next attempt."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job) -> Row:
    return answer_job(job, _worker[0])
