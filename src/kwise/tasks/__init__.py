"""Tasks by name: each turns predictions and targets into a training loss and into one score row per case."""

from kwise.tasks.segmentation import Segmentation

TASKS = {"segmentation": Segmentation}

__all__ = ["TASKS", "Segmentation"]
