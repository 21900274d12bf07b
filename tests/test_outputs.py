"""Outputs: every format holds the answer where the scanner says it lies, and other software opens it."""

import csv
import json
import math
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import MRImageStorage

from kwise.checkpoint import Loaded
from kwise.data import extras
from kwise.data.dicom_source import identity_of
from kwise.data.kspace_file import write_scan
from kwise.data.out_dicom import write_dicom_images
from kwise.data.out_dicom_seg import write_dicom_segmentations
from kwise.data.out_geometry import place_of
from kwise.data.out_mrd import write_mrd_images
from kwise.data.out_nifti import write_segmentation
from kwise.data.out_table import write_csv, write_json, write_parquet
from kwise.data.raw import open_any, with_kspace
from kwise.data.raw_mrd_write import write_mrd
from kwise.fourier import fft2c
from kwise.phenotypes import Phenotype
from kwise.predict import OUTPUTS, predict_file
from kwise.predict.answer import answer_of_labels
from kwise.predict.outputs import Delivery, chosen_outputs
from kwise.types import Scan
from raw_files import write_dicom

SHAPE = (3, 4, 20, 24)  # (z, t, y, x)
SPACING = (10.0, 1.5, 1.25)  # slices of any thickness, 10 mm apart
TURN = torch.tensor(  # an oblique plane: columns are the directions of x, y and the slices
    [[0.8, -0.48, 0.36], [0.6, 0.64, -0.48], [0.0, 0.6, 0.8]], dtype=torch.float64
)


def affine_with(directions: torch.Tensor, origin: tuple[float, float, float] = (-30.0, 12.5, 41.0)):
    made = torch.eye(4, dtype=torch.float64)
    made[:3, :3] = directions * torch.tensor(SPACING[::-1], dtype=torch.float64)
    made[:3, 3] = torch.tensor(origin, dtype=torch.float64)
    return made


GEOMETRIES = {
    "straight": affine_with(torch.eye(3, dtype=torch.float64)),
    "oblique": affine_with(TURN),
    "left-handed": affine_with(TURN * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)),
    "LPS": affine_with(torch.diag(torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))),
    "coronal": affine_with(torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)),
}
CORNERS = [(x, y, z) for x in (0, SHAPE[3] - 1) for y in (0, SHAPE[2] - 1) for z in (0, SHAPE[0] - 1)]


def image_of() -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))


def labels_of() -> torch.Tensor:
    labels = torch.zeros(SHAPE, dtype=torch.int64)
    labels[:, :, 5:9, 4:12] = 1
    labels[0, :3, 9:11, 4:12] = 2
    labels[1, 0, 12:15, 1:5] = 3
    labels[:, 2, 5:7] = 0
    labels[:, 3] = 0  # a phase in which nothing was found
    return labels


def scan_with(affine: torch.Tensor | None, **changes: object) -> Scan:
    kspace = fft2c(image_of()).unsqueeze(0)
    scan = Scan("case", kspace=kspace, spacing_mm=SPACING, frame_ms=40.0, affine=affine)
    return replace(scan, **changes)  # type: ignore[arg-type]


def delivery(scan: Scan, source: Path | None = None) -> Delivery:
    found = answer_of_labels(scan, labels_of(), 4, "all of k-space")
    loaded = Loaded(torch.nn.Identity(), "stand_in", {}, {})
    return Delivery(found, loaded, "0" * 64, "p.h5", source, "kwise predict", tuple(OUTPUTS))


def in_mm(affine: torch.Tensor, voxel: tuple[int, int, int]) -> np.ndarray:
    return (affine.numpy() @ [*voxel, 1])[:3]


@pytest.fixture(scope="session")
def check_dicom() -> Callable[[Path], None]:
    """Fails on every complaint of dciodvfy (dicom3tools), where it is installed."""
    program = shutil.which("dciodvfy")

    def check(file: Path) -> None:
        if program is not None:
            run = subprocess.run([program, "-new", str(file)], capture_output=True, text=True)
            complaints = [line for line in run.stderr.splitlines() if line.startswith(("Error", "Warning"))]
            # A private coding scheme, where the standard has no code: legal, and not among its defined terms.
            complaints = [line for line in complaints if "Unrecognized defined term = <99KWISE>" not in line]
            assert not complaints, "\n".join(complaints)

    return check


@pytest.mark.parametrize("name", GEOMETRIES)
def test_nifti_lies_where_the_scanner_says(name: str, tmp_path: Path) -> None:
    write_segmentation(tmp_path / "s.nii.gz", labels_of(), scan_with(GEOMETRIES[name]))
    image = nibabel.load(tmp_path / "s.nii.gz")
    for voxel in CORNERS:
        wanted = in_mm(GEOMETRIES[name], voxel)
        assert np.allclose((image.affine @ [*voxel, 1])[:3], wanted, atol=1e-4)
        assert np.allclose((image.get_qform() @ [*voxel, 1])[:3], wanted, atol=1e-3)
    assert image.header["sform_code"] == image.header["qform_code"] == 1


@pytest.mark.parametrize("name", GEOMETRIES)
def test_dicom_images_lie_where_the_scanner_says(
    name: str, tmp_path: Path, check_dicom: Callable[[Path], None]
) -> None:
    affine, file = GEOMETRIES[name], tmp_path / "images.dcm"
    scan = scan_with(affine)
    write_dicom_images(file, image_of(), scan, identity_of(scan, None), "zero-filled")
    check_dicom(file)
    header = pydicom.dcmread(file)
    turn = np.array([-1, -1, 1])
    places = [
        np.array(g.PlanePositionSequence[0].ImagePositionPatient, float)
        for g in header.PerFrameFunctionalGroupsSequence
    ]
    for z in range(SHAPE[0]):  # the first pixel of every slice of the first frame, in DICOM's axes
        assert np.allclose(places[z] * turn, in_mm(affine, (0, 0, z)), atol=1e-3)
    again = open_any(file)
    assert again.frame_ms == pytest.approx(40.0) and again.image is not None and again.affine is not None
    assert again.spacing_mm == pytest.approx(SPACING)
    if torch.det(affine[:3, :3]) * turn.prod() > 0:  # kwise's reader orders slices along the normal
        assert torch.allclose(again.affine, affine, atol=1e-3)
        assert torch.allclose(again.image, image_of(), atol=2e-4)
    else:
        assert torch.allclose(again.image, image_of().flip(0), atol=2e-4)


@pytest.mark.parametrize("name", ["oblique", "left-handed"])
def test_dicom_segs_open_and_refer_to_their_images(
    name: str, tmp_path: Path, check_dicom: Callable[[Path], None]
) -> None:
    import highdicom

    scan, labels = scan_with(GEOMETRIES[name]), labels_of()
    identity = identity_of(scan, None)
    images = write_dicom_images(tmp_path / "images.dcm", image_of(), scan, identity, "zero-filled")
    colours = ((0, 0, 0), (229, 83, 61), (42, 167, 132), (74, 143, 231))
    files = write_dicom_segmentations(tmp_path, labels, 4, scan, images, "stand_in", colours)
    assert [file.name for file in files] == [f"seg_{t + 1:03d}.dcm" for t in range(SHAPE[1])]
    turn = np.diag([-1, -1, 1])
    for t, file in enumerate(files):
        check_dicom(file)
        seg = highdicom.seg.segread(file)
        frames = [t * SHAPE[0] + z + 1 for z in range(SHAPE[0])]
        if t < 3:
            found = seg.get_pixels_by_source_frame(
                images.SOPInstanceUID, frames, combine_segments=True, ignore_spatial_locations=True,
                assert_missing_frames_are_empty=True,
            )  # fmt: skip
            assert np.array_equal(found, labels[:, t].numpy())
        else:
            assert not seg.pixel_array.any()
        assert seg.StudyInstanceUID == images.StudyInstanceUID
        assert seg.FrameOfReferenceUID == images.FrameOfReferenceUID
        assert [s.SegmentLabel for s in seg.SegmentSequence] == ["LV pool", "LV myocardium", "RV pool"]
        groups = seg.PerFrameFunctionalGroupsSequence[0]
        z = (groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber - 1) % SHAPE[0]
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.allclose(turn @ place, in_mm(GEOMETRIES[name], (0, 0, z)), atol=1e-3)
    assert len({pydicom.dcmread(file).SeriesInstanceUID for file in files}) == 1


def write_dicom_series(folder: Path) -> None:
    """A classic cine of 2 slices and 3 frames of a patient with a name."""
    folder.mkdir()
    whose = {"PatientName": "Doe^Jane", "PatientID": "17", "PatientSex": "F", "PatientBirthDate": "19600102"}
    study = {"StudyInstanceUID": "1.2.4", "FrameOfReferenceUID": "1.2.5", "StudyDate": "20240102"}
    more = {"StudyTime": "1010", "StudyID": "9", "AccessionNumber": "A1", "PatientPosition": "HFS"}
    for z in range(2):
        for t in range(3):
            pixels = np.full((20, 24), 10 * z + t)
            pixels[8:12, 8:12] = 200 - 20 * t
            here = {"SOPInstanceUID": f"1.2.3.{z + 1}.{t + 1}", "SeriesInstanceUID": "1.2.6"}
            place = {"ImagePositionPatient": [-10, -20, 5 + 10 * z], "TriggerTime": 40 * t}
            told = whose | study | more | here | place | {"SOPClassUID": MRImageStorage, "Modality": "MR"}
            write_dicom(folder / f"{9 - t}{z}.dcm", pixels, "", **told)


def test_a_dicom_source_keeps_its_patient_and_is_referred_to(
    tmp_path: Path, check_dicom: Callable[[Path], None]
) -> None:
    write_dicom_series(tmp_path / "series")
    scan = open_any(tmp_path / "series")
    assert scan.image is not None and scan.frame_ms == 40.0
    identity = identity_of(scan, tmp_path / "series")
    images = write_dicom_images(tmp_path / "i.dcm", scan.image, scan, identity, "zero-filled")
    check_dicom(tmp_path / "i.dcm")
    (seg, *_) = write_dicom_segmentations(tmp_path, (scan.image > 100).long(), 4, scan, images, "m")
    check_dicom(seg)
    for file in (tmp_path / "i.dcm", seg):
        made = pydicom.dcmread(file)
        assert (made.PatientName, made.PatientID, made.PatientSex) == ("Doe^Jane", "17", "F")
        assert (made.StudyInstanceUID, made.FrameOfReferenceUID) == ("1.2.4", "1.2.5")
        assert made.SeriesInstanceUID != "1.2.6"
    groups = pydicom.dcmread(tmp_path / "i.dcm").PerFrameFunctionalGroupsSequence
    sources = [g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for g in groups]
    assert sources == [f"1.2.3.{z + 1}.{t + 1}" for t in range(3) for z in range(2)]
    times = [float(g.CardiacSynchronizationSequence[0].NominalCardiacTriggerDelayTime) for g in groups]
    assert times == [0, 0, 40, 40, 80, 80]


@pytest.mark.parametrize("name", GEOMETRIES)
def test_mrd_images_lie_where_the_scanner_says(name: str, tmp_path: Path) -> None:
    import ismrmrd

    affine, file = GEOMETRIES[name], tmp_path / "images.mrd.h5"
    write_mrd_images(file, {"zero-filled": image_of(), "segmentation": labels_of()}, scan_with(affine))
    data = ismrmrd.Dataset(str(file), "dataset", create_if_needed=False)
    assert data.number_of_images("image_0") == data.number_of_images("image_1") == SHAPE[0] * SHAPE[1]
    turn, centre = np.array([-1, -1, 1]), (SHAPE[3] // 2, SHAPE[2] // 2)
    for index in (0, 5, 11):
        image, labels = data.read_image("image_0", index), data.read_image("image_1", index)
        z, t = image.slice, image.phase
        assert (z, t) == divmod(index, SHAPE[1])
        assert np.array_equal(image.data[0, 0], image_of()[z, t].numpy())
        assert labels.data.dtype == np.uint16 and np.array_equal(labels.data[0, 0], labels_of()[z, t])
        assert image.meta["ImageComment"] == "kwise zero-filled" and labels.meta["DataRole"] == "Segmentation"
        assert np.allclose(np.array(image.position) * turn, in_mm(affine, (*centre, z)), atol=1e-3)
        assert np.allclose(np.array(image.read_dir) * turn, affine[:3, 0] / 1.25, atol=1e-5)
        assert np.allclose(np.array(image.phase_dir) * turn, affine[:3, 1] / 1.5, atol=1e-5)
        assert np.allclose(image.field_of_view, (24 * 1.25, 20 * 1.5, 10.0))
    assert "<x>24</x>" in data.read_xml_header().decode()


@pytest.mark.parametrize("name", ["straight", "oblique"])
def test_a_scanners_geometry_goes_through_mrd_to_every_output(name: str, tmp_path: Path) -> None:
    write_mrd(tmp_path / "p.mrd", scan_with(GEOMETRIES[name]))
    scan = open_any(tmp_path / "p.mrd")
    write_segmentation(tmp_path / "s.nii.gz", labels_of(), scan)
    affine = nibabel.load(tmp_path / "s.nii.gz").affine
    for x, y, z in CORNERS:
        assert np.allclose((affine @ [x, y, z, 1])[:3], in_mm(GEOMETRIES[name], (x, y, z)), atol=1e-2)


def test_a_geometry_nobody_can_write_is_one_line() -> None:
    skewed = affine_with(torch.tensor([[1.0, 0.5, 0], [0, 0.866, 0], [0, 0, 1]], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"placing case: got rows and columns at 60.0 degrees; wanted right"):
        place_of(scan_with(skewed))


def test_without_geometry_units_are_pixels_and_said_to_be(
    tmp_path: Path, check_dicom: Callable[[Path], None]
) -> None:
    scan = scan_with(None, spacing_mm=(1.0, 1.0, 1.0), frame_ms=None, notes={"spacing": "not told"})
    told = delivery(scan)
    for output in OUTPUTS.values():
        output.write(tmp_path, told)
    image = nibabel.load(tmp_path / "segmentation.nii.gz")
    assert image.header.get_xyzt_units() == ("unknown", "unknown") and image.header["sform_code"] == 2
    with (tmp_path / "areas.csv").open() as file:
        assert "LV_pool_pixels" in next(csv.reader(file))
    values = json.loads((tmp_path / "phenotypes.json").read_text())["phenotypes"]
    assert values["LV_ED_area_pixels"] == {
        "value": 96.0, "unit": "pixels", "low": None, "high": None, "about": "areas of 3 slices added",
    }  # fmt: skip
    assert not any(name.endswith(("mm2", "mL", "_g")) for name in values)
    page = (tmp_path / "report.html").read_text()
    assert "pixels" in page and "mm²" not in page
    header = pydicom.dcmread(tmp_path / "dicom" / "images.dcm")
    assert "1 mm stands for one pixel" in header.ImageComments
    check_dicom(tmp_path / "dicom" / "images.dcm")


def test_phenotypes_are_volumes_with_units_and_how_they_were_measured(tmp_path: Path) -> None:
    told = delivery(scan_with(GEOMETRIES["oblique"]))
    values = {p.name: p for p in told.answer.phenotypes}
    voxel_mL = 10 * 1.5 * 1.25 / 1000
    assert (told.answer.ed, told.answer.es) == (0, 3)
    assert values["LVEDV_mL"].value == pytest.approx(96 * voxel_mL) and values["LVEDV_mL"].unit == "mL"
    assert values["LVESV_mL"].value == 0 and values["LVEF_percent"].value == 100
    assert values["LVM_g"].value == pytest.approx(16 * voxel_mL * 1.05) and values["LVM_g"].unit == "g"
    assert values["RVEDV_mL"].value == pytest.approx(12 * voxel_mL)
    assert values["LV_ED_area_mm2"].value == pytest.approx(96 * 1.875)
    assert "3 slices at a pitch of 10 mm, 30 mm in all" in values["LVEDV_mL"].about
    assert any("LV reaches the first and the last of 3 slices" in told for told in told.answer.cautions)
    OUTPUTS["csv"].write(tmp_path, told)
    with (tmp_path / "phenotypes.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["LVEF_percent"]["value"] == "100.00" and rows["LVEF_percent"]["low"] == ""


def test_one_slice_has_no_volume_and_one_frame_no_ejection_fraction() -> None:
    image = image_of()
    one_slice = answer_of_labels(scan_with(None, kspace=fft2c(image[:1]).unsqueeze(0)), labels_of()[:1], 4)
    assert not any(p.name.endswith(("_mL", "_g")) for p in one_slice.phenotypes)
    one_frame = answer_of_labels(
        scan_with(None, kspace=fft2c(image[:, :1]).unsqueeze(0)), labels_of()[:, :1], 4
    )
    assert [p.name for p in one_frame.phenotypes] == ["LV_area_mm2", "myo_area_mm2", "RV_area_mm2"]
    assert math.isnan(one_frame.ejection_fraction)


def test_without_a_heart_no_phenotype_is_zero() -> None:
    found = answer_of_labels(scan_with(None), torch.zeros(SHAPE, dtype=torch.int64), 4)
    assert found.phenotypes and all(math.isnan(p.value) for p in found.phenotypes)


def test_the_run_card_says_what_was_run_on_what(tmp_path: Path) -> None:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :, 8:12] = True
    mask[:, ::2, 2] = True
    notes = {"simulated": "k-space from a magnitude image", "phase": "smooth", "snr": "30", "format": "x"}
    OUTPUTS["json"].write(tmp_path, delivery(scan_with(GEOMETRIES["oblique"], mask=mask, notes=notes)))
    card = json.loads((tmp_path / "run.json").read_text())
    assert card["measurement"] == {
        "coils": 1, "slices": 3, "frames": 4, "matrix": [20, 24], "trajectory": "Cartesian",
        "acceleration_achieved": pytest.approx(20 / 4.5, abs=1e-4), "lines_per_frame": [4, 5],
        "acs": {"ky": 4, "kx": 24},
    }  # fmt: skip
    assert card["simulated"] == {k: v for k, v in notes.items() if k != "format"}
    assert card["notes"] == {"format": "x"} and card["model"]["weights_sha256"] == "0" * 64
    assert card["geometry"]["affine"] == GEOMETRIES["oblique"].tolist() and card["medical device"] is False
    measured = delivery(scan_with(None))
    OUTPUTS["json"].write(tmp_path, measured)
    assert json.loads((tmp_path / "run.json").read_text())["simulated"] is None


def test_tables_hold_the_same_in_every_format(tmp_path: Path) -> None:
    from pyarrow import parquet

    told = delivery(scan_with(GEOMETRIES["oblique"]))
    OUTPUTS["csv"].write(tmp_path, told)
    OUTPUTS["parquet"].write(tmp_path, told)
    for name in ("areas", "phenotypes"):
        table = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        with (tmp_path / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(table)
        for row, entry in zip(rows, table):
            for key, value in entry.items():
                text = "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
                assert row[key] == text


def test_unknown_numbers_stay_unknown_in_tables(tmp_path: Path) -> None:
    from pyarrow import parquet

    rows = [{"file": "a", "n": 1, "x": math.nan}, {"file": "b", "n": None, "x": 2.0}]
    write_csv(tmp_path / "t.csv", rows)
    write_parquet(tmp_path / "t.parquet", rows)
    write_json(tmp_path / "t.json", {"rows": rows, "inf": math.inf})
    assert (tmp_path / "t.csv").read_text() == "file,n,x\na,1,\nb,,2.00\n"
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == [
        {"file": "a", "n": 1, "x": None}, {"file": "b", "n": None, "x": 2.0},
    ]  # fmt: skip
    assert json.loads((tmp_path / "t.json").read_text())["rows"][0]["x"] is None


def test_intervals_go_into_every_table(tmp_path: Path) -> None:
    told = delivery(scan_with(None))
    bounded = Phenotype("LVEF_percent", 55.0, "%", 50.0, 60.0, "of volumes")
    told = replace(told, answer=replace(told.answer, phenotypes=(bounded,)))
    for name in ("csv", "json", "report"):
        OUTPUTS[name].write(tmp_path, told)
    assert "case,LVEF_percent,55.00,%,50.00,60.00,of volumes" in (tmp_path / "phenotypes.csv").read_text()
    assert json.loads((tmp_path / "phenotypes.json").read_text())["phenotypes"]["LVEF_percent"]["high"] == 60
    assert "55.0 [50.0, 60.0] %" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", OUTPUTS)
def test_law_an_output_only_adds_files_and_leaves_nothing_half_written(name: str, tmp_path: Path) -> None:
    told = delivery(scan_with(GEOMETRIES["oblique"]))
    OUTPUTS[name].write(tmp_path, told)
    made = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {file.name for file in tmp_path.iterdir()} <= set(OUTPUTS[name].files)
    assert made and all(file.stat().st_size > 0 and not file.name.endswith(".part") for file in made)
    empty = tmp_path / "images alone"
    empty.mkdir()
    OUTPUTS[name].write(
        empty, replace(told, answer=replace(told.answer, labels=None, areas={}, phenotypes=()))
    )
    assert not any("seg" in file.name for file in empty.rglob("*"))


@pytest.mark.parametrize("name", [name for name, output in OUTPUTS.items() if output.libraries])
def test_a_missing_library_names_the_extra_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda library: None)
    with pytest.raises(
        ValueError, match=rf"writing {name}: got no .*; wanted it: pip install 'kwise\[{name}\]'"
    ):
        predict_file(tmp_path / "not-there.h5", tmp_path / "out", also=[name])


def test_an_unknown_output_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"choosing outputs: got 'tiff'; wanted some of nifti, csv"):
        chosen_outputs(["tiff"])


def test_an_older_answer_goes_away_and_other_files_stay(
    tmp_path: Path, save_tiny: Callable[..., Path]
) -> None:
    checkpoint = save_tiny(tmp_path / "tiny", {"matrix": [16, 16]})
    out = tmp_path / "out"
    for n_frames, also in ((4, ["dicom", "mrd"]), (2, ["dicom"])):
        kspace = fft2c(image_of()[:, :n_frames]).unsqueeze(0)
        write_scan(tmp_path / "p.h5", scan_with(GEOMETRIES["oblique"], kspace=kspace))
        predict_file(tmp_path / "p.h5", out, checkpoint, also=also)
        (out / "mine.txt").write_text("a note of my own")
    names = sorted(file.name for file in (out / "dicom").iterdir())
    assert names == ["images.dcm", "seg_001.dcm", "seg_002.dcm"]
    assert (out / "mine.txt").is_file() and not (out / "images.mrd.h5").exists()


def test_images_from_magnitudes_are_said_to_be_simulated(tmp_path: Path) -> None:
    scan = with_kspace(Scan("case", image=image_of(), spacing_mm=SPACING))
    OUTPUTS["dicom"].write(tmp_path, delivery(scan))
    header = pydicom.dcmread(tmp_path / "dicom" / "images.dcm")
    assert "simulated: k-space from a magnitude image" in header.ImageComments
    assert header.SeriesDescription == "zero-filled"
