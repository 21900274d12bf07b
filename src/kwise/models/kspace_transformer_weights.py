"""Weights of a published K-Space Transformer under its authors' names -> ours."""

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

# Theirs -> ours, tried in this order; parts of a layer by the second table.
_PLACES = (
    (r"encoder_embed_layer\.(\d)\.", r"embed.\1."),
    (r"decoderHR\.HR_embed_layer\.(\d)\.", r"hr_embed.\1."),
    (r"decoderLR\.LR_norm_layers\.(\d+)\.", r"lr_heads.\1.0."),
    (r"decoderHR\.HR_norm_layers\.(\d+)\.", r"hr_heads.\1.0."),
    (r"decoderLR\.LR_predict_layers\.(\d+)\.0\.", r"lr_heads.\1.1."),
    (r"decoderLR\.LR_predict_layers\.(\d+)\.2\.", r"lr_heads.\1.3."),
    (r"decoderHR\.HR_predict_layers\.(\d+)\.0\.", r"hr_heads.\1.1."),
    (r"decoderHR\.HR_predict_layers\.(\d+)\.2\.", r"hr_heads.\1.3."),
    (r"decoderHR\.ConvBlocks\.(\d+)\.convs\.", r"refine.\1.convs."),
    (r"encoder\.layers\.(\d+)\.", r"encoder.\1."),
    (r"decoderLR\.layers\.(\d+)\.", r"lr_decoder.\1."),
    (r"decoderHR\.layers\.(\d+)\.", r"hr_decoder.\1."),
)
_PARTS = (
    (r"\.self_attn\.", ".mix."),
    (r"\.multihead_attn\.", ".read."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.w_qs\.", ".query."),
    (r"\.w_ks\.", ".key_value."),
    (r"\.fc\.", ".out."),
    (r"\.(linear1|ffn1\.0)\.", ".feed_forward.0."),
    (r"\.(linear2|ffn1\.3)\.", ".feed_forward.2."),
    (r"^((?:encoder|lr_decoder|hr_decoder)\.\d+)\.norm1?\.", r"\1.feed_forward_norm."),
)


def convert_parameters(named: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The authors' parameters by their names -> the state of a `KSpaceTransformer`; ValueError for an unknown
    name.
    """
    state: dict[str, Tensor] = {}
    for name, array in named.items():
        if name == "pe_layer.div_term" or ".w_vs." in name:
            continue  # frequencies are computed; values are packed with their keys
        if ".w_ks." in name:
            array = np.concatenate([array, named[name.replace(".w_ks.", ".w_vs.")]])
        state[_renamed(name)] = torch.from_numpy(np.array(array, dtype=np.float32))
    return state


def infer_options(named: Mapping[str, np.ndarray], *, heads: int = 4) -> dict[str, int]:
    """Options of `KSpaceTransformer` that the authors' parameters imply; the number of heads leaves no
    trace.
    """
    kernels = [name for name in named if re.match(r"decoderHR\.ConvBlocks\.0\.convs\.\d+\.weight", name)]
    return {
        "width": int(named["encoder_embed_layer.0.weight"].shape[0]),
        "heads": heads,
        "ffn": int(named["encoder.layers.0.linear1.weight"].shape[0]),
        "encoder_layers": _count(named, r"encoder\.layers\.\d+\.norm\.weight"),
        "lr_layers": _count(named, r"decoderLR\.layers\.\d+\.norm1\.weight"),
        "hr_layers": _count(named, r"decoderHR\.layers\.\d+\.norm1\.weight"),
        "refine_channels": int(named["decoderHR.ConvBlocks.0.convs.0.weight"].shape[0]),
        "refine_convs": len(kernels) - 2,
    }


def _count(named: Mapping[str, np.ndarray], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in named)


def _renamed(name: str) -> str:
    for theirs, ours in _PLACES:
        renamed, found = re.subn("^" + theirs, ours, name)
        if found:
            for part, our_part in _PARTS:
                renamed = re.sub(part, our_part, renamed)
            return renamed
    raise ValueError(
        f"converting K-Space Transformer parameters: got {name!r}; wanted encoder, decoderLR or decoderHR"
    )
