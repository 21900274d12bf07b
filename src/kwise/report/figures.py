"""Pictures for a self-contained page, by numpy and zlib alone: PNG films of a cine, colours of the classes,
SVG curves.

A film is all frames below each other in one PNG: a page shows one frame of it by moving the background.
Axis names: t frame, y and x image.
"""

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

Colour = tuple[int, int, int]

# One colour a class, told apart by most colour-blind eyes, on grey, white and black: background, LV pool, ...
CLASS_COLOURS: tuple[Colour, ...] = (
    (0, 0, 0),
    (229, 83, 61),
    (42, 167, 132),
    (74, 143, 231),
    (190, 110, 210),
    (224, 172, 28),
)
_FILL_ALPHA = 84  # of 255; outlines are opaque
# Dark to bright in equal steps of lightness, for k-space: black, blue, violet, orange, pale yellow.
_HEAT = ((0, 0, 0), (38, 24, 98), (139, 41, 129), (235, 104, 74), (252, 253, 191))


def png(pixels: np.ndarray, palette: Sequence[tuple[int, ...]] | None = None) -> bytes:
    """A PNG file of uint8 pixels (y, x): grey levels, or indices of `palette`, entries (r, g, b) or (r, g,
    b, alpha).
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise ValueError(f"drawing a PNG: got {pixels.dtype} {pixels.shape}; wanted uint8 (y, x)")
    height, width = pixels.shape
    lines = np.zeros((height, width + 1), np.uint8)  # every line starts with its filter, 0: none
    lines[:, 1:] = pixels
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if palette is None else 3, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if palette is not None:
        chunks.append(_chunk(b"PLTE", bytes(v for entry in palette for v in entry[:3])))
        if any(len(entry) > 3 for entry in palette):
            chunks.append(_chunk(b"tRNS", bytes((*entry, 255)[3] for entry in palette)))
    chunks += [_chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def data_uri(file: bytes) -> str:
    """A PNG file as an address that needs no other file."""
    return "data:image/png;base64," + base64.b64encode(file).decode()


def grey_film(frames: np.ndarray) -> bytes:
    """PNG film of magnitude frames (t, y, x), one window for all: 0 is black, the 99.5th percentile white."""
    return png(_levels(frames, float(np.percentile(frames, 99.5))).reshape(-1, frames.shape[-1]))


def kspace_film(magnitude: np.ndarray, decades: float = 4.0) -> bytes:
    """PNG film of k-space magnitudes (t, ky, kx) on a log scale of so many decades below the peak; 0 is
    black.
    """
    peak = float(magnitude.max()) or 1.0
    logs = np.log10(np.maximum(magnitude / peak, 10.0**-decades)) / decades + 1
    levels = _levels(np.where(magnitude > 0, np.maximum(logs, 0.1), 0), 1.0)
    return png(levels.reshape(-1, magnitude.shape[-1]), heat_palette())


def heat_palette() -> list[Colour]:
    """256 colours from black to pale yellow."""
    stops = np.linspace(0, 1, len(_HEAT))
    at = np.linspace(0, 1, 256)
    channels = [np.interp(at, stops, [colour[c] for colour in _HEAT]).round().astype(int) for c in range(3)]
    return [(int(r), int(g), int(b)) for r, g, b in zip(*channels)]


def _levels(x: np.ndarray, top: float) -> np.ndarray:
    return (np.clip(x / (top or 1.0), 0, 1) * 255).round().astype(np.uint8)


def label_film(labels: np.ndarray, zoom: int = 4) -> bytes:
    """Transparent PNG film of labels (t, y, x): a tint per class under an opaque outline, drawn `zoom` times
    finer.

    Negative labels (IGNORE) stay clear. Borders run between pixel centres, where linear interpolation
    changes class.
    """
    n = len(CLASS_COLOURS)
    palette = [(*c, 0 if i == 0 else _FILL_ALPHA) for i, c in enumerate(CLASS_COLOURS)]
    palette += [(*c, 0 if i == 0 else 255) for i, c in enumerate(CLASS_COLOURS)]
    fine = np.stack([_magnified(np.clip(frame, 0, n - 1), zoom) for frame in labels])
    return png((fine + n * _outline(fine)).astype(np.uint8).reshape(-1, fine.shape[-1]), palette)


def _magnified(frame: np.ndarray, zoom: int) -> np.ndarray:
    """Labels (y, x) on a `zoom` times finer grid: each class interpolated linearly, the largest wins."""
    if zoom == 1:
        return frame
    classes = np.unique(frame)
    rows, columns = (_linear(n, zoom) for n in frame.shape)
    shares = np.stack([rows @ (frame == c).astype(np.float32) @ columns.T for c in classes])
    return classes[shares.argmax(axis=0)]


def _linear(n: int, zoom: int) -> np.ndarray:
    """(n * zoom, n) weights of linear interpolation between pixel centres."""
    at = np.clip((np.arange(n * zoom) + 0.5) / zoom - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n))).astype(np.float32)


def _outline(labels: np.ndarray) -> np.ndarray:
    """True where a labelled pixel of (t, y, x) touches another class: the inner border of every region."""
    padded = np.pad(labels, ((0, 0), (1, 1), (1, 1)), mode="edge")
    neighbours = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    return (labels > 0) & np.any([labels != other for other in neighbours], axis=0)


_MASK = ((24, 27, 34), (245, 196, 81))  # left out, acquired


def mask_picture(mask: np.ndarray) -> bytes:
    """PNG of a line mask (t, ky) as ky down, t across: acquired lines bright."""
    return png(np.ascontiguousarray(mask.T).astype(np.uint8), _MASK)


def mask_film(mask: np.ndarray) -> bytes:
    """PNG film of a mask (t, ky, kx): acquired samples bright."""
    return png(mask.astype(np.uint8).reshape(-1, mask.shape[-1]), _MASK)


def curves(
    times: Sequence[float],
    series: Mapping[str, tuple[Sequence[float], Colour]],
    known: Mapping[str, Sequence[float]],
    marks: Mapping[str, int],
    unit: str,
    area_unit: str = "mm²",
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
) -> str:
    """SVG of area curves: `series` name -> (value per time in `area_unit`, colour), `known` truth as dots
    (NaN: none there).

    `bands` name -> bounds shades an interval. `marks` name -> frame draws ED and ES; a line with class "now"
    is for the page to move with the cine.
    """
    values = [v for line, _ in series.values() for v in line] + [v for line in known.values() for v in line]
    bands = bands or {}
    values += [v for _, high in bands.values() for v in high]
    top = _round_up(max((v for v in values if v == v), default=1.0))
    step = times[1] - times[0] if len(times) > 1 else 1.0
    plot = _Plot(times[0], max(times[-1], times[0] + step), top)
    parts = [plot.axes(unit), *(plot.mark(times[frame], name) for name, frame in marks.items())]
    for name, (line, colour) in series.items():
        if name in bands:
            parts.append(plot.band(times, *bands[name], colour))
        parts.append(plot.line(times, line, colour))
        parts += [plot.dot(t, v, colour) for t, v in zip(times, known.get(name, ())) if v == v]
    parts.append(plot.cursor())
    label = f"Areas over time in {area_unit}: {', '.join(series)}"
    box = f"0 0 {plot.width} {plot.height}"
    return f'<svg viewBox="{box}" role="img" aria-label="{label}" class="curves">{"".join(parts)}</svg>'


def _round_up(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10 ** np.floor(np.log10(max(value, 1e-9)))
    return float(next(f * power for f in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if f * power >= value))


class _Plot:
    """Data coordinates -> SVG coordinates, and the few shapes drawn there."""

    width, height, left, right, low, high = 640, 260, 58, 14, 38, 20

    def __init__(self, start: float, end: float, top: float) -> None:
        self.start, self.end, self.top = start, end, top

    def x(self, time: float) -> float:
        return round(
            self.left + (time - self.start) / (self.end - self.start) * (self.width - self.left - self.right),
            1,
        )

    def y(self, value: float) -> float:
        return round(self.height - self.low - value / self.top * (self.height - self.low - self.high), 1)

    def axes(self, unit: str) -> str:
        lines = []
        for share in (0, 0.25, 0.5, 0.75, 1):
            y = self.y(share * self.top)
            lines.append(f'<path class="grid" d="M{self.left} {y}H{self.width - self.right}"/>')
            lines.append(
                f'<text x="{self.left - 8}" y="{y + 4}" text-anchor="end">{share * self.top:g}</text>'
            )
        for share in (0, 0.25, 0.5, 0.75, 1):
            time = self.start + share * (self.end - self.start)
            place = f'x="{self.x(time)}" y="{self.height - self.low + 17}"'
            lines.append(f'<text {place} text-anchor="middle">{time:.0f}</text>')
        middle = (self.left + self.width - self.right) / 2
        lines.append(f'<text x="{middle}" y="{self.height - 5}" text-anchor="middle">{unit}</text>')
        return "".join(lines)

    def line(self, times: Sequence[float], values: Sequence[float], colour: Colour) -> str:
        points = " ".join(f"{self.x(t)},{self.y(v)}" for t, v in zip(times, values) if v == v)
        return f'<polyline points="{points}" fill="none" stroke="rgb{colour}" stroke-width="2.5"/>'

    def band(self, times: Sequence[float], low: Sequence[float], high: Sequence[float], fill: Colour) -> str:
        there, back = zip(times, high), reversed(list(zip(times, low)))
        points = " ".join(f"{self.x(t)},{self.y(v)}" for t, v in (*there, *back))
        return f'<polygon class="band" points="{points}" fill="rgb{fill}" fill-opacity="0.16"/>'

    def dot(self, time: float, value: float, colour: Colour) -> str:
        return (
            f'<circle class="truth" cx="{self.x(time)}" cy="{self.y(value)}" r="3.5" stroke="rgb{colour}"/>'
        )

    def mark(self, time: float, name: str) -> str:
        x, low = self.x(time), self.height - self.low
        line = f'<path class="mark" d="M{x} {self.high - 4}V{low}"/>'
        return f'{line}<text x="{x}" y="{self.high - 8}" text-anchor="middle">{name}</text>'

    def cursor(self) -> str:
        span = f'data-left="{self.x(self.start)}" data-right="{self.x(self.end)}"'
        return f'<path class="now" {span} d="M0 {self.high}V{self.height - self.low}"/>'
