"""The mask a study ends with: one pattern of the winning family at the R allowed, run on the cohort before it
is given.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from kwise.report.endpoints import ENDPOINTS
from kwise.report.study import Line, study_lines
from kwise.sampling import achieved_acceleration, draw_mask, lines_in_words, load_mask, save_mask
from kwise.seeding import generator
from kwise.study.bench import Bench
from kwise.study.plan import Judgement, Plan
from kwise.study.run import bench_of, run_study

DRAWS = 3  # patterns tried before the tool says that none of them passed
Choice = tuple[str, str, float]  # checkpoint, mask, R


def joint_choice(lines: Sequence[Line]) -> Choice | None:
    """Checkpoint, mask and the largest R that the tolerances of all endpoints allow; None where one forbids
    every R.

    Of equals the first: lines come in the order the masks were asked for.
    """
    limits: dict[tuple[str, str], float] = {}
    for line in lines:
        key = (line.checkpoint, line.mask)
        limits[key] = min(limits.get(key, float("inf")), line.allowed or 0.0)
    key = max(limits, key=lambda k: limits[k])
    return (*key, limits[key]) if limits[key] > 0 else None


def write_mask(plan: Plan, folder: Path, choice: Choice, wish: Judgement) -> list[str]:
    """Write mask.txt, mask.npy and lines.txt of a choice; returns what was written and measured, in
    sentences.

    `wish.grid` (lines, frames) None: the cohort's own, where all its cases have one; the pattern is then
    scored on the cohort, and the first of a few draws that keeps to every tolerance is taken. Another grid is
    written unscored.
    """
    label, name, rate = choice
    shape, common = _shape(bench_of(plan, plan.checkpoints[plan.labels.index(label)]))
    fits = common and wish.grid in (None, shape)
    shape = shape if wish.grid is None else wish.grid
    if given := plan.mask_files.get(name):
        return [_written(folder, load_mask(given, *shape), f"{name}, as it was given")]
    if not fits:
        about = f"{name}, R = {rate:g}: a draw on this grid that was not run on the cohort"
        return [_written(folder, draw_mask(name, *shape, rate, _words(name, rate, 0)), about)]
    told: list[str] = []
    for draw in range(DRAWS):
        pattern = draw_mask(name, *shape, rate, _words(name, rate, draw))
        passed, measured = _scored(plan, folder, label, pattern, wish)
        told = [_written(folder, pattern, f"{name}, R = {rate:g}, draw {draw + 1}"), measured]
        if passed:
            return told
    return [
        *told,
        f"None of {DRAWS} draws kept to every tolerance by itself: the last was written. A smaller R is "
        f"safer.",
    ]


def _words(name: str, rate: float, draw: int):  # type: ignore[no-untyped-def]
    return generator("study mask", name, rate, draw)


def _shape(bench: Bench) -> tuple[tuple[int, int], bool]:
    """(lines, frames) most cases have, and whether all have it."""
    shapes = Counter((s.shape[2], s.shape[1]) for s in map(bench.scan, bench.cohort.cases))
    return shapes.most_common(1)[0][0], len(shapes) == 1


def _scored(plan: Plan, folder: Path, label: str, pattern: Tensor, wish: Judgement) -> tuple[bool, str]:
    """Whether every case measured with this one pattern keeps to every tolerance, and how it scored."""
    file = folder / "cells" / "candidate.txt"
    save_mask(file, pattern)
    checkpoint = plan.checkpoints[plan.labels.index(label)]
    rows = run_study(replace(plan, checkpoints=(checkpoint,), masks=(str(file),)), folder, processes=1)
    lines = study_lines(rows, wish.endpoints, wish.tolerances, wish.statistic)
    scores = [
        f"{ENDPOINTS[line.endpoint].about} {p.centre:.3g} ({p.low:.3g} to {p.high:.3g})"
        for line in lines
        for p in line.points
    ]
    passed = all(line.allowed is not None for line in lines)
    return passed, f"With this one pattern in every case: {'; '.join(scores)}."


def _written(folder: Path, mask: Tensor, about: str) -> str:
    t, n = mask.shape
    achieved = f"{about}; {n} lines x {t} frames, achieved R = {achieved_acceleration(mask):.3f}"
    save_mask(
        folder / "mask.txt", mask, f"kwise study: {achieved}\na row of {n} lines (ky) per frame, 1 = acquire"
    )
    save_mask(folder / "mask.npy", mask)
    (folder / "lines.txt").write_text(f"# kwise study: {achieved}\n{lines_in_words(mask)}", encoding="utf-8")
    return f"mask.txt, mask.npy and lines.txt hold {achieved}."
