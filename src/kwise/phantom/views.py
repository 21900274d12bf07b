"""The nine planes of an examination, cut through one heart: three long-axis views, six short-axis slices."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.phantom.chambers import WholeHeart
from kwise.phantom.draws import Draws

N_SHORT_AXIS = 6
PITCH_MM = 10.0  # 8 mm slice and 2 mm gap
# Angle of each long-axis plane from u (toward the RV), and which end of it is shown on the right.
_LONG = {"LAX_2CH": (95.0, 1.0), "LAX_3CH": (50.0, 1.0), "LAX_4CH": (0.0, -1.0)}
ORDER = (*_LONG, *["SAX"] * N_SHORT_AXIS)


@dataclass(frozen=True)
class Plane:
    """A plane of an examination: unit vectors of image right and image down, all (3,) in the space (x, y, z).

    `axis` (y, x) is the direction of the LV long axis in a long-axis image, toward the base; None in a slice.
    """

    view: str
    centre: Tensor
    right: Tensor
    down: Tensor
    axis: tuple[float, float] | None = None

    def points(self, shape: tuple[int, int], spacing_mm: float) -> Tensor:
        """Pixel centres (y, x, 3) in mm; index n // 2 lies at the centre, as everywhere in kwise."""
        y = (torch.arange(shape[0]) - shape[0] // 2) * spacing_mm
        x = (torch.arange(shape[1]) - shape[1] // 2) * spacing_mm
        return self.centre + y[:, None, None] * self.down + x[None, :, None] * self.right


def planes(heart: WholeHeart) -> tuple[Plane, ...]:
    """The planes of one subject in the order of ORDER, as a radiographer plans them: not exactly."""
    d = Draws(heart.case, "planning")
    long = [_long_axis(heart, d, view) for view in _LONG]
    first = heart.ventricles.base - d.between(13.0, 19.0)
    slices = [first - PITCH_MM * i for i in range(N_SHORT_AXIS)]
    return (*long, *(_short_axis(z) for z in slices))


def _short_axis(z: float) -> Plane:
    x, y = torch.eye(3)[:2]
    return Plane("SAX", torch.tensor([0.0, 0.0, z]), x, y)


def _long_axis(heart: WholeHeart, d: Draws, view: str) -> Plane:
    angle, sign = _LONG[view]
    turned = heart.angle + math.radians(angle + d.normal(0.0, 5.0))
    across = torch.tensor([math.cos(turned), math.sin(turned), 0.0])
    normal = torch.tensor([-math.sin(turned), math.cos(turned), 0.0])
    tilt = math.radians(d.normal(-22.0 if view == "LAX_4CH" else -28.0, 9.0))
    along = torch.tensor([0.0, 0.0, 1.0])
    right = sign * across * math.cos(tilt) + along * math.sin(tilt)
    down = along * math.cos(tilt) - sign * across * math.sin(tilt)
    v = heart.ventricles
    middle = 0.5 * (heart.left_atrium.roof - v.epi_apex)
    beside = 14.0 if view == "LAX_4CH" else 0.0
    place = torch.tensor([*heart.centre, middle]) + across * (beside + d.normal(0.0, 5.0))
    place = place + normal * d.normal(0.0, 1.5) + along * d.normal(0.0, 5.0)
    return Plane(view, place, right, down, axis=(math.cos(tilt), math.sin(tilt)))
