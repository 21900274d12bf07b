"""From a subject's traits to a heart of exactly these volumes, masses and ejection fractions."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from kwise.phantom.anatomy import Beat, Look
from kwise.phantom.chamber_surfaces import ventricle_integrals
from kwise.phantom.chambers import Atrium, Ventricles, WholeHeart
from kwise.phantom.contours import HARMONICS, ring
from kwise.phantom.draw import BASE_RV_ANGLE, draw_chest
from kwise.phantom.draws import Draws
from kwise.phantom.physiology import Subject, draw_subject
from kwise.phenotypes import MYOCARDIUM_G_PER_ML
from kwise.seeding import generator

MOST_MOTION = 0.95  # no part of the endocardium may lose more of its squared radius
# Where each coronary artery feeds the LV: centre of the angle from u, weight at the base and at the apex.
_FED = {
    "LAD": (math.radians(70), 0.55, 1.0),
    "RCA": (math.radians(-75), 1.0, 0.4),
    "LCx": (math.pi, 1.0, 0.5),
}


def subject_heart(case: str, subject: Subject | None = None) -> WholeHeart:
    """The heart of the virtual subject called `case`; its volumes are the subject's phenotypes."""
    subject = draw_subject(case) if subject is None else subject
    d = Draws(case, "whole heart")
    beat = _draw_beat(d, subject)
    ventricles = _scaled(_draw_ventricles(d, subject), subject, beat)
    angle = BASE_RV_ANGLE + d.normal(0.0, math.radians(11.0))
    reach = 0.5 * (math.sqrt(float(ventricles.endo[0] + ventricles.wall[0])) + _rv_reach(ventricles))
    toward = _rv_reach(ventricles) - reach
    middle = (d.normal(0.0, 7.0), d.normal(0.0, 7.0))
    centre = (middle[0] - toward * math.cos(angle), middle[1] - toward * math.sin(angle))
    around = Draws(case, "above the valves")
    left, right = _draw_atria(around, subject, beat, ventricles)
    look = _draw_look(case)
    return WholeHeart(
        case=case,
        centre=centre,
        angle=angle,
        beat=replace(beat, rv_narrowing=1 - _kept(subject, "RV") / (1 - beat.shortening)),
        ventricles=ventricles,
        left_atrium=left,
        right_atrium=right,
        vessels=_draw_vessels(around, right),
        look=look,
        chest=replace(
            draw_chest(case, look, angle - BASE_RV_ANGLE, reach), wall_radius=around.between(125.0, 190.0)
        ),
        lattice=torch.randn(6, 48, 48, generator=generator("whole heart", case, "lattice")),
    )


def _kept(subject: Subject, side: str) -> float:
    """ES over ED volume of a ventricle."""
    return subject.phenotypes[f"{side}ESV_mL"] / subject.phenotypes[f"{side}EDV_mL"]


def _draw_beat(d: Draws, subject: Subject) -> Beat:
    ejection = 1 - _kept(subject, "LV")
    # Stiff walls fill late: the early share falls with age.
    early = 0.95 - 0.006 * (subject.covariates["age_years"] - 35) + d.normal(0.0, 0.06)
    sway, turn = d.between(0.0, 2.5), d.between(0.0, 2 * math.pi)
    return Beat(
        heart_rate=d.normal(64.0, 10.0),
        es_time=d.normal(0.365, 0.02),
        early_filling=min(max(early, 0.45), 0.92),
        early_end=d.between(0.42, 0.58),
        late_start=d.between(0.70, 0.80),
        ejection_fraction=ejection,
        shortening=ejection * max(d.normal(0.26, 0.03), 0.15),
        thickening=1.0,
        twist=d.between(0.03, 0.14),
        rv_narrowing=0.0,
        rv_shortening=0.0,
        sway_mm=(sway * math.cos(turn), sway * math.sin(turn)),
        breath_mm=(0.0, 0.0, 0.0),
        breath_phase=0.0,
    )


def _draw_ventricles(d: Draws, subject: Subject) -> Ventricles:
    """Shapes before they are scaled to their volumes: squared radii of about 1."""
    length = 10 * subject.phenotypes["LVEDV_mL"] ** (1 / 3) * max(d.normal(1.74, 0.08), 1.5)
    base = 0.36 * length
    angle, at_base, at_apex = _FED[subject.territory]
    fed = torch.zeros(1 + 2 * HARMONICS)
    fed[0] = 3 / 8
    for order, size in ((1, 1 / 2), (2, 1 / 8)):  # ((1 + cos) / 2)^2
        fed[2 * order - 1], fed[2 * order] = size * math.cos(order * angle), size * math.sin(order * angle)
    size = subject.phenotypes["LVEDV_mL"] ** (1 / 3) / 5.2
    return Ventricles(
        endo=d.shape(0.0, 0.14, 0.06, 0.03),
        wall=d.shape(0.12, 0.10, 0.08),
        motion=d.shape(0.08, 0.05),
        lost=subject.scar * fed,
        lost_base=at_base,
        lost_apex=at_apex,
        apex=length - base,
        epi_apex=length - base + 5.0,
        base=base,
        equator=base * d.between(0.45, 0.75),
        rv_width=1.0,
        rv_edge=math.cos(math.radians(d.between(76.0, 92.0))),
        rv_lean=d.between(-0.15, 0.2),
        rv_apex=(length - base) * d.between(0.80, 0.92),
        rv_wall=d.between(2.0, 3.5),
        papillary=_draw_papillary(d, size, length - base, base),
        trabeculae=size * d.between(0.3, 2.5),
    )


def _draw_papillary(d: Draws, size: float, apex: float, base: float) -> Tensor:
    rows = []
    for angle in (math.radians(140), math.radians(-135)):
        reach = 0.74 + d.normal(0.0, 0.04)
        span = [-apex * d.between(0.5, 0.65), base * d.between(0.05, 0.3)]
        rows.append([angle + d.normal(0.0, 0.15), size * d.between(2.6, 4.4), reach, *span])
    return torch.tensor(rows)


def _scaled(shape: Ventricles, subject: Subject, beat: Beat) -> Ventricles:
    """The ventricles with the subject's volumes, mass and ejection fraction."""
    wanted = subject.phenotypes
    still, _, outer, crescent = ventricle_integrals(shape)
    endo = shape.endo * (wanted["LVEDV_mL"] * 1000 / still)
    wall = shape.wall * (wanted["LVM_g"] / MYOCARDIUM_G_PER_ML * 1000 / outer)
    width = shape.rv_width * (wanted["RVEDV_mL"] * 1000 / crescent)
    sized = replace(shape, endo=endo, wall=wall, rv_width=width)
    narrower = 1 - _kept(subject, "LV") / (1 - beat.shortening)
    for evenness in (1.0, 0.5, 0.0):
        motion = torch.cat([shape.motion[:1], shape.motion[1:] * evenness])
        still, moving, _, _ = ventricle_integrals(replace(sized, motion=motion))
        share = narrower * still / moving
        if share * float((motion @ ring(64)).max()) <= MOST_MOTION:
            break
    return replace(sized, motion=motion * share, lost=shape.lost * share)


def _rv_reach(v: Ventricles) -> float:
    """Distance (mm) of the free wall of the RV from the LV axis along u, at ED near the equator."""
    return math.sqrt(float(v.endo[0] + v.wall[0]) + v.rv_width)


def _draw_atria(d: Draws, subject: Subject, beat: Beat, v: Ventricles) -> tuple[Atrium, Atrium]:
    septum = math.sqrt(float(v.endo[0])) * d.between(0.80, 0.98)
    descent = beat.shortening * (v.base + v.apex)
    made = []
    for name, side, tall, middle, conduit in (
        ("LA", -1.0, 1.20, d.between(-5.0, 1.0), d.between(0.5, 0.7)),
        ("RA", 1.0, 1.12, d.between(-3.0, 3.0), d.between(0.45, 0.65)),
    ):
        largest = subject.phenotypes[f"{name}V_max_mL"]
        height = 10 * largest ** (1 / 3) * max(d.normal(tall, 0.06), 0.9)  # at ES
        made.append(
            Atrium(
                side=side,
                septum=septum,
                middle=middle,
                lean=d.between(-0.14, 0.0),
                aspect=math.exp(d.normal(0.0, 0.06)),
                roundness=d.between(1.1, 1.9),
                waist=d.between(0.36, 0.46),
                roof=v.base - descent + max(height, descent + 16.0),
                largest_ml=largest,
                smallest_ml=subject.phenotypes[f"{name}V_min_mL"],
                conduit=conduit,
            )
        )
    return made[0], made[1]


def _draw_vessels(d: Draws, right: Atrium) -> Tensor:
    """Aortic root, pulmonary trunk, vena cava: u, v, du/dz, dv/dz, radius, brightness, lowest height."""
    return torch.tensor(
        [
            [d.between(7.0, 12.0), d.between(15.0, 20.0), 0.25, 0.12, d.between(12.0, 15.0), 0.95, 0.0],
            [d.between(28.0, 36.0), d.between(28.0, 34.0), -0.35, 0.10, d.between(10.0, 13.0), 0.85, 0.0],
            [right.septum + d.between(18.0, 26.0), -6.0, -0.05, -0.1, d.between(8.0, 10.0), 0.8, 34.0],
        ]
    )


def _draw_look(case: str) -> Look:
    """One scanner, one sequence: balanced steady-state free precession, dark muscle, bright blood and fat."""
    d = Draws(case, "one scanner")
    muscle = d.between(0.24, 0.40)
    return Look(
        myocardium=muscle,
        rv_blood=d.between(0.78, 1.0),
        fat=d.between(0.7, 1.25),
        lung=d.between(0.03, 0.12),
        liver=d.between(0.22, 0.5),
        stomach=d.between(0.1, 0.7),
        muscle=muscle * d.between(0.75, 1.15),
        spine=d.between(0.25, 0.6),
        vessel=d.between(0.6, 1.1),
        pericardium=d.between(0.1, 0.6),
        fat_mm=d.between(1.0, 5.0),
        texture=d.between(0.03, 0.12),
        flow=d.between(0.03, 0.2),
        flow_phase=d.between(0.0, 2 * math.pi),
        shade_depth=d.between(0.0, 0.005),
        shade_rough=d.between(0.0, 0.18),
        sharpness=d.between(0.3, 0.5),
        haze=d.between(0.0, 0.03),
        border=None,
    )
