"""The K-Space Transformer's tables, figures and data: from slices to a printed table, and what is refused."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.checkpoint import save_checkpoint
from kwise.cli.learning import PAPERS, SCALES
from kwise.data import DATASETS, brain, heart_dataset, slices
from kwise.data.acquisition import Acquisition, draw_scan_mask, measure, simulate
from kwise.data.loader import evaluation_batches
from kwise.models import MODELS
from kwise.models.kspace_attention import attention_map
from kwise.models.kspace_transformer import KSpaceTransformer
from kwise.recipes import RECIPES, Recipe
from kwise.recipes import kspace_transformer as recipes
from kwise.recipes import kspace_transformer_figures as figures
from kwise.recipes import kspace_transformer_table as table
from kwise.recipes.preprocessing import preprocessing_of
from kwise.recipes.rows import Row, regenerate, row_names
from kwise.recipes.run import build, loss_of, train_recipe, training_batches
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.recipes.tables import TABLES
from kwise.report.results import read_scores
from kwise.report.table import to_text
from kwise.tasks import Reconstruction
from kwise.training import Stage, schedule
from kwise.types import Measurement

TINY = {
    "width": 16, "heads": 2, "ffn": 16, "encoder_layers": 1, "lr_layers": 1, "hr_layers": 2,
    "refine_channels": 4, "refine_convs": 1,
}  # fmt: skip


def tiny(name: str, family: str = "2d") -> Recipe:
    """A small recipe of one step a stage on phantoms of 16 x 16."""
    made = recipes.small(name, family)
    sizes = {"unet": {"channels": (4, 6), "convs": 1}, "zero_filled": {}}
    own = {key: made.options[key] for key in ("refine", "lowres") if key in made.options}
    once = tuple(replace(stage, steps=1, warmup=0, validate_every=0) for stage in made.stages)
    return replace(
        made, dataset="heart", shape=(16, 16), stages=once, batch_size=2,
        options=sizes.get(made.model, TINY | own), acquisition=replace(made.acquisition, matrix=(16, 16)),
    )  # fmt: skip


# -- recipes


def test_published_numbers_stand_at_their_place() -> None:
    assert recipes.published("psnr_db", "oasis", "1d")["kspace_transformer"][5.0][0] == 31.50
    assert recipes.published("psnr_db", "oasis", "2d")["d5c5"][10.0][0] == 30.51
    assert recipes.published("ssim", "fastmri", "2d")["oucr_style"][2.5][0] == 0.8382
    assert recipes.published("psnr_db", "small", "1d")["kspace_transformer_no_refine_no_lr"][5.0][0] == 21.31
    assert RECIPES["unet_fastmri_1d"]().published[2.5][0] == 29.81


@pytest.mark.parametrize("family", recipes.FAMILIES)
def test_every_model_gets_the_same_batches_and_the_same_care(family: str) -> None:
    made = [recipes.small(name, family) for name in recipes.ENTRIES]
    for one in made:
        assert (one.acquisition, one.batch_size, one.task) == (
            made[0].acquisition,
            made[0].batch_size,
            Reconstruction(),
        )
        rates = {(stage.learning_rate, stage.matrix_rate, stage.weight_decay) for stage in one.stages}
        assert rates == {(made[0].stages[0].learning_rate, made[0].stages[0].matrix_rate, 1e-2)}


def test_three_stages_share_one_cosine() -> None:
    lr, hr, refine = RECIPES["kspace_transformer_oasis_1d"]().stages
    assert [stage.name for stage in (lr, hr, refine)] == ["lr", "hr", "refine"]
    assert (lr.steps, hr.steps, refine.steps) == (557_500, 557_500, 1_115_000)  # 50, 50 and 100 of 200 epochs
    assert schedule(lr, 0) == 1 and schedule(refine, refine.steps - 1) < 1e-9
    assert (
        schedule(hr, 0) == pytest.approx(schedule(lr, lr.steps), abs=1e-6) == pytest.approx(0.8536, abs=1e-4)
    )
    assert schedule(refine, 0) == pytest.approx(0.5, abs=1e-6)
    assert schedule(Stage(steps=100, warmup=0), 50) == pytest.approx(0.5)


def test_each_stage_trains_what_it_reaches_and_goes_on(tmp_path: Path) -> None:
    made = tiny("kspace_transformer")
    model, batch = build(made), training_batches(made)(0)
    reached = {}
    for stage in ("lr", "hr", "refine"):
        model.zero_grad()
        loss_of(made, stage, model, batch).backward()
        reached[stage] = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached["lr"] == {"embed", "encoder", "lr_decoder", "lr_heads"}
    assert reached["hr"] - reached["lr"] == {"hr_embed", "hr_decoder", "hr_heads"}
    assert reached["refine"] - reached["hr"] == {"refine"}
    train_recipe(made, tmp_path, progress=False)
    assert {path.name for path in tmp_path.glob("*.state.pt")} == {
        "lr.state.pt", "hr.state.pt", "refine.state.pt",
    }  # fmt: skip
    log = (tmp_path / "log.jsonl").read_text()
    train_recipe(made, tmp_path, progress=False)
    assert (tmp_path / "log.jsonl").read_text() == log, "a finished stage was trained again"


def test_r_counts_the_positions_of_the_grid_a_model_sees() -> None:
    scan = heart_dataset(1, (40, 40)).read(None, "heart-val-000000")
    cut = Acquisition(("gaussian_2d",), (4.0,), snr=None, matrix=(16, 16), fov_mm=None, masks_on_matrix=True)
    for acquisition, low, high in ((cut, 3.99, 4.01), (replace(cut, masks_on_matrix=False), 1.0, 3.0)):
        measured = simulate(scan, acquisition, ("x",))
        mask = draw_scan_mask(measured, "gaussian_2d", 4.0, ("x",))
        seen = measure(measured, mask, (16, 16))
        assert seen.shape[-2:] == (16, 16) and low <= seen.mask.numel() / int(seen.mask.sum()) <= high


# -- the table


@pytest.mark.parametrize("scale", table.SCALES)
def test_rows_have_places_of_their_own(scale: str) -> None:
    rows = list(table.rows(scale))
    assert max(Counter((row.place, row.run) for row in rows).values()) == 1
    assert all(RECIPES[row.recipe.name]() == row.recipe for row in rows)
    families = {row.table.rpartition("_")[2] for row in rows if row.name == "zero_filled"}
    assert families == {"1d", "2d"}
    assert set(recipes.WITHOUT) <= set(row_names(rows))


def test_an_unknown_scale_and_missing_scores(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choosing a scale: got 'acdc'; wanted small or paper"):
        list(table.rows("acdc"))
    with pytest.raises(ValueError, match="printing a table: got no scores such as"):
        table.tables("small", tmp_path)
    assert tuple(TABLES) == PAPERS
    assert {scale for paper in TABLES.values() for scale in paper.scales} == set(SCALES)


def test_train_score_print_and_draw(tmp_path: Path) -> None:
    results, runs = tmp_path / "results", tmp_path / "runs"
    names = ("zero_filled", "unet", "kspace_transformer")
    rows = [Row(name, tiny(name), "kspace_transformer_small_2d", n=2) for name in names]
    regenerate(rows, results, runs)
    for row in rows:
        scores = read_scores(results / row.place / "scores.csv")
        assert len(scores) == 6 and all(np.isfinite(score["psnr_db"]) for score in scores)
    again = (results / rows[0].place / "scores.csv").stat().st_mtime_ns
    regenerate(rows, results, runs)
    assert (results / rows[0].place / "scores.csv").stat().st_mtime_ns == again
    printed = "\n".join(map(to_text, table.tables("small", results)))
    for word in ("Table 2, Gaussian 2D", "zero_filled", "unet, published", "31.27", "complex_nmse"):
        assert word in printed, word
    drawn = figures.figures("small", results, runs, tmp_path / "figures")
    assert len(drawn) == 2 and all(path.stat().st_size > 1000 for path in drawn)


# -- figures


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folders with untrained tiny weights of the models that figures need."""
    runs = tmp_path_factory.mktemp("runs")
    for name in ("kspace_transformer", "kspace_transformer_no_refine", "unet"):
        made = tiny(name)
        folder = runs / f"{recipes.small(name, '2d').name}-seed0" / "checkpoint"
        save_checkpoint(folder, build(made), made.model, made.options, preprocessing_of(made))
    return runs


@pytest.mark.parametrize("figure", figures.FIGURES)
def test_figures_are_drawn(figure: str, trained: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(figures, "small", tiny)
    path = tmp_path / f"{figure}.png"
    figures.draw(figure, figures.View(case="heart-demo-000003"), trained, path)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_figures_say_what_is_missing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(figures, "small", tiny)
    with pytest.raises(ValueError, match="got 'error'; wanted one of errors, steps, attention"):
        figures.draw("error", figures.View(), tmp_path, tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"wanted its weights \(kwise train kspace_transformer_small_2d\)"):
        figures.draw("steps", figures.View(case="heart-demo-000003"), tmp_path, tmp_path / "x.png")


@torch.no_grad()
def test_attention_is_that_of_the_layer(make_measurement) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = KSpaceTransformer(**TINY).eval()
    whole = make_measurement(b=1, t=1, ky=10, kx=8)
    for part, shape in (("encoder", (2, 10, 8)), ("hr", (2, 5, 4))):
        found = attention_map(model, whole, part, 0, (5, 4))
        assert found.weights.shape == shape
        torch.testing.assert_close(found.weights.nansum(dim=(1, 2)), torch.ones(2))
        assert bool(whole.mask[0, 0, 0][found.query]) == (part == "encoder")
    seen = attention_map(model, whole, "encoder", 0, (5, 4)).weights.isfinite()
    assert torch.equal(seen[0], whole.mask[0, 0, 0]), "tokens are where samples are"
    # The weights reproduce what the fused layer adds to its query.
    attention, x = model.encoder[0].mix, torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(2))
    value = attention._split(attention.key_value(attention.norm(x)).chunk(2, dim=-1)[1])
    mixed = (attention.weights(x, 3).unsqueeze(2) @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close((x[:, 3:4] + attention.out(mixed)), attention(x)[:, 3:4])
    with pytest.raises(ValueError, match="got layer 4; wanted 0 to 1"):
        attention_map(model, whole, "hr", 4, (5, 4))
    with pytest.raises(ValueError, match="got a full measurement; wanted missing positions"):
        attention_map(
            model, Measurement(whole.kspace, torch.ones(1, 1, 1, 1, 1, dtype=torch.bool)), "hr", 0, (5, 4)
        )


# -- data


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A brain file of the true layout, its slices told apart by their brightness."""
    (tmp_path / "raw").mkdir()
    vol = np.ones((12, 160, 10)) * np.arange(160)[None, :, None] / 160
    np.savez(tmp_path / brain.FILE, vol=vol, seg=vol)
    return tmp_path


def test_brain_slices_of_two_splits_are_never_neighbours(volume: Path) -> None:
    of = {int(case[-3:]): split for split in ("train", "val", "test") for case in brain.cases(volume, split)}
    assert len(of) == 80 and Counter(of.values()) == {"train": 48, "test": 16, "val": 16}
    for z, split in of.items():
        for near in range(z - brain.GAP, z + brain.GAP + 1):
            assert of.get(near, split) == split
    scan = brain.read(volume, "brain-030")
    assert scan.shape == (1, 1, 12, 10) and float(scan.image[0, 0, 0, 0]) == pytest.approx(30 / 160)


@pytest.mark.parametrize(
    ("case", "message"),
    [("brain-035", "got case 'brain-035'; wanted one like"), ("brain-x", "got case 'brain-x'")],
)
def test_slices_between_blocks_are_nobodys(volume: Path, case: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):  # 035 is the last of a block
        brain.read(volume, case)


def test_a_damaged_or_missing_brain(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="looking for the brain volume: got no file"):
        brain.cases(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / brain.FILE).write_bytes(b"no archive")
    with pytest.raises(ValueError, match="got a damaged or foreign file"):
        brain.cases(tmp_path)


def test_slices_come_square_and_keep_their_brightness() -> None:
    image = torch.ones(30, 20)
    made = slices.reduced(image, (12, 12))
    assert made.shape == (12, 12) and made[6, 6] == pytest.approx(1, abs=0.2) and made[6, 0] < 0.2
    scan = slices.read(None, "heart/heart-test-000003", shape=(24, 24))
    assert scan.shape == (1, 1, 24, 24) and scan.labels is None
    with pytest.raises(ValueError, match="reading a slice: got 'knee/1'; wanted one of acdc, sunnybrook"):
        slices.read(None, "knee/1")


def test_patients_of_the_test_are_nobodys_training(real_data: Path) -> None:
    of = {split: DATASETS["slices"].cases(real_data, split) for split in ("train", "val", "test")}
    assert [len(of[split]) for split in ("train", "val", "test")] == [648, 20, 100]
    people = {
        split: {case.split("/")[1] for case in cases if case.startswith("acdc")}
        for split, cases in of.items()
    }
    assert not people["test"] & (people["train"] | people["val"]) and not people["val"] & people["train"]
    assert {case.split("/")[0] for case in DATASETS["slices"].cases(real_data, "test", 8)} == set(
        slices.COUNTS
    )
    scan = DATASETS["slices"].read(real_data, of["test"][0])
    assert scan.shape == (1, 1, 64, 64) and scan.image.max() > 0


# -- bad input


def test_a_full_measurement_comes_back_from_every_reconstruction(make_measurement) -> None:
    some = make_measurement(b=1, t=1, ky=8, kx=8)
    full = Measurement(some.kspace, torch.ones(1, 1, 1, 1, 1, dtype=torch.bool))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        wanted = MODELS["zero_filled"]()(full).image
        for options in ({}, {"refine": False}, {"refine": False, "lowres": False}):
            torch.testing.assert_close(KSpaceTransformer(**TINY, **options)(full).image, wanted)


def test_nothing_sampled_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="got a mask without a single acquired sample; wanted at least one True"
    ):
        Measurement(
            torch.ones(1, 1, 1, 1, 8, 8, dtype=torch.complex64), torch.zeros(1, 1, 1, 8, 1, dtype=torch.bool)
        )


def test_cases_of_different_sizes_are_scored(tmp_path: Path) -> None:
    made = tiny("kspace_transformer")
    sizes = {"heart-test-000000": (16, 12), "heart-test-000001": (9, 14)}
    data = replace(
        heart_dataset(1), stored=True,
        list_cases=lambda root, split, n: list(sizes),
        read_case=lambda root, case: heart_dataset(1, sizes[case]).read(None, case),
    )  # fmt: skip
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, build(made), made.model, made.options, preprocessing_of(made))
    acquisition = replace(made.acquisition, matrix=None)
    path = evaluate_checkpoint(folder, tmp_path, (2.5,), data=data, acquisition=acquisition)
    assert [row["case"] for row in read_scores(path)] == list(sizes)


def test_a_missing_reference_is_named(tmp_path: Path) -> None:
    made = tiny("zero_filled")
    checkpoint = train_recipe(made, tmp_path, progress=False)
    blind = replace(made.acquisition, reference=False)
    score = partial(evaluate_checkpoint, checkpoint, tmp_path / "scores", (2.5,), n=1)
    message = (
        "evaluating heart-test-000000: .*got targets without an image; wanted the fully sampled reference"
    )
    with pytest.raises(ValueError, match=message):
        score(acquisition=blind)
    assert not (tmp_path / "scores").exists(), "something half-written is left"

    def undersampled(root: Path | None, case: str):
        scan = simulate(heart_dataset(1, (16, 16)).read(None, case), made.acquisition, ("x",))
        return replace(scan, mask=draw_scan_mask(scan, "uniform", 2.0, ("x",)))

    data = replace(heart_dataset(1, (16, 16)), read_case=undersampled)
    with pytest.raises(
        ValueError, match="making the reference of heart-test-000000: got an undersampled scan"
    ):
        score(data=data)


def test_the_checkpoint_remembers_how_it_was_measured(tmp_path: Path) -> None:
    seen = json.loads(json.dumps(preprocessing_of(tiny("unet"))))
    assert seen["task"] == "reconstruction" and seen["masks_on_matrix"] and seen["reference"]
    batches = evaluation_batches(["heart-test-000000"], partial(heart_dataset(1, (16, 16)).read, None),
                                 tiny("unet").acquisition, 5.0)  # fmt: skip
    assert next(batches).targets.image.shape == (1, 1, 1, 16, 16)
