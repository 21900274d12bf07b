"""Cines that do not begin at end-diastole are answered as they beat."""

from dataclasses import replace

import pytest
import torch

from kwise.checkpoint import Loaded, find_checkpoint, load_checkpoint
from kwise.data.loader import Acquisition, evaluation_batches
from kwise.fourier import fft2c
from kwise.models import MODELS
from kwise.phantom import heart_scan
from kwise.predict import answer
from kwise.predict.beat import beats_more, begun_at, late_start, pair_held
from kwise.predict.cautions import beats_caution
from kwise.types import Scan

CASE = "heart-val-000003"


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load_checkpoint(find_checkpoint("demo"), MODELS)


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A heart at R = 8 whose file does not tell ED and ES."""
    return measured_beats(1, 8.0)


def measured_beats(n_beats: int, rate: float = 4.0) -> Scan:
    """So many beats of a heart, as one file holds them."""
    one = heart_scan(CASE)
    both = {"image": one.image.repeat(1, n_beats, 1, 1), "labels": one.labels.repeat(1, n_beats, 1, 1)}
    (batch,) = evaluation_batches([CASE], lambda case: replace(one, **both), Acquisition(), rate, 1)
    seen = batch.measurement
    return Scan(CASE, kspace=seen.kspace[0], mask=seen.mask[0], spacing_mm=one.spacing_mm)


def pools(*sizes: int) -> torch.Tensor:
    """Labels (1, t, 1, 10) whose LV pool has these sizes."""
    return (torch.arange(10) < torch.tensor(sizes)[:, None]).long()[None, :, None]


def test_a_turned_cine_keeps_every_frame_and_its_mask(scan: Scan) -> None:
    told = replace(scan, ed=0, es=5)
    late = begun_at(told, 4)
    assert (late.ed, late.es) == (8, 1)
    assert torch.equal(late.kspace[:, :, 0], told.kspace[:, :, 4])
    assert torch.equal(late.mask[:, 0], told.mask[:, 4])
    back = begun_at(late, 8)
    assert torch.equal(back.kspace, told.kspace) and (back.ed, back.es) == (0, 5)


def test_a_late_start_is_where_the_pool_is_largest() -> None:
    assert late_start(pools(9, 8, 5, 4, 5, 7, 8, 9)) is None
    assert late_start(pools(8, 7, 5, 4, 5, 7, 8, 9)) is None  # a frame before the first is no matter
    assert late_start(pools(5, 4, 5, 7, 9, 9, 8, 7)) == 4
    assert late_start(pools(9)) is None and late_start(pools(*[9] * 8)) is None
    assert beats_more(pools(9, 3), pools(9, 4)) and not beats_more(pools(0, 0), pools(0, 0))


def test_a_cine_that_begins_late_is_answered_from_its_end_diastole(loaded: Loaded, scan: Scan) -> None:
    first, late = answer(scan, loaded), answer(begun_at(scan, 4), loaded)
    assert not any("largest at frame" in sentence for sentence in first.cautions)
    assert any("largest at frame 9" in sentence for sentence in late.cautions)
    assert torch.equal(late.labels.roll(4, dims=1), first.labels)
    assert (late.ed, late.es) == ((first.ed - 4) % 12, (first.es - 4) % 12)
    assert torch.equal(late.intervals.curve[0].roll(4), first.intervals.curve[0])
    assert late.intervals.ef == first.intervals.ef


def test_a_file_that_tells_its_end_diastole_is_believed(loaded: Loaded, scan: Scan) -> None:
    told = answer(replace(begun_at(scan, 6), ed=6), loaded)
    assert torch.equal(told.labels.roll(6, dims=1), answer(replace(scan, ed=0), loaded).labels)
    assert not any("largest at frame" in sentence for sentence in told.cautions)


def test_several_beats_in_one_file_are_cautioned_about(loaded: Loaded) -> None:
    beat = (9, 8, 6, 4, 3, 4, 5, 7, 8, 9)
    assert beats_caution(pools(*beat)) == ()
    assert "empties 2 times" in beats_caution(pools(*beat, *beat))[0]
    assert beats_caution(pools(*[9] * 12)) == () and beats_caution(pools(9, 3, 9, 3)) == ()
    for n_beats in (1, 2, 3):
        said = answer(measured_beats(n_beats), loaded)
        assert any(f"empties {n_beats} times" in x for x in said.cautions) == (n_beats > 1)


@pytest.mark.parametrize("systole_first", [False, True])
def test_end_diastole_and_end_systole_alone_are_told_apart(loaded: Loaded, systole_first: bool) -> None:
    heart = heart_scan(CASE)
    es = int((heart.labels == 1).sum(dim=(0, 2, 3)).argmin())
    pair = [es, 0] if systole_first else [0, es]
    kspace = fft2c(heart.image[:, pair].to(torch.complex64))[None]
    scan = Scan(CASE, kspace=kspace, spacing_mm=heart.spacing_mm)
    said, pool = answer(scan, loaded), (heart.labels[:, pair] == 1).sum(dim=(0, 2, 3)).double()
    true = 100 * (1 - float(pool.min() / pool.max()))
    assert abs(said.ejection_fraction - true) < 6  # asked of the two frames as they are it is 30 too small
    assert [said.ed, said.es] == ([1, 0] if systole_first else [0, 1])
    assert len(said.intervals.curve[0]) == 2


def test_a_pair_is_held_for_half_a_beat_each() -> None:
    held = pair_held(Scan("x", image=torch.tensor([1.0, 2.0])[None, :, None, None]), 12)
    assert held.image.flatten().tolist() == [1, 1, 1, 2, 2, 2, 2, 2, 2, 1, 1, 1]
