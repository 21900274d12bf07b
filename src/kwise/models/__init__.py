"""Models by name: every one is called as model(measurement, query) and gives a Prediction."""

from torch import nn

from kwise.models.disk import Disk
from kwise.models.disk_plus import DiskPlus
from kwise.models.harmonic_unet import HarmonicUNet
from kwise.models.kspace_transformer import KSpaceTransformer
from kwise.models.li_net import LiNet
from kwise.models.mean_shape import MeanShape
from kwise.models.nnunet_style import NNUNetStyle
from kwise.models.syn_net import SynNet
from kwise.models.syn_net_shared import SynNetShared

MODELS: dict[str, type[nn.Module]] = {
    "disk": Disk,
    "disk_plus": DiskPlus,
    "harmonic_unet": HarmonicUNet,
    "syn_net": SynNet,
    "syn_net_shared": SynNetShared,
    "li_net": LiNet,
    "nnunet_style": NNUNetStyle,
    "mean_shape": MeanShape,
    "kspace_transformer": KSpaceTransformer,
}
