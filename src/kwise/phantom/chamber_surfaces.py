"""The moving surfaces of four chambers: distances (mm, negative inside) of any 3-D points, and exact volumes.

A surface is the zero of a function F of squared radii; its distance is F over the length of F's gradient,
right to first order at the surface. So edges are equally soft at the wall, at the apex and at the roof.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kwise.phantom.chambers import Atrium, Ventricles, WholeHeart
from kwise.phantom.contours import harmonics, ring
from kwise.phantom.surfaces import contraction

GAP_MM = 1.2  # half the thickness of the wall between the atria
_ANGLES, _HEIGHTS = 256, 512


@dataclass(frozen=True)
class Chambers:
    """Distances (t, n) in mm of n points over t frames; u, v, height as the moving heart sees them."""

    endo: Tensor
    epi: Tensor
    rv: Tensor
    la: Tensor
    ra: Tensor
    u: Tensor
    v: Tensor
    twisted: tuple[Tensor, Tensor]
    material: Tensor
    above: Tensor  # height over the valve plane, mm
    squeeze: Tensor  # (t, 1)


def bowl(v: Ventricles, z: Tensor, apex: float) -> Tensor:
    """Squared radius at material height z over that at the equator; negative below the tip."""
    return 1 - ((z - v.equator) / (apex + v.equator)).square()


def territory_weight(v: Ventricles, z: Tensor) -> Tensor:
    """How much of `lost` counts at material height z."""
    along = (z + v.apex) / (v.base + v.apex)
    return v.lost_apex + (v.lost_base - v.lost_apex) * along


def wall_gain(heart: WholeHeart, squeeze: Tensor) -> Tensor:
    """Growth of the wall's cross-section: its volume is kept, so shorter means thicker."""
    return 1 / (1 - heart.beat.shortening * squeeze)


def valve_plane(heart: WholeHeart, squeeze: Tensor) -> Tensor:
    """Height (mm) of the valve plane: it descends toward a fixed apex in systole."""
    v = heart.ventricles
    return (v.base + v.apex) * (1 - heart.beat.shortening * squeeze) - v.apex


def heart_axes(heart: WholeHeart, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points (n, 3) = (x, y, z) of the short-axis images' space as (u, v, z) of the heart at rest."""
    c, s = math.cos(heart.angle), math.sin(heart.angle)
    x, y = points[:, 0] - heart.centre[0], points[:, 1] - heart.centre[1]
    return x * c + y * s, y * c - x * s, points[:, 2]


def chambers(heart: WholeHeart, points: Tensor, times: Tensor) -> Chambers:
    """Distances of every surface at points (n, 3) in mm and times (t,) of the cycle."""
    squeeze = contraction(heart.beat, times)[:, None]
    u, v, z = heart_axes(heart, points)
    u, v = u - squeeze * heart.beat.sway_mm[0], v - squeeze * heart.beat.sway_mm[1]
    z = z.expand_as(u)
    above = z - valve_plane(heart, squeeze)
    material = (z + heart.ventricles.apex) / (1 - heart.beat.shortening * squeeze) - heart.ventricles.apex
    slope = (0.3 + material / 40) * (heart.beat.twist * squeeze)
    scale = (1 + slope.square()).rsqrt()
    twisted = ((u + slope * v) * scale, (v - slope * u) * scale)
    endo, epi, rv = _ventricles(heart, u, v, twisted, material, squeeze)
    la, ra = (_atrium(heart, a, u, v, above, times) for a in (heart.left_atrium, heart.right_atrium))
    endo, epi, rv = (torch.maximum(d, above) for d in (endo, epi, rv))
    rv = torch.maximum(rv, -epi)
    return Chambers(endo, epi, rv, la, ra, u, v, twisted, material, above, squeeze)


def _ventricles(
    heart: WholeHeart, u: Tensor, v: Tensor, twisted: tuple[Tensor, Tensor], z: Tensor, squeeze: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    ven = heart.ventricles
    r2 = u.square() + v.square() + 1e-4
    inverse = r2.rsqrt()
    series = torch.stack([ven.endo, ven.wall, ven.motion, ven.lost])
    endo, wall, motion, lost = (series @ harmonics(twisted[0] * inverse, twisted[1] * inverse)).view(
        4, *u.shape
    )
    inner = endo * (1 - squeeze * (motion - lost * territory_weight(ven, z)))
    stretch = 1 / (1 - heart.beat.shortening * squeeze)
    cup, deep = bowl(ven, z, ven.apex), bowl(ven, z, ven.epi_apex)
    wall = wall * wall_gain(heart, squeeze)
    cup_slope = inner * (ven.equator - z) * (2 * stretch / (ven.apex + ven.equator) ** 2)
    wall_slope = wall * (ven.equator - z) * (2 * stretch / (ven.epi_apex + ven.equator) ** 2)
    endo_distance = (r2 - inner * cup) * (4 * r2 + cup_slope.square() + 1).rsqrt()
    wall_slope = wall_slope + torch.where(cup > 0, cup_slope, 0.0)
    outer = inner * cup.clamp_min(0) + wall * deep
    steep = 4 * r2 + wall_slope.square() + 1
    epi_distance = (r2 - outer) * steep.rsqrt()
    width = ven.rv_width * (1 - heart.beat.rv_narrowing * squeeze)
    bump = ((u + ven.rv_lean * v) * inverse - ven.rv_edge) / (1 - ven.rv_edge)
    crescent = width * (bump - rv_fall(ven, z).square())
    turning = (
        width * v / ((r2 + 200) * (1 - ven.rv_edge))
    )  # tame at the axis, where angles lose their meaning
    rv_distance = (r2 - outer - crescent) * (steep + turning.square()).rsqrt()
    return endo_distance, epi_distance, rv_distance


def rv_fall(ven: Ventricles, z: Tensor) -> Tensor:
    """0 at the base, 1 at the tip of the RV."""
    return (ven.base - z).clamp_min(0) / (ven.base + ven.rv_apex)


def atrial_volume(heart: WholeHeart, a: Atrium, times: Tensor) -> Tensor:
    """Volume (t,) in mL: reservoir while the ventricle contracts, conduit, rest, then the booster."""
    fill = contraction(replace(heart.beat, early_filling=a.conduit), times)
    return a.smallest_ml + (a.largest_ml - a.smallest_ml) * fill


def _atrium(heart: WholeHeart, a: Atrium, u: Tensor, v: Tensor, above: Tensor, times: Tensor) -> Tensor:
    squeeze = contraction(heart.beat, times)[:, None]
    height = a.roof - valve_plane(heart, squeeze)
    radius2 = atrial_volume(heart, a, times)[:, None] * 1000 / (height * _shaft(a))
    half_u, half_v = (radius2 * a.aspect).sqrt(), (radius2 / a.aspect).sqrt()
    p = ((u - a.septum - a.side * (GAP_MM + half_u)) / half_u).square()
    q = ((v - a.middle - a.lean * above) / half_v).square()
    norm = (p * p + q * q + a.roundness * p * q + 1e-9).sqrt()
    along = (above / height - a.waist) / (1 - a.waist)
    slope = 2 * along / ((1 - a.waist) * height)
    distance = (norm - 1 + along.square()) * (4 * norm / radius2 + slope.square() + 1e-4).rsqrt()
    return torch.maximum(distance, -above)


def _shaft(a: Atrium) -> float:
    """Volume over height x squared mean half axis: area of the cross-section times mean of the profile."""
    basis = ring(_ANGLES).double()
    c2, s2 = basis[1].square(), basis[2].square()
    area = math.pi * float((c2 * c2 + s2 * s2 + a.roundness * c2 * s2).rsqrt().mean())
    rest = 1 - a.waist
    return area * (1 - (rest**3 + a.waist**3) / (3 * rest**2))


def volumes(heart: WholeHeart, times: Tensor) -> dict[str, Tensor]:
    """Volumes (t,) in mL inside the surfaces at times (t,) in cycles: LV, myo, RV, LA, RA."""
    ven, beat = heart.ventricles, heart.beat
    squeeze = contraction(beat, times).double()
    shorter = (1 - beat.shortening * squeeze) / 1000
    still, moving, outer, crescent = ventricle_integrals(ven)
    return {
        "LV": (still - squeeze * moving) * shorter,
        "myo": outer * shorter * wall_gain(heart, squeeze),
        "RV": crescent * (1 - beat.rv_narrowing * squeeze) * shorter,
        "LA": atrial_volume(heart, heart.left_atrium, times).double(),
        "RA": atrial_volume(heart, heart.right_atrium, times).double(),
    }


def ventricle_integrals(ven: Ventricles) -> tuple[float, float, float, float]:
    """mm^3 at end-diastole: the LV pool, what of it moves away at ES before shortening, the wall, the RV."""
    basis = ring(_ANGLES).double()
    endo, wall, motion, lost = (
        torch.stack([ven.endo, ven.wall, ven.motion, ven.lost]).double() @ basis
    ).unbind()
    inside, cup_step = _heights(-ven.apex, ven.base)
    cup = bowl(ven, inside, ven.apex)
    weighted = cup * territory_weight(ven, inside)
    still = math.pi * float(endo.mean() * cup.sum()) * cup_step
    moving = float((endo * motion).mean() * cup.sum() - (endo * lost).mean() * weighted.sum())
    deep, deep_step = _heights(-ven.epi_apex, ven.base)
    outer = math.pi * float(wall.mean() * bowl(ven, deep, ven.epi_apex).sum()) * deep_step
    beside, rv_step = _heights(-ven.rv_apex, ven.base)
    bump = (basis[1] + ven.rv_lean * basis[2] - ven.rv_edge) / (1 - ven.rv_edge)
    crescent = (bump[:, None] - rv_fall(ven, beside).square()).clamp_min(0).mean(0).sum()
    return still, math.pi * moving * cup_step, outer, math.pi * ven.rv_width * float(crescent) * rv_step


def _heights(bottom: float, top: float) -> tuple[Tensor, float]:
    """Midpoints (_HEIGHTS,) of equal steps, and the step."""
    step = (top - bottom) / _HEIGHTS
    return bottom + (torch.arange(_HEIGHTS, dtype=torch.float64) + 0.5) * step, step
