"""k-MTR, Stage III: the k-space encoder with one head, for phenotypes, diseases, a segmentation or an image.

Zhang et al., arXiv 2603.09945. The image head has the shape of a Stage I decoder and says pixels straight
from tokens of k-space: no inverse Fourier transform. Segmentation is UNETR's way, behind queries that read
k-space.
"""

from collections.abc import Iterable

from torch import Tensor, nn

from kwise.models.answer import (
    EVERYTHING,
    gather_points,
    output_shape,
    query_frames,
    resize_answer,
    select_frames,
)
from kwise.models.grids import finish_images
from kwise.models.kmtr_encoders import (
    Encoded,
    KSpaceEncoder,
    Preset,
    Whitening,
    as_complex_grid,
    on_grid,
    preset_of,
    scale_of,
)
from kwise.models.kmtr_heads import DiseaseHead, PhenotypeHead
from kwise.nn.decoders import PatchDecoder, UnetrDecoder
from kwise.types import Measurement, Prediction, Query, Targets

HEADS = ("phenotypes", "diseases", "segmentation", "image")


class Kmtr(Whitening):
    """An encoder of undersampled k-space with the `head` of one task.

    `preset` is a word of PRESETS, `tokens` one of KINDS_OF_TOKENS. `literal_unetr` takes tokens as they lie,
    as in the image domain, where patches of k-space are not those of the image.
    """

    def __init__(
        self,
        *,
        preset: str = "small",
        head: str = "phenotypes",
        tokens: str = "patches",
        mask_channel: bool = True,
        n_classes: int = 6,
        literal_unetr: bool = False,
    ) -> None:
        super().__init__()
        sizes = preset_of(preset)
        if head not in HEADS:
            raise ValueError(f"building kmtr: got head={head!r}; wanted one of {', '.join(HEADS)}")
        self.kspace_encoder = KSpaceEncoder(sizes, tokens, mask_channel=mask_channel)
        self.head = make_head(head, sizes, n_classes=n_classes, literal_unetr=literal_unetr)
        cells = self.kspace_encoder.encoder.cells
        if cells is not None and not isinstance(self.head, (PhenotypeHead, DiseaseHead)):
            cells.requires_grad_(False)  # grids are read from the tokens: nobody asks for the summary

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """phenotypes (b, p); diseases (b, q); logits (b, k, z, f, y, x); or an image (b, z, f, y, x)."""
        measurement = on_grid(measurement)
        return answer_head(self.head, self.kspace_encoder(measurement), measurement, query)

    def calibrate(self, answers: Iterable[tuple[Prediction, Targets]]) -> None:
        """Fit what the head keeps from validation cases."""
        if isinstance(self.head, (PhenotypeHead, DiseaseHead)):
            self.head.calibrate(answers)


def make_head(
    name: str, sizes: Preset, *, n_classes: int = 6, literal_unetr: bool = False, gaussian: bool = False
) -> nn.Module:
    """The head of that name, a word of HEADS."""
    if name == "phenotypes":
        return PhenotypeHead(sizes.width, sizes.hidden, gaussian=gaussian)
    if name == "diseases":
        return DiseaseHead(sizes.width, sizes.hidden)
    if name == "segmentation":
        return UnetrDecoder(
            sizes.width, sizes.heads, sizes.patch, n_classes, sizes.features, reads=not literal_unetr
        )
    return PatchDecoder(sizes.width, sizes.decoder_layers, sizes.heads, sizes.patch, 2, sizes.width)


def answer_head(head: nn.Module, encoded: Encoded, measurement: Measurement, query: Query) -> Prediction:
    """What one head says about an encoded measurement."""
    if isinstance(head, (PhenotypeHead, DiseaseHead)):
        query_frames(query, len(encoded.summary), measurement.n_frames, encoded.summary.device)
        return head(encoded.summary)
    shape = (measurement.n_frames, *measurement.shape[-2:])
    if isinstance(head, UnetrDecoder):
        return answer_logits(head(encoded.depths, encoded.valid, encoded.kinds, shape), measurement, query)
    channels = head(encoded.states[-1], encoded.valid, encoded.kinds, shape)
    return answer_image(as_complex_grid(channels), measurement, query)


def answer_logits(logits: Tensor, measurement: Measurement, query: Query) -> Prediction:
    """Logits (b, k, z, t, y, x) -> those of the frames, grid and points asked."""
    chosen = frames_of(logits, query)
    return Prediction(logits=gather_points(resize_answer(chosen, output_shape(measurement, query)), query))


def answer_image(image: Tensor, measurement: Measurement, query: Query) -> Prediction:
    """Images (b, z, t, y, x) at the model's scale -> in the units measured, at the frames, grid and points
    asked.
    """
    chosen = frames_of(image.unsqueeze(1), query).squeeze(1)
    return finish_images(chosen * scale_of(measurement), measurement, query)


def frames_of(x: Tensor, query: Query) -> Tensor:
    """The queried frames of (b, k, z, t, y, x)."""
    return select_frames(x.flatten(1, 2), query).unflatten(1, x.shape[1:3])
