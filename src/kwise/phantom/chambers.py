"""The drawn parameters of a heart with four chambers, each surface scaled to hold the volume of its subject.

Lengths in mm. Heart axes: u from the LV axis toward the RV, v toward the anterior wall, z along the long axis
toward the base, z = 0 inside the LV. Contours are Fourier series in the angle from u whose coefficients are
*squared* radii (mm^2): volumes are then sums, and a chamber takes its volume by one division.
"""

from dataclasses import dataclass

from torch import Tensor

from kwise.phantom.anatomy import Beat, Chest, Look


@dataclass(frozen=True)
class Ventricles:
    """LV as a bowl with a wall, RV as a crescent on its septal side; both end at the valve plane `base`.

    At ED and height z the squared endocardial radius is endo(angle) x bowl(z), the wall adds
    wall(angle) x bowl(z) of the deeper bowl `epi_apex`, the RV adds rv_width x (bump(angle) - fall(z)^2).
    """

    endo: Tensor  # (1 + 2 * HARMONICS,) mm^2
    wall: Tensor  # mm^2
    motion: Tensor  # share of the squared endocardial radius lost at ES
    lost: Tensor  # share of that motion missing in the territory of a narrow coronary artery
    lost_base: float  # weight of `lost` at the base and at the apex, linear between
    lost_apex: float
    apex: float  # depth of the endocardial tip below z = 0
    epi_apex: float
    base: float
    equator: float
    rv_width: float  # mm^2
    rv_edge: float  # cosine of half the angle that the crescent spans
    rv_lean: float
    rv_apex: float
    rv_wall: float
    papillary: Tensor  # (2, 5): angle, radius, distance from the axis in radii, bottom and top z
    trabeculae: float


@dataclass(frozen=True)
class Atrium:
    """A shaft of rounded cross-section from the valve plane to a nearly fixed roof, tangent to the septum.

    `side` is -1 for the left atrium (u below the septum), +1 for the right one.
    """

    side: float
    septum: float  # u of the wall between the atria
    middle: float  # v of its centre at the valve plane, and how it leans with height
    lean: float
    aspect: float  # half axis along u over half axis along v
    roundness: float  # 2 an ellipse, 0 nearly a rectangle
    waist: float  # height of the widest place over the height of the roof
    roof: float  # z
    largest_ml: float
    smallest_ml: float
    conduit: float  # share of the emptying before the atrium itself contracts


@dataclass(frozen=True)
class WholeHeart:
    """One virtual subject's heart: everything that any plane through it is computed from."""

    case: str
    centre: tuple[float, float]  # (x, y) of the LV axis in mm, in the axes of the short-axis images
    angle: float  # direction of u in those axes, rad
    beat: Beat
    ventricles: Ventricles
    left_atrium: Atrium
    right_atrium: Atrium
    vessels: (
        Tensor  # (n, 6) above the valve plane: u, v, du/dz, dv/dz, radius, brightness; no class of theirs
    )
    look: Look
    chest: Chest
    lattice: Tensor
