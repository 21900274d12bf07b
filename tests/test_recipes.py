"""Recipes: every one builds its model and takes a step; one goes from training to the printed table."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from kwise.checkpoint import load_checkpoint
from kwise.cli.recipes import run_train
from kwise.data import heart_dataset
from kwise.data.kept import KEEP_VARIABLE
from kwise.data.loader import Acquisition
from kwise.models import MODELS
from kwise.models.controls import CONTROLS
from kwise.models.mean_shape import MeanShape
from kwise.models.train_mean import TrainMean
from kwise.nn.conv import UNet
from kwise.recipes import RECIPES, Recipe, disk_table, recipe
from kwise.recipes.disk import ACCELERATIONS, PUBLISHED
from kwise.recipes.overrides import apply_overrides, check_options
from kwise.recipes.preprocessing import acquisition_of, data_of, preprocessing_of, task_of
from kwise.recipes.rows import Row, regenerate, score_row
from kwise.recipes.run import (
    build,
    loss_of,
    train_recipe,
    training_batches,
    validation_score,
)
from kwise.recipes.run import (
    test_batches as scored_batches,
)
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.report.results import read_results, read_scores
from kwise.report.table import to_text
from kwise.tasks import Reconstruction, Segmentation
from kwise.tasks.segmentation import quick_dice
from kwise.training import train
from made_up_scores import write_made_up_scores

every_recipe = pytest.mark.parametrize("name", sorted(RECIPES))
# Of recipes that differ in their data alone, one is enough to build and train.
DISTINCT = {
    (made.model, str(made.options), made.task, tuple(stage.name for stage in made.stages), made.augment): name
    for name, made in ((name, make()) for name, make in sorted(RECIPES.items()))
}
every_distinct_recipe = pytest.mark.parametrize("name", sorted(DISTINCT.values()))
TINY = (
    "n_frames=4",
    "shape=16,16",
    "acquisition.matrix=16,16",
    "acquisition.accelerations=2,8",
    "batch_size=2",
    "frames=2",
    "n_validation=2",
    "stages.steps=2",
    "stages.save_every=1",
    "stages.validate_every=1",
    "stages.warmup=1",
)


def tiny(name: str = "syn_net_shared_small", *changes: str) -> Recipe:
    narrow = ("options.channels=4,8,8",) if name != "mean_shape_small" else ()
    return apply_overrides(RECIPES[name](), (*TINY, *narrow, *changes))


# Sizes of the models of the population's recipes, whose own may have 10^8 weights.
NARROW: dict[str, dict[str, object]] = {
    "k_gin": {
        "matrix": (16, 16), "n_frames": 3, "width": 16, "layers": 1, "decoder_layers": 1, "refine_layers": 1,
        "heads": 2,
    },
    "resnet50": {"n_frames": 3, "channels": 8},
    "nnunet_style": {"channels": (4, 8, 8)},
    "li_net": {"matrix": (16, 16), "n_frames": 3, "channels": (4, 6)},
}  # fmt: skip


def on_the_population(start: Recipe) -> Recipe:
    """The recipe on two of four small subjects, who have phenotypes and diseases, its model narrow; the head,
    the task, the stages and their precision are its own.
    """
    preset = {"preset": "tiny"} if "preset" in start.options else {}
    return replace(
        start,
        init_from=None,
        n_frames=3,
        shape=(16, 16),
        options={**start.options, **preset, **NARROW.get(start.model, {})},
        acquisition=replace(start.acquisition, matrix=(16, 16)),
        batch_size=2,
        n_train=4,
    )


def made_small(start: Recipe) -> Recipe:
    """The recipe at a size that is trained in a moment, with no checkpoint to start from."""
    return on_the_population(start) if start.dataset == "population" else on_the_phantom(start)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that remembers the subjects this module draws."""
    return tmp_path_factory.mktemp("kept")


def on_the_phantom(start: Recipe) -> Recipe:
    """The recipe on a small phantom, with no checkpoint to start from: one case and at most 200 points."""
    side = 16 if start.acquisition.reference else 32
    return replace(
        start,
        dataset="heart",
        init_from=None,
        n_frames=4 if side == 32 else 1,
        shape=(side, side),
        acquisition=replace(start.acquisition, matrix=(side, side)),
        batch_size=1,
        points=None if start.points is None else 200,
        frame_counts=None if start.frame_counts is None else (4, 6),
    )


# -- every recipe


@every_recipe
def test_a_recipe_is_complete(name: str) -> None:
    made = RECIPES[name]()
    assert made.name == name and recipe(name) == made
    assert made.model in MODELS
    check_options(MODELS[made.model], made.options, f"checking {name}")
    assert made.stages and len({stage.name for stage in made.stages}) == len(made.stages)
    assert set(made.published) <= set(made.acquisition.accelerations)
    json.dumps(preprocessing_of(made))
    json.dumps(dict(made.options))


@every_distinct_recipe
def test_a_recipe_builds_the_same_model_twice(name: str, global_state_untouched: None) -> None:
    made = replace(RECIPES[name](), init_from=None)
    if made.dataset == "population":  # as wide as they are they take minutes
        made = on_the_population(made)
    first, again = build(made).state_dict(), build(made).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_the_seed_draws_the_weights() -> None:
    first, other = (build(replace(tiny(), seed=seed)).state_dict() for seed in (0, 1))
    assert any(not torch.equal(first[key], other[key]) for key in first)


@every_distinct_recipe
def test_a_recipe_takes_a_training_step(
    name: str, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEEP_VARIABLE, str(kept))
    made = made_small(RECIPES[name]())
    model, batches = build(made), training_batches(made)
    before = {key: x.clone() for key, x in model.state_dict().items()}
    if isinstance(model, (MeanShape, TrainMean)):
        model.fit([batches(0)])
        assert any(not torch.equal(x, before[key]) for key, x in model.state_dict().items())
        return
    if not list(model.parameters()):
        assert made.model == "zero_filled"
        return
    for stage in made.stages:
        if stage.name in getattr(model, "fitted_stages", ()):  # needs more cases: tests/test_kmtr_recipes.py
            continue
        one = replace(stage, steps=1, validate_every=0, warmup=0, schedule="constant")
        train(model, batches, partial(loss_of, made, stage.name), one, tmp_path, progress=False)
    moved = [key for key, x in model.state_dict().items() if not torch.equal(x, before[key])]
    assert len(moved) > len(before) / 2
    assert all(bool(torch.isfinite(x).all()) for x in model.state_dict().values())


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"choosing a recipe: got 'dsk_small'; wanted one like .*disk_small"):
        recipe("dsk_small")


def test_an_unknown_model_or_a_foreign_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="building a model: got 'u-net'; wanted one of "):
        build(replace(tiny(), model="u-net"))
    checkpoint = train_recipe(tiny("mean_shape_small"), tmp_path, progress=False)
    with pytest.raises(ValueError, match="starting syn_net_shared_small: got a checkpoint of mean_shape"):
        build(replace(tiny(), init_from=str(checkpoint)))


def test_a_deeper_network_begins_with_the_upper_levels_of_a_shallower_one(tmp_path: Path) -> None:
    shallow = tiny("syn_net_shared_small", "options.channels=4,6", "init_from=none")
    folder = str(train_recipe(shallow, tmp_path, progress=False))
    begun, drawn = (
        build(replace(shallow, options={"channels": (4, 6, 8)}, init_from=start)) for start in (folder, None)
    )
    trained = build(replace(shallow, init_from=folder)).state_dict()
    moved = {"net.up.0": "net.up.1"}  # counted from the bottom
    for key, value in trained.items():
        key = next((key.replace(old, new) for old, new in moved.items() if key.startswith(old)), key)
        assert torch.equal(begun.state_dict()[key], value), key
    for key in ("net.down.2.conv0.weight", "net.up.0.conv0.weight"):
        assert torch.equal(begun.state_dict()[key], drawn.state_dict()[key])
    for options in ({"channels": (4, 10, 6)}, {"channels": (4,)}, {"channels": (4, 6, 8), "n_windows": 3}):
        with pytest.raises(ValueError, match="starting syn_net_shared_small: got a checkpoint with channels"):
            build(replace(shallow, options=options, init_from=folder))
    with pytest.raises(ValueError, match=r"got channels \(4, 6, 8\); wanted those that \(4, 6\) begin with"):
        UNet(3, 2, (4, 6)).begin_from(UNet(3, 2, (4, 6, 8)))


# -- overrides


def test_overrides_reach_every_part_of_a_recipe() -> None:
    made = tiny("li_net_small", "stages.0.learning_rate=0.5", "task.dice_weight=2", "seed=7", "frames=none")
    assert made.shape == (16, 16) and made.frames is None and made.seed == 7
    assert made.acquisition.accelerations == (2.0, 8.0) and made.task.dice_weight == 2.0
    assert [stage.steps for stage in made.stages] == [2, 2, 2]
    assert [stage.learning_rate for stage in made.stages] == [0.5, 3e-3, 3e-3]
    assert made.options["channels"] == (4, 8, 8)
    assert RECIPES["li_net_small"]().seed == 0, "an override changed the recipe for everyone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.step=3", "got no field 'step' in Stage; wanted steps"),
        ("batch_size=many", "got 'many'; wanted int"),
        ("acquisition=4", "wanted acquisition.FIELD"),
        ("stages.9.steps=1", "got index 9; wanted 0 to 0"),
        ("seed", "wanted KEY=VALUE"),
    ],
)
def test_a_wrong_override_names_its_key(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny("syn_net_shared_small", change)


# -- the table


@pytest.mark.parametrize("scale", disk_table.SCALES)
def test_no_two_rows_of_a_table_share_a_place(scale: str) -> None:
    rows = list(disk_table.rows(scale))
    files = Counter((row.place, row.suffix) for row in rows)
    assert max(files.values()) == 1, files.most_common(1)
    for row in rows:
        assert row.recipe.model in MODELS and row.control in {None, *CONTROLS}
        assert not row.true_centre or row.recipe.model == "mean_shape"
    runs = {row.run: replace(row.recipe) for row in rows}
    assert all(runs[row.run] == row.recipe for row in rows), "two recipes train into one folder"


def test_the_small_table_has_its_floors_controls_and_seeds() -> None:
    names = Counter(row.name for row in disk_table.rows("small"))
    for name in disk_table.HEADLINES:
        assert names[name] == 3
    for name in ("mean_shape", "mean_shape_true_centre", "disk", "syn_net", "li_net", "nnunet_style"):
        assert names[name] == 1
    for name in disk_table.CONTROLLED:
        assert names[f"{name}_shuffled_kspace"] == names[f"{name}_centre_only"] == 1
    with pytest.raises(ValueError, match="got 'huge'; wanted one of small, wide, acdc, folds, unseen, paper"):
        list(disk_table.rows("huge"))


def test_wide_rows_stand_beside_those_of_the_small_table(tmp_path: Path) -> None:
    for place in ("disk_wide/harmonic_unet_wide/seed0", "disk_small/harmonic_unet/seed0"):
        write_made_up_scores(tmp_path / place)
    first = disk_table.tables("wide", tmp_path)[0]
    assert [row[0] for row in first.rows] == ["harmonic_unet_wide", "harmonic_unet"]


def test_wide_rows_are_asked_about_other_cases_than_they_were_trained_on() -> None:
    for row in disk_table.rows("wide"):
        assert row.asked is not None and row.asked.dataset == "heart" and row.split == "test"
        assert row.asked.acquisition.masks == ("gaussian_lines",)
    unseen = list(disk_table.rows("unseen"))
    assert {row.split for row in unseen} == {"train", "val"}  # ACDC's words: here nobody trains on either
    for row in unseen:
        assert row.asked is not None and row.asked.dataset == "acdc" and row.asked.acquisition.native
        assert row.recipe.dataset in {"heart", "heart_wide"}


def test_a_row_is_scored_as_it_is_asked(tmp_path: Path) -> None:
    made = tiny()
    checkpoint = train_recipe(made, tmp_path / "run", progress=False)
    other = replace(made.acquisition, accelerations=(3.0,))
    row = Row("tiny", made, "table", n=2, asked=replace(made, dataset="heart_wide", acquisition=other))
    scores = read_scores(score_row(row, checkpoint, tmp_path / "scored"))
    assert [(line["case"], line["acceleration"]) for line in scores] == [
        ("wide-test-000000", 3.0), ("wide-test-000001", 3.0),
    ]  # fmt: skip
    regenerate([row], tmp_path / "results", tmp_path / "runs")
    asked = json.loads((tmp_path / "results" / row.place / "asked.json").read_text())
    assert asked["dataset"] == "heart_wide" and asked["acquisition"]["accelerations"] == [3.0]


def test_what_a_row_begins_with_is_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = tiny("syn_net_shared_small", "name=first")
    monkeypatch.setitem(RECIPES, "first", lambda: first)
    made = replace(first, name="second", init_from="runs/first-seed{seed}/checkpoint")
    regenerate([Row("second", made, "table", n=1)], tmp_path / "results")
    assert (tmp_path / "runs/first-seed0/checkpoint").exists()
    assert read_scores(tmp_path / "results/table/second/seed0/scores.csv")


def test_train_first_trains_what_a_recipe_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = tiny("syn_net_shared_small", "name=first")
    monkeypatch.setitem(RECIPES, "first", lambda: first)
    start = "runs/first-seed{seed}/checkpoint"
    monkeypatch.setitem(RECIPES, "second", lambda: replace(first, name="second", init_from=start))
    run_train("second", [], None, 3, 1, "small")
    assert (tmp_path / "runs/first-seed3/checkpoint").exists()
    assert (tmp_path / "runs/second-seed3/checkpoint").exists()
    assert "second begins with first: training it first, into runs/first-seed3" in capsys.readouterr().out


def test_published_numbers_stand_beside_the_paper_recipes() -> None:
    for rate in ACCELERATIONS:
        assert RECIPES[f"disk_r{rate:g}"]().published == {rate: PUBLISHED["disk"][rate]}


# -- from a recipe to a table


def test_train_score_and_print(tmp_path: Path) -> None:
    made = tiny()
    checkpoint = train_recipe(made, tmp_path / "runs" / "tiny", progress=False)
    assert {path.name for path in checkpoint.parent.iterdir()} == {
        "checkpoint", "train.state.pt", "log.jsonl", "recipe.json",
    }  # fmt: skip
    loaded = load_checkpoint(checkpoint, MODELS)
    assert loaded.name == "syn_net_shared" and loaded.options == {"channels": (4, 8, 8)}
    assert loaded.preprocessing["matrix"] == [16, 16] and loaded.preprocessing["classes"][1] == "LV"
    about = json.loads((checkpoint.parent / "recipe.json").read_text())
    assert about["stages"][0]["steps"] == 2 and about["machine"]["threads"] >= 1

    results = tmp_path / "results" / "disk_small"
    score = partial(
        evaluate_checkpoint, checkpoint, data=heart_dataset(4, (16, 16)), acquisition=made.acquisition, n=4
    )
    path = score(results / "syn_net_shared" / "seed0", (2.0, 8.0))
    score(results / "syn_net" / "seed0", (2.0, 8.0), control="shuffled_kspace")
    rows = read_scores(path)
    assert len(rows) == 8 and Counter(row["acceleration"] for row in rows) == {2.0: 4, 8.0: 4}
    assert all(0 <= row["dice_foreground"] <= 1 for row in rows)
    again = score(tmp_path / "again", (2.0, 8.0))
    assert again.read_text() == path.read_text(), "two scorings of one checkpoint differ"
    assert set(read_results(results)) == {"syn_net_shared", "syn_net"}
    text = "\n".join(map(to_text, disk_table.tables("small", tmp_path / "results")))
    assert "syn_net_shared" in text and "R = 8" in text.replace("R=8", "R = 8")


def test_a_trained_recipe_is_not_trained_again(tmp_path: Path) -> None:
    made = tiny()
    first = load_checkpoint(train_recipe(made, tmp_path, progress=False), MODELS).model.state_dict()
    log = (tmp_path / "log.jsonl").read_text()
    again = load_checkpoint(train_recipe(made, tmp_path, progress=False), MODELS).model.state_dict()
    assert (tmp_path / "log.jsonl").read_text() == log
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_the_upper_bound_sees_everything(tmp_path: Path) -> None:
    made = tiny("nnunet_style_small")
    assert made.fully_sampled and bool(training_batches(made)(0).measurement.mask.all())
    checkpoint = train_recipe(made, tmp_path / "run", progress=False)
    path = evaluate_checkpoint(
        checkpoint, tmp_path, (8.0,), data=heart_dataset(4, (16, 16)), acquisition=made.acquisition, n=2,
        fully_sampled=True,
    )  # fmt: skip
    assert [(row["acceleration"], row["achieved_acceleration"]) for row in read_scores(path)] == [
        (8.0, 1.0)
    ] * 2


def test_the_floor_is_told_where_the_heart_is(tmp_path: Path) -> None:
    made = tiny("mean_shape_small", "stages.steps=8", "options.matrix=(16, 16)", "frames=none")
    checkpoint = train_recipe(made, tmp_path / "run", progress=False)
    score = partial(
        evaluate_checkpoint, checkpoint, accelerations=(8.0,), data=heart_dataset(4, (16, 16)),
        acquisition=made.acquisition, n=6,
    )  # fmt: skip
    blind, told = (read_scores(score(tmp_path / str(flag), true_centre=flag)) for flag in (False, True))
    dice = [sum(row["dice_foreground"] for row in rows) for rows in (blind, told)]
    assert dice[1] > dice[0]


def test_a_run_folder_belongs_to_one_recipe(tmp_path: Path) -> None:
    made = tiny()
    train_recipe(made, tmp_path, progress=False)
    about = json.loads((tmp_path / "recipe.json").read_text())
    assert about["hash"] == made.digest() and about["task"]["name"] == "segmentation"
    other = replace(made, task=Segmentation(dice_weight=2.0))
    with pytest.raises(ValueError, match=f"got the run of another recipe \\(hash {made.digest()}"):
        train_recipe(other, tmp_path, progress=False)
    assert json.loads((tmp_path / "recipe.json").read_text()) == about, "a refused run changed the folder"
    del about["hash"]  # as runs were kept before
    (tmp_path / "recipe.json").write_text(json.dumps(about))
    train_recipe(made, tmp_path, progress=False)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match=r"got a broken recipe\.json"):
        train_recipe(made, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("acquisition.masks=gausian_lines", "got sampling 'gausian_lines'; wanted .*gaussian_lines"),
        ("acquisition.phase=smoth", "got phase 'smoth'; wanted smooth"),
        ("acquisition.accelerations=0.5", "wanted one mask and one R from 1"),
        ("augment=hart", "got augment 'hart'; wanted"),
        ("dataset=hart", "got 'hart'; wanted one like heart"),
    ],
)
def test_a_mistyped_word_does_not_claim_the_run_folder(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_recipe(apply_overrides(tiny(), (change,)), tmp_path / "r0", progress=False)
    assert not (tmp_path / "r0").exists()


def test_a_recipe_begins_with_a_shipped_checkpoint_or_a_run_folder(tmp_path: Path) -> None:
    from kwise.checkpoint import find_checkpoint

    shipped = load_checkpoint(find_checkpoint("demo"), MODELS)
    wide = replace(tiny(), model="harmonic_unet", options=shipped.options, init_from="demo")
    for key, value in shipped.model.state_dict().items():
        assert torch.equal(build(wide).state_dict()[key], value)
    with pytest.raises(ValueError, match=r"or --set options\.channels=\d+,\S+$") as caught:
        build(replace(wide, options={}))
    changes = str(caught.value).partition("--set ")[2].split()
    build(apply_overrides(replace(wide, options={}), changes))
    run = train_recipe(tiny(), tmp_path / "run", progress=False).parent
    assert find_checkpoint(run) == run / "checkpoint"
    build(replace(tiny(), init_from=str(run)))


def test_every_field_changes_the_digest() -> None:
    made = tiny()
    others = [tiny("syn_net_shared_small", f"{key}=5") for key in ("seed", "stages.warmup", "batch_size")]
    others.append(replace(made, task=Reconstruction()))
    assert len({recipe.digest() for recipe in (made, *others)}) == 5 and made.digest() == tiny().digest()


# -- any task


def reconstructing() -> Recipe:
    """A tiny recipe of the other task."""
    made = replace(tiny(), model="unet", options={"channels": (4, 8)}, task=Reconstruction())
    return replace(made, acquisition=replace(made.acquisition, reference=True, snr=None))


def test_a_reconstruction_is_trained_chosen_and_scored(tmp_path: Path) -> None:
    made = reconstructing()
    checkpoint = train_recipe(made, tmp_path / "run", progress=False)
    seen = load_checkpoint(checkpoint, MODELS).preprocessing
    assert seen["classes"] == [] and task_of(seen) == Reconstruction()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert max(line["validation"] for line in log if "validation" in line) > 5  # dB, not Dice
    rows = read_scores(evaluate_checkpoint(checkpoint, tmp_path, (2.0,), n=3))
    assert len(rows) == 3 and all(row["psnr_db"] > 5 and "dice_foreground" not in row for row in rows)
    frames = read_scores(tmp_path / "frames.csv")
    assert [row["frame"] for row in frames] == [0, 1, 2, 3] and "class" not in frames[0]


def test_what_a_checkpoint_keeps_gives_its_training_back() -> None:
    made = reconstructing()
    seen = json.loads(json.dumps(preprocessing_of(made)))
    assert acquisition_of(seen) == made.acquisition and task_of(seen) == made.task
    scan = data_of(seen).read(None, "heart-test-000000")
    assert scan.shape == (1, 4, 16, 16)


def test_an_old_checkpoint_is_read_as_it_was_trained() -> None:
    seen = {"matrix": [64, 64], "fov_mm": 160.0, "classes": ["background", "LV", "myo", "RV"]}
    assert task_of(seen) == Segmentation() and acquisition_of(seen) == Acquisition()
    assert data_of(seen).name == "heart"


def test_a_data_set_without_the_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="on oasis: got a checkpoint that segments LV, myo, RV; wanted"):
        data_of(preprocessing_of(tiny()), "oasis")
    with pytest.raises(ValueError, match="choosing a task: got 'segmentatoin'; wanted segmentation"):
        task_of({"task": "segmentatoin"})
    with pytest.raises(ValueError, match="making the task reconstruction: got options"):
        task_of({"task": "reconstruction", "task_options": {"dice_weight": 1}})


# -- validation and test batches


def test_validation_is_the_mean_of_progress_and_leaves_the_model_training() -> None:
    made = tiny()
    model = build(made).train()
    value = validation_score(made, None, model)
    assert 0 <= value <= 1 and model.training and validation_score(made, None, model) == value


def test_quick_dice_counts_labelled_pixels_alone() -> None:
    truth = torch.tensor([[1, 1, 2, 3, 0, -1]])
    assert quick_dice(truth.clamp(min=0), truth) == 1.0
    assert quick_dice(torch.tensor([[1, 1, 2, 3, 0, 3]]), truth) == 1.0
    assert quick_dice(torch.tensor([[1, 0, 2, 0, 0, 0]]), truth) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_cases_of_different_size_are_scored_one_by_one() -> None:
    phantom, acquisition = heart_dataset(2, (16, 16)), tiny().acquisition
    sizes = [
        [len(batch.cases) for batch in scored_batches(data, chosen, 2.0, "test", 3)]
        for data, chosen in (
            (phantom, acquisition),
            (replace(phantom, stored=True), acquisition),
            (phantom, replace(acquisition, matrix=None)),
        )
    ]
    assert sizes == [[3], [1, 1, 1], [1, 1, 1]]
