"""k-MTR, Stage I for images: a masked autoencoder of fully sampled cines with 70 % of the patches hidden.

Zhang et al., arXiv 2603.09945, Section 2; He et al., CVPR 2022; Zhang et al., WholeHeartRL, MICCAI 2024.
"""


import torch
from torch import Tensor

from kwise.models.answer import EVERYTHING, gather_points, output_shape, resize_answer
from kwise.models.kmtr import frames_of
from kwise.models.kmtr_encoders import (
    ImageEncoder,
    Whitening,
    kinds_of,
    on_grid,
    preset_of,
    scale_of,
    scaled_magnitude,
    views_seen,
)
from kwise.nn.decoders import PatchDecoder
from kwise.nn.patches import patch_grid
from kwise.seeding import generator, seed_of
from kwise.types import Measurement, Prediction, Query


class ImageMae(Whitening):
    """Zero-filled magnitudes with patches hidden -> all of the magnitudes; meant for fully sampled
    measurements.

    `hide` is the share of hidden patches. Which ones is drawn from the images themselves in training, so that
    a resumed run hides the same; in evaluation they are always the same places.
    """

    def __init__(self, *, preset: str = "small", hide: float = 0.7) -> None:
        super().__init__()
        if not 0 <= hide < 1:
            raise ValueError(f"building image_mae: got hide={hide}; wanted a share of patches, 0 to below 1")
        sizes = preset_of(preset)
        self.hide, self.patch = hide, sizes.patch
        self.image_encoder = ImageEncoder(sizes)
        self.decoder = PatchDecoder(
            sizes.width, sizes.decoder_layers, sizes.heads, sizes.patch, 1, sizes.width
        )

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """The magnitude image (b, z, f, y, x) in the units measured."""
        measurement = on_grid(measurement)
        image, kinds = scaled_magnitude(measurement), kinds_of(measurement)
        hidden = hidden_patches(image, self.patch, self.hide, told=self.training)
        encoded = self.image_encoder(image, views_seen(measurement), kinds, hidden)
        t, y, x = image.shape[2:]
        said = self.decoder(encoded.states[-1], encoded.valid, kinds, (t, y, x))
        chosen = frames_of(said, query) * scale_of(measurement).unsqueeze(1)
        answer = gather_points(resize_answer(chosen, output_shape(measurement, query)), query)
        return Prediction(image=answer.squeeze(1), latents=encoded.summary.unsqueeze(1))



def hidden_patches(image: Tensor, patch: tuple[int, int, int], share: float, *, told: bool) -> Tensor:
    """(b, n) bool: `share` of all patches of each case of (b, z, t, y, x), drawn from the case's own values
    where `told`, else the same for all.
    """
    b, z, t, y, x = image.shape
    nt, ny, nx = patch_grid((t, y, x), patch)
    n = z * nt * ny * nx
    hidden = torch.zeros(b, n, dtype=torch.bool)
    for i in range(b):
        word = seed_of(image[i, :, 0].sum(dtype=torch.float64).item()) if told else "evaluation"
        hidden[i, torch.randperm(n, generator=generator("hidden patches", word))[: int(share * n)]] = True
    return hidden.to(image.device)
