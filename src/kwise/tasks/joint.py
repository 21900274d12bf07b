"""All answers of one model at once: phenotypes, diseases, segmentation and image, each by its own task."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kwise.tasks.diagnosis import Diagnosis
from kwise.tasks.phenotypes import Phenotypes
from kwise.tasks.reconstruction import Reconstruction
from kwise.tasks.segmentation import Segmentation
from kwise.tasks.task import Task
from kwise.types import Prediction, Targets


@dataclass(frozen=True)
class Joint:
    """The weighted sum of the losses of every task with a weight above 0.

    A task without truth (no labels of that kind in the whole batch) is left out of loss, score and progress.
    """

    phenotypes: float = 1.0
    diagnosis: float = 1.0
    segmentation: float = 1.0
    reconstruction: float = 1.0
    n_classes: int = 6
    variant: str = "dice_ce"

    @property
    def names(self) -> tuple[str, ...]:
        """Short names of the foreground classes of the segmentation; () without one."""
        return Segmentation(n_classes=self.n_classes).names if self.segmentation > 0 else ()

    def parts(self, targets: Targets) -> list[tuple[float, Task]]:
        """The tasks that have a weight and a truth."""
        labelled = bool((targets.labels >= 0).any())
        there: list[tuple[float, Task, bool]] = [
            (self.phenotypes, Phenotypes(), targets.phenotypes is not None),
            (self.diagnosis, Diagnosis(), targets.diseases is not None),
            (self.segmentation, Segmentation(n_classes=self.n_classes, variant=self.variant), labelled),
            (self.reconstruction, Reconstruction(kind="l1"), targets.image is not None),
        ]
        return [(weight, task) for weight, task, known in there if weight > 0 and known]

    def loss(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Scalar; the model's own losses are added once."""
        bare = Prediction(
            prediction.logits,
            prediction.image,
            phenotypes=prediction.phenotypes,
            phenotype_sd=prediction.phenotype_sd,
            diseases=prediction.diseases,
        )
        terms = [weight * task.loss(bare, targets) for weight, task in self.parts(targets)]
        if not terms:
            raise ValueError(
                "computing a joint loss: got targets without any truth; wanted one kind at least"
            )
        return torch.stack([*terms, *prediction.losses.values()]).sum()

    def score(self, prediction: Prediction, targets: Targets) -> list[dict[str, float]]:
        """One row per case: the columns of every task."""
        tables = [task.score(prediction, targets) for _, task in self.parts(targets)]
        return [{key: value for row in rows for key, value in row.items()} for rows in zip(*tables)]

    def frame_scores(self, prediction: Prediction, targets: Targets) -> list[list[dict[str, float | str]]]:
        """Those of the segmentation, where there is one."""
        for _, task in self.parts(targets):
            if isinstance(task, Segmentation):
                return task.frame_scores(prediction, targets)
        return [[] for _ in targets.labels]

    def progress(self, prediction: Prediction, targets: Targets) -> list[float]:
        """The sum over tasks of their progress, decibels counted as hundredths."""
        total = torch.zeros(len(targets.labels))
        for weight, task in self.parts(targets):
            share = 0.01 if isinstance(task, Reconstruction) else 1.0
            total = total + weight * share * torch.tensor(task.progress(prediction, targets))
        return total.tolist()
