"""DiSK: a Perceiver that reads k-space samples as a set and is asked for the class of image points.

Zhang et al., Direct Cardiac Segmentation from Undersampled K-space using Transformers, ISBI 2024 (arXiv
2406.00192), and its abstract (arXiv 2511.03762). Defaults are the published sizes. The paper's coordinates
are index / length in [0, 1), in the order (readout, phase encoding, frame): its first axis is our kx (and x),
its second our ky (and y).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kwise.coordinates import gather_samples
from kwise.models.answer import EVERYTHING, output_shape, query_frames, robust_scale, unfold_slices
from kwise.nn.encodings import frequency_encoding, pad_channels
from kwise.nn.perceiver import PerceiverDecoder, PerceiverEncoder
from kwise.seeding import generator
from kwise.types import Measurement, Prediction, Query, Samples

PAPER_IMAGE_RMS = 0.5  # of a cardiac magnitude image between 0 and sqrt 2, the paper's only normalisation
_CENTRE = (0.5, 0.5, 0.5)


class Disk(nn.Module):
    """DiSK as published: samples -> latents after each encoder layer -> queried image points -> class logits.

    `octaves` are of (readout, phase encoding, frame) and `value_octaves` of real and imaginary parts; `scale`
    "acquired" brings each slice to the paper's intensity from its acquired samples, "none" takes the k-space
    as it is; `jitter_sd` moves all coordinates in training; `weight_penalty` times the squared parameters of
    encoder and decoder becomes a loss in training (1e-5 in the paper); `query_chunk` points are decoded at a
    time when no gradient is needed.
    """

    def __init__(
        self,
        *,
        n_classes: int = 4,
        n_coils: int = 1,
        width: int = 128,
        n_latents: int = 128,
        layers: int = 4,
        heads: int = 1,
        ffn: int = 128,
        octaves: tuple[int, int, int] = (4, 4, 4),
        value_octaves: int = 4,
        scale: str = "acquired",
        jitter_sd: float = 1e-4,
        weight_penalty: float = 0.0,
        query_chunk: int = 16384,
    ) -> None:
        super().__init__()
        if scale not in ("acquired", "none"):
            raise ValueError(f"building disk: got scale {scale!r}; wanted 'acquired' or 'none'")
        self.n_coils, self.width, self.scale, self.query_chunk = n_coils, width, scale, query_chunk
        self.octaves, self.value_octaves = tuple(octaves), value_octaves
        self.jitter_sd, self.weight_penalty = jitter_sd, weight_penalty
        self.encoder = PerceiverEncoder(n_latents, width, layers, heads, ffn)
        self.decoder = PerceiverDecoder(width, layers, heads, ffn)
        self.head = nn.Linear(width, n_classes)
        # Counts jittered draws: the noise depends on it alone, so a resumed training repeats it.
        self.draws: Tensor
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Class logits (b, k, z, f, y, x), or (b, k, z, q) at queried points; slices are cases."""
        n_slices = measurement.n_slices
        single, asked = measurement.fold_slices(), query.repeat_slices(n_slices)
        origin = grid_origin(single)
        latents = self.encode(self._samples(single), origin)
        positions = self._jittered(query_positions(single, asked, origin))
        logits = unfold_slices(self.decode(latents, positions).transpose(1, 2), n_slices)
        if query.points is None:
            logits = logits.unflatten(-1, (-1, *output_shape(measurement, query)))
        last = latents[-1].unflatten(0, (-1, n_slices)).flatten(1, 2)
        return Prediction(logits=logits, latents=last, losses=self._penalties())

    def encode(self, samples: Samples, origin: Sequence[float] = _CENTRE) -> list[Tensor]:
        """The latents (b, m, width) after each encoder layer; `origin`: where DC is in the paper's range."""
        positions = self._jittered(paper_positions(samples.coords, origin))
        return self.encoder(self.tokens(samples.values, positions), samples.valid)

    def tokens(self, values: Tensor, positions: Tensor) -> Tensor:
        """Values (b, n, c) and positions (b, n, 3), both encoded, zero-padded to the width and added."""
        if values.shape[-1] != self.n_coils:
            raise ValueError(f"reading samples: got {values.shape[-1]} coils; wanted n_coils={self.n_coils}")
        numbers = torch.view_as_real(values).flatten(2)
        encoded = frequency_encoding(numbers, (self.value_octaves,) * numbers.shape[-1])
        return pad_channels(encoded, self.width) + self._encode_positions(positions)

    def decode(self, latents: Sequence[Tensor], positions: Tensor) -> Tensor:
        """Class logits (b, q, k) at image positions (b, q, 3) in the paper's order and range."""
        if torch.is_grad_enabled():
            return self._decode_chunk(latents, positions)
        parts = [self._decode_chunk(latents, part) for part in positions.split(self.query_chunk, dim=1)]
        return torch.cat(parts, dim=1)

    def _decode_chunk(self, latents: Sequence[Tensor], positions: Tensor) -> Tensor:
        return self.head(self.decoder(self._encode_positions(positions), latents))

    def _encode_positions(self, positions: Tensor) -> Tensor:
        return pad_channels(frequency_encoding(positions, self.octaves), self.width)

    def _samples(self, single: Measurement) -> Samples:
        samples = gather_samples(single)
        if self.scale == "none":
            return samples
        factor = (PAPER_IMAGE_RMS / robust_scale(single)).reshape(-1, 1, 1)
        return Samples(samples.values * factor, samples.coords, samples.valid)

    def _jittered(self, positions: Tensor) -> Tensor:
        if not (self.training and self.jitter_sd > 0):
            return positions
        noise = torch.randn(positions.shape, generator=generator("disk jitter", int(self.draws)))
        self.draws += 1
        return positions + self.jitter_sd * noise.to(positions.device)

    def _penalties(self) -> dict[str, Tensor]:
        if not (self.training and self.weight_penalty > 0):
            return {}
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        squared = torch.stack([p.square().sum() for p in parameters]).sum()
        return {"weight_penalty": self.weight_penalty * squared}


def grid_origin(single: Measurement) -> tuple[float, float, float]:
    """Where our position 0 lies in the paper's index / length, for (readout, phase encoding, frame)."""
    _, _, t, y, x = single.shape
    return (x // 2 / x, y // 2 / y, t // 2 / t)


def paper_positions(coords: Tensor, origin: Sequence[float]) -> Tensor:
    """Our coordinates (..., 4) of (z, t, ky, kx) around 0 -> the paper's (..., 3) of (kx, ky, t)."""
    return coords[..., [3, 2, 1]] + torch.tensor(origin, device=coords.device, dtype=coords.dtype)


def query_positions(single: Measurement, query: Query, origin: Sequence[float]) -> Tensor:
    """(b, q, 3) image positions (x, y, frame) in the paper's [0, 1) of the points, or of every pixel, asked.

    Another resolution covers the same field of view with its centre at the same place.
    """
    b, _, t, _, _ = single.shape
    y, x = output_shape(single, query)
    frames = query_frames(query, b, t, single.kspace.device)
    points = query.points
    if points is None:
        points = torch.arange(frames.shape[1] * y * x, device=frames.device).expand(b, -1)
    frame = frames.gather(1, points // (y * x)) / t
    row = ((points // x) % y - y // 2) / y + origin[1]
    column = (points % x - x // 2) / x + origin[0]
    return torch.stack([column, row, frame], dim=-1)


_LAYER_NAMES = {
    "out_proj": "attention.out",
    "linear1.linear": "feed_forward.0",
    "linear2": "feed_forward.2",
    "norm1": "attention_norm",
    "norm2": "feed_forward_norm",
}
_STACK_NAMES = {
    "encoder.ca_layers": "encoder.cross_layers",
    "encoder.sa_layers": "encoder.self_layers",
    "decoder.ca_hid_layers": "decoder.cross_layers",
}


def convert_parameters(named: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The authors' parameters by their names -> the state of a `Disk`; ValueError for an unknown name."""
    state = {"draws": torch.zeros((), dtype=torch.int64)}
    for name, array in named.items():
        state.update(_converted(name, torch.from_numpy(np.array(array, dtype=np.float32))))
    return state


def infer_options(named: Mapping[str, np.ndarray], *, heads: int = 1) -> dict[str, int]:
    """Options of `Disk` that the authors' parameters imply; the number of heads leaves no trace in them."""
    n_latents, width = named["encoder.pos_encoding"].shape
    layers = sum(name.startswith("encoder.ca_layers.") and name.endswith("norm1.bias") for name in named)
    return {
        "n_classes": len(named["seg_head.layers.0.bias"]),
        "width": int(width),
        "n_latents": int(n_latents),
        "layers": layers,
        "heads": heads,
        "ffn": len(named["encoder.ca_layers.0.linear1.linear.bias"]),
    }


def _converted(name: str, value: Tensor) -> dict[str, Tensor]:
    if name == "encoder.pos_encoding":
        return {"encoder.latents": value}
    if name.startswith("seg_head.layers.0."):
        return {name.replace("seg_head.layers.0", "head"): value}
    for theirs, ours in _STACK_NAMES.items():
        if name.startswith(theirs + "."):
            depth, inner = name.removeprefix(theirs + ".").split(".", 1)
            layer = _converted_layer(name, inner, value)
            return {f"{ours}.{depth}.{key}": part for key, part in layer.items()}
    raise ValueError(f"converting DiSK parameters: got {name!r}; wanted encoder, decoder or seg_head")


def _converted_layer(name: str, inner: str, value: Tensor) -> dict[str, Tensor]:
    inner = inner.removeprefix("self_attn.").removeprefix("cross_attn.")
    module, kind = inner.replace("in_proj_", "in_proj.").rsplit(".", 1)
    if module == "in_proj":  # query, key and value rows are packed in this order
        width = len(value) // 3
        return {f"attention.query.{kind}": value[:width], f"attention.key_value.{kind}": value[width:]}
    if module in _LAYER_NAMES:
        return {f"{_LAYER_NAMES[module]}.{kind}": value}
    raise ValueError(f"converting DiSK parameters: got {name!r}; wanted names of an attention layer")
