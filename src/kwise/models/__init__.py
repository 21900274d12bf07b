"""Models by name: every one is called as model(measurement, query) and gives a Prediction."""

from torch import nn

from kwise.models.disk import Disk

MODELS: dict[str, type[nn.Module]] = {
    "disk": Disk,
}
