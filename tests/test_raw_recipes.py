"""Recipes and tables of coils and of sampling off the grid: pairs differ in one thing, and can be trained."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from kwise.recipes.raw import COILS, IMAGES, SAMPLING, raw_recipes
from kwise.recipes.raw_table import COMPARISONS, figures, rows, tables
from kwise.recipes.recipe import Recipe
from kwise.recipes.run import build, loss_of, train_recipe, training_batches
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.report.results import read_results
from kwise.report.table import to_text

SMALL = {
    "disk_plus": {"width": 16, "n_layers": 1, "n_heads": 2, "n_positions": 4, "n_profiles": 2},
    "harmonic_unet": {"channels": (4, 8)},
    "d5c5": {"cascades": 1, "channels": 4, "middle": 1},
}


def tiny(recipe: Recipe) -> Recipe:
    """The recipe at a size for tests."""
    return replace(
        recipe,
        options={**recipe.options, **SMALL[recipe.model]},
        acquisition=replace(recipe.acquisition, matrix=(16, 16)),
        stages=(replace(recipe.stages[0], steps=2, validate_every=0),),
        shape=(16, 16),
        n_frames=4,
        batch_size=2,
    )


@pytest.mark.parametrize("group", [SAMPLING, COILS, IMAGES], ids=["sampling", "coils", "images"])
def test_a_comparison_differs_in_its_acquisition_alone(group) -> None:
    reference, *others = [make() for make in group]
    for other in others:
        differing = {f.name for f in fields(Recipe) if getattr(other, f.name) != getattr(reference, f.name)}
        assert differing == {"name", "acquisition"}
        assert other.acquisition.snr == reference.acquisition.snr


def test_samples_are_equal_in_number() -> None:
    counts = []
    for make in SAMPLING:
        recipe = make()
        acquisition = replace(recipe.acquisition, accelerations=(16.0,))
        batch = training_batches(replace(recipe, acquisition=acquisition, batch_size=1))(0)
        counts.append(int(batch.measurement.mask.sum()))
    assert len(set(counts)) == 1


@pytest.mark.parametrize("name", sorted(raw_recipes()))
def test_every_recipe_learns_from_a_batch(name: str) -> None:
    recipe = tiny(raw_recipes()[name]())
    model = build(recipe)
    loss = loss_of(recipe, recipe.stages[0].name, model, training_batches(recipe)(0))
    loss.backward()
    assert torch.isfinite(loss) and any(p.grad is not None for p in model.parameters())


def test_the_tables_print_what_has_scores(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got no scores such as"):
        tables("small", tmp_path)
    listed = [row for row in rows("small") if row.table != "raw_coils"]
    for row in listed:
        recipe = tiny(row.recipe)
        made = train_recipe(recipe, tmp_path / "runs" / row.name, progress=False)
        evaluate_checkpoint(made, tmp_path / row.place, (8.0,), n=2)
    scores = read_results(tmp_path / "raw_sampling")
    assert set(scores) == {"disk_plus_lines", "disk_plus_radial", "disk_plus_spiral"}
    printed = "\n".join(map(to_text, tables("small", tmp_path)))
    assert "sampling at equal samples: dice_foreground" in printed
    assert "psnr_db: difference to d5c5_one_coil" in printed and COMPARISONS["raw_coils"][0] not in printed
    assert [path.name for path in figures("small", tmp_path, tmp_path, tmp_path)] == ["raw_sampling_dice.png"]
