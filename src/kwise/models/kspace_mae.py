"""k-MTR, Stage I for k-space: a masked autoencoder whose hidden part is what the scan did not acquire.

Zhang et al., arXiv 2603.09945, Section 2; He et al., CVPR 2022. The target is all of k-space.
"""



from kwise.models.answer import EVERYTHING, query_frames
from kwise.models.kmtr_encoders import (
    KSpaceEncoder,
    Whitening,
    as_complex_grid,
    expanded,
    on_grid,
    preset_of,
    scale_of,
)
from kwise.nn.decoders import PatchDecoder
from kwise.types import Measurement, Prediction, Query


class KSpaceMae(Whitening):
    """Undersampled k-space -> all of it. The decoder speaks in the compressed range that the
    encoder hears.
    """

    def __init__(self, *, preset: str = "small", tokens: str = "patches", mask_channel: bool = True) -> None:
        super().__init__()
        sizes = preset_of(preset)
        self.kspace_encoder = KSpaceEncoder(sizes, tokens, mask_channel=mask_channel)
        self.decoder = PatchDecoder(
            sizes.width, sizes.decoder_layers, sizes.heads, sizes.patch, 2, sizes.width
        )

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """kspace (b, 1, z, t, ky, kx) in the units measured, of the combined coils where there are
        several.
        """
        measurement = on_grid(measurement)
        encoded = self.kspace_encoder(measurement)
        query_frames(query, len(encoded.summary), measurement.n_frames, encoded.summary.device)
        shape = (measurement.n_frames, *measurement.kspace.shape[-2:])
        said = self.decoder(encoded.states[-1], encoded.valid, encoded.kinds, (shape[0], shape[1], shape[2]))
        kspace = expanded(as_complex_grid(said)) * scale_of(measurement)
        return Prediction(kspace=kspace.unsqueeze(1), latents=encoded.summary.unsqueeze(1))
