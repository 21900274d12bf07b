"""Hearts as files hold them: turned and mirrored in any way, off centre, of any size, at other heights, cut
off; ventricles tiny and huge; muscle strands that fill the cavity; grey values bent.

`heart_scan` draws what a table can be measured on: one slice at mid-ventricle, held upright. A network that
has seen nothing else reads real files worse than it could. A third of wide hearts are as upright as those.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kwise.phantom.anatomy import Heart
from kwise.phantom.draw import KINDS, Kind, draw_heart, reach
from kwise.phantom.draws import Draws
from kwise.phantom.heart import beating, check_size, heart_scan, short_axis_points
from kwise.types import Scan

WIDE_KINDS = KINDS | {
    "rv_huge": Kind(0.08, (12.0, 21.0), (4.5, 9.0), (0.30, 0.75), (42.0, 70.0), 0.2, 0.2),
    "rv_thin": Kind(0.12, (20.0, 36.0), (5.0, 13.0), (0.15, 0.70), (4.0, 15.0), 0.3, 0.3),
    "obliterated": Kind(0.25, (15.0, 23.0), (12.0, 22.0), (0.62, 0.86), (10.0, 30.0), 0.5, 0.2),
    "failing": Kind(0.45, (26.0, 38.0), (5.0, 9.0), (0.03, 0.30), (14.0, 36.0), 0.2, 0.3),
}
UPRIGHT = 1 / 3  # the share of hearts drawn as `heart_scan` draws them
TIP_MM, BASE_MM = -28.0, 6.0  # heights of slices: nearer the base the valve plane comes down through them


@dataclass(frozen=True)
class Pose:
    """Where an image's points lie in the heart's axes: turned (rad), mirrored, moved (x, y in mm), scaled."""

    turn: float
    mirrored: bool
    shift_mm: tuple[float, float]
    zoom: float

    def points(self, grid: Tensor, middle: tuple[float, float], z_mm: float) -> Tensor:
        """Points (y, x, 3) in mm of an image grid -> the heart's, which turns about its `middle`."""
        x = (grid[..., 0] - middle[0] - self.shift_mm[0]) / self.zoom
        y = (grid[..., 1] - middle[1] - self.shift_mm[1]) / self.zoom
        x = -x if self.mirrored else x
        c, s = math.cos(self.turn), math.sin(self.turn)
        return torch.stack(
            [middle[0] + x * c + y * s, middle[1] + y * c - x * s, torch.full_like(x, z_mm)], dim=-1
        )


def draw_pose(case: str) -> Pose:
    """The pose of a case: any turn, mirrored in a third, up to 14 mm off, 0.85 to 1.4 times as large."""
    d = Draws(case, "wide pose")
    return Pose(
        turn=d.between(-math.pi, math.pi),
        mirrored=d.chance(1 / 3),
        shift_mm=(d.between(-14.0, 14.0), d.between(-14.0, 14.0)),
        zoom=d.log_between(0.85, 1.4),
    )


def draw_wide_heart(case: str) -> Heart:
    """Every parameter of a heart from WIDE_KINDS, but for what real hearts have in ranges of their own: RV,
    cavities, walls, how they thicken, and the look of what lies around.
    """
    heart = draw_heart(case, WIDE_KINDS)
    d = Draws(case, "wide heart")
    epi = heart.lv.radius + heart.lv.wall
    wrapped = epi * d.between(0.0, 0.5) if d.chance(0.5) else 0.0
    deeper = d.between(1.0, 1.35)
    rv = replace(
        heart.rv,
        width=heart.rv.width * deeper,
        half_depth=heart.rv.half_depth * deeper + wrapped,
        wall=d.between(2.5, 7.0),
        trabeculae=d.between(0.0, 9.0),
        lining=d.between(0.4, 2.2),
    )
    beat = replace(heart.beat, rv_narrowing=d.between(0.02, 0.65), thickening=d.between(0.85, 1.35))
    papillary = heart.lv.papillary.clone()
    papillary[:, 1:3] *= torch.tensor([[d.between(0.8, 1.4), d.between(0.8, 2.0)] for _ in range(2)])
    lv = replace(
        heart.lv,
        wall=heart.lv.wall * d.between(0.8, 1.05),
        trabeculae=d.between(2.0, 11.0),
        lining=d.between(0.1, 1.4),
        papillary=papillary,
    )
    look = replace(
        heart.look,
        border=None if d.chance(0.7) else heart.look.border,
        texture=heart.look.texture * d.between(0.7, 1.8),
        flow=d.between(0.03, 0.6),
        sharpness=d.between(0.25, 0.9),
        fat=d.between(0.15, 0.8),
        lung=d.between(0.1, 0.4),
        shade_depth=d.between(0.0, 0.012),
        shade_rough=d.between(0.0, 0.4),
    )
    return replace(heart, beat=beat, rv=rv, lv=lv, look=look, reach=reach(rv, epi) + 15.0)


def wide_heart_scan(
    case: str, *, n_frames: int = 12, shape: tuple[int, int] = (64, 64), fov_mm: float = 160.0
) -> Scan:
    """The short-axis cine of the wide heart called `case`: image and labels (1, t, y, x); frame 0 is ED.

    The last frame may come up to 15 % of a beat before the next ED, as where gating cuts a cine short.
    Raises ValueError as `heart_scan`.
    """
    check_size(case, n_frames, shape, fov_mm)
    d = Draws(case, "wide scan")
    if d.chance(UPRIGHT):
        return heart_scan(case, n_frames=n_frames, shape=shape, fov_mm=fov_mm)
    pose, heart = draw_pose(case), draw_wide_heart(case)
    covered = d.between(0.85, 1.0) if d.chance(0.3) else 1.0
    points = pose.points(short_axis_points(shape, fov_mm), heart.middle, d.between(TIP_MM, BASE_MM))
    scan = beating(heart, points, n_frames, fov_mm / shape[0], zoom=pose.zoom, covered=covered)
    assert scan.image is not None
    return replace(scan, image=scan.image ** d.log_between(0.65, 1.5))
