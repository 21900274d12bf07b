"""Painting: soft edges, smooth noise in patient coordinates, coil shading, field-of-view border."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kwise.phantom.anatomy import Look, Scene


def paint(image: Tensor, value: Tensor | float, distance: Tensor, edge_mm: float) -> Tensor:
    """Lay `value` over `image` where the distance (mm) is negative, with a sigmoid edge (partial volume)."""
    weight = torch.sigmoid(distance * (-1 / edge_mm))
    return torch.lerp(image, torch.as_tensor(value, dtype=image.dtype), weight)


def noise(lattice: Tensor, x: Tensor, y: Tensor, z: Tensor | float, spacing_mm: float) -> Tensor:
    """Smooth noise (channels, *x.shape): a unit-variance lattice, obliquely projected (x, y, z).

    The lattice is laid in millimetres, so another resolution or plane meets the same texture.
    """
    half = spacing_mm * (lattice.shape[-1] - 1) / 2
    grid = torch.stack([(x + 0.7 * z) / half, (y + 0.4 * z) / half], dim=-1)
    out = F.grid_sample(
        lattice[None], grid.view(1, 1, -1, 2), mode="bilinear", padding_mode="reflection", align_corners=True
    )
    return out.view(lattice.shape[0], *x.shape)


def shading(heart: Scene, points: Tensor, depth: Tensor) -> Tensor:
    """Receive sensitivity (n,): falls with depth (mm) below the chest wall, plus a slow random part."""
    look = heart.look
    slow = noise(heart.lattice[:1], points[:, 0], points[:, 1], points[:, 2], 70.0)[0]
    return torch.exp(look.shade_rough * slow - look.shade_depth * (depth - 60.0))


def border(look: Look, points: Tensor, edge_mm: float) -> Tensor | None:
    """Weight (n,) that fades to zero outside the acquired field of view, or None where nothing is cut."""
    if look.border is None:
        return None
    x0, x1, y0, y1 = look.border
    x, y = points[:, 0], points[:, 1]
    outside = torch.maximum(torch.maximum(x0 - x, x - x1), torch.maximum(y0 - y, y - y1))
    return torch.sigmoid(outside * (-2 / edge_mm))
