"""k-MTR end to end, tiny: the chain of stages, what a checkpoint hands on, tables from scores, plain rows."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.checkpoint import load_checkpoint
from kwise.cli.recipes import run_train
from kwise.data import population_dataset, sized
from kwise.data.acquisition import Acquisition
from kwise.data.kept import KEEP_VARIABLE
from kwise.data.loader import TrainingBatches, evaluation_batches
from kwise.models import MODELS
from kwise.phenotypes import DISEASES, PHENOTYPES
from kwise.recipes import CHAINS, RECIPES
from kwise.recipes.kmtr import ROWS, SCALES, kmtr_chain
from kwise.recipes.kmtr_plain import age_and_sex, from_segmentation, sizes_of
from kwise.recipes.kmtr_table import PUBLISHED, folder_name, rows, tables
from kwise.recipes.rows import Row
from kwise.recipes.starting import ENCODERS, build
from kwise.report.disease_tables import auc, average_precision, called
from kwise.report.results import read_results
from kwise.report.table import to_text
from kwise.tasks import Diagnosis, Phenotypes
from kwise.types import Scan

TINY = [
    "n_frames=3",
    "shape=16,16",
    "acquisition.matrix=16,16",
    "stages.steps=2",
    "stages.warmup=1",
    "n_train=6",
]
TINY += ["batch_size=2", "n_validation=2", "n_calibration=30"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that remembers the subjects this module draws."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def remembering(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEEP_VARIABLE, str(kept))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, kept: Path) -> Path:
    """The runs of a whole chain, two steps each."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEEP_VARIABLE, str(kept))
        run_train("kmtr", [*TINY, "options.preset=tiny"], root, 0, 1, "small")
    return root


def test_the_chain_runs_from_nothing_and_a_second_time_does_nothing(
    trained: Path, capsys: pytest.CaptureFixture[str], remembering: None
) -> None:
    for link in kmtr_chain("small"):
        assert (
            load_checkpoint(trained / f"{link}-seed0" / "checkpoint", MODELS).preprocessing["recipe"] == link
        )
    run_train("kmtr", [*TINY, "options.preset=tiny"], trained, 0, 1, "small")
    assert capsys.readouterr().out.count("trained before") == len(kmtr_chain("small"))


def test_stages_hand_on_their_encoders(trained: Path) -> None:
    """What Stage III begins with is what Stage II ended with, and Stage II began with both autoencoders."""
    recipe = replace(RECIPES["kmtr_phenotypes_small"](), options={"preset": "tiny", "head": "phenotypes"})
    folder = trained / "kmtr_align_small-seed0" / "checkpoint"
    fresh = build(replace(recipe, init_from=(str(folder),)))
    aligned = load_checkpoint(folder, MODELS).model
    for key, value in aligned.kspace_encoder.state_dict().items():
        assert torch.equal(fresh.kspace_encoder.state_dict()[key], value)
    with pytest.raises(
        ValueError, match=r"kspace_encoder of a kmtr_align in .* wanted one of the same sizes"
    ):
        build(replace(recipe, options={"preset": "small"}, init_from=(str(folder),)))
    with pytest.raises(
        ValueError, match=r"got a checkpoint of image_mae .* wanted kmtr, or a model with kspace_enc"
    ):
        build(replace(recipe, init_from=(str(trained / "kmtr_image_mae_small-seed0" / "checkpoint"),)))


def test_calibration_travels_with_the_weights(trained: Path) -> None:
    model = load_checkpoint(trained / "kmtr_joint_small-seed0" / "checkpoint", MODELS).model
    assert not torch.equal(model.heads["diseases"].threshold, torch.full((len(DISEASES),), 0.5))
    assert not torch.equal(model.heads["phenotypes"].sd_factor, torch.ones(len(PHENOTYPES)))


def test_heads_are_solved_for_from_training_subjects(tmp_path: Path, remembering: None) -> None:
    tiny = [*TINY[:-1], "n_train=40", "options.channels=4,8", "stages.steps=20", "batch_size=2"]
    run_train("kmtr_harmonic_small", tiny, tmp_path, 0, 1, None)
    checkpoint = tmp_path / "checkpoint"
    model = load_checkpoint(checkpoint, MODELS).model
    assert model.regression.cross.any() and not torch.equal(model.sd_factor, torch.ones(len(PHENOTYPES)))
    assert not (checkpoint.parent / "heads.state.pt").exists(), "nothing of the heads is searched for"


def test_every_recipe_builds_at_the_small_scale_and_every_row_has_one() -> None:
    for name, make in ROWS.items():
        recipe = make(SCALES["small"])
        assert recipe.name == f"kmtr_{name}_small" and recipe.name in RECIPES
        build(replace(recipe, init_from=None))
        whitens = name in ("image_mae", "kspace_mae", "scratch", "joint", "vit")
        assert (recipe.stages[0].name == "whiten") == whitens, name
    assert {row.recipe.name for row in rows("small")} <= set(RECIPES)
    assert set(CHAINS["kmtr"]("paper")) <= set(RECIPES)
    with pytest.raises(ValueError, match="choosing a scale: got 'big'"):
        kmtr_chain("big")


# -- data


def scan_of(case: str, **changes: object) -> Scan:
    image = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(len(case)))
    told = {"views": ("SAX", "LAX_4CH"), "phenotypes": {"LVEDV_mL": 150.0}, "diseases": {"CAD": 1.0}}
    return Scan(case, image, **{**told, **changes})


def test_what_is_known_of_a_person_reaches_the_targets() -> None:
    acquisition = Acquisition(accelerations=(2.0,), matrix=None, fov_mm=None, reference_kspace=True)
    acquisition = replace(acquisition, one_mask=True)
    batches = TrainingBatches(["a", "b"], scan_of, acquisition, 2, frames=None)
    with pytest.raises(ValueError, match="got 'LVEDV'; wanted one of"):
        TrainingBatches(["a"], lambda c: scan_of(c, phenotypes={"LVEDV": 1.0}), acquisition, 1, frames=None)(
            0
        )
    batch = batches(0)
    assert batch.measurement.views.tolist() == [[0, 3], [0, 3]]
    assert batch.targets.phenotypes[:, 0].tolist() == [150, 150]
    assert torch.isnan(batch.targets.phenotypes[:, 1:]).all()
    assert batch.targets.diseases[0, 0] == 1 and torch.isnan(batch.targets.diseases[0, 1:]).all()
    assert batch.targets.kspace.shape == batch.measurement.kspace.shape
    seen = batch.measurement.mask
    assert torch.equal(seen[:, 0], seen[:, 1]), "one mask for all views"
    torch.testing.assert_close(batch.targets.kspace[:, 0][seen], batch.measurement.kspace[:, 0][seen])


def test_a_view_that_is_missing_is_missing_in_the_measurement() -> None:
    mask = torch.ones(2, 1, 1, 1, dtype=torch.bool)
    mask[1] = False
    acquisition = Acquisition(matrix=None, fov_mm=None, reference=True)
    batch = next(evaluation_batches(["a"], lambda c: scan_of(c, mask=mask), acquisition, 2.0, 1))
    assert batch.measurement.mask[0, 0].any() and not batch.measurement.mask[0, 1].any()
    assert batch.targets.image[0, 1].abs().max() == 0 < batch.targets.image[0, 0].abs().max()


def test_subjects_are_kept_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEEP_VARIABLE, raising=False)
    drawn = population_dataset(2, (16, 16)).read(None, "population-000003")
    monkeypatch.setenv(KEEP_VARIABLE, str(tmp_path))
    data = population_dataset(2, (16, 16))
    first, again = (data.read(None, "population-000003") for _ in range(2))
    (file,) = tmp_path.rglob("*.npz")
    for scan in (first, again):
        assert torch.equal(scan.image, drawn.image) and torch.equal(scan.labels, drawn.labels)
        assert (scan.phenotypes, scan.diseases, scan.covariates) == (
            drawn.phenotypes,
            drawn.diseases,
            drawn.covariates,
        )
        assert (scan.views, scan.spacing_mm, scan.ed, scan.es) == (
            drawn.views,
            drawn.spacing_mm,
            drawn.ed,
            drawn.es,
        )
    file.write_bytes(b"broken")
    assert torch.equal(data.read(None, "population-000003").image, drawn.image)


# -- tables


def test_measures_of_diseases_agree_with_scikit_learn() -> None:
    from sklearn.metrics import (
        average_precision_score,
        f1_score,
        precision_score,
        recall_score,
        roc_auc_score,
    )

    rng = np.random.default_rng(0)
    score, truth = rng.integers(0, 9, 200) / 8, (rng.random(200) < 0.3).astype(float)
    assert auc(score, truth) == pytest.approx(roc_auc_score(truth, score))
    assert average_precision(score, truth) == pytest.approx(average_precision_score(truth, score))
    calls = score >= 0.6
    wanted = [f(truth, calls) for f in (f1_score, recall_score, precision_score)]
    assert called(score, truth, np.full(200, 0.6)) == pytest.approx(wanted)
    assert np.isnan(auc(score, np.zeros(200)))


def test_plain_rows_are_scored_like_models(trained: Path, tmp_path: Path, remembering: None) -> None:
    small = replace(ROWS["joint"](SCALES["small"]), n_frames=3, shape=(16, 16))
    small = replace(small, acquisition=replace(small.acquisition, matrix=(16, 16)))
    import kwise.recipes.kmtr_plain as plain

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "N_FITTED", 60)
        patch.setattr(plain, "N_ANSWERED", 30)
        for task in (Phenotypes(), Diagnosis()):
            row = Row("age_sex", small, "t", make=age_and_sex, n=12, task=task)
            age_and_sex(row, tmp_path / "age_sex" / "seed0", trained)
            with (tmp_path / "age_sex" / "seed0" / "scores.csv").open() as file:
                assert len(list(csv.DictReader(file))) == 12
        row = Row("seg", small, "t", make=from_segmentation, n=4, task=Phenotypes(), rates=(4.0,))
        from_segmentation(row, tmp_path / "seg" / "seed0", trained)
    found = read_results(tmp_path)
    assert np.isfinite(found["seg"][0][0]["LVEDV_mL_predicted"])


@pytest.mark.parametrize("full", [True, False])
def test_a_linear_map_knows_something(full: bool, tmp_path: Path, remembering: None) -> None:
    import kwise.recipes.kmtr_linear as plain

    recipe = replace(
        ROWS["vit" if full else "scratch"](SCALES["small"]), n_frames=3, shape=(16, 16), n_train=80
    )
    recipe = replace(recipe, acquisition=replace(recipe.acquisition, matrix=(16, 16)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "N_VALIDATION", 30)
        row = Row("linear", recipe, "t", make=plain.linear, n=40, rates=(2.0,), task=Phenotypes())
        plain.linear(row, tmp_path / "linear" / "seed0", tmp_path)
    found = read_results(tmp_path)["linear"][0]
    guess, truth = (np.array([row[f"LVEDV_mL_{what}"] for row in found]) for what in ("predicted", "true"))
    assert len(found) == 40 and np.corrcoef(guess, truth)[0, 1] > 0.25


def test_linear_diagnoses_have_a_threshold(remembering: None) -> None:
    from kwise.recipes.kmtr_linear import _diagnosed

    draw = torch.Generator().manual_seed(0)
    ill = (torch.rand(60, 3, generator=draw) < 0.3).double()
    score = ill + 0.5 * torch.randn(60, 3, generator=draw)
    answer = _diagnosed(score, ill, score)
    assert answer.diseases.shape == answer.disease_threshold.shape == (60, 3)
    assert ((answer.diseases.sigmoid() > answer.disease_threshold) == ill.bool()).float().mean() > 0.8


def test_sizes_of_true_labels_follow_the_volumes(remembering: None) -> None:
    data = sized("population", 5, (32, 32), 180.0)
    scans = [data.read(None, case) for case in data.cases(None, "val", 12)]
    largest = np.array([sizes_of(scan)[0] for scan in scans])
    truth = np.array([scan.phenotypes["LVEDV_mL"] for scan in scans])
    assert np.corrcoef(largest, truth)[0, 1] > 0.9


def write_scores(folder: Path, answers: dict[str, float], n: int = 40) -> None:
    """Scores of a model that is off by `answers` sd: phenotypes, diseases, Dice and decibels."""
    rng = np.random.default_rng(1)
    for model, noise in answers.items():
        lines = {part: [] for part in ("phenotypes", "diseases", "segmentation", "reconstruction", "sweep")}
        for i in range(n):
            head = {"case": f"c{i}", "acceleration": 4.0}
            row: dict[str, object] = {"phenotype_error": abs(noise)}
            for name, (mean, sd) in PHENOTYPES.items():
                true = mean + sd * np.cos(i)
                row |= {
                    f"{name}_predicted": true + noise * sd * rng.normal(),
                    f"{name}_true": true,
                    f"{name}_sd": sd,
                }
            lines["phenotypes"].append({**head, **row})
            lines["sweep"] += [{**head, **row, "acceleration": r} for r in (2.0, 16.0)]
            ill = {}
            for name in DISEASES:
                p = float(np.clip(0.5 + 0.4 * (i % 2) - 0.2 + noise * rng.normal(), 0, 1))
                ill |= {f"{name}_probability": p, f"{name}_true": float(i % 2), f"{name}_threshold": 0.5}
            lines["diseases"].append({**head, **ill})
            dice = {
                f"dice_{name}": 0.9 - 0.1 * noise for name in ("foreground", "LV", "myo", "RV", "LA", "RA")
            }
            lines["segmentation"].append({**head, **dice, "acceleration": 8.0})
            lines["reconstruction"].append({**head, "psnr_db": 30.0, "ssim": 0.9})
        for part, rows_of in lines.items():
            place = folder / folder_name(part, "small") / model / "seed0"
            place.mkdir(parents=True, exist_ok=True)
            with (place / "scores.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows_of[0]))
                writer.writeheader()
                writer.writerows(rows_of)


def test_all_tables_print_from_scores(tmp_path: Path) -> None:
    write_scores(tmp_path, {"kmtr": 0.2, "unaligned": 0.9, "mae": 0.3})
    printed = "\n".join(map(to_text, tables("small", tmp_path)))
    for word in (
        "MAE ± sd",
        "limits of agreement",
        "coverage",
        "best possible",
        "AUC",
        "dice_RA",
        "psnr_db",
        "38.18",
    ):
        assert word in printed, word
    assert "0.737" in printed and PUBLISHED["CAD"]["k-MTR"][0] == 0.737
    with pytest.raises(ValueError, match="got no scores"):
        tables("paper", tmp_path)


def test_figures_are_drawn_from_scores(tmp_path: Path) -> None:
    from kwise.recipes.kmtr_figures import figures
    from kwise.report.kmtr_plots import embedding_scatter, tsne

    write_scores(tmp_path / "results", {"kmtr": 0.2})
    made = figures("small", tmp_path / "results", tmp_path / "no_runs", tmp_path)
    assert len(made) == 2 and all(path.stat().st_size > 1000 for path in made)
    clusters = np.repeat(np.eye(6)[:3], 20, axis=0) * 9
    places = tsne(clusters + np.random.default_rng(0).normal(size=(60, 6)))
    assert places.shape == (60, 3)
    inside = np.linalg.norm(places[:20] - places[:20].mean(axis=0), axis=1).mean()
    assert np.linalg.norm(places[:20].mean(axis=0) - places[20:40].mean(axis=0)) > inside
    embedding_scatter(places, {"LVM_g": np.arange(60.0)}, tmp_path / "e.png")
    assert (tmp_path / "e.png").stat().st_size > 1000


def test_the_chain_links_at_the_published_width() -> None:
    """Every row of the paper's scale is built at its full size, without memory, and takes the encoders it
    begins with.
    """
    models, recipes = {}, {name: make(SCALES["paper"]) for name, make in ROWS.items()}
    with torch.device("meta"):
        for name, recipe in recipes.items():
            models[name] = MODELS[recipe.model](**recipe.options)
    for name, recipe in recipes.items():
        for start in recipe.init_from or ():
            giver = models[start.removeprefix("runs/kmtr_").partition("_paper")[0]]
            shared = [part for part in ENCODERS if hasattr(models[name], part) and hasattr(giver, part)]
            assert shared, (name, start)
            for part in shared:
                taken, given = (getattr(model, part).state_dict() for model in (models[name], giver))
                assert {k: v.shape for k, v in taken.items()} == {k: v.shape for k, v in given.items()}
    widths = {
        models[name].kspace_encoder.encoder.class_token.shape for name in ("align", "phenotypes", "joint")
    }
    assert widths == {(1025,)}
    assert recipes["align"].batch_size == 256 and recipes["k_gin"].options["layers"] == 12
    assert all(stage.name != "whiten" for recipe in recipes.values() for stage in recipe.stages)
