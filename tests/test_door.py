"""At the door of a checkpoint: coils, pixels and fields of view become what its model learned from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from kwise.checkpoint import Loaded, find_checkpoint, load_checkpoint
from kwise.data import dataset
from kwise.data.acdc import read_patient_stack
from kwise.data.frames import resample_frames
from kwise.data.geometry import crop_fov, readout_window, whole_readouts
from kwise.fourier import fft2c, ifft2c
from kwise.models import MODELS
from kwise.predict import answer, predict_file
from kwise.predict.door import is_wide, matrix_for, with_coils_for, with_pixel_size
from kwise.predict.looks import heart_place
from kwise.types import IGNORE, Measurement, Prediction, Query, Scan

TOLD = {"matrix": [64, 64], "fov_mm": 160.0}


def image_of(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def scan_of(shape: tuple[int, int], mm: tuple[float, float], coils: int = 1, frames: int = 3) -> Scan:
    image = image_of(coils, 1, frames, *shape)
    return Scan("case", kspace=fft2c(image), spacing_mm=(8.0, *mm), affine=torch.eye(4).double())


class Recorder(nn.Module):
    """Class 1 within 30 mm of a place it is told, in mm from the centre; it keeps what it saw."""

    def __init__(self, place_mm: tuple[float, float]) -> None:
        super().__init__()
        self.place_mm = place_mm
        self.seen: list[Measurement] = []

    def forward(self, measurement: Measurement, query: Query) -> Prediction:
        assert (
            query.frames is not None and query.resolution is not None and measurement.spacing_mm is not None
        )
        self.seen.append(measurement)
        z, (y, x) = measurement.n_slices, query.resolution
        fov = [n * float(mm) for n, mm in zip(measurement.shape[-2:], measurement.spacing_mm[0, 1:])]
        rows = (torch.arange(y) - y // 2) / y * fov[0]
        columns = (torch.arange(x) - x // 2) / x * fov[1]
        shift = 0.0 if len(self.seen) == 1 else self.place_mm[1]  # the second look is around the place
        heart = (rows[:, None] - self.place_mm[0]).square() + (columns + shift - self.place_mm[1]).square()
        inside = (heart < 30**2).float()
        logits = torch.stack([1 - inside, inside, 0 * inside, 0 * inside])
        return Prediction(logits[None, :, None, None].expand(1, 4, z, query.frames.shape[1], y, x))


@pytest.mark.parametrize(
    ("shape", "mm", "matrix"),
    [
        ((64, 64), (2.5, 2.5), (64, 64)),
        ((100, 95), (1.56, 1.56), (64, 64)),  # a field like those learned from: the checkpoint's own matrix
        ((200, 256), (1.5, 1.5), (120, 154)),  # 300 x 384 mm: pixels of 2.5 mm
        ((100, 192), (4.0, 2.0), (100, 154)),  # 400 mm of 4 mm pixels: not more lines than were measured
        ((60, 120), (1.3, 1.3), (31, 62)),  # 78 x 156 mm: square pixels, none stretched
    ],
)
def test_pixels_have_the_size_the_model_learned_from(
    shape: tuple[int, int], mm: tuple[float, float], matrix: tuple[int, int]
) -> None:
    assert matrix_for(scan_of(shape, mm), TOLD) == matrix


def test_an_unknown_pixel_is_square_and_no_field_is_wide() -> None:
    scan = replace(scan_of((128, 256), (1.0, 1.0)), notes={"spacing": "not told"})
    assert not is_wide(scan, TOLD) and matrix_for(scan, TOLD) == (64, 128)
    assert matrix_for(scan, {"matrix": None}) is None and matrix_for(scan, {"matrix": [64, 64]}) == (64, 128)


def test_a_readout_window_is_the_window_of_the_image() -> None:
    scan = replace(scan_of((20, 24), (2.0, 1.5), coils=2), labels=torch.arange(480).reshape(1, 1, 20, 24))
    scan = replace(scan, labels=scan.labels.expand(1, 3, 20, 24))
    for start, n in ((3, 10), (4, 11), (0, 24), (13, 11)):
        part = readout_window(scan, start, n)
        assert part.kspace is not None and scan.kspace is not None
        assert torch.allclose(ifft2c(part.kspace), ifft2c(scan.kspace)[..., start : start + n], atol=1e-5)
        assert part.labels is not None and torch.equal(part.labels, scan.labels[..., start : start + n])
        assert part.affine is not None and part.affine[0, 3] == start  # columns of the affine are 1 mm here
        assert part.spacing_mm == scan.spacing_mm


def test_a_readout_window_keeps_the_undersampling_of_lines() -> None:
    """Cutting columns before or after leaving out lines is the same: aliasing runs along y alone."""
    scan = scan_of((20, 24), (2.0, 1.5))
    lines = (torch.arange(20) % 3 == 1)[None, None, :, None]
    part = readout_window(replace(scan, mask=lines.expand(1, 3, 20, 24)), 5, 12)
    whole = readout_window(scan, 5, 12)
    assert part.kspace is not None and whole.kspace is not None and part.mask is not None
    assert torch.allclose(part.kspace, whole.kspace * lines, atol=1e-5)
    assert torch.equal(part.mask, lines.expand(1, 3, 20, 12))


def test_an_echo_that_ends_early_stays_partial() -> None:
    mask = torch.zeros(1, 3, 20, 24, dtype=torch.bool)
    mask[:, :, ::2, 6:] = True
    part = readout_window(replace(scan_of((20, 24), (2.0, 1.5)), mask=mask), 6, 12)
    assert part.mask is not None and part.mask[0, 0, 0].tolist() == [False] * 3 + [True] * 9
    assert not part.mask[:, :, 1::2].any()


def test_points_are_no_readouts() -> None:
    mask = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(1)) < 0.4
    assert not whole_readouts(mask) and whole_readouts(None)
    with pytest.raises(ValueError, match=r"cutting the readout of case: got a mask with gaps along kx"):
        readout_window(replace(scan_of((20, 24), (2.0, 1.5)), mask=mask), 2, 10)
    with pytest.raises(ValueError, match=r"got columns 20 to 30; wanted some of 24"):
        readout_window(scan_of((20, 24), (2.0, 1.5)), 20, 10)


@pytest.mark.parametrize("place", [(0.0, 0.0), (30.0, 60.0), (-40.0, -70.0)])
def test_the_second_look_is_around_the_heart(place: tuple[float, float]) -> None:
    scan = scan_of((200, 240), (1.5, 1.5))  # 300 x 360 mm
    model = Recorder(place)
    found = answer(scan, Loaded(model, "recorder", {}, TOLD))
    first, second = model.seen
    assert first.shape[-2:] == (120, 144) and second.shape[-2:] == (120, 64)
    assert found.labels is not None
    y, x = found.labels.nonzero()[:, -2:].float().mean(dim=0).tolist()
    assert y == pytest.approx(100 + place[0] / 1.5, abs=1) and x == pytest.approx(120 + place[1] / 1.5, abs=1)
    assert "then 160 mm of the readout" in found.seen


def test_answers_far_from_the_heart_are_no_heart() -> None:
    """What the second look finds more than half a learned field above or below the heart is left out."""

    class Everywhere(Recorder):
        def forward(self, measurement: Measurement, query: Query) -> Prediction:
            logits = super().forward(measurement, query).logits
            assert logits is not None
            if len(self.seen) == 2:
                logits = torch.zeros_like(logits)
                logits[:, 1] = 1
            return Prediction(logits)

    found = answer(scan_of((200, 240), (1.5, 1.5)), Loaded(Everywhere((0.0, 0.0)), "everywhere", {}, TOLD))
    assert found.labels is not None
    rows = found.labels[0, 0].any(dim=1).nonzero().flatten()
    assert (int(rows[-1]) - int(rows[0])) * 1.5 == pytest.approx(160, abs=3)


def test_one_look_where_no_heart_was_found_or_points_were_measured() -> None:
    nothing = Recorder((1000.0, 0.0))
    assert answer(scan_of((200, 240), (1.5, 1.5)), Loaded(nothing, "nothing", {}, TOLD)).labels is not None
    assert len(nothing.seen) == 1
    mask = torch.rand(1, 3, 200, 240, generator=torch.Generator().manual_seed(1)) < 0.4
    points = Recorder((0.0, 0.0))
    answer(replace(scan_of((200, 240), (1.5, 1.5)), mask=mask), Loaded(points, "points", {}, TOLD))
    assert len(points.seen) == 1
    assert heart_place(torch.zeros(1, 1, 4, 4)) is None


def test_coils_are_compressed_to_what_the_checkpoint_learned_from() -> None:
    scan = scan_of((16, 16), (2.0, 2.0), coils=6)
    scan = replace(scan, coil_maps=torch.ones(6, 1, 16, 16, dtype=torch.complex64))
    four = with_coils_for(scan, {"virtual_coils": 4})
    assert four.kspace is not None and four.kspace.shape[0] == 4 and four.coil_maps is None
    assert four.notes["virtual coils"] == "4 from 6, by SVD"
    assert scan.kspace is not None and with_coils_for(scan, {}) is scan
    eight = with_coils_for(scan, {"virtual_coils": 8}).kspace
    assert eight is not None and torch.allclose(eight.abs().square().sum(), scan.kspace.abs().square().sum())
    mapped = with_coils_for(scan, {"virtual_coils": 3, "coil_maps": True})
    assert mapped.coil_maps is not None and mapped.coil_maps.shape == (3, 1, 16, 16)
    assert "estimated" in mapped.notes["coil maps"]
    with pytest.raises(ValueError, match=r"got virtual_coils 'all'; wanted a number"):
        with_coils_for(scan, {"virtual_coils": "all"})


def test_a_prospective_multi_coil_file_is_answered_with_virtual_coils() -> None:
    seen = Recorder((0.0, 0.0))
    scan = scan_of((64, 64), (2.5, 2.5), coils=8)
    answer(scan, Loaded(seen, "recorder", {}, TOLD | {"virtual_coils": 2}))
    assert seen.seen[0].kspace.shape[1] == 2


def test_the_pixel_size_may_be_told() -> None:
    scan = replace(scan_of((200, 240), (1.0, 1.0)), notes={"spacing": "not told"})
    told = with_pixel_size(scan, (1.5, 1.5))
    assert not told.in_pixels and is_wide(told, TOLD) and "told by the user" in told.notes["pixel size"]
    with pytest.raises(ValueError, match=r"got a pixel size for a file that says 1.5 x 1.5 mm"):
        with_pixel_size(told, (1.4, 1.4))


def test_a_scanners_field_answers_as_well_as_the_crop(tmp_path: Path) -> None:
    """A phantom heart at the edge of a 320 mm field, with the shipped weights: two looks against none."""
    heart = dataset("heart").read(None, "heart-test-000003")
    assert heart.image is not None and heart.labels is not None
    n = heart.shape[-1]
    around = (n // 2 + 12, n - n // 2 - 12, n // 2 - 10, n - n // 2 + 10)
    wide = replace(heart, image=pad(heart.image, around), labels=pad(heart.labels, around), affine=None)
    loaded = load_checkpoint(find_checkpoint(), MODELS)

    def dice(scan: Scan, told: dict[str, object]) -> float:
        assert scan.image is not None
        lines = (torch.arange(scan.shape[2]) * 5 + torch.arange(12)[:, None]) % 8 == 0
        lines[:, scan.shape[2] // 2 - 2 : scan.shape[2] // 2 + 2] = True
        kspace = fft2c(scan.image).unsqueeze(0)
        mask = lines[None, :, :, None].expand(scan.shape)
        measured = replace(scan, image=None, kspace=kspace, mask=mask)
        values = answer(measured, replace(loaded, preprocessing=told)).dice.values()
        return sum(values) / len(values)

    told = loaded.preprocessing
    coarse = {key: value for key, value in told.items() if key != "fov_mm"}
    crop, two_looks, one_look = dice(heart, told), dice(wide, told), dice(wide, coarse)
    assert crop > 0.85 and two_looks > crop - 0.06 and two_looks > one_look + 0.2


def test_a_real_heart_in_a_wide_field_is_found(real_data: Path) -> None:
    """ACDC, 250 mm, one slice with labels at ED and ES, every second line of k-space."""
    stack = read_patient_stack(sorted((real_data / "acdc-stack").glob("patient*"))[7])
    middle = slice(stack.shape[0] // 2, stack.shape[0] // 2 + 1)
    assert stack.image is not None and stack.labels is not None
    scan = resample_frames(replace(stack, image=stack.image[middle], labels=stack.labels[middle]), 12)
    assert scan.image is not None and scan.labels is not None and (scan.labels != IGNORE).any()
    loaded = load_checkpoint(find_checkpoint(), MODELS)
    lines = (torch.arange(scan.shape[2]) + torch.arange(12)[:, None]) % 2 == 0

    def dice(part: Scan) -> float:
        assert part.image is not None
        mask = lines[None, :, : part.shape[2], None].expand(part.shape)
        measured = replace(part, image=None, kspace=fft2c(part.image).unsqueeze(0), mask=mask)
        values = answer(measured, loaded).dice.values()
        return sum(values) / len(values)

    assert dice(scan) > dice(crop_fov(scan, 160.0)) - 0.08


def test_a_file_that_tells_its_pixels_refuses_other_ones(tmp_path: Path) -> None:
    from kwise.data.kspace_file import write_scan

    write_scan(tmp_path / "p.h5", scan_of((32, 32), (2.0, 2.0)))
    with pytest.raises(ValueError, match="wanted it for files that tell none"):
        predict_file(tmp_path / "p.h5", tmp_path / "out", pixel_mm=(1.0, 1.0))
    assert not (tmp_path / "out").exists()
