"""Asking the whole heart: any points at any times give labels and image; `examination` asks nine planes."""

import math

import torch
from torch import Tensor

from kwise.phantom.chamber_surfaces import Chambers, chambers, heart_axes
from kwise.phantom.chambers import WholeHeart
from kwise.phantom.chest import paint_chest
from kwise.phantom.heart import Sampled, smooth_min
from kwise.phantom.physiology import Subject, draw_subject
from kwise.phantom.subject_heart import subject_heart
from kwise.phantom.surfaces import contraction
from kwise.phantom.texture import noise, paint, shading
from kwise.phantom.views import ORDER, PITCH_MM, Plane, planes
from kwise.phenotypes import PHENOTYPES
from kwise.types import IGNORE, Scan

SOURCE = "synthetic: virtual population, drawn from the name; no patient, no scanner"
_MARGIN_MM = 15.0  # fat and soft edges around the farthest surface
_AT_ONCE = 600_000  # pixels times frames that stay in the cache
_WALL_MM = 2.0  # of the atria
# What annotators of UK Biobank outline in each view; the three-chamber view nobody does.
LABELLED = {"SAX": (1, 2, 3), "LAX_2CH": (4,), "LAX_3CH": None, "LAX_4CH": (4, 5)}


def sample_chambers(heart: WholeHeart, points_mm: Tensor, times: Tensor, *, pixel_mm: float = 1.8) -> Sampled:
    """Labels of all five structures and magnitude (t, ...) at points (..., 3) mm and times (t,) in cycles.

    Each point is computed from surfaces alone: neither label nor image depends on which others are asked.
    Raises ValueError on other shapes.
    """
    if points_mm.shape[-1:] != (3,) or times.ndim != 1:
        got = f"points {tuple(points_mm.shape)} and times {tuple(times.shape)}"
        raise ValueError(f"sampling subject {heart.case}: got {got}; wanted points (..., 3) and times (t,)")
    points, times = points_mm.reshape(-1, 3).float(), times.float()
    edge = heart.look.sharpness * pixel_mm
    still, depth = _surroundings(heart, points, edge)
    near = _near(heart, points)
    found = chambers(heart, points[near], times)
    moving = _paint(heart, found, still[near], times, edge)
    gain = shading(heart, points, depth)
    image = (still * gain).expand(len(times), -1).clone()
    image.index_copy_(1, near, moving * gain[near])
    labels = torch.zeros(image.shape, dtype=torch.int64)
    labels.index_copy_(1, near, _labels(found))
    shape = (len(times), *points_mm.shape[:-1])
    return Sampled(labels.view(shape), image.clamp_min(0).view(shape))


def _surroundings(heart: WholeHeart, points: Tensor, edge: float) -> tuple[Tensor, Tensor]:
    """What holds still in a breath-hold, painted once: image (n,) and depth (n,) below the chest wall."""
    # The texture of the chest is flat along one oblique direction: bent, no plane shows that as stripes.
    z = points[:, 2]
    bend = torch.stack([5 * torch.sin(z / 19), 5 * torch.cos(z / 23), torch.zeros_like(z)], dim=1)
    chest, belly, below, depth = paint_chest(heart, points + bend, edge)
    return torch.lerp(chest, belly, torch.sigmoid(below * (-1 / edge))) + heart.look.haze, depth


def _near(heart: WholeHeart, points: Tensor) -> Tensor:
    """Index of the points that any surface may reach at any time: a spindle around each pair of chambers."""
    u, v, z = heart_axes(heart, points)
    ven = heart.ventricles
    wide = math.sqrt(1.15 * float(ven.endo[0] + ven.wall[0]))
    far = math.sqrt(float(ven.endo[0] + ven.wall[0]) + 1.1 * ven.rv_width)
    half = 0.5 * (wide + far) + _MARGIN_MM
    middle = 0.5 * (far - wide)
    below = ((ven.base - z) / (ven.base + ven.epi_apex + _MARGIN_MM)).clamp_min(0)
    inside = ((u - middle * (1 - below)) / half).square() + (v / half).square() < 1 - 0.7 * below.square()
    lower = inside & (below < 1)
    upper = torch.zeros_like(lower)
    for a in (heart.left_atrium, heart.right_atrium):
        radius = math.sqrt(a.largest_ml * 1000 / (2.2 * (a.roof - ven.base))) * 1.25
        centre = a.septum + a.side * radius
        flat = (u - centre).square() + (v - a.middle - a.lean * (z - ven.base)).square()
        upper |= flat < (radius + _MARGIN_MM) ** 2
    vessels = torch.zeros_like(lower)
    for x, y, du, dv, radius, _, _ in heart.vessels.tolist():
        h = z - ven.base
        vessels |= (u - x - du * h).square() + (v - y - dv * h).square() < (radius + 8.0) ** 2
    roof = max(heart.left_atrium.roof, heart.right_atrium.roof) + _MARGIN_MM
    above = (z > ven.base - 30) & ((upper & (z < roof)) | vessels)
    return ((lower & (z < ven.base + 4)) | above).nonzero()[:, 0]


def _labels(c: Chambers) -> Tensor:
    """Hard classes: papillary muscles and trabeculae belong to the pool, as in UK Biobank."""
    above = torch.where(c.la < 0, 4, torch.where(c.ra < 0, 5, 0))
    below = torch.where(c.endo < 0, 1, torch.where(c.epi < 0, 2, torch.where(c.rv < 0, 3, 0)))
    return torch.where(c.above < 0, below, above)


def _paint(heart: WholeHeart, c: Chambers, still: Tensor, times: Tensor, edge: float) -> Tensor:
    look, ven = heart.look, heart.ventricles
    texture = noise(heart.lattice[:2], c.twisted[0], c.twisted[1], c.material, 6.0)
    atria = torch.minimum(c.la, c.ra) - _WALL_MM
    muscle = torch.minimum(torch.minimum(c.epi, c.rv - ven.rv_wall), atria)
    outer = smooth_min(smooth_min(c.epi, c.rv - ven.rv_wall, 8.0), atria, 10.0)
    toward_rv = c.u * (1 / math.sqrt(float(ven.endo[0])))
    fat = outer - look.fat_mm * (0.5 + 0.3 * toward_rv + 0.4 * texture[1]).clamp(0.0, 1.5)
    image = paint(still.expand(len(times), -1), look.fat * (1 + look.texture * texture[1]), fat, edge)
    image = image * (1 - look.pericardium * torch.exp((fat - 1.0).square() * -0.6))
    blood = _blood(heart, c, times, texture[1])
    image = _paint_vessels(heart, c, image, blood, edge)
    image = paint(image, look.myocardium * (1 + look.texture * texture[0]), muscle, edge)
    rough = 0.8 * ven.trabeculae * (texture[0] + 0.2).clamp(0, 1.2)
    right = torch.maximum(c.rv + rough * (c.above < -12), 0.6 - c.epi)
    image = paint(image, look.rv_blood * blood, right, edge)
    image = paint(image, blood, torch.maximum(c.endo + 0.4 * rough, _papillary(heart, c)), edge)
    # Leaflets: a dark line across the valve plane while the ventricle contracts, none while it fills.
    closed = (times.remainder(1.0) < heart.beat.es_time + 0.03).float()[:, None]
    image = paint(image, blood, torch.maximum(c.la, (1.6 * closed - 0.8) - c.above), edge)
    return paint(image, look.rv_blood * blood, torch.maximum(c.ra, (1.6 * closed - 0.8) - c.above), edge)


def _blood(heart: WholeHeart, c: Chambers, times: Tensor, swirl: Tensor) -> Tensor:
    """Blood intensity (t, n): inflow brightens, swirl mottles."""
    look = heart.look
    pulse = 1 + 0.3 * look.flow * torch.sin(2 * math.pi * times[:, None] + look.flow_phase)
    return pulse + 0.3 * look.flow * swirl.clamp(-2, 2)


def _paint_vessels(heart: WholeHeart, c: Chambers, image: Tensor, blood: Tensor, edge: float) -> Tensor:
    for u, v, du, dv, radius, value, lowest in heart.vessels.tolist():
        across = (c.u - u - du * c.above).square() + (c.v - v - dv * c.above).square()
        tube = torch.maximum((across + 1e-3).sqrt() - radius, lowest - c.above)
        image = paint(image, heart.look.myocardium, tube - 1.8, edge)
        image = paint(image, value * blood, tube, edge)
    return image


def _papillary(heart: WholeHeart, c: Chambers) -> Tensor:
    """Minus the distance (t, n) to the papillary muscles, which ride inward with the wall."""
    ven = heart.ventricles
    still = (1 - c.squeeze * float(ven.motion[0])).sqrt() * math.sqrt(float(ven.endo[0]))
    result = torch.full_like(c.u, -1e3)
    for angle, radius, away, bottom, top in ven.papillary.tolist():
        x = c.twisted[0] - away * still * math.cos(angle)
        y = c.twisted[1] - away * still * math.sin(angle)
        height = torch.maximum(bottom - c.material, c.material - top) * 0.5
        inside = torch.maximum((x.square() + y.square() + 1e-3).sqrt() - radius, height)
        result = torch.maximum(result, -inside)
    return result


def examination(
    case: str,
    *,
    n_frames: int = 25,
    shape: tuple[int, int] = (128, 128),
    fov_mm: float = 230.4,
    subject: Subject | None = None,
) -> Scan:
    """The cine examination of the virtual subject called `case`: image and labels (z = 9, t, y, x).

    Views in the order of `views.ORDER`; `fov_mm` is the extent along y, pixels are square, frame 0 is ED.
    Labels are those of UK Biobank: LV and RV in short-axis slices, LA in LAX_2CH, LA and RA in LAX_4CH,
    background elsewhere, IGNORE everywhere in LAX_3CH. ValueError without frames or pixels.
    """
    if n_frames < 1 or min(shape) < 1 or fov_mm <= 0:
        got = f"{n_frames} frames of {shape} over {fov_mm} mm"
        raise ValueError(f"scanning {case}: got {got}; wanted at least one frame, pixel and millimetre")
    subject = draw_subject(case) if subject is None else subject
    heart = subject_heart(case, subject)
    times, spacing = torch.arange(n_frames) / n_frames, fov_mm / shape[0]
    cuts = planes(heart)
    image = torch.empty(len(cuts), n_frames, *shape)
    labels = torch.empty(len(cuts), n_frames, *shape, dtype=torch.int64)
    together = max(1, _AT_ONCE // (n_frames * shape[0] * shape[1]))  # planes: small ones share their overhead
    for z in range(0, len(cuts), together):
        group = cuts[z : z + together]
        points = torch.stack([plane.points(shape, spacing) for plane in group])
        found = sample_chambers(heart, points, times, pixel_mm=spacing)
        image[z : z + together] = found.image.transpose(0, 1)
        for i, plane in enumerate(group):
            labels[z + i] = as_annotated(found.labels[:, i], plane)
    return Scan(
        case=case,
        image=image,
        labels=labels,
        spacing_mm=(PITCH_MM, spacing, spacing),
        frame_ms=60000 / heart.beat.heart_rate / n_frames,
        ed=0,
        es=int(contraction(heart.beat, times).argmax()),
        notes={"source": SOURCE, "long axis (y, x)": _axes(cuts)},
        views=ORDER,
        phenotypes={name: subject.phenotypes[name] for name in PHENOTYPES},
        diseases=subject.diseases,
        covariates=subject.covariates,
    )


def as_annotated(labels: Tensor, plane: Plane) -> Tensor:
    """Anatomical labels with what nobody outlines in that view as background, or IGNORE where nobody
    outlines anything.
    """
    classes = LABELLED[plane.view]
    if classes is None:
        return torch.full_like(labels, IGNORE)
    kept = torch.zeros(6, dtype=torch.int64)
    kept[list(classes)] = torch.tensor(classes)
    return kept[labels]


def _axes(cuts: tuple[Plane, ...]) -> str:
    """Direction of the LV long axis in each long-axis image, for the length of the atria."""
    return "; ".join(
        f"{cut.view} {cut.axis[0]:.4f} {cut.axis[1]:.4f}" for cut in cuts if cut.axis is not None
    )
