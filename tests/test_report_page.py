"""The report page and its pictures: right pixels, nothing from elsewhere, nothing injected."""

import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kwise.report.figures import CLASS_COLOURS, curves, grey_film, kspace_film, label_film, mask_picture, png
from kwise.report.page import Page, render, write_page

NAMES = ("background", "LV pool", "LV myocardium", "RV pool")
SHAPE = (2, 3, 8, 10)  # (z, t, y, x)


def read_png(file: bytes, mode: str = "RGBA") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGBA").convert(mode))


def make_page() -> Page:
    draw = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.int64)
    labels[:, :, 2:6, 2:6] = 1
    labels[:, :, 6, 2:6] = 3
    areas = {"LV pool": [300.0, 200.0, 250.0], "RV pool": [80.0, 75.0, 78.0]}
    return Page(
        title="a <case>",
        kspace=draw.random(SHAPE),
        mask=draw.random((*SHAPE[:3], 1)) < 0.5,
        zero_filled=draw.random(SHAPE),
        shared=draw.random((2, 8, 10)),
        labels=labels,
        class_names=NAMES,
        areas=areas,
        ed=0,
        es=1,
        frame_ms=40.0,
        facts={"file": "<script>alert(1)</script>.h5"},
        cautions=("The k-space of this file was simulated.",),
    )


class Tags(HTMLParser):
    """Collects tags, and checks that they nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input", "path", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle", "polyline"):
            assert self.open.pop() == tag


def parsed(page: Page) -> Tags:
    tags = Tags()
    tags.feed(render(page))
    assert not tags.open
    return tags


def test_png_round_trips_grey_and_palette() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(read_png(png(pixels), "L"), pixels)
    palette = [(i, 2 * i, 3 * i, 255 - i) for i in range(12)]
    assert np.array_equal(read_png(png(pixels, palette)).reshape(12, 4), palette)
    with pytest.raises(ValueError, match=r"drawing a PNG: got float64 \(2, 2\); wanted uint8"):
        png(np.zeros((2, 2)))


def test_films_stack_frames_downwards() -> None:
    frames = np.zeros((3, 4, 5))
    frames[1] = 1
    film = read_png(grey_film(frames), "L")
    assert film.shape == (12, 5) and (film[4:8] == 255).all() and (film[:4] == 0).all()
    kspace = np.zeros((2, 4, 4))
    kspace[0, 2, 2], kspace[0, 1, 1] = 1.0, 1e-9
    colours = read_png(kspace_film(kspace), "RGB")
    assert colours[2, 2].sum() > 500 and colours[1, 1].sum() > 0 and colours[0, 0].sum() == 0


def test_dark_films_are_black_and_not_an_error() -> None:
    assert not read_png(grey_film(np.zeros((1, 2, 2))), "L").any()
    assert not read_png(kspace_film(np.zeros((1, 2, 2))), "RGB").any()


@pytest.mark.parametrize("zoom", [1, 4])
def test_labels_have_their_colour_an_outline_and_clear_background(zoom: int) -> None:
    labels = np.full((1, 9, 9), -1)
    labels[0, 3:6, 3:6] = 2
    film = read_png(label_film(labels, zoom))
    assert film.shape == (9 * zoom, 9 * zoom, 4)
    middle, corner = film[4 * zoom + zoom // 2, 4 * zoom + zoom // 2], film[0, 0]
    assert tuple(middle[:3]) == CLASS_COLOURS[2] and 0 < middle[3] < 255 and corner[3] == 0
    assert (film[..., 3] == 255).any()
    tinted = (film[..., 3] > 0).sum() / zoom**2
    assert abs(tinted - 9) < 1.5  # the area of the label is what is drawn


def test_mask_picture_is_ky_down_and_frames_across() -> None:
    mask = np.zeros((2, 5), bool)
    mask[1, 3] = True
    picture = read_png(mask_picture(mask), "L")
    assert picture.shape == (5, 2) and picture[3, 1] > 100 and picture[0, 0] < 50


def test_curves_draw_lines_truth_and_marks() -> None:
    line, nan = [10.0, 5.0, 8.0], float("nan")
    svg = curves([0, 40, 80], {"LV pool": (line, (1, 2, 3))}, {"LV pool": [9.0, nan, nan]}, {"ED": 0}, "ms")
    assert svg.count("<polyline") == 1 and svg.count("<circle") == 1 and ">ED<" in svg
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', svg)[1].split()]
    assert points[0][1] < points[2][1] < points[1][1]  # larger areas are drawn higher
    assert "nan" not in curves([0], {"LV pool": ([nan], (1, 2, 3))}, {}, {}, "frame")


def test_page_is_self_contained_and_escapes() -> None:
    html = render(make_page())
    assert not re.search(r"(src|href)=\"(?!data:)", html) and "http" not in html and "@import" not in html
    assert "<script>alert" not in html and "a &lt;case&gt;" in html
    assert "The k-space of this file was simulated." in html


def test_page_nests_and_describes_every_picture() -> None:
    tags = parsed(make_page())
    pictures = [a for tag, a in tags.seen if tag in ("img", "svg") or a.get("class") == "film"]
    assert len(pictures) == 1 + 1 + 5  # mask, curves, films: k-space, two slices zero-filled, two answered
    assert all(a.get("alt") or a.get("aria-label") for a in pictures)
    assert {a["id"] for _, a in tags.seen if "id" in a} == {"play", "frame", "told", "tints", "cine"}


def test_truth_and_reference_are_shown_beside_the_answer() -> None:
    page = make_page()
    truth = np.where(np.arange(3)[None, :, None, None] == 0, page.labels, -1)
    known = {"LV pool": [290.0, float("nan"), float("nan")]}
    with_truth = replace(page, truth=truth, true_areas=known)
    assert "the truth (frames 1 alone)" in render(with_truth) and "Rings: the truth" in render(with_truth)
    assert "never saw" in render(replace(with_truth, reference=page.zero_filled))
    assert "never saw" not in render(with_truth)


def test_one_frame_without_times(tmp_path: Path) -> None:
    page = make_page()
    still = replace(
        page,
        kspace=page.kspace[:1, :1],
        mask=page.mask[:1, :1],
        zero_filled=page.zero_filled[:1, :1],
        shared=page.shared[:1],
        labels=page.labels[:1, :1],
        areas={"LV pool": [300.0]},
        es=0,
        frame_ms=None,
    )
    parsed(still)
    write_page(tmp_path / "page.html", still)
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_report_needs_neither_torch_nor_matplotlib() -> None:
    program = (
        "import sys, kwise.report.page; sys.exit(int('torch' in sys.modules or 'matplotlib' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
