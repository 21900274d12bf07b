"""Tables of diagnosis groups: how many cases were called right, in all and group by group, from columns
group_answered and group.
"""

from collections.abc import Sequence

from kwise.report.results import Results, Row
from kwise.report.statistics import share_interval
from kwise.report.table import Table, ordered


def group_table(results: Results, acceleration: float, *, order: Sequence[str] = ()) -> Table:
    """Accuracy with its interval, and the share of each true group called right, models x groups."""
    models = ordered(results, order)
    seeds = {model: results[model].values() for model in models}
    rows = {
        model: [row for seed in seeds[model] for row in seed if row["acceleration"] == acceleration]
        for model in models
    }
    groups = sorted({str(row["group"]) for of in rows.values() for row in of})
    header = ("model", "all", *groups)
    body = tuple(
        (model, _share(rows[model], True), *(_share(_of(rows[model], group), False) for group in groups))
        for model in models
    )
    counts = ", ".join(f"{group} {len(_of(rows[models[0]], group))}" for group in groups)
    notes = ("share of patients whose group was called right [95 % interval]", f"patients: {counts}")
    return Table(f"Diagnosis, R = {acceleration:g}: accuracy", header, body, notes)


def _of(rows: Sequence[Row], group: str) -> list[Row]:
    return [row for row in rows if row["group"] == group]


def _share(rows: Sequence[Row], bounded: bool) -> str:
    if not rows:
        return "-"
    hits = sum(row["group_answered"] == row["group"] for row in rows)
    share = f"{hits / len(rows):.2f}"
    if not bounded:
        return share
    low, high = share_interval(hits, len(rows))
    return f"{share} [{low:.2f}, {high:.2f}]"
