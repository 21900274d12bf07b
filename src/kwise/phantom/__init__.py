"""The beating heart: a virtual patient drawn from a name and computed from surfaces."""

from kwise.phantom.anatomy import Heart
from kwise.phantom.draw import KINDS, draw_heart, kind_of
from kwise.phantom.heart import Sampled, heart_scan, sample, short_axis_points
from kwise.phantom.physiology import DISEASES, Subject, best_possible_auc, draw_subject
from kwise.phantom.subject_heart import subject_heart
from kwise.phantom.surfaces import cavity_areas, contraction, lv_volume
from kwise.phantom.views import ORDER, planes
from kwise.phantom.whole_heart import examination, sample_chambers
from kwise.phantom.wide import wide_heart_scan

__all__ = [
    "DISEASES",
    "KINDS",
    "ORDER",
    "Heart",
    "Sampled",
    "Subject",
    "best_possible_auc",
    "cavity_areas",
    "contraction",
    "draw_heart",
    "draw_subject",
    "examination",
    "heart_scan",
    "kind_of",
    "lv_volume",
    "planes",
    "sample",
    "sample_chambers",
    "short_axis_points",
    "subject_heart",
    "wide_heart_scan",
]
