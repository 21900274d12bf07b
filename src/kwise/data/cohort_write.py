"""Writing a virtual cohort to a folder: one file per subject, each whole or not there, then the manifest."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from kwise.atomic import write_atomically
from kwise.data.cohort import COVARIATES, MANIFEST
from kwise.data.cohort_files import read_subject, shape_of, write_subject
from kwise.data.population import read, splits
from kwise.phantom import draw_subject
from kwise.phenotypes import DISEASES, PHENOTYPES

SUBJECTS = "subjects"


def write_cohort(
    folder: Path,
    cases: Sequence[str],
    *,
    n_frames: int = 25,
    shape: tuple[int, int] = (128, 128),
    n_processes: int = 1,
    tell: Callable[[int], None] = lambda done: None,
) -> None:
    """Write these virtual subjects into `folder/subjects/NAME.h5`, then `folder/manifest.csv`.

    A file that is there already, whole and of the same shape, is kept: the same call goes on where it was
    stopped. Memory does not grow with the number of subjects. `tell(done)` is called after each. OSError in
    one line where the folder cannot be written.
    """
    (folder / SUBJECTS).mkdir(parents=True, exist_ok=True)
    write = partial(_write_one, folder, n_frames, shape)
    qualities = []
    for done, quality in enumerate(_results(write, cases, n_processes), start=1):
        qualities.append(quality)
        tell(done)
    text = _manifest_text(cases, qualities)
    write_atomically(folder / MANIFEST, lambda part: part.write_text(text, encoding="utf-8"))


def _results(write: Callable[[str], str], cases: Sequence[str], n_processes: int) -> Iterator[str]:
    if n_processes == 1:
        yield from map(write, cases)
        return
    with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(write, cases, chunksize=4)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _write_one(folder: Path, n_frames: int, shape: tuple[int, int], case: str) -> str:
    """Write one subject where it is not there yet; what a reader finds missing in the file, or ok."""
    path = folder / SUBJECTS / f"{case}.h5"
    if shape_of(path) != (9, n_frames, *shape):
        write_subject(path, read(None, case, n_frames=n_frames, shape=shape))
    missing = read_subject(path).notes.get("missing")
    return "ok" if missing is None else f"missing {missing}"


def _manifest_text(cases: Sequence[str], qualities: Sequence[str]) -> str:
    """A row per subject: name, split, file, traits, phenotypes, diseases, what is missing, and synthetic."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["subject", "split", "file", *COVARIATES, *PHENOTYPES, *DISEASES, "quality", "source"])
    known = splits()
    for case, quality in zip(cases, qualities):
        subject = draw_subject(case)
        values = [subject.covariates[n] for n in COVARIATES] + [subject.phenotypes[n] for n in PHENOTYPES]
        ill = [f"{subject.diseases[n]:.0f}" for n in DISEASES]
        row = [case, known[case], f"{SUBJECTS}/{case}.h5", *map(_cell, values), *ill, quality, "synthetic"]
        writer.writerow(row)
    return lines.getvalue()


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}".rstrip("0").rstrip(".")
