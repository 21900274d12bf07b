"""The moving surfaces of the heart: signed distances (mm, negative inside) of any 3-D points; exact areas.

The LV contour in a plane is a Fourier series in the angle. Its squared radius shrinks with contraction, and
the wall keeps its cross-section times its length: thickening and the volume law follow from it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.phantom.anatomy import Beat, Heart, LeftVentricle
from kwise.phantom.contours import harmonics


@dataclass(frozen=True)
class Walls:
    """Signed distances (t, n) in mm of n points over t frames, with the material coordinates of the LV."""

    endo: Tensor
    epi: Tensor
    rv: Tensor
    x: Tensor  # relative to the moving LV axis, untwisted
    y: Tensor
    stretch: Tensor  # (t, 1) mean endocardial radius over its value at end-diastole
    squeeze: Tensor  # (t, 1) contraction, 0 at ED and 1 at ES


def contraction(beat: Beat, times: Tensor) -> Tensor:
    """How contracted the heart is at `times` (t,) in cycles: 0 at ED (time 0), 1 at ES, periodic."""
    phase = times.remainder(1.0)
    rise = torch.sin(0.5 * math.pi * phase / beat.es_time).square()
    u = (phase - beat.es_time) / (1 - beat.es_time)
    early = _ease(u / beat.early_end)
    late = _ease((u - beat.late_start) / (1 - beat.late_start))
    fall = 1 - beat.early_filling * early - (1 - beat.early_filling) * late
    return torch.where(phase < beat.es_time, rise, fall)


def _ease(u: Tensor) -> Tensor:
    u = u.clamp(0, 1)
    return u * u * (3 - 2 * u)


def squared_radii(lv: LeftVentricle, beat: Beat, basis: Tensor, squeeze: Tensor) -> tuple[Tensor, Tensor]:
    """Squared endo- and epicardial radii (mm^2) at z = 0 for a basis whose points match `squeeze`."""
    endo, wall, motion = (torch.stack([lv.endo, lv.wall_shape, lv.motion]) @ basis).unbind()
    shape = squeeze.shape if squeeze.numel() == endo.numel() else (-1,)
    inner = (lv.radius * endo).square().reshape(shape)
    outer = (lv.radius * endo + lv.wall * wall.clamp_min(0.35)).square().reshape(shape)
    now = inner * (1 - lv.contraction * squeeze * motion.reshape(shape))
    return now, now + (outer - inner) * _wall_gain(beat, squeeze)


def _wall_gain(beat: Beat, squeeze: Tensor) -> Tensor:
    """Growth of the wall's cross-section: its volume is kept, so shorter means thicker."""
    return 1 + squeeze * (beat.thickening / (1 - beat.shortening) - 1)


def taper(lv: LeftVentricle, z: Tensor, apex: float) -> Tensor:
    """Squared radius at material height z over that at z = 0: an ellipsoid with its tip at -`apex`."""
    length = apex + lv.equator
    return (1 - ((z - lv.equator) / length).square()).clamp_min(0) / (1 - (lv.equator / length) ** 2)


def epi_apex(lv: LeftVentricle) -> float:
    """Depth (mm) of the epicardial tip: the wall is thinner at the apex than around the cavity."""
    return lv.apex + 0.8 * lv.wall


def drift(beat: Beat, times: Tensor) -> Tensor:
    """Shift (t, 3) in mm of the heart by its own beat and by breathing."""
    squeeze = contraction(beat, times)
    breath = torch.sin(math.pi * times + beat.breath_phase)
    sway = torch.tensor([*beat.sway_mm, 0.0])
    return squeeze[:, None] * sway + breath[:, None] * torch.tensor(beat.breath_mm)


def material_height(heart: Heart, z: Tensor, squeeze: Tensor) -> Tensor:
    """Height at end-diastole of the tissue now at z: the base descends toward a nearly fixed apex."""
    return (z + heart.lv.apex) / (1 - heart.beat.shortening * squeeze) - heart.lv.apex


def walls(heart: Heart, points: Tensor, times: Tensor) -> Walls:
    """Signed distances of all cardiac surfaces at points (n, 3) in mm and times (t,) of the cycle."""
    squeeze = contraction(heart.beat, times)[:, None]
    move = drift(heart.beat, times)
    x = (points[:, 0] - heart.centre[0]) - move[:, 0:1]
    y = (points[:, 1] - heart.centre[1]) - move[:, 1:2]
    z = material_height(heart, points[:, 2] - move[:, 2:3], squeeze)
    x_lv, y_lv = _untwist(x, y, (0.3 + z / 40) * (heart.beat.twist * squeeze))
    radius = (x_lv.square() + y_lv.square()).clamp_min(1e-6).sqrt()
    basis = harmonics(x_lv / radius, y_lv / radius)
    inner, outer = squared_radii(heart.lv, heart.beat, basis, squeeze.expand_as(x))
    above = z - heart.lv.base
    endo = torch.maximum(radius - (inner * taper(heart.lv, z, heart.lv.apex)).sqrt(), above)
    epi = torch.maximum(radius - (outer * taper(heart.lv, z, epi_apex(heart.lv))).sqrt(), above)
    rv = torch.maximum(_rv_contour(heart, x, y, z, squeeze), above)
    stretch = (1 - heart.lv.contraction * squeeze).sqrt()
    return Walls(endo, epi, rv, x_lv, y_lv, stretch, squeeze)


def _untwist(x: Tensor, y: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate by atan(slope): exact, without a cosine for every pixel."""
    scale = (1 + slope.square()).rsqrt()
    return (x + slope * y) * scale, (y - slope * x) * scale


def rv_frame(heart: Heart, squeeze: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance of the RV ellipse centre from the LV axis and its two half axes, all mm."""
    rv, lv, beat = heart.rv, heart.lv, heart.beat
    narrow = (1 - beat.rv_narrowing * squeeze) * height
    depth, length = rv.half_depth * narrow, rv.half_length * (1 - beat.rv_shortening * squeeze) * height
    inner = lv.radius**2 * (1 - lv.contraction * squeeze)
    ring = ((lv.radius + lv.wall) ** 2 - lv.radius**2) * _wall_gain(beat, squeeze)
    epi = (inner + ring).sqrt() * height
    return epi + rv.width * narrow - depth, depth, length


def _rv_contour(heart: Heart, x: Tensor, y: Tensor, z: Tensor, squeeze: Tensor) -> Tensor:
    rv = heart.rv
    height = taper(heart.lv, z, 0.85 * heart.lv.apex).sqrt().clamp_min(1e-3)
    away, depth, length = rv_frame(heart, squeeze, height)
    c, s = math.cos(rv.angle), math.sin(rv.angle)
    u = x * c + y * s - away
    v = y * c - x * s - rv.slide * height
    p, q = u / depth, v / length
    norm = (p.square() + q.square()).clamp_min(1e-9).sqrt()
    shape = (rv.shape @ harmonics(p / norm, q / norm)).view_as(norm)
    # Radial distance to the contour along the ray from the RV centre.
    return (1 - shape / norm) * (u.square() + v.square()).sqrt()


def lv_areas(heart: Heart, times: Tensor, z_mm: float = 0.0) -> tuple[Tensor, Tensor]:
    """Areas (t,) in mm^2 of LV pool and myocardium in the plane z, by exact integration over the angle."""
    squeeze = contraction(heart.beat, times)[:, None]
    angles = (torch.arange(360) * (2 * math.pi / 360)).expand(len(times), -1)
    basis = harmonics(angles.cos(), angles.sin())
    inner, outer = squared_radii(heart.lv, heart.beat, basis, squeeze.expand_as(angles))
    z = material_height(heart, z_mm - drift(heart.beat, times)[:, 2:3], squeeze)
    inside = (z < heart.lv.base).float()
    pool = inner.mean(1, keepdim=True) * taper(heart.lv, z, heart.lv.apex)
    whole = outer.mean(1, keepdim=True) * taper(heart.lv, z, epi_apex(heart.lv))
    return (math.pi * pool * inside)[:, 0], (math.pi * (whole - pool) * inside)[:, 0]


def rv_area(heart: Heart, times: Tensor, z_mm: float = 0.0) -> Tensor:
    """Area (t,) in mm^2 of the RV pool in the plane z, by polar quadrature around the LV axis."""
    r = torch.arange(0.25, 2 * heart.reach, 0.5)
    angles = torch.arange(720) * (2 * math.pi / 720)
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    flat = torch.tensor(heart.centre) + r[:, None, None] * ring
    points = torch.cat([flat, torch.full((*flat.shape[:2], 1), z_mm)], dim=2).flatten(0, 1)
    weight = (r * 0.5 * (2 * math.pi / 720)).repeat_interleave(720)
    areas = []
    for time in times:
        w = walls(heart, points, time.view(1))
        areas.append((weight * ((w.rv < 0) & (w.epi >= 0))[0]).sum())
    return torch.stack(areas)


def cavity_areas(heart: Heart, times: Tensor, z_mm: float = 0.0) -> dict[str, Tensor]:
    """Areas (t,) in mm^2 of LV pool, LV myocardium and RV pool in the plane z, without any pixel grid."""
    pool, wall = lv_areas(heart, times, z_mm)
    return {"LV pool": pool, "LV myocardium": wall, "RV pool": rv_area(heart, times, z_mm)}


def lv_volume(heart: Heart, times: Tensor) -> Tensor:
    """LV cavity volume (t,) in mL; its drop from ED to ES is exactly the drawn ejection fraction."""
    squeeze = contraction(heart.beat, times)[:, None]
    angles = (torch.arange(360) * (2 * math.pi / 360)).expand(len(times), -1)
    inner, _ = squared_radii(
        heart.lv, heart.beat, harmonics(angles.cos(), angles.sin()), squeeze.expand_as(angles)
    )
    heights = torch.linspace(-heart.lv.apex, heart.lv.base, 801)
    length = torch.trapezoid(taper(heart.lv, heights, heart.lv.apex), heights)
    return inner.mean(1) * math.pi * length * (1 - heart.beat.shortening * squeeze[:, 0]) / 1000
