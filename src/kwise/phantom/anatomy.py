"""The drawn parameters of one beating heart: who the patient is, before any pixel exists.

Lengths in mm, angles in rad, times as fractions of the cardiac cycle, intensities relative to LV blood = 1.
Heart axes: x to the image right, y down, z along the long axis toward the base, z = 0 mid-ventricular.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Beat:
    """When and how strongly the heart contracts: fractions at ES; `ejection_fraction` is of volume."""

    heart_rate: float
    es_time: float
    early_filling: float
    early_end: float
    late_start: float
    ejection_fraction: float
    shortening: float
    thickening: float
    twist: float
    rv_narrowing: float
    rv_shortening: float
    sway_mm: tuple[float, float]
    breath_mm: tuple[float, float, float]
    breath_phase: float


@dataclass(frozen=True)
class LeftVentricle:
    """Radii and Fourier shapes (1 + 2 * HARMONICS,) of the LV at end-diastole in the plane z = 0."""

    radius: float
    wall: float
    endo: Tensor
    wall_shape: Tensor
    motion: Tensor
    contraction: float  # fraction of the squared endocardial radius lost at ES where motion = 1
    apex: float
    base: float
    equator: float
    papillary: Tensor  # (2, 4): angle, radius, depth of its centre below the wall in radii, elongation
    trabeculae: float
    lining: float = 0.0  # mm of pool next to the wall that look like muscle at ED, twice as much at ES


@dataclass(frozen=True)
class RightVentricle:
    """The crescent: a perturbed ellipse minus the LV; `width` is its depth beyond the LV epicardium."""

    angle: float
    width: float
    half_depth: float
    half_length: float
    slide: float  # tangential offset of its centre
    shape: Tensor
    wall: float
    trabeculae: float
    lining: float = 0.0  # mm of pool next to the free wall that look like muscle


@dataclass(frozen=True)
class Look:
    """Intensities (LV blood = 1), texture strengths, coil shading and field-of-view border."""

    myocardium: float
    rv_blood: float
    fat: float
    lung: float
    liver: float
    stomach: float
    muscle: float
    spine: float
    vessel: float
    pericardium: float
    fat_mm: float
    texture: float
    flow: float
    flow_phase: float
    shade_depth: float
    shade_rough: float
    sharpness: float
    haze: float
    border: tuple[float, float, float, float] | None  # x0, x1, y0, y1 in mm; None: the whole grid is inside


@dataclass(frozen=True)
class Chest:
    """What lies around the heart, in the body axes centred on the heart."""

    rotation: float
    wall_angle: float
    wall_gap: float
    wall_radius: float
    skin_fat: float
    wall_muscle: float
    pad: float
    diaphragm: float
    diaphragm_slope: float
    diaphragm_wave: float
    liver_end: float
    liver_fat: float
    clutter: float  # how patchy and striped the soft tissue around the heart is
    lung_vessels: float
    discs: Tensor  # (n, 6): x, y, radius, intensity, dx/dz, dy/dz
    filling: float  # how much of the lung side is soft tissue rather than air


@dataclass(frozen=True)
class Heart:
    """One patient: everything `sample` needs. `centre` (x, y) mm is the LV axis; the disc of radius
    `reach` mm around `middle` holds LV, RV and their fat at every time."""

    case: str
    centre: tuple[float, float]
    middle: tuple[float, float]
    reach: float
    beat: Beat
    lv: LeftVentricle
    rv: RightVentricle
    look: Look
    chest: Chest
    lattice: Tensor  # (channels, 48, 48) white noise that texture interpolates


class Scene(Protocol):
    """What the surroundings are painted from, whichever heart lies in them."""

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) in mm of the LV axis."""

    @property
    def look(self) -> Look:
        """Intensities."""

    @property
    def chest(self) -> Chest:
        """What lies around the heart."""

    @property
    def lattice(self) -> Tensor:
        """(channels, 48, 48) white noise."""
