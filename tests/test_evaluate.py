"""Evaluation: a row per case whatever the batches, controls, per-frame rows, and CSV files written whole."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kwise.evaluate import evaluate, write_scores
from kwise.fourier import fft2c, ifft2c
from kwise.report.results import read_scores
from kwise.seeding import generator
from kwise.tasks.segmentation import Segmentation
from kwise.types import Batch, Measurement, Prediction, Query, Targets


class Threshold(nn.Module):
    """Sees LV where the zero-filled image is bright, and myocardium where it is fairly bright."""

    def forward(self, measurement: Measurement, query: Query) -> Prediction:
        image = ifft2c(measurement.kspace).abs()[:, 0]
        away = torch.stack([(image - level).abs() for level in (0.0, 1.0, 0.6, 0.3)], dim=1)
        return Prediction(-20 * away)


def case(name: str, acceleration: float) -> Batch:
    """One case of 3 frames, 8 x 8; its magnitude names its class."""
    labels = torch.randint(0, 4, (1, 1, 3, 8, 8), generator=generator(name))
    image = torch.tensor([0.0, 1.0, 0.6, 0.3])[labels]
    lines = torch.arange(8) % int(acceleration) == 0
    kspace = fft2c(image.to(torch.complex64)).unsqueeze(1)
    mask = lines.view(1, 1, 1, 8, 1).expand(1, 1, 3, 8, 8)
    targets = Targets(labels, spacing_mm=torch.tensor([[8.0, 2.0, 2.0]]))
    return Batch((name,), Measurement(kspace, mask), targets, (acceleration,))


def joined(*batches: Batch) -> Batch:
    spacing = torch.cat([b.targets.spacing_mm for b in batches if b.targets.spacing_mm is not None])
    return Batch(
        tuple(name for b in batches for name in b.cases),
        Measurement.stack([b.measurement for b in batches]),
        Targets(torch.cat([b.targets.labels for b in batches]), spacing_mm=spacing),
        tuple(r for b in batches for r in b.accelerations),
    )


def test_rows_name_their_case_and_do_not_depend_on_batches() -> None:
    a, b = case("a", 1), case("b", 2)
    alone = evaluate(Threshold(), [a, b], Segmentation())
    together = evaluate(Threshold(), iter([joined(a, b)]), Segmentation())
    assert list(alone[0])[:3] == ["case", "acceleration", "achieved_acceleration"]
    assert [(r["case"], r["acceleration"], r["achieved_acceleration"]) for r in alone] == [
        ("a", 1.0, 1.0),
        ("b", 2.0, 2.0),
    ]
    assert alone[0]["dice_foreground"] == 1
    assert alone[1]["dice_foreground"] < 1
    for one, other in zip(alone, together):
        assert one == pytest.approx(other, nan_ok=True)


def test_a_control_changes_what_the_model_sees_and_nothing_else() -> None:
    def centre_only(measurement: Measurement) -> Measurement:
        keep = torch.zeros(8, 1, dtype=torch.bool)
        keep[4] = True
        return replace(measurement, mask=measurement.mask & keep)

    rows = evaluate(Threshold(), [case("a", 1)], Segmentation(), control=centre_only)
    assert rows[0]["acceleration"] == 1
    assert rows[0]["achieved_acceleration"] == 8
    assert rows[0]["dice_foreground"] < 0.9


def test_frames_come_when_asked() -> None:
    frames: list[dict[str, float | str]] = []
    evaluate(Threshold(), [case("a", 1), case("b", 2)], Segmentation(), frame_rows=frames)
    assert len(frames) == 2 * 3 * 3
    assert list(frames[0]) == ["case", "acceleration", "frame", "class", "dice"]
    assert {f["class"] for f in frames} == {"LV", "myo", "RV"}


def test_the_model_is_evaluated_not_trained() -> None:
    class Judge(Threshold):
        def forward(self, measurement: Measurement, query: Query) -> Prediction:
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return super().forward(measurement, query)

    evaluate(Judge().train(), [case("a", 1)], Segmentation())


def test_errors_name_the_case() -> None:
    class Broken(nn.Module):
        def forward(self, measurement: Measurement, query: Query) -> Prediction:
            logits: Tensor = Threshold()(measurement, query).logits * math.nan
            return Prediction(logits)

    with pytest.raises(ValueError, match="evaluating a: scoring a segmentation: got NaN"):
        evaluate(Broken(), [case("a", 1)], Segmentation())
    with pytest.raises(ValueError, match="got no batch"):
        evaluate(Threshold(), [], Segmentation())


def test_scores_survive_the_disk_to_the_last_bit(tmp_path: Path) -> None:
    rows = evaluate(Threshold(), [case("a", 1), case("b", 4)], Segmentation())
    path = tmp_path / "deep" / "scores.csv"
    write_scores(path, rows)
    again = read_scores(path)
    assert [list(r) for r in again] == [list(r) for r in rows]
    for one, other in zip(rows, again):
        assert one.pop("case") == other.pop("case")
        assert one == pytest.approx(other, rel=0, abs=0, nan_ok=True)
    assert [p.name for p in path.parent.iterdir()] == ["scores.csv"]


def test_a_failed_write_keeps_the_older_file(tmp_path: Path) -> None:
    class Unprintable(float):
        def __repr__(self) -> str:
            raise OSError(28, "No space left on device")

        __str__ = __repr__

    path = tmp_path / "scores.csv"
    write_scores(path, [{"case": "a", "acceleration": 1.0}])
    with pytest.raises(OSError, match="No space"):
        write_scores(path, [{"case": "b", "acceleration": Unprintable(1.0)}])
    assert read_scores(path) == [{"case": "a", "acceleration": 1.0}]
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]
    with pytest.raises(ValueError, match="got no rows"):
        write_scores(path, [])
