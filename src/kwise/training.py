"""The training loop: handed a model, a function step -> Batch and a loss; resumable to the bit, on 1..n
devices.

Lightning Fabric moves things to devices; everything else is these few functions. A run folder holds
`<stage>.state.pt` (model, optimiser, step; written atomically) of every stage, `log.jsonl` and, at the end,
what the caller saves.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from kwise.atomic import write_atomically
from kwise.nn.muon import Muon, split_parameters
from kwise.types import Batch

Batches = Callable[[int], Batch]
Loss = Callable[[nn.Module, Batch], Tensor]


SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class Stage:
    """One stretch of training with one optimiser; `schedule` is "cosine" (to zero) or "constant", after a
    linear warm-up.

    `part` is the stretch of the cosine that this stage covers, where several stages share one.
    """

    name: str = "train"
    steps: int = 4000
    learning_rate: float = 1e-3
    matrix_rate: float = 0.0
    warmup: int = 100
    schedule: str = "cosine"
    part: tuple[float, float] = (0.0, 1.0)
    weight_decay: float = 1e-2
    clip: float = 1.0
    save_every: int = 500
    validate_every: int = 0
    precision: str = "32-true"
    devices: int = 1

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"planning stage {self.name}: got {self.schedule!r}; wanted 'cosine' or 'constant'"
            )
        if self.steps < 1:
            raise ValueError(f"planning stage {self.name}: got {self.steps} steps; wanted at least 1")


def schedule(stage: Stage, step: int) -> float:
    """The share of the full learning rate at a step."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    if stage.schedule == "constant":
        return 1.0
    start, end = stage.part
    done = start + (end - start) * (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def optimizers(model: nn.Module, stage: Stage) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices where the stage asks for it."""
    matrices, rest = split_parameters(model) if stage.matrix_rate else ([], list(model.parameters()))
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=stage.learning_rate, weight_decay=stage.weight_decay)
    ]
    if matrices:
        made.append(Muon(matrices, lr=stage.matrix_rate, weight_decay=stage.weight_decay))
    return made


def is_first_process() -> bool:
    """True for the one of several training processes that writes files; waits until all have come here."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return True
    torch.distributed.barrier()
    return torch.distributed.get_rank() == 0


def leave_processes() -> None:
    """Part from the other training processes, once nothing more is trained here; waits until all have come.

    A process that ends with the group still open may be aborted by the group's threads.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def train(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    stage: Stage,
    folder: Path,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    progress: bool = True,
) -> nn.Module:
    """Train `model` in place and return it; continues from `folder/<stage>.state.pt` when that is there.

    `validate(model) -> score` (higher is better) runs every `validate_every` steps: the best weights are the
    ones kept.
    """
    from lightning_fabric import Fabric  # takes seconds to import

    # A stage may train a part of the model, so some parameters get no gradient.
    strategy = "ddp_find_unused_parameters_true" if stage.devices > 1 else "auto"
    fabric = Fabric(
        accelerator="auto",
        strategy=strategy,
        devices=stage.devices,
        precision=stage.precision,  # type: ignore[arg-type]
    )
    if stage.devices > 1:
        fabric.launch()
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(fabric, model, loss, stage, folder)
    run.resume()
    with _Progress(stage, run.step, progress and fabric.is_global_zero) as bar:
        while run.step < stage.steps:
            value = run.train_step(batches)
            bar.update(run.step, value)
            if stage.validate_every and validate and run.step % stage.validate_every == 0:
                run.keep_best(validate(model), model)
            if run.step % stage.save_every == 0 or run.step == stage.steps:
                run.save(value)
    run.restore_best()
    return model


class _Step(nn.Module):
    """Model and loss as one module: Fabric sees one number come out and never looks into frozen nouns."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, fetch: Callable[[], Batch]) -> Tensor:
        return self.loss(self.model, fetch())


class _Run:
    """State of one training stage: what has to survive a kill."""

    def __init__(self, fabric: Any, model: nn.Module, loss: Loss, stage: Stage, folder: Path) -> None:
        self.fabric, self.stage, self.folder = fabric, stage, folder
        self.bare = model
        self.model, *self.optimizers = fabric.setup(_Step(model, loss), *optimizers(model, stage))
        self.full_rates = [optimizer.param_groups[0]["lr"] for optimizer in self.optimizers]
        self.step, self.best, self.seconds = 0, -math.inf, 0.0
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def path(self) -> Path:
        return self.folder / f"{self.stage.name}.state.pt"

    def train_step(self, batches: Batches) -> float:
        started = time.process_time()
        share = schedule(self.stage, self.step)
        for optimizer, rate in zip(self.optimizers, self.full_rates):
            optimizer.param_groups[0]["lr"] = share * rate
        batch = batches(self.step * self.fabric.world_size + self.fabric.global_rank)
        device = self.fabric.device
        if device.type != "cpu":
            batch = Batch(
                batch.cases, batch.measurement.to(device), batch.targets.to(device), batch.accelerations
            )
        self.model.train()
        self.model.zero_grad(set_to_none=True)
        value = self.model(lambda: batch)
        shown = float(value.detach())
        if not math.isfinite(shown):
            raise ValueError(f"training step {self.step}: got loss {shown}; wanted a finite number")
        self.fabric.backward(value)
        for optimizer in self.optimizers:
            if self.stage.clip:
                self._clip(optimizer)
            optimizer.step()
        self.step += 1
        self.seconds += time.process_time() - started
        return shown

    def _clip(self, optimizer: Any) -> None:
        try:
            self.fabric.clip_gradients(self.model, optimizer, max_norm=self.stage.clip)
        except RuntimeError as error:
            raise ValueError(f"training step {self.step}: got gradients that are not finite") from error

    def keep_best(self, score: float, model: nn.Module) -> None:
        self._log({"step": self.step, "validation": score, "core_seconds": round(self.seconds, 2)})
        if score > self.best:
            self.best = score
            self.best_weights = {name: x.detach().clone() for name, x in model.state_dict().items()}

    def restore_best(self) -> None:
        if self.best_weights is not None:
            self.bare.load_state_dict(self.best_weights)

    def save(self, value: float) -> None:
        self._log({"step": self.step, "loss": value, "core_seconds": round(self.seconds, 2)})
        if not self.fabric.is_global_zero:
            return
        state = {
            "model": self.bare.state_dict(),
            "optimizers": [optimizer.optimizer.state_dict() for optimizer in self.optimizers],
            "best_weights": self.best_weights,
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
        }
        write_atomically(self.path, lambda path: torch.save(state, path))

    def resume(self) -> None:
        if not self.path.exists():
            return
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
            self.bare.load_state_dict(state["model"])
            for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.optimizer.load_state_dict(kept)
        except (RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
            raise ValueError(
                f"resuming from {self.path}: got a broken file or the state of another run; wanted one of "
                f"this {type(self.bare).__name__} and its optimisers"
            ) from error
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
        self.best_weights = state["best_weights"]

    def _log(self, row: dict[str, object]) -> None:
        if self.fabric.is_global_zero:
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps({"stage": self.stage.name, **row}) + "\n")


class _Progress:
    """A rich progress bar with the time left; silent off a terminal."""

    def __init__(self, stage: Stage, step: int, wanted: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, disable=not wanted)
        self.bar.disable = not wanted or not self.bar.console.is_terminal
        self.task = self.bar.add_task(stage.name, total=stage.steps, completed=step)

    def __enter__(self) -> "_Progress":
        self.bar.start()
        return self

    def update(self, step: int, value: float) -> None:
        self.bar.update(self.task, completed=step, description=f"loss {value:.3f}")

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
