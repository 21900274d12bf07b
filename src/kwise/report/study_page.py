"""The page of a study, one self-contained HTML file: how far to accelerate, and what that rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from kwise.report.endpoints import ENDPOINTS
from kwise.report.figures import data_uri
from kwise.report.study import Line, best_line
from kwise.report.template import STYLE

WIDE = (
    "table.grid th { width: auto; } table.grid td, table.grid th "
    "{ white-space: nowrap; padding-right: 14px; } "
)
WIDE += (
    ".scroll { overflow-x: auto; } img.plot "
    "{ width: 100%; max-width: 860px; background: #fff; border-radius: 8px; }"
)


@dataclass(frozen=True)
class StudyPage:
    """What the page shows: lines per endpoint, their figures as PNG bytes, tables of text, facts, and
    sentences.

    `coverage` rows are the intervals' coverage, empty without a calibration; `mask_words` says which mask was
    written; `against` what errors are counted from where that is not the truth, as `counted_from` says it.
    """

    title: str
    lines: Sequence[Line]
    figures: Mapping[str, bytes]
    coverage: Sequence[Mapping[str, float | str]] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    cautions: Sequence[str] = ()
    mask_words: Sequence[str] = ()
    against: str = ""


def write_study_page(path: Path, page: StudyPage) -> None:
    """Write the page to `path`."""
    path.write_text(render_study(page), encoding="utf-8")


def render_study(page: StudyPage) -> str:
    """The whole page as HTML; no other file, no network."""
    names = list(dict.fromkeys(line.endpoint for line in page.lines))
    body = [f"<h1>{escape(page.title)}</h1>", _tiles(page, names)]
    body += [f'<p class="note">{escape(sentence)}</p>' for sentence in page.cautions]
    for name in names:
        mine = [line for line in page.lines if line.endpoint == name]
        alt = f"{escape(ENDPOINTS[name].about)} against R"
        picture = f'<img class="plot" src="{data_uri(page.figures[name])}" alt="{alt}">'
        content = f"<p>{escape(verdict(mine, page.against))}</p>{picture}{_details(mine)}"
        body.append(_section(ENDPOINTS[name].about.capitalize(), content))
    if page.mask_words:
        body.append(_section("The mask to program", "".join(f"<p>{escape(s)}</p>" for s in page.mask_words)))
    if page.coverage:
        body.append(_section("Do the intervals cover what they promise?", _table(page.coverage)))
    facts = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in page.facts.items())
    body.append(_section("About this study", f"<table>{facts}</table>"))
    head = f'<meta charset="utf-8"><title>{escape(page.title)} · kwise</title><style>{STYLE}{WIDE}</style>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    content = "\n".join(body)
    page_body = f"<body><main>\n{content}\n</main></body>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n{page_body}</html>\n'


def counted_from(rows: Sequence[Mapping[str, float | str]]) -> str:
    """What errors are counted from in cases without labels, to stand behind a number; "" where there are
    none.
    """
    own = len({row["case"] for row in rows if float(row.get("own_truth", 0))})
    n = len({row["case"] for row in rows})
    some = "" if own == n else f"in {own} of {n} cases "
    told = "against the model's own answer to all of k-space; its own error is not in it"
    return some + told if own else ""


def verdict(lines: Sequence[Line], against: str = "") -> str:
    """What the lines of one endpoint allow, in a sentence; `against` as `counted_from` says it."""
    against = f"; {against}" if against else ""
    endpoint, best = ENDPOINTS[lines[0].endpoint], best_line(lines)
    limit = f"{lines[0].tolerance:g} {endpoint.unit}"
    need = f"at least {lines[0].tolerance:g}" if endpoint.higher_is_better else f"an error of at most {limit}"
    if best is None or best.allowed is None:
        return (
            f"{endpoint.about}: no R tested keeps to {need}; the smallest was R = "
            f"{lines[0].points[0].acceleration:.3g}{against}."
        )
    point = best.at(best.allowed)
    beyond = ", the largest tested: the limit lies beyond" if best.censored else ""
    return (
        f"{endpoint.about}: R = {best.allowed:.3g} with {best.mask} ({best.checkpoint}) keeps to "
        f"{need}{beyond}; there it is {point.centre:.3g} ({point.low:.3g} to {point.high:.3g}, "
        f"95 % interval, {point.n} cases){against}."
    )


def _tiles(page: StudyPage, names: Sequence[str]) -> str:
    tiles = []
    for name in names:
        best = best_line([line for line in page.lines if line.endpoint == name])
        told = "none" if best is None else f"R {'≥' if best.censored else '='} {best.allowed:.3g}"
        tiles.append(f'<div class="tile"><b>{told}</b><span>{escape(ENDPOINTS[name].about)}</span></div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _details(lines: Sequence[Line]) -> str:
    rows = [
        {
            "checkpoint": line.checkpoint,
            "mask": line.mask,
            "R": f"{p.acceleration:.3g}",
            "achieved": f"{p.achieved:.2f}",
            "n": str(p.n),
            "no answer": str(p.failures),
            "centre": f"{p.centre:.3g}",
            "95 % interval": f"{p.low:.3g} to {p.high:.3g}",
            "worst tenth": f"{p.spread:.3g}",
            **(
                {}
                if p.bias != p.bias
                else {"bias": f"{p.bias:+.3g} ({p.bias_low:+.3g} to {p.bias_high:+.3g})"}
            ),
            "allowed": "yes" if line.allowed is not None and p.acceleration <= line.allowed else "",
        }
        for line in lines
        for p in line.points
    ]
    return f"<details><summary>numbers</summary>{_table(rows)}</details>"


def _table(rows: Sequence[Mapping[str, float | str]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{escape(c)}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(c, ''))}</td>" for c in columns) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="grid"><tr>{head}</tr>{body}</table></div>'


def _cell(value: float | str) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.4g}"


def _section(title: str, content: str) -> str:
    return f'<section class="card"><h2>{escape(title)}</h2>{content}</section>'
