"""docs/adding.md does what it says: its code runs in order, is trained, scored and stands in a table."""

import re
from pathlib import Path

import numpy as np
import pytest

from kwise.data import DATASETS
from kwise.data.splits import split_of
from kwise.models import MODELS
from kwise.recipes import RECIPES, disk_table
from kwise.recipes.overrides import apply_overrides
from kwise.recipes.run import train_recipe
from kwise.recipes.scoring import evaluate_checkpoint
from kwise.report.table import to_text
from kwise.sampling import MASKS, draw_mask
from kwise.seeding import generator

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "adding.md").read_text(encoding="utf-8")
TINY = (
    "n_frames=4", "shape=16,16", "acquisition.matrix=16,16", "acquisition.accelerations=2", "batch_size=2",
    "options.channels=(4, 8)", "n_train=2", "n_validation=1", "stages.steps=1",
)  # fmt: skip


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's code has run; the registries are as before afterwards."""
    for registry in (MASKS, MODELS, DATASETS, RECIPES):
        for name in ("tent_lines", "frame_unet", "mine", "frame_unet_small"):
            monkeypatch.setitem(registry, name, None)  # type: ignore[arg-type]
            monkeypatch.delitem(registry, name)
    names: dict[str, object] = {"__name__": "adding"}
    for code in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(code, names)


@pytest.mark.usefixtures("added")
def test_the_page_is_trained_scored_and_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = draw_mask("tent_lines", 64, 12, 8, generator("adding"))
    assert int(mask.sum()) == 96 and draw_mask("tent_lines", 33, 5, 1, generator("adding")).all()
    monkeypatch.setenv("KWISE_DATA", str(tmp_path))
    data = DATASETS["mine"]
    with pytest.raises(ValueError, match=r"^looking for my cines"):
        data.cases(None, "train")
    (tmp_path / "mine").mkdir()
    for i in range(40):
        labels = np.zeros((1, 4, 32, 32), np.int64)
        for k, columns in enumerate((slice(8, 12), slice(12, 16), slice(16, 20)), start=1):
            labels[..., 8:20, columns] = k
        np.savez(tmp_path / "mine" / f"p{i}.npz", image=labels.astype(np.float32), labels=labels)
    assert all(split_of(case, "mine") == "test" for case in data.cases(None, "test", 2))
    made = apply_overrides(RECIPES["frame_unet_small"](), (*TINY, "dataset=mine"))
    checkpoint = train_recipe(made, tmp_path / "run", progress=False)
    folder = tmp_path / "results" / "disk_small" / "frame_unet" / "seed0"
    assert evaluate_checkpoint(checkpoint, folder, (2.0, 8.0), n=2).parent == folder
    assert "frame_unet" in "\n".join(map(to_text, disk_table.tables("small", tmp_path / "results")))
