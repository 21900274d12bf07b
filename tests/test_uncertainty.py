"""Intervals cover what they promise where their assumptions hold; broken calibrations are refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kwise.predict.answer import with_intervals
from kwise.predict.bounds import Watch, bound_columns, bound_facts, bound_lines
from kwise.study.calibrate import BLANK, Sample, _quantiles, _threshold, _usual, _variance_model, spread_of
from kwise.types import Measurement
from kwise.uncertainty import (
    CALIBRATION,
    TARGETS,
    Calibration,
    Target,
    at_rate,
    ef_doubt,
    expected_error,
    frame_evidence,
    intervals,
    read_calibration,
    strangeness,
    usual_features,
    write_calibration,
)


def synthetic(n: int, seed: int) -> list[Sample]:
    """Hearts whose areas are answered with an error that is twice the doubt, larger at larger R."""
    rng = np.random.default_rng(seed)
    samples = []
    for rate in BLANK.accelerations:
        for _ in range(n):
            ed, es = rng.normal(2000, 300), rng.normal(1000, 200)
            true = torch.tensor(np.linspace(ed, max(es, 100), 6))
            doubt = torch.tensor(rng.lognormal(math.log(20 * rate**0.5), 0.5, 6))
            said = (true + 2 * doubt * torch.tensor(rng.normal(size=6))).clamp(min=1.0)
            evidence = torch.stack([said, doubt, said * 0 + 800, said * 0 + 900])[:, None]
            samples.append(Sample("uniform", rate, said, doubt, true, usual_features(evidence, 1.0)))
    return samples


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    fit, held = synthetic(30, 0), synthetic(60, 6)
    centre, covariance = _usual(fit)
    draft = replace(BLANK, spread=spread_of(fit), centre=centre, covariance=covariance, limit=5.0)
    draft = replace(draft, targets={name: _variance_model(name, fit) for name in TARGETS})
    threshold, _ = _threshold(held, draft)
    targets = {name: _quantiles(name, held, draft) for name in TARGETS}
    return replace(draft, targets=targets, threshold=threshold, notes={"weights": "abc"})


def evidence_of(sample: Sample) -> Tensor:
    return torch.stack([sample.said, sample.doubt, sample.said * 0 + 800, sample.said * 0 + 900])[:, None]


def test_coverage_on_fresh_hearts_at_every_rate(calibration: Calibration) -> None:
    fresh, everywhere = synthetic(50, 7), []
    for rate in BLANK.accelerations:
        inside = []
        for s in (s for s in fresh if s.acceleration == rate):
            told = intervals(evidence_of(s), 1.0, rate, calibration)
            fraction = 100 * float(1 - s.true.min() / s.true.max())
            inside.append(
                [
                    told.ed[0] <= float(s.true.max()) <= told.ed[1],
                    told.es[0] <= float(s.true.min()) <= told.es[1],
                    told.ef[0] <= fraction <= told.ef[1],
                    float(((s.true >= told.curve[0]) & (s.true <= told.curve[1])).double().mean()),
                ]
            )
        everywhere.append(np.mean(inside, axis=0))
        assert (everywhere[-1] > 0.7).all(), (rate, everywhere[-1])  # 50 hearts: sd 6 %
    mean = np.mean(everywhere, axis=0)
    assert (mean > 0.85).all() and (mean < 0.96).all(), mean


def test_more_doubt_gives_wider_intervals(calibration: Calibration) -> None:
    lv, other = torch.tensor([[2000.0, 1000.0, 1500.0]]), torch.full((1, 3), 800.0)
    widths = []
    for doubt in (20.0, 60.0, 200.0):
        evidence = torch.stack([lv, torch.full((1, 3), doubt), other, other]).double()
        told = intervals(evidence, 1.0, 8.0, calibration)
        widths.append(told.ed[1] - told.ed[0])
        assert told.curve[0].shape == (3,) and bool((told.curve[0] <= told.curve[1]).all())
        assert 0 <= told.ef[0] <= told.ef[1] <= 100
    assert widths[0] < widths[1] < widths[2]


def test_a_doubtful_answer_is_flagged_and_a_sure_one_is_not(calibration: Calibration) -> None:
    lv, other = torch.tensor([[2000.0, 1300.0, 1000.0, 1500.0]]), torch.full((1, 4), 800.0)
    sure = torch.stack([lv, torch.full((1, 4), 10.0), other, other + 100]).double()
    lost = torch.stack([lv, torch.full((1, 4), 5000.0), other, other + 100]).double()
    assert intervals(sure, 1.0, 2.0, calibration).flags == ()
    assert any("too little" in flag for flag in intervals(lost, 1.0, 64.0, calibration).flags)


def test_no_pool_is_said_and_has_no_fraction(calibration: Calibration) -> None:
    told = intervals(torch.zeros(4, 1, 3).double(), 1.0, 8.0, calibration)
    assert math.isinf(told.expected) and math.isnan(told.ef[0])
    assert any("No LV pool" in flag for flag in told.flags)


def test_something_unlike_a_heart_is_told(calibration: Calibration) -> None:
    usual = torch.tensor(calibration.centre, dtype=torch.float64)
    assert strangeness(usual, calibration) == 0
    huge = torch.stack([torch.full((1, 5), v) for v in (90000.0, 10.0, 5.0, 90000.0)]).double()
    told = intervals(huge, 1.0, 2.0, calibration)
    assert told.strangeness > 1 and any("unlike" in flag for flag in told.flags)


def test_a_single_frame_is_bounded_without_a_fraction(calibration: Calibration) -> None:
    lv, doubt = torch.tensor([[1500.0]]).double(), torch.tensor([[30.0]]).double()
    assert math.isfinite(expected_error(lv, doubt, 8.0, calibration))
    features = usual_features(torch.stack([lv, doubt, lv, lv]), 1.0)
    assert math.isnan(float(features[-1])) and math.isfinite(strangeness(features, calibration))


def test_slices_add_up(calibration: Calibration) -> None:
    one = torch.tensor([[2000.0, 1000.0], [30.0, 30.0], [800.0, 800.0], [900.0, 900.0]]).double()[:, None]
    single = intervals(one, 1.0, 8.0, calibration)
    three = intervals(one.expand(-1, 3, -1), 1.0, 8.0, calibration)
    assert three.ed[1] - three.ed[0] == pytest.approx(3 * (single.ed[1] - single.ed[0]))


def test_rate_between_and_beyond_the_knots() -> None:
    values = tuple(range(len(BLANK.accelerations)))
    assert at_rate(BLANK, values, 4.0) == pytest.approx(2)
    assert at_rate(BLANK, values, 2**2.5) == pytest.approx(2.5)
    assert at_rate(BLANK, values, 0.5) == 0 and at_rate(BLANK, values, 1000) == values[-1]


def test_evidence_counts_pixels_and_doubt() -> None:
    logits = torch.zeros(4, 1, 1, 2, 2)
    logits[1, ..., 0, :] = 50  # two sure pixels of LV pool
    logits[2, ..., 1, 0] = 50
    logits[0, ..., 1, 1] = 50
    assert frame_evidence(logits, 1.0)[:, 0, 0].tolist() == pytest.approx([2, 0, 1, 0], abs=1e-6)
    unsure = frame_evidence(torch.zeros(4, 1, 1, 2, 2), 1.0)
    assert float(unsure[1]) == pytest.approx(4 * 0.25 * 0.75)
    # a higher temperature never makes a sure model surer
    assert float(frame_evidence(logits / 10, 2.0)[1]) > float(frame_evidence(logits / 10, 1.0)[1])


def test_ef_doubt_by_the_delta_method() -> None:
    assert ef_doubt(100, 40, 0, 5) == pytest.approx(5)
    assert ef_doubt(100, 40, 10, 0) == pytest.approx(4)
    assert math.isnan(ef_doubt(0, 0, 1, 1))


def test_files_come_back_and_foreign_ones_are_refused(tmp_path: Path, calibration: Calibration) -> None:
    assert read_calibration(tmp_path, "abc") is None
    file = write_calibration(tmp_path, calibration)
    assert file.name == CALIBRATION and read_calibration(tmp_path, "abc") == calibration
    assert read_calibration(tmp_path, "other") is None  # the weights were replaced since
    told = json.loads(file.read_text())
    for broken in ("{", "[]", json.dumps({**told, "version": 2}), json.dumps({**told, "targets": {}})):
        file.write_text(broken)
        with pytest.raises(ValueError, match="kwise calibrate"):
            read_calibration(tmp_path, "abc")


def test_watch_keeps_the_last_look_alone(calibration: Calibration) -> None:
    mask = torch.ones(1, 1, 2, 8, 1, dtype=torch.bool)
    measurement = Measurement(torch.ones(1, 1, 1, 2, 8, 8, dtype=torch.complex64), mask)
    logits = torch.randn(4, 1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    twice, once = Watch(calibration), Watch(calibration)
    for watch, looks in ((twice, 2), (once, 1)):
        for _ in range(looks):
            watch.start(measurement, (1.5, 1.5))
            watch.see(logits)
    both = torch.arange(2)
    first, second = twice.intervals(both), once.intervals(both)
    assert first is not None and second is not None and first.ed == second.ed
    silent = Watch(None)
    silent.start(measurement, (1.0, 1.0))
    silent.see(logits)
    assert silent.intervals(both) is None


def test_an_answer_without_calibration_says_nothing_new() -> None:
    from kwise.predict import Answer
    from kwise.types import Scan

    plain = Answer(Scan("x", image=torch.ones(1, 1, 2, 2)))
    assert with_intervals(plain, None) is plain
    assert bound_columns(None) == {} and bound_lines(None) == []


def test_bounds_reach_phenotypes_columns_and_words(calibration: Calibration) -> None:
    from kwise.phenotypes import Phenotype
    from kwise.predict import Answer
    from kwise.types import Scan

    told = intervals(evidence_of(synthetic(1, 9)[0]), 1.0, 8.0, calibration)
    plain = Answer(
        Scan("x", image=torch.ones(1, 1, 2, 2)),
        phenotypes=(Phenotype("LV_area_EF_percent", 50.0, "%"), Phenotype("LVM_g", 90.0, "g")),
    )
    found = with_intervals(plain, told)
    assert (found.phenotypes[0].low, found.phenotypes[0].high) == told.ef
    assert found.phenotypes[0].about == "90 % interval of the calibration"
    assert math.isnan(found.phenotypes[1].low) and found.cautions == told.flags
    columns = bound_columns(told)
    assert len(columns["LV_pool_low_mm2"]) == 6 and columns["LV_area_EF_low_percent"] == [told.ef[0]] * 6
    assert "90 % intervals: area EF" in bound_lines(told)[0] and "virtual" in bound_lines(told)[1]
    assert any("90 % interval" in key for key in bound_facts(told))


def test_variance_model_finds_the_law_of_the_errors() -> None:
    target = _variance_model("frame", synthetic(30, 3))
    assert isinstance(target, Target)
    assert target.weights[1] == pytest.approx(1, abs=0.1)  # errors in proportion to the doubt
    assert target.weights[2] == pytest.approx(0, abs=0.1)  # R says nothing beyond it
