"""A checkpoint sees the same kind of measurement wherever it answers: `evaluate`, `predict` and `study`."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from kwise.checkpoint import save_checkpoint
from kwise.data import dataset
from kwise.data.acquisition import Acquisition, simulate
from kwise.data.kspace_file import write_scan
from kwise.models import MODELS
from kwise.predict import predict_file
from kwise.recipes import recipe
from kwise.recipes.preprocessing import preprocessing_of
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.study.bench import open_bench
from kwise.study.cohort import open_cohort
from kwise.types import Measurement, Prediction, Query, Scan


class Seer(nn.Module):
    """Calls everything background, and keeps what it saw."""

    seen: list[Measurement] = []  # noqa: RUF012  checkpoints make models of their own

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, measurement: Measurement, query: Query) -> Prediction:
        self.seen.append(measurement)
        b, z, t, y, x = measurement.shape
        f = t if query.frames is None else query.frames.shape[1]
        y, x = query.resolution or (y, x)
        return Prediction(torch.tensor([1.0, 0, 0, 0])[:, None, None, None, None].expand(b, 4, z, f, y, x))


@pytest.fixture
def seer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoint of four virtual coils of eight."""
    monkeypatch.setitem(MODELS, "seer", Seer)
    told = json.loads(json.dumps(preprocessing_of(recipe("harmonic_unet_four_coils_raw"))))
    save_checkpoint(tmp_path / "seer", Seer(), "seer", {}, told)
    Seer.seen.clear()
    yield tmp_path / "seer"
    Seer.seen.clear()


@pytest.mark.parametrize("n_coils", [1, 4, 8])
def test_evaluate_predict_and_study_see_the_same_coils(seer: Path, tmp_path: Path, n_coils: int) -> None:
    evaluate_checkpoint(seer, tmp_path / "scores", (8.0,), n=1)
    scan = simulate(dataset("heart").read(None, "heart-test-000000"), Acquisition(n_coils=n_coils), ("file",))
    assert (scan.coil_maps is not None) == (n_coils > 1)
    write_scan(tmp_path / "p.h5", replace(scan, labels=None))
    predict_file(tmp_path / "p.h5", tmp_path / "out", seer)
    bench = open_bench(seer, open_cohort("heart", None, None, 1))
    (answered,) = bench.answers("gaussian_lines", 8.0)
    assert len(Seer.seen) >= 3 and len(bench.scan(answered.case).kspace) == 8  # type: ignore[arg-type]
    assert {(m.kspace.shape[1], m.coil_maps is None) for m in Seer.seen} == {(4, True)}
    for seen in Seer.seen:  # the strongest first
        energy = seen.kspace[0].abs().square().flatten(1).sum(dim=1)
        assert torch.equal(energy, energy.sort(descending=True).values)


def test_a_study_measures_hearts_that_name_their_views(seer: Path) -> None:
    heart = open_cohort("heart", None, None, 2)
    views = [("SAX",), None]

    def read(case: str) -> Scan:
        return replace(heart.read(case), views=views[heart.cases.index(case)])

    found = list(open_bench(seer, replace(heart, read=read)).answers("uniform", 4.0))
    assert [None if one.seen.views is None else one.seen.views.tolist() for one in found] == [[[0]], None]
    bench = open_bench(seer, replace(heart, read=lambda case: replace(heart.read(case), views=("LAX_4CH",))))
    assert [one.seen.views.tolist() for one in bench.answers("uniform", 4.0)] == [[[3]], [[3]]]  # type: ignore[union-attr]
