"""Running a study: cell after cell on one or more processes; a cell that is on disk is not run again."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import torch

from kwise.evaluate import write_scores
from kwise.report.results import read_scores
from kwise.study.bench import Bench, open_bench
from kwise.study.cohort import open_cohort
from kwise.study.intervals import interval_columns, load_calibration
from kwise.study.plan import Cell, Plan
from kwise.study.scores import Row, case_scores

Tell = Callable[[Cell, list[Row], float], None]


def run_study(plan: Plan, folder: Path, processes: int = 2, tell: Tell | None = None) -> list[Row]:
    """Rows of every cell of a checked plan, in the plan's order; `folder`/cells keeps them, so a second call
    goes on.

    `tell(cell, rows, seconds)` hears of each cell as it is done (0 s: it was there).
    """
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    waiting = []
    for cell in plan.cells:
        file = cell.file(folder, plan)
        if not file.is_file():
            waiting.append(cell)
        elif tell is not None:
            tell(cell, _read(file), 0.0)
    for cell, seconds in _run(plan, waiting, folder, min(processes, len(waiting))):
        if tell is not None:
            tell(cell, _read(cell.file(folder, plan)), seconds)
    return [row for cell in plan.cells for row in _read(cell.file(folder, plan))]


def _read(file: Path) -> list[Row]:
    return read_scores(file)


def _run(plan: Plan, cells: list[Cell], folder: Path, processes: int) -> Iterator[tuple[Cell, float]]:
    if processes <= 1:
        for cell in cells:
            yield cell, run_cell(plan, cell, folder)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    with ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        try:
            jobs = {pool.submit(run_cell, plan, cell, folder): cell for cell in cells}
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_cell(plan: Plan, cell: Cell, folder: Path) -> float:
    """Score one cell, write its file, return the seconds it took."""
    started = time.perf_counter()
    bench = bench_of(plan, cell.checkpoint)
    write_scores(cell.file(folder, plan), list(_rows(bench, cell)))
    return time.perf_counter() - started


@lru_cache(maxsize=1)
def bench_of(plan: Plan, checkpoint: Path) -> Bench:
    """The bench of one checkpoint of a plan; the last one is kept, its scans simulated once."""
    cohort = open_cohort(plan.dataset, plan.root, plan.split, plan.n)
    called = replace(cohort, cases=plan.roll.cases) if plan.roll.cases else cohort
    return open_bench(checkpoint, called, plan.snr, plan.control, plan.roll.whole)


def _rows(bench: Bench, cell: Cell) -> Iterator[Row]:
    calibration = load_calibration(cell.checkpoint)
    for found in bench.answers(cell.mask, cell.acceleration):
        head: Row = {
            "checkpoint": cell.label,
            "mask": cell.mask_name,
            "case": found.case,
            "acceleration": found.achieved if cell.acceleration is None else cell.acceleration,
            "achieved_acceleration": found.achieved,
            "own_truth": float(found.case in bench.own_truth),
        }
        spacing, known = found.scan.spacing_mm, bench.cohort.labelled
        row = head | case_scores(found.labels, found.truth, spacing, known, found.logits.shape[0])
        if calibration is not None:
            row |= interval_columns(found, calibration)
        yield {key: value if isinstance(value, str) else float(f"{value:.6g}") for key, value in row.items()}
