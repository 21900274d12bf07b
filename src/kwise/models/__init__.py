"""Models by name: every one is called as model(measurement, query) and gives a Prediction."""

from torch import nn

from kwise.models.disk import Disk
from kwise.models.li_net import LiNet
from kwise.models.mean_shape import MeanShape
from kwise.models.nnunet_style import NNUNetStyle
from kwise.models.syn_net import SynNet

MODELS: dict[str, type[nn.Module]] = {
    "disk": Disk,
    "syn_net": SynNet,
    "li_net": LiNet,
    "nnunet_style": NNUNetStyle,
    "mean_shape": MeanShape,
}
