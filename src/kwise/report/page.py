"""One self-contained HTML page about one scan: what was measured, the answer playing as a cine, curves, a
table.

Arrays are numpy; axes z slice, t frame, ky phase encoding, kx readout, y and x image. Nothing is loaded from
elsewhere.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np

from kwise.report.figures import (
    CLASS_COLOURS,
    curves,
    data_uri,
    grey_film,
    kspace_film,
    label_film,
    mask_film,
    mask_picture,
)
from kwise.report.template import SCRIPT, STYLE

FINEST = 512  # pixels a side that drawn labels may have


@dataclass(frozen=True)
class Page:
    """What the page shows.

    `kspace` (z, t, ky, kx) magnitudes over coils, 0 where nothing was acquired; `mask` (z, t, ky, kx) bool,
    kx 1 where lines are whole; `zero_filled` (z, t, y, x) magnitudes, `shared` (z, y, x) those of all frames'
    lines together; `labels` and `truth` (z, t, y, x) class indices (truth: -1 unknown; None: no segmentation,
    no truth in the file); `reconstruction` (z, t, y, x) the model's image, `reference` (z, t, y, x) a fully
    sampled one it never saw, or None. `class_names` by class index. `areas` and `true_areas` name -> mm^2
    (`area_unit`) per frame, names out of `class_names`. `tiles` are the big numbers, `measured` the table of
    phenotypes, `facts` that of everything else, `cautions` what a reader must know before believing
    anything, in sentences. `bands` name -> lower and upper bound of an area per frame.
    """

    title: str
    kspace: np.ndarray
    mask: np.ndarray
    zero_filled: np.ndarray
    shared: np.ndarray
    labels: np.ndarray | None = None
    class_names: Sequence[str] = ()
    areas: Mapping[str, Sequence[float]] = field(default_factory=dict)
    ed: int | None = None
    es: int | None = None
    reconstruction: np.ndarray | None = None
    area_unit: str = "mm²"
    pixel_mm: tuple[float, float] = (1.0, 1.0)
    frame_ms: float | None = None
    truth: np.ndarray | None = None
    true_areas: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reference: np.ndarray | None = None
    subtitle: str = ""
    measured: Mapping[str, str] = field(default_factory=dict)
    tiles: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    cautions: Sequence[str] = ()
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)


def write_page(path: Path, page: Page) -> None:
    """Write the page to `path`."""
    path.write_text(render(page), encoding="utf-8", errors="backslashreplace")  # file names of any bytes


def render(page: Page) -> str:
    """The whole page as HTML."""
    films = _Films(page.zero_filled.shape[1])
    body = [
        f"<h1>{escape(page.title)}</h1>",
        f'<p class="soft">{escape(page.subtitle)}</p>',
        _tiles(page),
        *(f'<p class="note">{escape(sentence)}</p>' for sentence in page.cautions),
        _player(page),
        _section("What was acquired, and what the model answered", _key(page) + _slices(page, films)),
        '<div class="two"><div>',
        _section(f"Areas over the heart beat, {page.area_unit}", _curves(page)) if _beats(page) else "",
        _section("What was measured", _table(page.measured)) if page.measured else "",
        "</div>",
        _section("About this answer", _table(page.facts)),
        "</div>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(page.title)} · kwise</title>'
    head += f"<style>{STYLE}{films.style()}</style>"
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    data = f'<script type="application/json" id="cine">{_cine(page)}</script>'
    content = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{content}\n</main>\n'
        f"{data}<script>{SCRIPT}</script></body></html>\n"
    )


def _beats(page: Page) -> bool:
    """Whether there is a curve to draw."""
    return bool(page.areas) and page.zero_filled.shape[1] > 1


def _times(page: Page) -> list[float]:
    return [i * page.frame_ms if page.frame_ms else float(i + 1) for i in range(page.zero_filled.shape[1])]


def _cine(page: Page) -> str:
    """What the script needs. Played at the heart's own speed, or 12 frames a second, and never faster than
    25.
    """
    told = {
        "times": _times(page),
        "unit": "ms" if page.frame_ms else "",
        "pause": max(40, round(page.frame_ms or 80)),
        "ed": page.ed,
        "es": page.es,
        "first": page.ed or 0,
    }
    return json.dumps(told)


def _tiles(page: Page) -> str:
    tiles = [
        f'<div class="tile"><b>{escape(v)}</b><span>{escape(k)}</span></div>' for k, v in page.tiles.items()
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _player(page: Page) -> str:
    last = page.zero_filled.shape[1] - 1
    hidden, first = "" if last else " hidden", page.ed or 0
    return (
        f'<div class="player"><button id="play" type="button"{hidden}>Play</button>'
        f'<input id="frame" type="range" min="0" max="{last}" value="{first}" aria-label="frame"{hidden}>'
        '<output id="told" for="frame"></output>'
        '<label><input id="tints" type="checkbox" checked> labels</label></div>'
    )


def _section(title: str, content: str) -> str:
    return f'<section class="card"><h2>{escape(title)}</h2>{content}</section>'


def _key(page: Page) -> str:
    shown = [i for i in range(1, len(page.class_names)) if page.class_names[i] in page.areas]
    items = [
        f'<span><b style="background:rgb{CLASS_COLOURS[i]}"></b>{escape(page.class_names[i])}</span>'
        for i in shown
    ]
    return f'<div class="key">{"".join(items)}</div>'


def _slices(page: Page, films: "_Films") -> str:
    """Three films a row: of every slice what was acquired and what was answered; k-space of the middle slice
    alone.
    """
    n = page.zero_filled.shape[0]
    middle = n // 2
    rows = [[_kspace(page, films, middle), _mask(page, films, middle), _zero_filled(page, films, middle)]]
    rows.append(_answers(page, films, middle))
    for z in range(n):
        if z != middle:
            rows.append([_zero_filled(page, films, z), *_answers(page, films, z)])
    return "".join(f'<div class="row">{"".join(row)}</div>' for row in rows)


def _kspace(page: Page, films: "_Films", z: int) -> str:
    film = films.show(
        [kspace_film(page.kspace[z])], "acquired k-space, frame by frame", ratio="1", kind="sharp"
    )
    return _figure(page, z, film, "acquired k-space, log magnitude: ky down, kx across")


def _mask(page: Page, films: "_Films", z: int) -> str:
    """Lines of all frames in one picture; where single samples were acquired, or one frame, as a film."""
    lines_alone = bool((page.mask[z].any(axis=-1) == page.mask[z].all(axis=-1)).all())
    if not lines_alone or page.mask.shape[1] == 1:
        samples = mask_film(np.broadcast_to(page.mask[z], page.kspace[z].shape))
        shown = films.show([samples], "mask, frame by frame", ratio="1", kind="sharp")
        return _figure(page, z, shown, "mask, bright = acquired: ky down, kx across")
    n_frames, lines = page.mask[z].shape[:2]
    picture = data_uri(mask_picture(page.mask[z].any(axis=-1)))
    alt = f"mask: acquired phase-encoding lines of {lines}, in each of {n_frames} frames"
    here = f'<span class="here" style="width:{100 / n_frames:.3f}%"></span>'
    film = f'<div class="stage"><img class="mask" src="{picture}" alt="{alt}">{here}</div>'
    return _figure(page, z, film, "mask, bright = acquired: ky down, frames across")


def _zero_filled(page: Page, films: "_Films", z: int) -> str:
    film = films.show([grey_film(page.zero_filled[z])], "zero-filled images", _ratio(page))
    return _figure(page, z, film, "zero-filled: inverse FFT of what was acquired")


def _answers(page: Page, films: "_Films", z: int) -> list[str]:
    """Films of one slice: the reconstruction, the segmentation, and the truth where it is known; over images
    the model never saw where given.
    """
    still = grey_film(page.shared[z][None])
    under, kind, told = still, "still", ", over the lines of all frames together"
    figures = []

    def figure(below: bytes, labels: np.ndarray | None, caption: str, kind: str) -> None:
        layers = [below] if labels is None else [below, label_film(labels, _zoom(page))]
        figures.append(_figure(page, z, films.show(layers, caption, _ratio(page), kind), caption))

    if page.reconstruction is not None:
        under, kind, told = grey_film(page.reconstruction[z]), "grey", ", over the model's reconstruction"
        figure(under, None, "the model's reconstruction", kind)
    if page.labels is not None:
        figure(under, page.labels[z], f"the model's segmentation{told}", kind)
    if page.reference is not None:
        under, kind, told = grey_film(page.reference[z]), "grey", ", over images the model never saw"
        if page.labels is not None:
            figure(under, page.labels[z], f"the model's segmentation{told}", kind)
    if page.truth is not None and bool((page.truth[z] >= 0).any()):
        figure(under, page.truth[z], f"the truth{_known(page, z)}{told}", kind)
    return figures


def _ratio(page: Page) -> str:
    y, x = page.zero_filled.shape[-2:]
    return f"{x * page.pixel_mm[1]:.4g} / {y * page.pixel_mm[0]:.4g}"


def _known(page: Page, z: int) -> str:
    """Which frames have a truth, where not all have."""
    assert page.truth is not None
    frames = [t + 1 for t in range(page.truth.shape[1]) if (page.truth[z, t] >= 0).any()]
    if len(frames) == page.truth.shape[1]:
        return ""
    return f" (frames {', '.join(map(str, frames))} alone)"


def _zoom(page: Page) -> int:
    return max(1, min(4, FINEST // max(page.zero_filled.shape[-2:])))


class _Films:
    """Films shown so far: each is written once into the page's style, however often it is shown."""

    def __init__(self, n_frames: int) -> None:
        self.size = f"100% {100 * n_frames}%"
        self.names: dict[bytes, str] = {}

    def show(self, films: Sequence[bytes], alt: str, ratio: str, kind: str = "grey") -> str:
        """PNG films over each other, the first of `kind`, others tints that can be hidden; one frame of each
        shows.
        """
        names = [self.names.setdefault(film, f"film{len(self.names)}") for film in films]
        layers = [f'<i class="{"tint" if i else kind} {name}"></i>' for i, name in enumerate(names)]
        box = f'role="img" aria-label="{escape(alt)}" style="aspect-ratio:{ratio}"'
        return f'<div class="film" {box}>{"".join(layers)}</div>'

    def style(self) -> str:
        """CSS of every film."""
        return f".film i:not(.still){{background-size:{self.size}}}" + "".join(
            f".{name}{{background-image:url({data_uri(film)})}}" for film, name in self.names.items()
        )


def _figure(page: Page, z: int, content: str, caption: str) -> str:
    n = page.zero_filled.shape[0]
    where = "" if n == 1 else f" (slice {z + 1} of {n})"
    return f"<figure>{content}<figcaption>{escape(caption + where)}</figcaption></figure>"


def _curves(page: Page) -> str:
    names = [name for name in page.class_names if name in page.areas]
    series = {name: (page.areas[name], CLASS_COLOURS[list(page.class_names).index(name)]) for name in names}
    unit = "ms" if page.frame_ms else "frame"
    marks = {name: frame for name, frame in {"ED": page.ed, "ES": page.es}.items() if frame is not None}
    picture = curves(_times(page), series, page.true_areas, marks, unit, page.area_unit, page.bands)
    shade = '<p class="soft">Shaded: the interval of each frame.</p>' if page.bands else ""
    dots = '<p class="soft">Lines: this answer. Rings: the truth in the file.</p>' if page.true_areas else ""
    return _key(page) + picture + shade + dots


def _table(facts: Mapping[str, str]) -> str:
    rows = [f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts.items()]
    return f"<table>{''.join(rows)}</table>"
