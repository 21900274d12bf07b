"""Drawing a patient: ranges of health and illness, and every parameter of one heart from its case name."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.phantom.anatomy import Beat, Chest, Heart, LeftVentricle, Look, RightVentricle
from kwise.phantom.contours import ring
from kwise.phantom.draws import Draws
from kwise.seeding import generator

REFERENCE_FOV_MM = 160.0
POSITION_RANGE = 0.13  # of the field of view; 0.12 left the mean-shape control just above 0.40
BASE_RV_ANGLE = math.radians(165.0)  # LV -> RV centre: image left, slightly down, as in clinical cines


@dataclass(frozen=True)
class Kind:
    """Ranges of one way of being healthy or ill."""

    share: float
    radius: tuple[float, float]
    wall: tuple[float, float]
    ejection: tuple[float, float]
    rv_width: tuple[float, float]
    asymmetry: float
    regional: float


KINDS = {
    "healthy": Kind(0.25, (19.5, 26.5), (6.0, 10.0), (0.50, 0.72), (18.0, 34.0), 0.2, 0.15),
    "dilated": Kind(0.23, (25.0, 35.0), (5.0, 9.0), (0.15, 0.45), (13.0, 36.0), 0.2, 0.3),
    "hypertrophic": Kind(0.22, (16.5, 24.0), (9.5, 17.0), (0.55, 0.82), (12.0, 30.0), 0.4, 0.2),
    "infarcted": Kind(0.15, (21.0, 31.0), (5.5, 10.0), (0.18, 0.55), (14.0, 33.0), 0.35, 0.7),
    "rv_enlarged": Kind(0.15, (16.5, 25.0), (5.5, 9.0), (0.40, 0.70), (30.0, 50.0), 0.2, 0.2),
}


def kind_of(case: str, kinds: Mapping[str, Kind] = KINDS) -> str:
    """Which row of `kinds` a case is drawn from."""
    u = Draws(case, "kind").between(0.0, sum(k.share for k in kinds.values()))
    for name, kind in kinds.items():
        u -= kind.share
        if u < 0:
            return name
    return name


def _draw_beat(case: str, kind: Kind) -> Beat:
    d = Draws(case, "beat")
    ejection = d.between(*kind.ejection)
    late_start = d.between(0.68, 0.8)
    sway, turn = d.between(0.0, 3.0), d.between(0.0, 2 * math.pi)
    return Beat(
        heart_rate=d.between(48.0, 105.0),
        es_time=d.between(0.30, 0.45),
        early_filling=d.between(0.6, 0.95),
        early_end=d.between(0.4, 0.65),
        late_start=late_start,
        ejection_fraction=ejection,
        shortening=ejection * d.between(0.12, 0.25),
        thickening=d.between(0.95, 1.2),
        twist=d.between(0.02, 0.15),
        rv_narrowing=d.between(0.08, 0.5),
        rv_shortening=d.between(0.0, 0.2),
        sway_mm=(sway * math.cos(turn), sway * math.sin(turn)),
        breath_mm=(d.between(-0.7, 0.7), d.between(0.0, 1.6), d.between(-1.0, 1.0)),
        breath_phase=d.between(0.0, 2 * math.pi),
    )


def _contraction(endo: Tensor, motion: Tensor, area_fraction: float) -> float:
    """The amplitude that makes the whole contour lose `area_fraction` of its area, whatever its shape."""
    basis = ring(128)
    squared = (endo @ basis).square()
    return float(area_fraction * squared.sum() / (squared * (motion @ basis)).sum())


def _draw_papillary(d: Draws, away: float, size: float) -> Tensor:
    rows = []
    for side in (-1.0, 1.0):
        angle = away + side * d.between(0.5, 1.15)
        rows.append([angle, size * d.between(2.5, 7.0), d.between(0.1, 1.3), d.between(1.0, 1.8)])
    return torch.tensor(rows)


def _draw_lv(case: str, kind: Kind, beat: Beat, size: float, away: float) -> LeftVentricle:
    d = Draws(case, "lv")
    endo = d.shape(0.0, 0.10, 0.05, 0.03)
    motion = d.shape(kind.regional, 0.5 * kind.regional)
    area_fraction = 1 - (1 - beat.ejection_fraction) / (1 - beat.shortening)
    # An unevenly moving wall must not invert where it moves most.
    headroom = float(motion[1:3].norm() + motion[3:5].norm())
    motion[1:] *= min(1.0, max(0.0, 0.93 / area_fraction - 1) / max(headroom, 1e-6))
    return LeftVentricle(
        radius=size * d.between(*kind.radius),
        wall=size * d.between(*kind.wall),
        endo=endo,
        wall_shape=d.shape(kind.asymmetry, 0.12, 0.08, 0.05),
        motion=motion,
        contraction=_contraction(endo, motion, area_fraction),
        apex=size * d.between(48.0, 62.0),
        base=size * d.between(22.0, 32.0),
        equator=size * d.between(8.0, 20.0),
        papillary=_draw_papillary(d, away, size),
        trabeculae=size * d.between(0.0, 5.0),
    )


def _draw_rv(case: str, kind: Kind, lv: LeftVentricle, angle: float, size: float) -> RightVentricle:
    d = Draws(case, "rv")
    epi, width = lv.radius + lv.wall, size * d.between(*kind.rv_width)
    return RightVentricle(
        angle=angle,
        width=width,
        half_depth=width * d.between(0.65, 1.3),
        half_length=max(epi * d.between(0.75, 1.08), 0.75 * width),
        slide=epi * d.between(-0.25, 0.25),
        shape=d.shape(0.0, 0.06, 0.12, 0.05),
        wall=d.between(1.5, 4.0),
        trabeculae=size * d.between(0.0, 6.0),
    )


def _draw_border(
    d: Draws, centre: tuple[float, float], reach: float
) -> tuple[float, float, float, float] | None:
    """A zero margin around a field of view that still holds the heart, in half of the cases."""
    if not d.chance(0.5):
        return None
    half = [d.between(60.0, 80.0) for _ in range(4)]
    x0, x1 = min(-half[0], centre[0] - reach), max(half[1], centre[0] + reach)
    y0, y1 = min(-half[2], centre[1] - reach), max(half[3], centre[1] + reach)
    return x0, x1, y0, y1


def _draw_look(case: str, middle: tuple[float, float], reach: float) -> Look:
    d = Draws(case, "look")
    ratio = d.log_between(1.7, 6.0)
    muscle = 1 / ratio
    return Look(
        myocardium=muscle,
        rv_blood=max(d.between(0.55, 1.0), 1.25 * muscle),
        fat=d.between(0.25, 1.5),
        lung=d.between(0.02, 0.22),
        liver=d.between(0.12, 0.65),
        stomach=d.between(0.05, 0.9),
        muscle=muscle * d.between(0.6, 1.3),
        spine=d.between(0.2, 0.7),
        vessel=d.between(0.4, 1.3),
        pericardium=d.between(0.0, 0.6),
        fat_mm=d.between(0.0, 7.0),
        texture=d.between(0.03, 0.16),
        flow=d.between(0.03, 0.3),
        flow_phase=d.between(0.0, 2 * math.pi),
        shade_depth=d.between(0.0, 0.007),
        shade_rough=d.between(0.0, 0.25),
        sharpness=d.between(0.25, 0.6),
        haze=d.between(0.0, 0.05),
        border=_draw_border(d, middle, reach),
    )


def _draw_discs(d: Draws, look: Look, far: float) -> Tensor:
    """Round things: descending aorta, spine, vena cava, then up to four of anybody's business."""
    a, s, c = d.between(0.2, 1.3), d.between(0.2, 1.3), d.between(1.7, 2.8)
    far_a, far_s, far_c = far + d.between(12.0, 30.0), far + d.between(35.0, 60.0), far + d.between(8.0, 30.0)
    rows = [
        [far_s * math.cos(s), far_s * math.sin(s), d.between(16.0, 24.0), look.spine],
        [far_a * math.cos(a), far_a * math.sin(a), d.between(8.0, 13.0), d.between(0.7, 1.2)],
        [far_c * math.cos(c), far_c * math.sin(c), d.between(6.0, 13.0), d.between(0.5, 1.1)],
    ]
    for _ in range(int(d.between(0.0, 4.99))):
        turn, away = d.between(0.0, 2 * math.pi), far + d.between(6.0, 45.0)
        place = [away * math.cos(turn), away * math.sin(turn)]
        rows.append([*place, d.between(3.0, 14.0), d.between(0.05, 1.3)])
    return torch.tensor([[*row, 0.2, 0.1] for row in rows])


def draw_chest(case: str, look: Look, rotation: float, far: float) -> Chest:
    """Draw what lies around a heart that reaches `far` mm from its LV axis."""
    d = Draws(case, "chest")
    return Chest(
        rotation=rotation + d.between(-0.35, 0.35),
        wall_angle=math.radians(d.between(-175.0, -95.0)),
        wall_gap=far + d.between(0.0, 50.0),
        wall_radius=d.between(90.0, 200.0),
        skin_fat=d.between(4.0, 25.0),
        wall_muscle=d.between(5.0, 16.0),
        pad=d.between(-5.0, 30.0),
        diaphragm=far + d.between(-14.0, 12.0),
        diaphragm_slope=d.between(-0.4, 0.25),
        diaphragm_wave=d.between(2.0, 9.0),
        liver_end=d.between(-30.0, 80.0),
        liver_fat=d.between(-2.0, 5.0),
        clutter=d.between(0.0, 1.0),
        lung_vessels=d.between(0.0, 1.2),
        discs=_draw_discs(d, look, far),
        filling=d.between(0.0, 0.5) if d.chance(0.35) else 0.0,
    )


def reach(rv: RightVentricle, epi: float) -> float:
    """Distance (mm) from the middle of both ventricles to the farthest point of their outlines at ED."""
    basis = ring(48)
    shape = rv.shape @ basis
    u = epi + rv.width - rv.half_depth + rv.half_depth * shape * basis[1] - 0.5 * rv.width
    v = rv.slide + rv.half_length * shape * basis[2]
    return max(epi + 0.5 * rv.width, float((u.square() + v.square()).max().sqrt()))


def draw_heart(case: str, kinds: Mapping[str, Kind] = KINDS) -> Heart:
    """Draw every parameter of the patient called `case`: the same name gives the same heart on every machine.

    The centre of LV and RV together lies uniformly within +-13 % of a 160 mm field of view in x and y, the
    rotation within +-45 degrees, the scale within +-15 %. `kinds` are the ways of being healthy or ill.
    """
    kind = kinds[kind_of(case, kinds)]
    d = Draws(case, "pose")
    far = POSITION_RANGE * REFERENCE_FOV_MM
    middle = (d.between(-far, far), d.between(-far, far))
    rotation, size = d.between(-math.pi / 4, math.pi / 4), d.between(0.85, 1.15)
    angle = BASE_RV_ANGLE + rotation
    beat = _draw_beat(case, kind)
    lv = _draw_lv(case, kind, beat, size, angle + math.pi)
    rv = _draw_rv(case, kind, lv, angle, size)
    epi = lv.radius + lv.wall
    half = epi + 0.5 * rv.width
    centre = (middle[0] - 0.5 * rv.width * math.cos(angle), middle[1] - 0.5 * rv.width * math.sin(angle))
    look = _draw_look(case, middle, half + 3)
    lattice = torch.randn(6, 48, 48, generator=generator("heart phantom", case, "lattice"))
    return Heart(
        case=case,
        centre=centre,
        middle=middle,
        reach=reach(rv, epi) + 15.0,
        beat=beat,
        lv=lv,
        rv=rv,
        look=look,
        chest=draw_chest(case, look, rotation, epi + 3),
        lattice=lattice,
    )
