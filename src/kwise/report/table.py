"""Rows of scores -> tables of models x accelerations, as Markdown or plain text."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

from kwise.nearest import one_of
from kwise.report.results import Results, Row
from kwise.report.statistics import N_RESAMPLES, Summary, Values, agreement, compare, summarise

Published = Mapping[str, Mapping[float, tuple[float, float]]]  # model -> acceleration -> (mean, sd)

# Quantity -> (predicted column, true column, unit).
QUANTITIES = {
    "LV area at ED": ("area_LV_ED_predicted_mm2", "area_LV_ED_true_mm2", "mm2"),
    "LV area at ES": ("area_LV_ES_predicted_mm2", "area_LV_ES_true_mm2", "mm2"),
    "area ejection fraction": ("area_ef_predicted_percent", "area_ef_true_percent", "%"),
    "area ejection fraction, own ED and ES": ("area_ef_own_percent", "area_ef_true_percent", "%"),
}


@dataclass(frozen=True)
class Table:
    """A finished table: every cell is text, the first column names the row."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def score_table(
    results: Results,
    metric: str = "dice_foreground",
    *,
    order: Sequence[str] = (),
    published: Published | None = None,
    per_seed: bool = False,
    title: str | None = None,
) -> Table:
    """Mean ± sd [95 % interval of the mean] of one column, models x accelerations, the published row
    beside its model (a published sd of NaN: none was given).

    `order` puts models first by name, the others follow by name. With `per_seed` every seed has a row of
    its own, else seeds are pooled. Errors: an unknown metric.
    """
    rates, published, digits = _accelerations(results), published or {}, _digits(metric)
    rows = []
    for model in ordered(results, order):
        for label, seeds in _seed_groups(model, results[model], per_seed):
            cells = [summarise(v) if v else None for v in (_values(seeds, metric, r) for r in rates)]
            rows.append((label, *(_summary_text(c, digits) for c in cells), _count_text(cells)))
        if model in published:
            rows.append(_published_row(model, published[model], rates, digits))
    rows += [_published_row(m, published[m], rates, digits) for m in published if m not in results]
    notes = (
        f"mean ± sd [95 % bootstrap interval of the mean over cases, {N_RESAMPLES} resamples]; "
        "failed = values that are not finite, left out of the mean",
    )
    return Table(title or metric, ("model", *_rate_names(rates), "cases"), tuple(rows), notes)


def difference_table(
    results: Results, reference: str, metric: str = "dice_foreground", *, order: Sequence[str] = ()
) -> Table:
    """Paired difference of every model to `reference` over the same cases, with its 95 % interval and
    Wilcoxon p.
    """
    if reference not in results:
        raise ValueError(
            f"comparing models: got reference {reference!r}; wanted {one_of(reference, results)}"
        )
    rates, digits = _accelerations(results), _digits(metric)
    rows = []
    for model in ordered(results, order):
        if model != reference:
            pairs = [
                (_values(results[model], metric, r), _values(results[reference], metric, r)) for r in rates
            ]
            rows.append((model, *(_difference_text(*pair, digits) for pair in pairs)))
    notes = (
        "mean of model - reference over cases [95 % bootstrap interval], Wilcoxon signed-rank p, two-sided",
    )
    return Table(f"{metric}: difference to {reference}", ("model", *_rate_names(rates)), tuple(rows), notes)


def agreement_table(results: Results, quantity: str, *, order: Sequence[str] = ()) -> Table:
    """R2 and bias ± sd of one of `QUANTITIES`, models x accelerations, over cases and seeds."""
    if quantity not in QUANTITIES:
        raise ValueError(
            f"building a table: got quantity {quantity!r}; wanted {one_of(quantity, QUANTITIES)}"
        )
    rates = _accelerations(results)
    rows = tuple(
        (model, *(_agreement_text(results[model], quantity, rate) for rate in rates))
        for model in ordered(results, order)
    )
    notes = ("R2 = 1 - SS_residual / SS_total; bias = mean of predicted - true ± its sd; r = Pearson",)
    return Table(quantity, ("model", *_rate_names(rates)), rows, notes)


def frame_table(
    frames: Results, acceleration: float, metric: str = "dice", *, order: Sequence[str] = ()
) -> Table:
    """Mean of one column per class (where there are classes) and frame of every model at one acceleration:
    a dead output is a column of zeros.
    """
    sums: dict[tuple[str, str], dict[int, list[tuple[float, int]]]] = {}
    for model in ordered(frames, order):
        for row in (row for rows in frames[model].values() for row in rows):
            if row["acceleration"] == acceleration:
                per_frame = sums.setdefault((model, str(row.get("class", ""))), {})
                seen = (float(row[metric]), _cases_behind(row))
                per_frame.setdefault(int(row["frame"]), []).append(seen)
    numbers = sorted({frame for per_frame in sums.values() for frame in per_frame})
    rows = tuple(
        (f"{model} {name}".rstrip(), *(_frame_text(per_frame.get(frame)) for frame in numbers))
        for (model, name), per_frame in sums.items()
    )
    title = f"{metric.capitalize()} per class and frame, R = {acceleration:g}"
    return Table(title, ("model, class", *map(str, numbers)), rows)


def to_markdown(table: Table) -> str:
    """The table as GitHub Markdown."""
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.header) + " |"]
    lines.append("|" + "---|" * len(table.header))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)]) + "\n"


def to_text(table: Table, width: int = 160) -> str:
    """The table as plain text of at most `width` characters, or 14 a column where that is more, without
    colours.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    drawn = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, title_style="")
    for name in table.header:
        drawn.add_column(name, overflow="fold")  # a name cut short may be that of two models
    for row in table.rows:
        drawn.add_row(*row)
    width = max(width, 14 * len(table.header))
    console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False, markup=False)
    with console.capture() as captured:
        console.print(drawn)
        for note in table.notes:
            console.print(note)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _accelerations(results: Results) -> list[float]:
    return sorted(
        {float(row["acceleration"]) for seeds in results.values() for rows in seeds.values() for row in rows}
    )


def _rate_names(rates: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"R = {rate:g}" for rate in rates)


def ordered(results: Results, order: Sequence[str]) -> list[str]:
    """The rows there are: those of `order` first, as it says, then the others by name."""
    return [m for m in order if m in results] + sorted(m for m in results if m not in order)


def _digits(metric: str) -> int:
    """Decimals that mean something: shares of one 3, small errors 4, dB, millimetres and percent 2."""
    if "nmse" in metric:
        return 4
    return 3 if any(word in metric for word in ("dice", "soft", "ssim")) else 2


def _values(seeds: Mapping[int, list[Row]], metric: str, acceleration: float) -> Values:
    """seed -> case -> value of one cell; seeds without that acceleration are left out."""
    found: dict[int, dict[str, float]] = {}
    for seed, rows in seeds.items():
        for row in rows:
            if row["acceleration"] == acceleration:
                if metric not in row:
                    raise ValueError(
                        f"building a table: got metric {metric!r}; wanted {one_of(metric, row)}"
                    )
                found.setdefault(seed, {})[str(row["case"])] = float(row[metric])
    return found


def _seed_groups(
    model: str, seeds: dict[int, list[Row]], per_seed: bool
) -> list[tuple[str, dict[int, list[Row]]]]:
    if per_seed:
        return [(f"{model}, seed {seed}", {seed: seeds[seed]}) for seed in sorted(seeds)]
    return [(model, seeds)]


def _summary_text(cell: Summary | None, digits: int) -> str:
    if cell is None:
        return "-"
    text = f"{cell.mean:.{digits}f} ± {cell.sd:.{digits}f} [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    return f"{text} ({cell.failures} of {cell.n_values} failed)" if cell.failures else text


def _count_text(cells: Sequence[Summary | None]) -> str:
    """How many cases and seeds stand behind a row: "100 x 3 seeds", or all different counts."""
    counts = {(c.n, c.n_seeds): None for c in cells if c is not None}
    return ", ".join(f"{n} x {k} seeds" if k > 1 else str(n) for n, k in counts)


def _published_row(
    model: str, numbers: Mapping[float, tuple[float, float]], rates: Sequence[float], digits: int
) -> tuple[str, ...]:
    cells = [_published_text(*numbers[r], digits) if r in numbers else "-" for r in rates]
    return (f"{model}, published", *cells, "published")


def _published_text(mean: float, sd: float, digits: int) -> str:
    return f"{mean:.{digits}f}" if math.isnan(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def _difference_text(ours: Values, theirs: Values, digits: int) -> str:
    if not ours or not theirs:
        return "-"
    d = compare(ours, theirs)
    if d.n == 0:
        return "no common case"
    p = "p < 0.001" if d.p < 0.001 else f"p = {d.p:.3f}"
    return f"{d.mean:+.{digits}f} [{d.low:+.{digits}f}, {d.high:+.{digits}f}], {p}, n = {d.n}"


def _agreement_text(seeds: Mapping[int, list[Row]], quantity: str, acceleration: float) -> str:
    predicted, true, unit = QUANTITIES[quantity]
    a, b = _values(seeds, predicted, acceleration), _values(seeds, true, acceleration)
    pairs = [(a[seed][case], b[seed][case]) for seed in a for case in a[seed]]
    if not pairs:
        return "-"
    fit = agreement([p for p, _ in pairs], [t for _, t in pairs])
    text = f"R2 {fit.r2:.2f}, r {fit.r:.2f}, bias {fit.bias:+.1f} ± {fit.sd:.1f} {unit}"
    return f"{text} ({fit.failures} failed)" if fit.failures else text


def _frame_text(values: Sequence[tuple[float, int]] | None) -> str:
    if not values:
        return "-"
    return f"{math.fsum(x * n for x, n in values) / sum(n for _, n in values):.2f}"


def _cases_behind(row: Row) -> int:
    """How many cases a row of frames.csv is the mean of: "mean of 51"; 1 where it is of a case."""
    count = str(row["case"]).removeprefix("mean of ")
    return int(count) if count.isdecimal() else 1
