"""A joint checkpoint answers a file of nine views: every output, a missing view, views that nobody named."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kwise.checkpoint import save_checkpoint
from kwise.cli import main
from kwise.data import population_dataset
from kwise.data.kspace_file import read_scan, write_scan
from kwise.data.loader import draw_scan_mask
from kwise.models import MODELS
from kwise.phenotypes import DISEASES, PHENOTYPES
from kwise.predict import predict_file
from kwise.recipes.kmtr import ROWS, SCALES
from kwise.recipes.preprocessing import preprocessing_of
from kwise.seeding import generator
from kwise.simulate import simulate_scan
from kwise.types import Scan


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained joint model."""
    recipe = replace(ROWS["joint"](SCALES["small"]), options={"preset": "tiny"}, n_frames=3)
    recipe = replace(recipe, acquisition=replace(recipe.acquisition, matrix=(16, 16)))
    folder = tmp_path_factory.mktemp("joint") / "checkpoint"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = MODELS["kmtr_joint"](**recipe.options)
    save_checkpoint(folder, model, "kmtr_joint", recipe.options, preprocessing_of(recipe))
    return folder


@pytest.fixture(scope="module")
def subject() -> Scan:
    scan = population_dataset(3, (24, 24), 180.0).read(None, "population-000007")
    full = simulate_scan(scan, phase="paper", generator=generator("file"))
    mask = draw_scan_mask(full, "kt_variable_density", 4.0, ("file",)).expand(full.shape).contiguous()
    return replace(full, mask=mask)


def phenotypes_in(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "phenotypes.csv").open() as file:
        rows = list(csv.DictReader(file))
    key = next(name for name in rows[0] if name in ("name", "phenotype"))
    return {row[key]: row for row in rows}


def test_views_survive_the_file(subject: Scan, tmp_path: Path) -> None:
    write_scan(tmp_path / "s.h5", subject)
    assert read_scan(tmp_path / "s.h5").views == subject.views


def test_one_file_gets_every_answer(checkpoint: Path, subject: Scan, tmp_path: Path) -> None:
    write_scan(tmp_path / "s.h5", subject)
    found = predict_file(tmp_path / "s.h5", tmp_path / "out", checkpoint)
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"segmentation.nii.gz", "reconstruction.nii.gz", "phenotypes.csv", "report.html"} <= made
    assert found.labels.shape == subject.shape and found.image.shape == subject.shape
    rows = phenotypes_in(tmp_path / "out")
    for name in PHENOTYPES:
        low, value, high = (float(rows[name][key]) for key in ("low", "value", "high"))
        assert low < value < high, name
    for name in DISEASES:
        assert 0 < float(rows[f"{name}_probability"]["value"]) < 1
        assert "called from" in rows[f"{name}_probability"]["about"]
    assert (
        json.loads((tmp_path / "out" / "phenotypes.json").read_text())["phenotypes"]["LVEDV_mL"]["unit"]
        == "mL"
    )


def test_a_missing_view_is_said(checkpoint: Path, subject: Scan, tmp_path: Path) -> None:
    mask = subject.mask.clone()
    mask[2] = False
    write_scan(tmp_path / "s.h5", replace(subject, mask=mask))
    found = predict_file(tmp_path / "s.h5", tmp_path / "out", checkpoint)
    assert any("view 3 (LAX_4CH)" in sentence for sentence in found.cautions)
    assert "view 3 (LAX_4CH)" in (tmp_path / "out" / "report.html").read_text()
    write_scan(tmp_path / "t.h5", replace(subject, views=None))
    bare = predict_file(tmp_path / "t.h5", tmp_path / "bare", checkpoint)
    assert any("does not name its views" in sentence for sentence in bare.cautions)


def test_the_command_line_answers(
    checkpoint: Path, subject: Scan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "s.h5", subject)
    assert (
        main(["predict", str(tmp_path / "s.h5"), "-o", str(tmp_path / "o"), "--checkpoint", str(checkpoint)])
        == 0
    )
    assert "population-000007: 9 slice(s)" in capsys.readouterr().out
