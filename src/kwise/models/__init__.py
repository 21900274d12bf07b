"""Models by name: every one is called as model(measurement, query) and gives a Prediction."""

from torch import nn

from kwise.models.admm_net import AdmmNet
from kwise.models.d5c5 import D5C5
from kwise.models.disk import Disk
from kwise.models.disk_plus import DiskPlus
from kwise.models.harmonic_unet import HarmonicUNet
from kwise.models.k_unet import KUNet
from kwise.models.kspace_transformer import KSpaceTransformer
from kwise.models.kspace_transformer_plus import KSpaceTransformerPlus
from kwise.models.li_net import LiNet
from kwise.models.mean_shape import MeanShape
from kwise.models.nnunet_style import NNUNetStyle
from kwise.models.oucr_style import OucrStyle
from kwise.models.syn_net import SynNet
from kwise.models.syn_net_shared import SynNetShared
from kwise.models.unet import ImageUNet
from kwise.models.zero_filled import ZeroFilled

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
    "kspace_transformer_plus": KSpaceTransformerPlus,
    "unet": ImageUNet,
    "k_unet": KUNet,
    "admm_net": AdmmNet,
    "d5c5": D5C5,
    "oucr_style": OucrStyle,
    "zero_filled": ZeroFilled,
}
