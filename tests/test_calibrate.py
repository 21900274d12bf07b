"""`kwise calibrate`: what it refuses, and whose hearts it looks at."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kwise.cli import main
from kwise.study.calibrate import calibrate


def seen(**others: object) -> dict[str, object]:
    return {"matrix": [64, 64], "fov_mm": 160.0, "classes": ["background", "LV", "myo", "RV"], **others}


@pytest.fixture
def checkpoint(tmp_path: Path, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path / "tiny", seen())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n", "5"], "wanted 20 hearts at least"),
        (["--mask", "unifrom"], "unifrom"),
        (["--level", "2"], "below 1"),
        (["--dataset", "acdc"], "got 'acdc'; wanted one of heart, heart_wide"),
    ],
)
def test_calibrating_needs_hearts_known_masks_and_a_phantom(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["calibrate", str(checkpoint), *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("trained_on", "first"), [("heart_wide", "wide"), ("acdc_both", "heart")])
def test_hearts_are_those_of_the_training_where_it_was_a_phantom(
    tmp_path: Path, save_tiny: Callable[..., Path], trained_on: str, first: str
) -> None:
    folder = save_tiny(tmp_path / "tiny", seen(trained_on=trained_on))
    made = json.loads(calibrate(folder, 20, ("gaussian_lines",), tell=lambda line: None).read_text())
    assert made["notes"]["hearts"][0].startswith(f"{first}-val-000200")


def test_a_model_that_sees_a_part_of_k_space_is_refused(
    tmp_path: Path, save_tiny: Callable[..., Path]
) -> None:
    folder = save_tiny(tmp_path / "tiny", seen(matrix=[32, 32]))
    with pytest.raises(ValueError, match="got no answer at about R = "):
        calibrate(folder, 20, ("gaussian_lines",), tell=lambda line: None)
