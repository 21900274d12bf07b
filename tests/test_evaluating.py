"""`kwise evaluate`: controls that are controls, data sets that can be scored, and the words it takes."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kwise.cli import main
from kwise.data import DataSet, heart_dataset
from kwise.data.acquisition import Acquisition
from kwise.data.truth import targets_of
from kwise.recipes.preprocessing import data_of
from kwise.recipes.run import test_batches as scored_batches
from kwise.recipes.scoring import evaluate_checkpoint, other_hearts
from kwise.report.results import read_scores
from kwise.types import Batch, Scan

SEEN: dict[str, object] = {"matrix": [16, 16], "n_frames": 2, "shape": [32, 32]}
SMALL = Acquisition(matrix=(16, 16), accelerations=(2.0,))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path_factory.mktemp("evaluating") / "tiny", SEEN)


def batches_of(data: DataSet, n: int, acquisition: Acquisition = SMALL) -> list[Batch]:
    return list(scored_batches(data, acquisition, 2.0, "test", n))


# -- shuffled k-space


@pytest.mark.parametrize("n", [2, 10, 11, 12])
def test_every_heart_gets_the_kspace_of_another(n: int) -> None:
    own = batches_of(heart_dataset(2, (16, 16)), n)
    moved = list(other_hearts(iter(own)))
    assert [batch.cases for batch in moved] == [batch.cases for batch in own]
    before, after = (torch.cat([batch.measurement.kspace for batch in x]) for x in (own, moved))
    assert not any(torch.equal(a, b) for a, b in zip(before, after))
    for batch, other in zip(own, moved):  # a whole batch is rolled in itself, as it always was
        if len(batch.cases) > 1:
            assert torch.equal(other.measurement.kspace, batch.measurement.kspace.roll(1, dims=0))


def stacks_of(coils: int = 1) -> DataSet:
    """Stored hearts of 2 and 3 slices, and of 3 and 2 frames."""
    small = {i: heart_dataset(5 - i, (16, 16)) for i in (2, 3)}

    def read(root: Path | None, case: str) -> Scan:
        z = 2 + int(case[-1]) % 2
        scan = small[z].read(root, case)
        assert scan.image is not None and scan.labels is not None
        image, labels = (x.expand(z, -1, -1, -1) for x in (scan.image, scan.labels))
        return replace(scan, image=image, labels=labels, views=("SAX", "LAX_2CH", "LAX_4CH")[:z])

    return replace(small[2], read_case=read, stored=True)


def test_lone_hearts_of_other_slices_and_frames_keep_maps_and_views_with_their_kspace() -> None:
    acquisition = replace(SMALL, n_coils=2)
    own = batches_of(stacks_of(), 3, acquisition)
    moved = list(other_hearts(iter(own)))
    for batch, other, given in zip(own, moved, [*own[1:], own[0]]):
        have, wanted = other.measurement, batch.measurement
        assert have.shape == wanted.shape and have.views is not None and given.measurement.views is not None
        assert {*have.views[0].tolist()} <= {*given.measurement.views[0].tolist()}
        assert have.coil_maps is not None and given.measurement.coil_maps is not None
        assert torch.equal(have.coil_maps[:, :, 0], given.measurement.coil_maps[:, :, 0])
        assert torch.equal(have.kspace[0, :, 0, 0], given.measurement.kspace[0, :, 0, 0])
    along = batches_of(stacks_of(), 2, replace(SMALL, masks=("golden_angle_radial",)))
    for other, given in zip(other_hearts(iter(along)), along[::-1]):
        assert other.measurement.trajectory is not None and given.measurement.trajectory is not None
        assert torch.equal(other.measurement.trajectory[0, 0, 0], given.measurement.trajectory[0, 0, 0])


def test_one_heart_has_no_other(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shuffling k-space of heart: got one case; wanted two or more"):
        evaluate_checkpoint(checkpoint, tmp_path / "out", (2.0,), n=1, control="shuffled_kspace")
    assert not (tmp_path / "out").exists()
    evaluate_checkpoint(checkpoint, tmp_path / "out", (2.0,), n=11, control="shuffled_kspace")
    assert len(read_scores(tmp_path / "out" / "scores.csv")) == 11


# -- data sets that cannot be scored


def test_labels_of_the_lv_pool_alone_score_no_segmentation() -> None:
    with pytest.raises(ValueError, match=r"on sunnybrook: got .* segments LV, myo, RV; .* not LV pool alone"):
        data_of(SEEN, "sunnybrook")
    for name in ("heart", "heart_wide", "population", "acdc", "acdc_stack", "mnms"):
        assert data_of(SEEN, name).name == name
    six = {"task": "segmentation", "task_options": {"n_classes": 6}}
    assert data_of(six, "population").name == "population"
    with pytest.raises(ValueError, match="on heart: got a checkpoint that segments LV, myo, RV, LA, RA"):
        data_of(six, "heart")


def test_pixels_of_unknown_size_have_no_mm(checkpoint: Path, tmp_path: Path) -> None:
    data = heart_dataset(2, (16, 16))
    scan = data.read(None, "heart-test-000000")
    assert targets_of(scan, (16, 16)).spacing_mm is not None

    def read(root: Path | None, case: str) -> Scan:
        return replace(scan, case=case, notes={**scan.notes, "spacing": "not told"})

    pixels = replace(data, read_case=read)
    assert targets_of(read(None, "x"), (16, 16)).spacing_mm is None
    evaluate_checkpoint(checkpoint, tmp_path, (2.0,), n=2, data=pixels)
    for row in read_scores(tmp_path / "scores.csv"):
        unknown = {name for name, value in row.items() if name != "case" and math.isnan(float(value))}
        assert {name for name in row if name.endswith(("_mm", "_mm2"))} <= unknown
        assert not any(name.endswith("_px") and name in unknown for name in row)


# -- the words of `kwise evaluate`


def test_the_mask_is_chosen_checked_and_told(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def score(name: str, *words: str) -> list[dict[str, float | str]]:
        head = ["evaluate", str(checkpoint), "--n", "2", "--acceleration", "4", "-o", str(tmp_path / name)]
        assert main([*head, *words]) == 0
        return read_scores(tmp_path / name / "scores.csv")

    def written(name: str) -> bytes:
        return (tmp_path / name / "scores.csv").read_bytes()

    usual = score("usual")
    assert "measured by gaussian_lines at R = 4\n" in capsys.readouterr().out
    score("named", "--mask", "gaussian_lines")
    assert written("named") == written("usual")
    score("points", "--mask", "gaussian_2d")
    assert "measured by gaussian_2d at R = 4\n" in capsys.readouterr().out
    assert written("points") != written("usual")
    assert list(score("native", "--native")[0]) == list(usual[0])  # a committed table's columns
    assert written("native") != written("usual")
    bad = ["evaluate", str(checkpoint), "--mask", "gausian_lines", "-o", str(tmp_path / "bad")]
    assert main(bad) == 2 and "gaussian_lines" in capsys.readouterr().err


def test_a_data_set_is_looked_for_where_root_says(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(checkpoint), "-o", str(tmp_path / "out"), "--dataset"]
    assert main([*words, "acdc", "--root", str(tmp_path / "nowhere")]) == 2
    assert str(tmp_path / "nowhere") in capsys.readouterr().err
    assert main([*words, str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"kwise study --dataset {tmp_path}" in told and "KWISE_DATA" in told and told.count("\n") == 1
