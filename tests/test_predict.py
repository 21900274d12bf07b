"""Prediction: what a file becomes on disk, in the scan's own geometry, from nothing but what was acquired."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

import kwise
from kwise.checkpoint import Loaded, fingerprint, load_checkpoint
from kwise.cli.predicting import summary
from kwise.data import dataset
from kwise.data.kspace_file import write_scan
from kwise.data.out_nifti import write_segmentation
from kwise.data.out_table import area_rows, write_csv
from kwise.fourier import fft2c
from kwise.models import MODELS
from kwise.predict import (
    PREDICTORS,
    Answer,
    answer,
    find_checkpoint,
    measurement_of,
    predict_file,
    segment,
)
from kwise.predict import outputs as outputs_of_predict
from kwise.predict.cautions import file_cautions, frames_caution, ring_caution
from kwise.predict.door import as_acquired
from kwise.types import CLASS_NAMES, IGNORE, Measurement, Prediction, Query, Scan

SHAPE = (2, 5, 20, 24)  # (z, t, y, x): odd frames, not square


class TimesFrame(nn.Module):
    """A stand-in: class 1 in row f, 2 in column f of frame f; it counts how many frames it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def forward(self, measurement: Measurement, query: Query) -> Prediction:
        assert query.frames is not None and query.resolution is not None
        b, z = measurement.shape[:2]
        n = query.frames.shape[1]
        self.asked.append(n)
        logits = torch.zeros(b, 4, z, n, *query.resolution)
        for i, frame in enumerate(query.frames[0].tolist()):
            logits[:, 1, :, i, frame] = 2
            logits[:, 2, :, i, :, frame] = 1
        return Prediction(logits=logits)


def make_scan(**changes: object) -> Scan:
    image = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., ::3, :] = True
    scan = Scan(
        case="case",
        kspace=fft2c(image).unsqueeze(0),
        mask=mask,
        spacing_mm=(8.0, 1.5, 1.25),
        frame_ms=40.0,
        affine=torch.tensor(
            [[0, 1.5, 0, 3], [-1.25, 0, 0, 4], [0, 0, 8, 5], [0, 0, 0, 1]], dtype=torch.float64
        ),
        notes={"simulated": "k-space from a magnitude image"},
    )
    return replace(scan, **changes)  # type: ignore[arg-type]


def loaded(model: nn.Module | None = None, matrix: object = None) -> Loaded:
    return Loaded(model or TimesFrame(), "stand_in", {}, {"matrix": matrix})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights") / "tiny", {"matrix": [16, 16], "fov_mm": 160.0})


def test_measurement_keeps_the_files_mask_and_cuts_the_centre() -> None:
    scan = make_scan()
    whole, cut = measurement_of(scan), measurement_of(scan, (16, 16))
    assert torch.equal(whole.mask[0], scan.mask)
    assert cut.kspace.shape[-2:] == (16, 16) and cut.shape == (1, 2, 5, 16, 16)
    assert torch.equal(cut.mask[0], scan.mask[..., 2:18, 4:20])
    assert measurement_of(replace(scan, mask=None)).mask.all()
    with pytest.raises(ValueError, match=r"got an image; wanted k-space"):
        measurement_of(Scan(case="x", image=torch.ones(1, 2, 4, 4)))


def test_unacquired_kspace_changes_nothing() -> None:
    scan = make_scan()
    assert scan.kspace is not None and scan.mask is not None
    rubbish = torch.where(scan.mask, scan.kspace, torch.tensor(1e6 + 0j))
    a, b = measurement_of(scan), measurement_of(replace(scan, kspace=rubbish))
    assert torch.equal(a.kspace, b.kspace)


def test_lines_of_zeros_without_a_mask_were_not_acquired() -> None:
    scan = make_scan()
    assert scan.kspace is not None and scan.mask is not None
    zeroed = torch.where(scan.mask, scan.kspace, 0)
    found = answer(make_scan(kspace=zeroed, mask=None), loaded())
    assert found.scan.mask is not None and torch.equal(found.scan.mask, scan.mask)
    assert "lines hold zeros alone" in found.scan.notes["mask"]
    told = answer(make_scan(kspace=zeroed), loaded())
    assert told.labels is not None and found.labels is not None and torch.equal(told.labels, found.labels)
    whole = make_scan(mask=None)
    assert as_acquired(whole) is whole  # nothing is zero: all of it was measured
    dark = torch.ones(SHAPE, dtype=torch.bool)
    assert as_acquired(make_scan(kspace=zeroed, mask=dark)).mask is dark  # whoever tells is believed


def test_from_an_array_of_numpy_to_an_answer() -> None:
    kspace = make_scan().kspace
    assert kspace is not None
    found = kwise.answer(kwise.Scan("mine", kspace=kspace.numpy().astype(np.complex128)), "mean_shape")
    assert found.scan.kspace is not None and torch.equal(found.scan.kspace, kspace)
    assert found.areas["LV pool"].shape == (SHAPE[1],) and kwise.load_model("mean_shape").name == "mean_shape"


def test_what_cannot_be_answered_in_python_is_one_sentence() -> None:
    image = np.ones(SHAPE)
    with pytest.raises(ValueError, match=r"got a magnitude image; wanted k-space .*kwise.simulate_scan"):
        answer(Scan("image", image=image), loaded())
    with pytest.raises(ValueError, match=r"got dtype torch.float64; wanted complex64 k-space"):
        Scan("real", kspace=image[None])
    with pytest.raises(ValueError, match=r"got kspace of type list; wanted an array of torch or numpy"):
        Scan("list", kspace=[[1j]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got mask of <U1; wanted numbers"):
        Scan("text", kspace=image[None] + 0j, mask=np.array(["x"]))
    with pytest.raises(ValueError, match=r"got no folder dem; wanted one, or .*demo"):
        kwise.load_model("dem")


def test_frames_are_asked_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["kwise.predict.answer"]
    model, measurement = TimesFrame(), measurement_of(make_scan())
    at_once, k = segment(model, measurement, SHAPE[2:])
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 2 * SHAPE[0] * SHAPE[2] * SHAPE[3])
    in_parts, _ = segment(model, measurement, SHAPE[2:])
    assert model.asked == [5, 2, 2, 1] and k == 4
    assert torch.equal(at_once, in_parts) and at_once.shape == SHAPE
    assert (at_once[:, 3, 3] == 1).all() and int((at_once[0, 3] == 1).sum()) == SHAPE[3]


def test_answer_measures_areas_and_dice_where_the_truth_is_known() -> None:
    labels = torch.full(SHAPE, IGNORE)
    labels[:, 0] = 0
    labels[:, 0, 0] = 1
    labels[:, 0, 1:, 0] = 2
    found = answer(make_scan(labels=labels), loaded())
    assert found.areas["LV pool"].tolist() == pytest.approx([2 * 24 * 1.5 * 1.25] * 5)
    assert found.dice == pytest.approx({"LV pool": 1.0, "LV myocardium": 1.0, "RV pool": 1.0})
    assert (found.ed, found.es, found.ejection_fraction) == (0, 0, 0.0)
    assert answer(make_scan(), loaded()).dice == {}


def test_segmentation_keeps_geometry_and_time(tmp_path: Path) -> None:
    labels = torch.randint(0, 4, SHAPE, generator=torch.Generator().manual_seed(1))
    scan = make_scan()
    write_segmentation(tmp_path / "s.nii.gz", labels, scan)
    image = nibabel.load(tmp_path / "s.nii.gz")
    assert image.shape == (24, 20, 2, 5) and image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(image.dataobj), labels.permute(3, 2, 0, 1).numpy())
    assert np.allclose(image.affine, scan.affine) and np.allclose(image.get_qform(), scan.affine, atol=1e-5)
    assert image.header.get_zooms() == pytest.approx((1.25, 1.5, 8.0, 40.0))
    assert image.header.get_xyzt_units() == ("mm", "msec")


def test_segmentation_without_geometry(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "s.nii.gz", torch.zeros(SHAPE), make_scan(affine=None, frame_ms=None))
    image = nibabel.load(tmp_path / "s.nii.gz")
    assert np.allclose(image.affine, np.diag([1.25, 1.5, 8.0, 1.0]))
    assert image.header.get_xyzt_units() == ("mm", "unknown")


def test_areas_csv(tmp_path: Path) -> None:
    areas = {"LV_pool_mm2": [100.0, 50.0], "RV_pool_mm2": [80.0, float("nan")]}
    write_csv(tmp_path / "a.csv", area_rows(areas, 0, 1, 50.0, 40.0))
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "frame": "1", "time_ms": "40.00", "LV_pool_mm2": "50.00", "RV_pool_mm2": "", "ED": "0", "ES": "1",
        "LV_area_EF_percent": "50.00",
    }  # fmt: skip


def test_predict_file_writes_its_answers_whole(tmp_path: Path, checkpoint: Path) -> None:
    file, folder = tmp_path / "p.h5", tmp_path / "deep" / "out"
    write_scan(file, make_scan(labels=torch.zeros(SHAPE, dtype=torch.int64)))
    found = predict_file(file, folder, checkpoint)
    names = ["areas.csv", "phenotypes.csv", "phenotypes.json", "report.html", "run.json"]
    assert sorted(p.name for p in folder.iterdir()) == [*names, "segmentation.nii.gz"]
    assert [p.name for p in folder.parent.iterdir()] == ["out"]
    assert nibabel.load(folder / "segmentation.nii.gz").shape == (24, 20, 2, 5)
    assert found.labels.shape == SHAPE
    page = (folder / "report.html").read_text()
    assert "was simulated" in page and fingerprint(checkpoint) in page
    again = predict_file(file, folder, checkpoint)  # in place of the older answers
    assert torch.equal(again.labels, found.labels)


def test_nothing_half_written(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, folder = tmp_path / "p.h5", tmp_path / "out"
    write_scan(file, make_scan())

    def full(path: Path, page: object) -> None:
        path.write_text("half a pa")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(outputs_of_predict, "write_page", full)
    with pytest.raises(OSError, match="No space left"):
        predict_file(file, folder, checkpoint)
    assert [p.name for p in tmp_path.iterdir()] == ["p.h5"]


def test_an_empty_folder_hides_no_shipped_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert find_checkpoint("demo") == find_checkpoint() != Path("demo")


def test_an_unknown_shipped_checkpoint_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"got no folder no-such-name; wanted .*demo"):
        find_checkpoint("no-such-name")


def test_predicting_never_imports_what_simulates(tmp_path: Path, checkpoint: Path) -> None:
    """The whole journey in a fresh process: simulate, sampling and the phantom stay unloaded."""
    write_scan(tmp_path / "p.h5", make_scan())
    words = ["predict", str(tmp_path / "p.h5"), "-o", str(tmp_path / "out"), "--checkpoint", str(checkpoint)]
    program = (
        "import sys; from kwise.cli import main; code = main(sys.argv[1:]); "
        "bad = [m for m in sys.modules if m.split('.')[:2] in "
        "[['kwise', 'simulate'], ['kwise', 'sampling'], ['kwise', 'phantom'], ['kwise', 'recipes']]]; "
        "sys.exit(f'{code} {bad}' if code or bad else 0)"
    )
    run = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_virtual_heart_goes_all_the_way(tmp_path: Path, checkpoint: Path) -> None:
    heart = dataset("heart").read(None, "heart-test-000001")
    assert heart.image is not None
    scan = replace(heart, image=None, kspace=fft2c(heart.image).unsqueeze(0))
    found = answer(scan, load_checkpoint(checkpoint, MODELS))
    assert found.labels.shape == heart.shape and set(found.dice) == {"LV pool", "LV myocardium", "RV pool"}


def test_a_task_nobody_answers_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"got a checkpoint for 'divination'; wanted one of segmentation"):
        answer(make_scan(), Loaded(TimesFrame(), "stand_in", {}, {"task": "divination"}))


def test_a_checkpoint_of_other_classes_is_one_line() -> None:
    class Many(nn.Module):
        def forward(self, measurement: Measurement, query: Query) -> Prediction:
            assert query.frames is not None
            return Prediction(logits=torch.zeros(1, 9, SHAPE[0], query.frames.shape[1], *SHAPE[2:]))

    with pytest.raises(ValueError, match=r"got a model of 9 classes; wanted 2 to 6: background, LV pool"):
        answer(make_scan(), loaded(Many()))


def test_an_answer_of_images_alone_has_no_areas_and_says_so(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(SHAPE, generator=torch.Generator().manual_seed(2))
    monkeypatch.setitem(PREDICTORS, "segmentation", lambda scan, loaded: Answer(scan, image=image))
    write_scan(tmp_path / "p.h5", make_scan())
    predict_file(tmp_path / "p.h5", tmp_path / "out", checkpoint)
    assert not {"areas.csv", "segmentation.nii.gz"} & {file.name for file in (tmp_path / "out").iterdir()}
    written = nibabel.load(tmp_path / "out" / "reconstruction.nii.gz")
    assert np.allclose(written.get_fdata(), image.permute(3, 2, 0, 1)) and np.allclose(
        written.affine, make_scan().affine
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the model&#x27;s reconstruction" in page and "ejection fraction" not in page


def test_a_pool_that_muscle_does_not_surround_is_cautioned_about() -> None:
    y, x = torch.meshgrid(torch.arange(32) - 16, torch.arange(32) - 16, indexing="ij")
    away = (y**2 + x**2).sqrt()
    ring = torch.where(away < 6, 1, torch.where(away < 9, 2, 0))
    half = ring.where((ring != 2) | (x < 0), torch.tensor(3))  # open to the right
    stack = torch.stack([ring, half, half])[:, None]
    assert ring_caution(ring[None, None], 4, 0) == ()
    assert ring_caution(stack[:2], 4, 0) == ()  # the lower median: a slice at the valve may be open
    (told,) = ring_caution(stack, 4, 0)
    assert 40 < float(told.split("leaves ")[1].split(" %")[0]) < 60
    assert ring_caution(stack.clamp(max=1), 2, 0) == ()  # a model without muscle
    assert ring_caution(torch.zeros_like(stack), 4, 0) == ()


@pytest.mark.parametrize(("frames", "told"), [(1, False), (2, True), (5, True), (6, False), (30, False)])
def test_a_few_frames_of_a_beat_are_cautioned_about(frames: int, told: bool) -> None:
    scan = Scan("x", image=torch.ones(1, frames, 4, 4))
    found = frames_caution(scan, {"n_frames": 12})
    assert bool(found) == told and frames_caution(scan, {}) == ()
    if told:
        assert f"{frames} frames" in found[0] and "ejection fraction" in found[0]


def test_page_terminal_run_card_and_python_tell_the_same_cautions(tmp_path: Path, checkpoint: Path) -> None:
    image = torch.rand(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    file = tmp_path / "cine.nii.gz"
    nibabel.Nifti1Image(image.numpy().transpose(3, 2, 0, 1), np.diag([2.0, 2.0, 8.0, 1.0])).to_filename(file)
    found = predict_file(file, tmp_path / "out", checkpoint)
    made = "The k-space of this file was simulated: k-space from a magnitude"
    assert any(sentence.startswith(made) for sentence in found.cautions)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["cautions"] == list(found.cautions)
    page = unescape((tmp_path / "out" / "report.html").read_text())
    for sentence in found.cautions:
        assert page.count(sentence) == 1 and f"caution: {sentence}" in summary(found)


def test_what_was_not_found_is_cautioned_about() -> None:
    areas = {name: torch.tensor([4.0, 2.0]) for name in CLASS_NAMES[1:4]}
    scan = Scan("x", image=torch.ones(1, 2, 4, 4))
    assert file_cautions(scan, {}, areas, "") == ()
    lost = file_cautions(scan, {}, areas | {"RV pool": torch.tensor([0.0, 2.0])}, "")
    assert len(lost) == 1 and "a structure was not found" in lost[0]
    assert "found no LV pool" in file_cautions(scan, {}, areas | {"LV pool": torch.zeros(2)}, "")[0]
    still = Scan("x", image=torch.ones(1, 1, 4, 4), notes={"spacing": "not told"})
    said = file_cautions(still, {}, {"LV pool": torch.ones(1)}, "")
    assert "does not tell the size of a pixel" in said[0] and "one frame" in said[1]
    larger = replace(scan, spacing_mm=(8, 50, 50))
    wide = file_cautions(larger, {"matrix": [4, 4], "fov_mm": 160}, areas, "it")
    assert wide[0].startswith("This field of view is 200 x 200 mm") and wide[0].endswith("It looked at it.")


def test_cautions_are_said_on_the_terminal_too() -> None:
    found = replace(answer(make_scan(), loaded()), cautions=("mind the gap",))
    assert summary(found)[-1] == "caution: mind the gap"
