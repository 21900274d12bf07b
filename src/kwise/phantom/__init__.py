"""The beating heart: a virtual patient drawn from a name and computed from surfaces."""

from kwise.phantom.anatomy import Heart
from kwise.phantom.draw import KINDS, draw_heart, kind_of
from kwise.phantom.heart import Sampled, heart_scan, sample, short_axis_points
from kwise.phantom.surfaces import cavity_areas, contraction, lv_volume

__all__ = [
    "KINDS",
    "Heart",
    "Sampled",
    "cavity_areas",
    "contraction",
    "draw_heart",
    "heart_scan",
    "kind_of",
    "lv_volume",
    "sample",
    "short_axis_points",
]
