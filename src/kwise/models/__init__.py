"""Models by name: every one is called as model(measurement, query) and gives a Prediction."""

from torch import nn

from kwise.models.admm_net import AdmmNet
from kwise.models.d5c5 import D5C5
from kwise.models.disk import Disk
from kwise.models.disk_plus import DiskPlus
from kwise.models.harmonic_joint import HarmonicJoint
from kwise.models.harmonic_unet import HarmonicUNet
from kwise.models.image_mae import ImageMae
from kwise.models.k_gin import KGin
from kwise.models.k_unet import KUNet
from kwise.models.kmtr import Kmtr
from kwise.models.kmtr_align import KmtrAlign
from kwise.models.kmtr_joint import KmtrJoint
from kwise.models.kspace_mae import KSpaceMae
from kwise.models.kspace_transformer import KSpaceTransformer
from kwise.models.kspace_transformer_plus import KSpaceTransformerPlus
from kwise.models.li_net import LiNet
from kwise.models.mean_shape import MeanShape
from kwise.models.nnunet_style import NNUNetStyle
from kwise.models.oucr_style import OucrStyle
from kwise.models.resnet50 import ResNet50
from kwise.models.syn_net import SynNet
from kwise.models.syn_net_shared import SynNetShared
from kwise.models.train_mean import TrainMean
from kwise.models.unet import ImageUNet
from kwise.models.vit import Vit
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
    "kmtr": Kmtr,
    "kmtr_joint": KmtrJoint,
    "harmonic_joint": HarmonicJoint,
    "kspace_mae": KSpaceMae,
    "image_mae": ImageMae,
    "kmtr_align": KmtrAlign,
    "vit": Vit,
    "resnet50": ResNet50,
    "k_gin": KGin,
    "train_mean": TrainMean,
    "zero_filled": ZeroFilled,
}
