"""Around the heart: lungs, vessels, liver, stomach, chest wall, spine, aorta; painted once per case."""

import math

import torch
from torch import Tensor

from kwise.phantom.anatomy import Scene
from kwise.phantom.texture import noise, paint


def body_axes(heart: Scene, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points (n, 3) in mm in axes centred on the LV and turned with the chest."""
    c, s = math.cos(heart.chest.rotation), math.sin(heart.chest.rotation)
    x, y = points[:, 0] - heart.centre[0], points[:, 1] - heart.centre[1]
    return x * c + y * s, y * c - x * s, points[:, 2]


def wall_depth(heart: Scene, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Depth (n,) in mm below the inner surface of the chest wall; negative inside the wall and beyond."""
    chest = heart.chest
    c, s = math.cos(chest.wall_angle), math.sin(chest.wall_angle)
    back = chest.wall_radius - chest.wall_gap
    return chest.wall_radius - ((x - back * -c).square() + (y - back * -s).square()).sqrt() + 0.2 * z


def paint_chest(heart: Scene, points: Tensor, edge_mm: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Static surroundings of points (n, 3), each (n,): image, abdomen's image and distance, wall depth."""
    x, y, z = body_axes(heart, points)
    fine = noise(heart.lattice, x, y, z, 4.5)
    slow = noise(heart.lattice, y, x, z, 22.0)
    depth = wall_depth(heart, x, y, z)
    image = _lungs(heart, fine, slow)
    image = _discs(heart, x, y, z, image, edge_mm)
    patches = _clutter(heart, x, y, z, depth)
    image = _wall(heart, depth, fine, slow, image, edge_mm) * patches
    belly, distance = _abdomen(heart, x, y, z, fine, slow, edge_mm)
    return image, _wall(heart, depth, fine, slow, belly, edge_mm) * patches, distance, depth


def _clutter(heart: Scene, x: Tensor, y: Tensor, z: Tensor, depth: Tensor) -> Tensor:
    """Factor (n,) that breaks soft tissue into patches and into layers that run along the chest wall."""
    layers = noise(heart.lattice[1:3], depth, 0.25 * (x - y), z, 5.0)
    patches = noise(heart.lattice[3:4], x, y, z, 11.0)[0]
    steps = torch.tanh(3 * (patches + 0.8 * layers[0]))
    return 1 + heart.chest.clutter * (0.35 * steps + 0.15 * layers[1]).clamp(-0.7, 0.7)


def _lungs(heart: Scene, fine: Tensor, slow: Tensor) -> Tensor:
    look, chest = heart.look, heart.chest
    vessels = chest.lung_vessels * (fine[0] + 0.7 * slow[3] - 1.1).clamp(0, 0.9)
    soft = chest.filling * torch.sigmoid(4 * slow[2])
    return look.lung * (1 + 0.3 * slow[0]).clamp_min(0.2) + vessels * look.vessel + soft * look.muscle


def _discs(heart: Scene, x: Tensor, y: Tensor, z: Tensor, image: Tensor, edge_mm: float) -> Tensor:
    for cx, cy, radius, value, slope_x, slope_y in heart.chest.discs.tolist():
        distance = ((x - cx - slope_x * z).square() + (y - cy - slope_y * z).square()).sqrt() - radius
        image = paint(image, value, distance, edge_mm)
    return image


def _wall(heart: Scene, depth: Tensor, fine: Tensor, slow: Tensor, image: Tensor, edge_mm: float) -> Tensor:
    look, chest = heart.look, heart.chest
    pad = depth - chest.pad * (0.4 + 0.8 * slow[1])
    image = paint(image, look.fat * (1 + look.texture * (fine[1] + slow[0])), pad, edge_mm)
    ribs = look.muscle * (1 + 0.6 * slow[4] + look.texture * fine[2]).clamp_min(0.1)
    image = paint(image, ribs, depth, edge_mm)
    skin = depth + chest.wall_muscle * (1 + 0.2 * slow[3])
    image = paint(image, look.fat * (1 + 0.15 * slow[2]), skin, edge_mm)
    return paint(image, 0.02, depth + chest.wall_muscle + chest.skin_fat, edge_mm)


def _abdomen(
    heart: Scene, x: Tensor, y: Tensor, z: Tensor, fine: Tensor, slow: Tensor, edge_mm: float
) -> tuple[Tensor, Tensor]:
    look, chest = heart.look, heart.chest
    top = chest.diaphragm + chest.diaphragm_slope * x + chest.diaphragm_wave * slow[5] - 0.3 * z
    distance = top - y
    liver = look.liver * (1 + look.texture * fine[3] + 0.12 * slow[1])
    liver = liver + 0.3 * look.vessel * (fine[4] + slow[2] - 1.6).clamp(0, 0.6)
    stomach = look.stomach * (1 + 0.35 * slow[4] + look.texture * fine[5]).clamp_min(0.1)
    organs = paint(liver, stomach, chest.liver_end + 12 * slow[0] - x, 2 * edge_mm)
    inner = distance + chest.liver_fat
    return paint(torch.full_like(organs, look.fat), organs, inner, edge_mm), distance
