"""Random transforms of a magnitude scan before its k-space is simulated: drawn first, then applied, so
replayable.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from kwise.types import IGNORE, Scan

Augmentation = Callable[[Scan, torch.Generator], Scan]


@dataclass(frozen=True)
class Transform:
    """One draw: rotation (rad), zoom, shift in fields of view (y, x), gamma of the grey values, and shade
    (y, x): by how much of the middle's brightness the image changes from there to either edge.
    """

    angle: float
    zoom: tuple[float, float]
    shift: tuple[float, float]
    gamma: float
    shade: tuple[float, float]


def draw_transform(draw: torch.Generator) -> Transform:
    """A transform that keeps a heart a heart: +-45 degrees, zoom 0.8-1.25, shift +-8 %, gamma 0.7-1.4."""
    u = (torch.rand(8, generator=draw) * 2 - 1).tolist()
    zoom = math.exp(0.2 * u[1])
    stretch = math.exp(0.05 * u[2])
    return Transform(
        angle=math.radians(45 * u[0]),
        zoom=(zoom * stretch, zoom / stretch),
        shift=(0.08 * u[3], 0.08 * u[4]),
        gamma=math.exp(0.35 * u[5]),
        shade=(0.4 * u[6], 0.4 * u[7]),
    )


def apply_transform(scan: Scan, transform: Transform) -> Scan:
    """The moved and re-shaded scan on its own grid; labels follow by nearest neighbour, IGNORE kept."""
    assert scan.image is not None and scan.labels is not None
    grid = _grid(transform, scan.shape[-2:], scan.spacing_mm[1:])
    image = _moved(scan.image, grid, "bilinear").clamp(min=0)
    peak = image.max().clamp(min=1e-12)
    image = (image / peak) ** transform.gamma * _shading(transform, image)
    outside = IGNORE - 1
    labels = (_moved(scan.labels.float() - outside, grid, "nearest").round() + outside).long()
    seen = (scan.labels != IGNORE).any(dim=-1).any(dim=-1)[:, :, None, None]
    entered = torch.where(seen, 0, IGNORE)  # background, in frames that somebody annotated
    return replace(scan, image=image, labels=torch.where(labels == outside, entered, labels))


def random_slice(scan: Scan, draw: torch.Generator) -> Scan:
    """One slice of the scan at random, as it is."""
    z = int(torch.randint(scan.shape[0], (1,), generator=draw))
    assert scan.image is not None and scan.labels is not None
    return replace(scan, image=scan.image[z : z + 1], labels=scan.labels[z : z + 1])


def heart_augmentation(scan: Scan, draw: torch.Generator) -> Scan:
    """One slice of the scan at random, moved, zoomed and re-shaded."""
    return apply_transform(random_slice(scan, draw), draw_transform(draw))


def _grid(transform: Transform, shape: tuple[int, int], spacing: tuple[float, float]) -> Tensor:
    """Sampling positions (1, y, x, 2) for grid_sample; rotates in mm, so pixels need not be square."""
    height, width = shape[0] * spacing[0], shape[1] * spacing[1]
    cos, sin = math.cos(transform.angle), math.sin(transform.angle)
    (zy, zx), (sy, sx) = transform.zoom, transform.shift
    theta = torch.tensor([
        [cos / zx, -sin * height / width / zx, 2 * sx],
        [sin * width / height / zy, cos / zy, 2 * sy],
    ])  # fmt: skip
    return functional.affine_grid(theta.unsqueeze(0), [1, 1, *shape], align_corners=False)


def _moved(x: Tensor, grid: Tensor, mode: str) -> Tensor:
    """(z, t, y, x) sampled at `grid`, zero outside."""
    flat = x.flatten(0, 1).unsqueeze(0)
    return functional.grid_sample(flat, grid, mode=mode, align_corners=False)[0].unflatten(0, x.shape[:2])


def _shading(transform: Transform, image: Tensor) -> Tensor:
    y = torch.linspace(-1, 1, image.shape[-2]).unsqueeze(1)
    x = torch.linspace(-1, 1, image.shape[-1])
    return (1 + transform.shade[0] * y + transform.shade[1] * x).clamp(min=0.2)


AUGMENTATIONS: dict[str, Augmentation | None] = {
    "none": None,
    "slice": random_slice,
    "heart": heart_augmentation,
}
