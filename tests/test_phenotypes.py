"""Areas in mm2, ED and ES frames, area ejection fraction."""

import math

import pytest
import torch

from kwise.phenotypes import area_ejection_fraction, cavity_areas, ed_es, ejection_fraction, structure_sizes
from kwise.types import IGNORE


def beating() -> torch.Tensor:
    """(1, 4, 8, 8): an LV of 16, 8, 4 and 8 pixels, a myocardium of one row, an RV of 2 pixels."""
    labels = torch.zeros(1, 4, 8, 8, dtype=torch.int64)
    for frame, n in enumerate((16, 8, 4, 8)):
        labels[0, frame].view(-1)[:n] = 1
    labels[..., 6, :] = 2
    labels[..., 7, :2] = 3
    return labels


def test_areas_are_in_square_millimetres() -> None:
    areas = cavity_areas(beating(), (8.0, 2.0, 1.5))
    assert areas["LV"].tolist() == [48, 24, 12, 24]
    assert areas["myo"].tolist() == [24] * 4
    assert areas["RV"].tolist() == [6] * 4


def test_slices_add_up_and_one_slice_needs_no_axis() -> None:
    one, unit = beating(), (1.0, 1.0, 1.0)
    assert torch.equal(cavity_areas(one[0], unit)["LV"], cavity_areas(one, unit)["LV"])
    assert torch.equal(cavity_areas(one.repeat(3, 1, 1, 1), unit)["LV"], 3 * cavity_areas(one, unit)["LV"])
    volume_mL = structure_sizes(one, 10.0 * 1.8 * 1.8 * 1e-3, ("LV",))["LV"]
    assert float(volume_mL[0]) == pytest.approx(16 * 0.0324)


def test_ed_es_and_fraction() -> None:
    areas = cavity_areas(beating(), (1.0, 1.0, 1.0))
    assert ed_es(areas) == (0, 2)
    assert area_ejection_fraction(areas) == 75.0
    assert ejection_fraction(200.0, 80.0) == 60.0


def test_unlabelled_frames_are_unknown() -> None:
    labels = beating()
    labels[:, 0] = IGNORE
    areas = cavity_areas(labels, (1.0, 1.0, 1.0))
    assert math.isnan(areas["LV"][0])
    assert ed_es(areas) == (1, 2)
    labels[:] = IGNORE
    with pytest.raises(ValueError, match="at least one labelled frame"):
        ed_es(cavity_areas(labels, (1.0, 1.0, 1.0)))


def test_no_ventricle_has_no_fraction() -> None:
    areas = cavity_areas(torch.zeros(1, 2, 4, 4, dtype=torch.int64), (1.0, 1.0, 1.0))
    assert math.isnan(area_ejection_fraction(areas))


def test_errors_name_what_is_wanted() -> None:
    with pytest.raises(ValueError, match="wanted names among"):
        structure_sizes(beating(), 1.0, ("liver",))
    with pytest.raises(ValueError, match=r"wanted \(z, t, y, x\)"):
        cavity_areas(torch.zeros(4, 4).long(), (1.0, 1.0, 1.0))
