"""The training loop: schedules, the run folder, resuming to the bit, and two processes that act as one."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import kwise
from kwise.atomic import write_atomically
from kwise.nn.muon import orthogonalised, split_parameters
from kwise.seeding import generator
from kwise.training import Stage, leave_processes, optimizers, schedule, train
from kwise.types import Batch, Measurement, Query, Targets

STAGE = Stage(steps=6, learning_rate=1e-2, matrix_rate=1e-2, warmup=2, save_every=3)


class Tiny(nn.Module):
    """Two layers on k-space magnitudes, and a head that only the stage "aside" uses."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Linear(16, width), nn.Tanh(), nn.Linear(width, 1))
            self.aside = nn.Linear(16, 1)

    def forward(self, measurement: Measurement, query: Query | None = None) -> Tensor:
        return self.body(measurement.kspace.abs().flatten(1))

    def stage_loss(self, stage: str, batch: Batch) -> Tensor:
        measurement = batch.measurement
        answer = self.aside(measurement.kspace.abs().flatten(1)) if stage == "aside" else self(measurement)
        return (answer - batch.targets.labels.flatten(1).float().mean(dim=1, keepdim=True)).square().mean()


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return model.stage_loss("train", batch)


def aside_loss(model: nn.Module, batch: Batch) -> Tensor:
    return model.stage_loss("aside", batch)


def batches(step: int, size: int = 2) -> Batch:
    draw = generator("tiny batch", step)
    kspace = torch.randn(size, 1, 1, 1, 4, 4, dtype=torch.complex64, generator=draw)
    labels = torch.randint(0, 4, (size, 1, 1, 4, 4), generator=draw)
    measurement = Measurement(kspace, torch.ones(size, 1, 1, 4, 4, dtype=torch.bool))
    return Batch(tuple(f"tiny-{step}-{i}" for i in range(size)), measurement, Targets(labels), (1.0,) * size)


def pairs(step: int) -> Batch:
    """What two processes see in one step, as one batch."""
    first, second = batches(2 * step), batches(2 * step + 1)
    targets = Targets(torch.cat([first.targets.labels, second.targets.labels]))
    measurement = Measurement.stack([first.measurement, second.measurement])
    return Batch(first.cases + second.cases, measurement, targets, first.accelerations * 2)


def state_of(folder: Path, name: str = "train") -> dict:
    return torch.load(folder / f"{name}.state.pt", weights_only=True, map_location="cpu")


def assert_same(a: object, b: object) -> None:
    """Equal to the bit, tensors within any nesting included."""
    if isinstance(a, Tensor):
        assert isinstance(b, Tensor) and torch.equal(a, b)
    elif isinstance(a, dict):
        assert isinstance(b, dict) and a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert isinstance(b, (list, tuple)) and len(a) == len(b)
        for left, right in zip(a, b):
            assert_same(left, right)
    else:
        assert a == b


def log_rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# -- the learning rate


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    stage = Stage(steps=110, warmup=10)
    shares = [schedule(stage, step) for step in range(111)]
    assert shares[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert shares[10] == 1.0 and shares[60] == pytest.approx(0.5) and shares[110] == pytest.approx(0.0)
    assert all(a >= b for a, b in pairwise(shares[10:]))
    assert schedule(replace(stage, schedule="constant"), 109) == 1.0
    assert schedule(Stage(steps=3, warmup=0), 0) == 1.0
    with pytest.raises(ValueError, match="got 'linear'; wanted 'cosine' or 'constant'"):
        schedule(replace(stage, schedule="linear"), 50)


def test_the_optimiser_is_given_the_scheduled_rate(tmp_path: Path) -> None:
    train(Tiny(), batches, loss, replace(STAGE, steps=5, save_every=1), tmp_path, progress=False)
    kept = state_of(tmp_path)["optimizers"]
    wanted = schedule(replace(STAGE, steps=5), 4)
    assert [state["param_groups"][0]["lr"] for state in kept] == pytest.approx([1e-2 * wanted] * 2)


def test_muon_takes_the_matrices_and_adamw_the_rest() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(12, 4))
    matrices, rest = split_parameters(model)
    assert [tuple(x.shape) for x in matrices] == [(3, 2, 3, 3), (4, 12)]
    assert all(x.ndim == 1 for x in rest) and len(matrices) + len(rest) == len(list(model.parameters()))
    assert len(optimizers(model, Stage())) == 1 and len(optimizers(model, STAGE)) == 2


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_an_orthogonalised_matrix_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape, generator=generator("matrix", shape))))
    assert float(values.max()) < 1.3 and float(values[: min(shape) - 2].min()) > 0.6


# -- a run that stops and goes on


def test_a_resumed_run_is_the_same_run_to_the_bit(tmp_path: Path) -> None:
    whole, first, second = Tiny(), Tiny(), Tiny(5)
    validated = replace(STAGE, validate_every=2)

    def score(model: nn.Module) -> float:
        return -float(loss(model, batches(999)).detach())

    train(whole, batches, loss, validated, tmp_path / "whole", validate=score, progress=False)

    def stops(step: int) -> Batch:
        if step == 4:  # one step after the last save: that step is lost, and made again
            raise KeyboardInterrupt
        return batches(step)

    with pytest.raises(KeyboardInterrupt):
        train(first, stops, loss, validated, tmp_path / "halves", validate=score, progress=False)
    assert state_of(tmp_path / "halves")["step"] == 3
    for parameter in second.parameters():
        parameter.data.add_(1)  # what the new object starts with does not matter
    train(second, batches, loss, validated, tmp_path / "halves", validate=score, progress=False)
    assert_same(whole.state_dict(), second.state_dict())
    a, b = state_of(tmp_path / "whole"), state_of(tmp_path / "halves")
    assert_same({**a, "seconds": 0}, {**b, "seconds": 0})
    assert a["optimizers"][0]["state"] and a["optimizers"][1]["state"]


def test_a_killed_process_leaves_what_a_new_one_goes_on_from(tmp_path: Path) -> None:
    done = run_script("killed", tmp_path / "killed")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert state_of(tmp_path / "killed")["step"] == 3
    train(Tiny(), batches, loss, STAGE, tmp_path / "whole", progress=False)
    model = train(Tiny(), batches, loss, STAGE, tmp_path / "killed", progress=False)
    assert_same(model.state_dict(), state_of(tmp_path / "whole")["model"])


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    trained = train(Tiny(), batches, loss, STAGE, tmp_path, progress=False)

    def never(step: int) -> Batch:
        raise AssertionError("a finished stage asked for a batch")

    again = train(Tiny(), never, loss, STAGE, tmp_path, progress=False)
    assert_same(trained.state_dict(), again.state_dict())


def test_stages_keep_their_states_apart(tmp_path: Path) -> None:
    model = Tiny()
    before = model.aside.weight.detach().clone()
    train(model, batches, loss, STAGE, tmp_path, progress=False)
    assert torch.equal(before, model.aside.weight), "a parameter without gradient moved"
    train(model, batches, aside_loss, replace(STAGE, name="aside"), tmp_path, progress=False)
    assert not torch.equal(before, model.aside.weight)
    assert {path.name for path in tmp_path.iterdir()} == {"train.state.pt", "aside.state.pt", "log.jsonl"}
    assert {row["stage"] for row in log_rows(tmp_path)} == {"train", "aside"}


@pytest.mark.parametrize("other", [Tiny(7), nn.Linear(3, 3)], ids=["other width", "other layers"])
def test_the_state_of_another_model_is_one_clear_error(tmp_path: Path, other: nn.Module) -> None:
    train(Tiny(), batches, loss, STAGE, tmp_path, progress=False)
    with pytest.raises(
        ValueError, match=r"resuming from .*train\.state\.pt: got a broken file or the state of another run"
    ):
        train(other, batches, loss, STAGE, tmp_path, progress=False)


def test_the_state_of_other_optimisers_is_one_clear_error(tmp_path: Path) -> None:
    train(Tiny(), batches, loss, STAGE, tmp_path, progress=False)
    with pytest.raises(ValueError, match="got a broken file or the state of another run"):
        train(Tiny(), batches, loss, replace(STAGE, matrix_rate=0.0), tmp_path, progress=False)


def test_a_full_disk_leaves_the_older_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(Tiny(), batches, loss, replace(STAGE, steps=3), tmp_path, progress=False)
    before = (tmp_path / "train.state.pt").read_bytes()

    def half(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr(torch, "save", half)
        train(Tiny(), batches, loss, STAGE, tmp_path, progress=False)
    assert (tmp_path / "train.state.pt").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"train.state.pt", "log.jsonl"}


def test_writing_atomically_replaces_the_file_or_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda part: part.write_text("one"))
    with pytest.raises(ZeroDivisionError):
        write_atomically(path, lambda part: part.write_text(str(1 / 0)))
    assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


# -- what goes wrong, and what is kept


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_step(tmp_path: Path, bad: float) -> None:
    def explodes(model: nn.Module, batch: Batch) -> Tensor:
        return loss(model, batch) * (bad if batch.cases[0] == "tiny-4-0" else 1.0)

    with pytest.raises(ValueError, match=r"training step 4: got loss (nan|inf); wanted a finite number"):
        train(Tiny(), batches, explodes, STAGE, tmp_path, progress=False)
    assert state_of(tmp_path)["step"] == 3, "the last good state has to survive"


def test_the_best_weights_on_validation_are_the_ones_kept(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []
    scores = [0.1, 0.9, 0.9, 0.2, math.nan, 0.3]

    def score(model: nn.Module) -> float:
        seen.append({name: x.detach().clone() for name, x in model.state_dict().items()})
        return scores[len(seen) - 1]

    stage = replace(STAGE, validate_every=1)
    model = train(Tiny(), batches, loss, stage, tmp_path, validate=score, progress=False)
    assert_same(dict(model.state_dict()), seen[1])
    state = state_of(tmp_path)
    assert state["best"] == 0.9
    assert_same(dict(state["model"]), seen[-1])
    rows = [row for row in log_rows(tmp_path) if "validation" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]


def test_the_log_is_one_json_object_a_line(tmp_path: Path) -> None:
    train(Tiny(), batches, loss, STAGE, tmp_path, progress=True)
    rows = log_rows(tmp_path)
    assert [row["step"] for row in rows] == [3, 6]
    for row in rows:
        assert row.keys() == {"stage", "step", "loss", "core_seconds"} and math.isfinite(row["loss"])


def test_training_leaves_the_global_random_state_alone(tmp_path: Path, global_state_untouched: None) -> None:
    train(Tiny(), batches, loss, replace(STAGE, steps=2), tmp_path, progress=False)


# -- two processes


def run_script(what: str, folder: Path) -> subprocess.CompletedProcess:
    """This file as a script, in a process (or two) of its own."""
    source = str(Path(kwise.__file__).parents[1])
    environment = {
        key: x for key, x in os.environ.items() if key not in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
    }
    environment |= {"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(Path(__file__).resolve()), what, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """Gradients are averaged; a stage may leave parameters without gradient; one process writes."""
    done = run_script("two", tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    one = Tiny()
    train(one, pairs, loss, STAGE, tmp_path / "one", progress=False)
    train(one, pairs, aside_loss, replace(STAGE, name="aside"), tmp_path / "one", progress=False)
    for name in ("train", "aside"):
        a, b = state_of(tmp_path / "one", name), state_of(tmp_path / "two", name)
        for key in a["model"]:
            torch.testing.assert_close(a["model"][key], b["model"][key], atol=1e-5, rtol=1e-5)
    first, second = (torch.load(tmp_path / "two" / f"rank{i}.pt", weights_only=True) for i in range(2))
    assert_same(dict(first), dict(second))
    assert len(log_rows(tmp_path / "two")) == len(log_rows(tmp_path / "one"))


def main(what: str, folder: Path) -> None:
    """The script behind the tests of several processes."""
    torch.set_num_threads(1)

    def kills(step: int) -> Batch:
        if step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(step)

    model = Tiny()
    if what == "killed":
        train(model, kills, loss, STAGE, folder, progress=False)
    stage = replace(STAGE, devices=2)
    train(model, batches, loss, stage, folder, progress=False)
    train(model, batches, aside_loss, replace(stage, name="aside"), folder, progress=False)
    torch.save(model.state_dict(), folder / f"rank{os.environ['LOCAL_RANK']}.pt")
    leave_processes()
    os._exit(0)  # Gloo's threads may abort a process whose interpreter shuts down (test_kmtr_models.py)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))


def test_a_broken_state_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / f"{STAGE.name}.state.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="got a broken file"):
        train(Tiny(), batches, loss, STAGE, tmp_path, progress=False)
