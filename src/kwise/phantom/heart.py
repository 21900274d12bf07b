"""Asking the heart: any points at any times give labels and image; `heart_scan` asks one short-axis slice."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.phantom.anatomy import Heart
from kwise.phantom.chest import paint_chest
from kwise.phantom.draw import draw_heart
from kwise.phantom.surfaces import Walls, contraction, drift, walls
from kwise.phantom.texture import border, noise, paint, shading
from kwise.types import Scan


@dataclass(frozen=True)
class Sampled:
    """What stands at points: `labels` (t, ...) int64 of kwise's classes, `image` (t, ...) float32."""

    labels: Tensor
    image: Tensor


def sample(heart: Heart, points_mm: Tensor, times: Tensor, *, pixel_mm: float = 2.5) -> Sampled:
    """Labels and magnitude (t, ...) at points (..., 3) = (x, y, z) in mm and times (t,) in cycles.

    Each point is computed from surfaces alone, so neither its label nor its image depends on which others are
    asked; `pixel_mm` sets the width of the partial-volume edges only. Raises ValueError on other shapes.
    """
    if points_mm.shape[-1:] != (3,) or times.ndim != 1:
        got = f"points {tuple(points_mm.shape)} and times {tuple(times.shape)}"
        raise ValueError(f"sampling heart {heart.case}: got {got}; wanted points (..., 3) and times (t,)")
    points = points_mm.reshape(-1, 3).float()
    edge = heart.look.sharpness * pixel_mm
    image, near, walls_near = _paint_all(heart, points, times.float(), edge)
    labels = torch.zeros(image.shape, dtype=torch.int64)
    labels.index_copy_(1, near, _labels(walls_near))
    shape = (len(times), *points_mm.shape[:-1])
    return Sampled(labels.view(shape), image.view(shape))


def _paint_all(heart: Heart, points: Tensor, times: Tensor, edge: float) -> tuple[Tensor, Tensor, Walls]:
    chest, belly, below, depth = paint_chest(heart, points, edge)
    breath = drift(heart.beat, times)[:, 1:2] * 0.7
    image = torch.lerp(chest, belly, torch.sigmoid((below + breath) * (-1 / edge)))
    offset = points[:, :2] - torch.tensor(heart.middle)
    near = (offset.square().sum(1) < heart.reach**2).nonzero()[:, 0]
    surfaces = walls(heart, points[near], times)
    image.index_copy_(1, near, _paint_heart(heart, surfaces, image.index_select(1, near), times, edge))
    look = heart.look
    image = (image + look.haze).clamp_min(0) * shading(heart, points, depth)
    fade = border(look, points, edge)
    return (image if fade is None else image * fade), near, surfaces


def _labels(w: Walls) -> Tensor:
    """Hard classes: papillary muscles and trabeculae belong to the pool, as in ACDC and UK Biobank."""
    rv = torch.where(w.rv < 0, 3, 0)
    return torch.where(w.endo < 0, 1, torch.where(w.epi < 0, 2, rv))


def _paint_heart(heart: Heart, w: Walls, image: Tensor, times: Tensor, edge: float) -> Tensor:
    look, rv = heart.look, heart.rv
    texture = noise(heart.lattice[:4], w.x / w.stretch, w.y / w.stretch, 0.0, 6.0)
    outer = smooth_min(w.epi, w.rv - rv.wall, 8.0)
    fat = outer - _fat_thickness(heart, w)
    image = paint(image, look.fat * (1 + look.texture * texture[1]), fat, edge)
    image = image * (1 - look.pericardium * torch.exp((fat - 1.0).square() * -0.6))
    muscle = look.myocardium * (1 + look.texture * texture[0])
    image = paint(image, muscle, torch.minimum(w.epi, w.rv - rv.wall), edge)
    blood = _blood(heart, w, times)
    crossed = rv.lining + rv.trabeculae * (texture[2] - 0.1).clamp(0, 1.2)
    right = torch.maximum(w.rv + crossed, 0.6 - w.epi)
    strands = 1 - 0.08 * rv.trabeculae * (texture[3] - 0.4).clamp(0, 1.2)
    image = paint(image, look.rv_blood * blood * strands, right, edge)
    dense = heart.lv.lining * (1 + w.squeeze)
    rough = w.endo + dense + heart.lv.trabeculae * (texture[3] - 0.1).clamp(0, 1.2)
    left = torch.maximum(rough, _papillary(heart, w))
    return paint(image, blood, left, edge)


def _fat_thickness(heart: Heart, w: Walls) -> Tensor:
    """Epicardial fat in mm (t, n): thickest over the RV and its grooves, thin toward the lung, patchy."""
    c, s = math.cos(heart.rv.angle), math.sin(heart.rv.angle)
    toward_rv = (w.x * c + w.y * s) / (heart.lv.radius + heart.lv.wall)
    patches = noise(heart.lattice[4:5], w.x, w.y, 0.0, 20.0)[0]
    return heart.look.fat_mm * (0.5 + 0.35 * toward_rv + 0.6 * patches).clamp(-0.3, 1.8)


def smooth_min(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two bodies whose groove is filled over `width` mm (fat lies in the grooves)."""
    h = (width - (a - b).abs()).clamp_min(0)
    return torch.minimum(a, b) - h * h * (0.25 / width)


def _blood(heart: Heart, w: Walls, times: Tensor) -> Tensor:
    """Blood intensity (t, n): inflow brightens, swirl mottles."""
    look = heart.look
    turn = 2 * math.pi * times[:, None]
    swirl = noise(heart.lattice[5:], w.x + 7 * turn.cos(), w.y + 7 * turn.sin(), 0.0, 6.0)[0]
    pulse = 1 + 0.4 * look.flow * torch.sin(turn + look.flow_phase)
    return (pulse + 0.45 * look.flow * swirl).clamp(0.6, 1.4)


def _papillary(heart: Heart, w: Walls) -> Tensor:
    """Minus the signed distance (t, n) to the papillary muscles, which ride on the moving wall."""
    lv = heart.lv
    result = torch.full_like(w.x, -1e3)
    for angle, radius, gap, stretch in lv.papillary.tolist():
        away = lv.radius * w.stretch - radius * stretch * gap
        c, s = math.cos(angle), math.sin(angle)
        u, v = (w.x * c + w.y * s - away) / stretch, w.y * c - w.x * s
        result = torch.maximum(result, radius - (u.square() + v.square()).sqrt())
    return result


def short_axis_points(shape: tuple[int, int], fov_mm: float, z_mm: float = 0.0) -> Tensor:
    """Pixel centres (y, x, 3) in mm of a short-axis slice; index n // 2 lies at 0, as everywhere in kwise."""
    spacing = fov_mm / shape[0]
    y = (torch.arange(shape[0]) - shape[0] // 2) * spacing
    x = (torch.arange(shape[1]) - shape[1] // 2) * spacing
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([xx, yy, torch.full_like(xx, z_mm)], dim=-1)


def heart_scan(
    case: str, *, n_frames: int = 12, shape: tuple[int, int] = (64, 64), fov_mm: float = 160.0
) -> Scan:
    """The mid-ventricular short-axis cine of the patient called `case`: image and labels (1, t, y, x).

    `fov_mm` is the extent along y; pixels are square. Frame 0 is ED. Raises ValueError without frames or
    pixels.
    """
    check_size(case, n_frames, shape, fov_mm)
    return beating(draw_heart(case), short_axis_points(shape, fov_mm), n_frames, fov_mm / shape[0])


def check_size(case: str, n_frames: int, shape: tuple[int, int], fov_mm: float) -> None:
    """ValueError for a scan without frames or pixels, or without a field of view."""
    if n_frames < 1 or min(shape) < 1 or fov_mm <= 0:
        got = f"{n_frames} frames of {shape} over {fov_mm} mm"
        raise ValueError(f"scanning heart {case}: got {got}; wanted at least one frame, pixel and millimetre")


def beating(
    heart: Heart,
    points_mm: Tensor,
    n_frames: int,
    spacing_mm: float,
    *,
    zoom: float = 1.0,
    covered: float = 1.0,
) -> Scan:
    """The cine of one plane of a heart: image and labels (1, t, y, x) at points (y, x, 3) in its own mm.

    A pixel is `spacing_mm` wide, and shows so much of a heart that is `zoom` times as large; the frames cover
    that share of a beat and begin at ED.
    """
    times = torch.arange(n_frames) / n_frames * covered
    found = sample(heart, points_mm, times, pixel_mm=spacing_mm / zoom)
    return Scan(
        case=heart.case,
        image=found.image[None],
        labels=found.labels[None],
        spacing_mm=(8.0, spacing_mm, spacing_mm),
        frame_ms=60000 * covered / heart.beat.heart_rate / n_frames,
        ed=0,
        es=int(contraction(heart.beat, times).argmax()),
    )
