"""Checkpoints come back as they went, appear whole or not at all, and say in one line what is wrong with
them.
"""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kwise.checkpoint import Loaded, load_checkpoint, save_checkpoint


class Small(nn.Module):
    """A model with a buffer, a tied weight and a tuple among its options."""

    def __init__(self, *, width: int = 3, kernel: tuple[int, int] = (1, 2), bias: bool = True) -> None:
        super().__init__()
        self.kernel = kernel
        self.first = nn.Linear(width, width, bias=bias)
        self.second = nn.Linear(width, width, bias=bias)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


class Other(nn.Module):
    def __init__(self, *, width: int = 3) -> None:
        super().__init__()
        self.only = nn.Linear(width, 1)


REGISTRY: dict[str, type[nn.Module]] = {"small": Small, "other": Other}
OPTIONS = {"width": 4, "kernel": (3, 5)}


def save(folder: Path, value: float = 1.0) -> Small:
    model = Small(width=4, kernel=(3, 5))
    model.seen.fill_(value)
    save_checkpoint(folder, model, "small", OPTIONS, {"matrix": [64, 64]})
    return model


def load(folder: Path) -> Loaded:
    return load_checkpoint(folder, REGISTRY)


def test_it_comes_back_as_it_went(tmp_path: Path) -> None:
    model = save(tmp_path / "deep" / "run")
    loaded = load(tmp_path / "deep" / "run")
    x = torch.ones(2, 4)
    assert torch.equal(loaded.model(x), model(x))
    assert loaded.name == "small"
    assert loaded.options == OPTIONS
    assert loaded.preprocessing == {"matrix": [64, 64]}
    assert not loaded.model.training
    assert loaded.model.seen == 1
    assert sorted(p.name for p in (tmp_path / "deep" / "run").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessing.json",
    ]


def test_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    save(tmp_path / "run")
    before = torch.random.get_rng_state()
    load(tmp_path / "run")
    assert torch.equal(before, torch.random.get_rng_state())


def test_saving_again_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    save(tmp_path / "run", 1.0)
    save(tmp_path / "run", 2.0)
    assert load(tmp_path / "run").model.seen == 2
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_failed_save_keeps_the_older_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "run", 1.0)
    with pytest.raises(ValueError, match="wanted JSON values only"):
        save_checkpoint(tmp_path / "run", Small(), "small", {"width": object()}, {})
    assert load(tmp_path / "run").model.seen == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    save(tmp_path / "run", 1.0)
    (tmp_path / "run").rename(tmp_path / ".run.previous")
    assert load(tmp_path / "run").model.seen == 1
    save(tmp_path / "run", 2.0)
    assert load(tmp_path / "run").model.seen == 2


def test_a_folder_of_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ValueError, match="folder of other files"):
        save(tmp_path)
    assert (tmp_path / "letters.txt").read_text() == "dear"


@pytest.mark.parametrize("name", ["config.json", "preprocessing.json", "model.safetensors"])
def test_missing_and_broken_files_are_named(tmp_path: Path, name: str) -> None:
    save(tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=f"got a broken {re.escape(name)}") as broken:
        load(tmp_path / "run")
    assert "\n" not in str(broken.value)
    path.unlink()
    with pytest.raises(ValueError, match=f"got no {re.escape(name)}"):
        load(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "smal"}, "got model 'smal'; wanted small"),
        ({"model": "other", "options": {}}, "from another model"),
        (
            {"options": {"width": 5, "kernel": [3, 5]}},
            r"got 'first.weight' of shape \(4, 4\); wanted \(5, 5\)",
        ),
        ({"options": {"widht": 4}}, "got option 'widht'; wanted width"),
        ({"options": {"width": "wide"}}, "wanted values of their types"),
        ({"options": [1]}, "wanted an object"),
        ({"version": 7}, "version 7"),
        ({"format": "else"}, "'else'"),
    ],
)
def test_wrong_configurations_are_one_clear_line(tmp_path: Path, change: dict, message: str) -> None:
    save(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got no config\.json"):
        load(tmp_path / "nowhere")
