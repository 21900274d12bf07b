"""Cohorts on disk: written whole, read with what is missing masked and said, refused where they mislead."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
import torch

from kwise.cli import main
from kwise.cli.measuring import stack_phenotypes
from kwise.data import DATASETS, population_dataset
from kwise.data.cohort import check_two_classes
from kwise.data.cohort_files import read_subject, write_subject
from kwise.data.loader import Acquisition, evaluation_batches
from kwise.data.population import name_of
from kwise.data.raw import open_any, with_kspace
from kwise.data.splits import default_root
from kwise.phenotypes import (
    area_and_length,
    area_length_volume,
    atrial_phenotypes,
    atrial_volumes,
    ventricular_phenotypes,
)
from kwise.predict.cohort import scans_below
from kwise.types import IGNORE

COHORT = DATASETS["cohort"]
Change = Callable[[list[dict[str, str]]], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cohort")
    words = ["simulate", "cohort", "-o", str(path), "--n", "3", "--frames", "3", "--size", "32"]
    assert main(words) == 0
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with (path / "manifest.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    path.mkdir(exist_ok=True, parents=True)
    with (path / "manifest.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def many(folder: Path, n: int = 90) -> list[dict[str, str]]:
    """A manifest of n subjects, a third of them in each split."""
    row = rows_of(folder)[0]
    return [
        row
        | {
            "subject": f"s{i}",
            "file": f"subjects/s{i}.h5",
            "split": ("train", "val", "test")[i % 3],
            "LVEDV_mL": str(100 + 7 * i % 50),
            "CAD": str(int(i % 10 < 4)),
        }
        for i in range(n)
    ]


# -- writing and reading


def test_a_cohort_on_disk_is_the_cohort_by_name(folder: Path) -> None:
    drawn = population_dataset(3, (32, 32))
    for row in rows_of(folder):
        case = row["subject"]
        scan, truth = COHORT.read(folder, case), drawn.read(None, case)
        assert torch.equal(scan.labels, truth.labels) and scan.mask is None
        assert (scan.image - truth.image).abs().max() < truth.image.max() / 30000
        assert scan.views == truth.views and scan.es == truth.es and scan.spacing_mm == truth.spacing_mm
        for name in ("phenotypes", "diseases", "covariates"):
            assert dict(getattr(scan, name)) == pytest.approx(getattr(truth, name), abs=1e-4)
        assert row["quality"] == "ok" and row["source"] == "synthetic" and "synthetic" in scan.notes["source"]
        with h5py.File(folder / row["file"]) as file:
            assert file["image"].dtype == "int16" and file["image"].chunks is None


def test_the_same_call_goes_on_where_it_was_stopped(folder: Path) -> None:
    first, second = (folder / row["file"] for row in rows_of(folder)[:2])
    kept = second.stat().st_mtime_ns
    first.unlink()
    again = ["simulate", "cohort", "-o", str(folder), "--n", "3", "--frames", "3", "--size", "32"]
    assert main([*again, "--processes", "2"]) == 0
    assert first.is_file() and second.stat().st_mtime_ns == kept
    assert not list(folder.rglob("*.part"))


def test_no_cohort_and_no_such_subject(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"looking for a cohort in .*: got no manifest.csv"):
        COHORT.cases(tmp_path)
    with pytest.raises(ValueError, match="got 'population-9'; wanted one like population-0"):
        COHORT.read(folder, "population-9")
    with pytest.raises(ValueError, match="got n = 0"):
        COHORT.cases(folder, None, 0)


# -- what is missing is masked and said


def test_missing_views_frames_and_labels(folder: Path, tmp_path: Path) -> None:
    whole = COHORT.read(folder, name_of(0))
    kept = [0, 2, 3, 4, 5, 6, 7]
    there = torch.ones(7, 3, 1, 1, dtype=torch.bool)
    there[3, 1] = False
    part = replace(
        whole,
        image=whole.image[kept],
        labels=None,
        views=tuple(whole.views[z] for z in kept),
        mask=there.expand(-1, -1, 32, 32),
    )
    write_subject(tmp_path / "part.h5", part)
    found = read_subject(tmp_path / "part.h5")
    assert found.shape == whole.shape and found.views == whole.views
    told = "view 1 (LAX_3CH), view 8 (SAX), 1 frames of view 4 (SAX), labels"
    assert found.notes["missing"] == told
    gone = torch.zeros(9, 3, dtype=torch.bool)
    gone[1] = gone[8] = True
    gone[4, 1] = True
    assert torch.equal(~found.mask.flatten(2).any(2), gone)
    assert not found.image[gone].any() and (found.labels == IGNORE).all()
    acquisition = Acquisition(matrix=None, fov_mm=None)
    (batch,) = evaluation_batches(["part"], lambda _: found, acquisition, 2.0, 1, "uniform")
    acquired = batch.measurement.mask[0].flatten(2).any(2)
    assert not acquired[gone].any() and acquired[~gone].all(), "nothing is measured where nothing was"


def test_unknown_phenotypes_are_nan_and_never_zero(folder: Path, tmp_path: Path) -> None:
    rows = many(folder)
    rows[0]["LVEDV_mL"], rows[0]["CAD"] = "", "nan"
    (tmp_path / "subjects").mkdir()
    scan = COHORT.read(folder, name_of(0))
    write_subject(write_manifest(tmp_path, rows) / "subjects" / "s0.h5", scan)
    found = COHORT.read(tmp_path, "s0")
    assert math.isnan(found.phenotypes["LVEDV_mL"]) and math.isnan(found.diseases["CAD"])
    assert found.phenotypes["LVESV_mL"] > 0 and found.case == "s0"


def zero(rows: list[dict[str, str]]) -> None:
    rows[4]["LVEDV_mL"] = "0"


def word(rows: list[dict[str, str]]) -> None:
    rows[4]["LVM_g"] = "heavy"


def third_class(rows: list[dict[str, str]]) -> None:
    rows[4]["CAD"] = "2"


def other_split(rows: list[dict[str, str]]) -> None:
    rows[4]["split"] = "holdout"


def twice(rows: list[dict[str, str]]) -> None:
    rows[4]["subject"] = rows[5]["subject"]


def same_file(rows: list[dict[str, str]]) -> None:
    rows[4]["file"] = rows[8]["file"]


def leak_by_class(rows: list[dict[str, str]]) -> None:
    for row in rows:
        row["hypertension"] = str(int(row["split"] == "test"))


def leak_by_value(rows: list[dict[str, str]]) -> None:
    for i, row in enumerate(rows):
        row["RVEDV_mL"] = str(200 + i) if row["split"] == "val" else str(50 + i)


BAD = {
    zero: "got LVEDV_mL = 0 of subject s4; wanted a positive value, or empty where unknown",
    word: "got LVM_g = 'heavy' of subject s4; wanted a number",
    third_class: "got CAD = 2 of subject s4; wanted 0, 1 or empty",
    other_split: "got split 'holdout' of subject s4; wanted one of train, val, test",
    twice: r"got subject s5 twice \(subjects s5 in val, s5 in test\)",
    same_file: r"got file subjects/s8.h5 twice \(subjects s4 in val, s8 in test\)",
    leak_by_class: "got column hypertension, which tells train from test; wanted labels that do not leak",
    leak_by_value: "got column RVEDV_mL, which tells train from val",
}


@pytest.mark.parametrize("change", BAD, ids=lambda f: f.__name__)
def test_misleading_manifests_are_refused(change: Change, folder: Path, tmp_path: Path) -> None:
    rows = many(folder)
    assert len(COHORT.cases(write_manifest(tmp_path / "good", rows), "val")) == 30
    change(rows)
    with pytest.raises(ValueError, match=BAD[change]) as error:
        COHORT.cases(write_manifest(tmp_path / "bad", rows), "val")
    assert "\n" not in str(error.value)


def test_a_split_of_one_class_is_refused(folder: Path, tmp_path: Path) -> None:
    rows = many(folder)
    for row in rows:
        row["CAD"] = row["CAD"] if row["split"] == "train" else "0"
    check_two_classes(write_manifest(tmp_path, rows), "CAD", "train")
    with pytest.raises(
        ValueError, match=r"classifying CAD in split test .*got CAD = 0 in every known subject"
    ):
        check_two_classes(tmp_path, "CAD", "test")
    with pytest.raises(ValueError, match="got no known flu"):
        check_two_classes(tmp_path, "flu", "test")


def test_damaged_and_foreign_subjects_are_refused(folder: Path, tmp_path: Path) -> None:
    scan = COHORT.read(folder, name_of(1))
    path = tmp_path / "s.h5"
    write_subject(path, scan)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"reading subject .*s.h5: got no HDF5, or a damaged one"):
        read_subject(path)
    with pytest.raises(ValueError, match="got no such file"):
        read_subject(tmp_path / "nobody.h5")
    for change, told in (
        (lambda f: f.attrs.update(version=9), "got format kwise-cohort-subject, version 9"),
        (lambda f: f.attrs.update(views='["SAX"]'), "of 9 slices; wanted the name of every slice"),
        (
            lambda f: f.attrs.update(views=str(["LAX_2CH"] * 9).replace("'", '"')),
            "got 9 views called LAX_2CH",
        ),
        (lambda f: f["labels"].__setitem__(slice(None), 9), "got labels from 9 to 9"),
        (lambda f: f.__delitem__("image"), "got no int16 image"),
    ):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(ValueError, match=told):
            read_subject(path)


# -- phenotypes


def test_area_length_rule_on_an_ellipse() -> None:
    """An ellipsoid with half axes 20, 20 and 25 mm, cut through its middle, tilted in the image."""
    y, x = torch.meshgrid(torch.arange(128.0) - 64, torch.arange(128.0) - 64, indexing="ij")
    c, s = math.cos(0.5), math.sin(0.5)
    inside = ((y * c + x * s) / 25).square() + ((x * c - y * s) / 20).square() < 1
    inside[0, 0] = True  # a stray pixel is another part
    area, length = area_and_length(inside, (1.0, 1.0), (c, s))
    assert area == pytest.approx(math.pi * 500, rel=0.01) and length == pytest.approx(50, rel=0.03)
    volume = 4 / 3 * math.pi * 20 * 20 * 25 / 1000
    assert area_length_volume([area, area], [length, length]) == pytest.approx(volume, rel=0.04)
    frames = torch.stack([inside.long() * 4, torch.zeros(128, 128, dtype=torch.int64)])
    found = atrial_volumes([frames], (1.0, 1.0), [(c, s)], "LA")
    assert float(found[0]) == pytest.approx(volume, rel=0.04) and found[1].isnan()
    assert atrial_phenotypes(torch.tensor([70.0, 28.0, math.nan]), "LA") == {
        "LASV_mL": 42.0,
        "LAEF_percent": pytest.approx(60.0),
    }
    assert math.isnan(atrial_phenotypes(found[1:], "LA")["LASV_mL"])
    with pytest.raises(ValueError, match="got 2 areas and 1 lengths"):
        area_length_volume([1.0, 1.0], [1.0])


REAL = ("LVEDV_mL", "LVESV_mL", "RVEDV_mL", "RVESV_mL", "LVEF_percent", "RVEF_percent")


def test_real_hearts_measure_as_their_table_says(real_data: Path) -> None:
    """ACDC: volumes within 1 %, ejection fractions within 0.1 point, mass plausible in every group."""
    stacks, masses = DATASETS["acdc_stack"], {}
    with (default_root() / "acdc.csv").open(newline="") as lines:
        table = {row["patient"]: row for row in csv.DictReader(lines)}
    for case in stacks.cases(None, None):
        scan = stacks.read(None, case)
        found = stack_phenotypes(scan)
        for name in REAL:
            tolerance = {"rel": 0.01} if name.endswith("_mL") else {"abs": 0.1}
            assert found[name] == pytest.approx(float(table[case][name]), **tolerance), (case, name)
        masses.setdefault(scan.notes["group"], []).append(found["LVM_g"])
    mean = {group: sum(values) / len(values) for group, values in masses.items()}
    assert sum(map(len, masses.values())) == 80
    assert 80 < mean["NOR"] < 130, "healthy adults: about 105 g"
    assert mean["HCM"] > 1.4 * mean["NOR"] and mean["DCM"] > 1.2 * mean["NOR"] > mean["RV"]
    assert all(25 < value < 350 for values in masses.values() for value in values)


def test_the_verb_phenotypes_prints_groups_and_writes_rows(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phenotypes", "acdc_stack", "--n", "6", "-o", str(tmp_path / "p.csv")]) == 0
    assert "DCM, " in capsys.readouterr().out
    with (tmp_path / "p.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 6 and {"case", "group", "LVM_g", "LVEF_percent"} <= set(rows[0])


def test_the_verb_phenotypes_on_virtual_subjects_says_what_it_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phenotypes", "cohort", "--root", str(folder)]) == 0
    assert "not a whole stack" in capsys.readouterr().out
    assert main(["phenotypes", "oasis", "--n", "1"]) == 2


def test_what_is_not_labelled_is_unknown() -> None:
    volumes = {"LV": torch.tensor([100.0, math.nan]), "myo": torch.tensor([80.0, math.nan])}
    found = ventricular_phenotypes(volumes, 0, 1)
    assert math.isnan(found["LVESV_mL"]) and math.isnan(found["LVEF_percent"])
    assert found["LVM_g"] == pytest.approx(84.0) and "RVEDV_mL" not in found


def test_info_describes_a_cohort(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "a cohort" in said and "subjects" in said and "3 (" in said and "CAD" in said


def test_misspelt_options_below_a_verb_are_told(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "cohort", "-o", str(tmp_path / "c"), "--frmes", "3"]) == 2
    assert "got '--frmes'; wanted --frames" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_cohort_on_disk_is_answered_like_any_folder_of_scans(folder: Path, tmp_path: Path) -> None:
    """Its images are magnitudes, and the answer says so; the manifest is no scan."""
    found = dict((name, path) for path, name in scans_below(folder, tmp_path / "out"))
    assert "manifest.csv" not in found and f"subjects/{name_of(0)}.h5" in found
    scan = with_kspace(open_any(found[f"subjects/{name_of(0)}.h5"]))
    assert scan.kspace is not None and scan.views is not None and len(scan.views) == 9
    assert scan.notes["format"] == "a subject of a kwise cohort"
    assert scan.notes["simulated"] == "k-space from a magnitude image"
