"""What every task is: a loss in training, one number per case to choose weights by, a score row per case."""

from typing import Protocol

from torch import Tensor

from kwise.types import Prediction, Targets


class Task(Protocol):
    """A frozen dataclass whose fields are plain values, so that a recipe and a checkpoint can keep them.

    A case's numbers never depend on the batch it came in.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Short names of the foreground classes of the answer; () where it has none."""
        ...

    def loss(self, prediction: Prediction, targets: Targets) -> Tensor:
        """Scalar, the mean over cases."""
        ...

    def score(self, prediction: Prediction, targets: Targets) -> list[dict[str, float]]:
        """One row of scores per case."""
        ...

    def frame_scores(self, prediction: Prediction, targets: Targets) -> list[list[dict[str, float | str]]]:
        """For every case its rows per frame, each with a `frame`; none where a task has no frames."""
        ...

    def progress(self, prediction: Prediction, targets: Targets) -> list[float]:
        """One number per case, higher is better: validation chooses weights by its mean."""
        ...
