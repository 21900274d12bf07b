"""Tasks by name: each turns predictions and targets into a training loss and into one score row per case."""

from kwise.tasks.reconstruction import Reconstruction
from kwise.tasks.segmentation import Segmentation

TASKS: dict[str, type[Segmentation] | type[Reconstruction]] = {
    "segmentation": Segmentation,
    "reconstruction": Reconstruction,
}
