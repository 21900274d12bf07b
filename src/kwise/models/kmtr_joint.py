"""Ours: one encoder of undersampled k-space, and all answers of k-MTR in one forward pass.

One model for every R from 2 to 16. Its tokens are positioned latents that know the Fourier basis, as in
DiSK+; it is told nothing else. Phenotypes come with a standard deviation each, diseases with calibrated
probabilities.
"""

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from kwise.models.answer import EVERYTHING
from kwise.models.kmtr import HEADS, answer_head, make_head
from kwise.models.kmtr_encoders import KSpaceEncoder, Whitening, on_grid, preset_of
from kwise.models.kmtr_heads import DiseaseHead, PhenotypeHead
from kwise.types import Measurement, Prediction, Query, Targets


class KmtrJoint(Whitening):
    """Phenotypes with their uncertainty, diseases, segmentation and image (`heads`, all or some) of one
    encoding.
    """

    def __init__(
        self,
        *,
        preset: str = "small",
        tokens: str = "spectral",
        heads: tuple[str, ...] = HEADS,
        n_classes: int = 6,
    ) -> None:
        super().__init__()
        unknown = [name for name in heads if name not in HEADS]
        if unknown or not heads:
            raise ValueError(f"building kmtr_joint: got heads {heads}; wanted some of {', '.join(HEADS)}")
        sizes = preset_of(preset)
        self.kspace_encoder = KSpaceEncoder(sizes, tokens)
        self.heads = nn.ModuleDict(
            {name: make_head(name, sizes, n_classes=n_classes, gaussian=True) for name in heads}
        )

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Every answer there is a head for, and the encoder's summary as latents (b, 1, d)."""
        measurement = on_grid(measurement)
        encoded = self.kspace_encoder(measurement)
        answer = Prediction(latents=encoded.summary.unsqueeze(1))
        for head in self.heads.values():
            answer = merged(answer, answer_head(head, encoded, measurement, query))
        return answer

    def calibrate(self, answers: Iterable[tuple[Prediction, Targets]]) -> None:
        """Fit what the heads keep from validation cases."""
        kept = list(answers)
        for head in self.heads.values():
            if isinstance(head, (PhenotypeHead, DiseaseHead)):
                head.calibrate(kept)


def merged(answer: Prediction, other: Prediction) -> Prediction:
    """One prediction that says what both say."""
    names = ("logits", "image", "phenotypes", "phenotype_sd", "diseases", "disease_threshold")
    said = {name: getattr(other, name) for name in names if getattr(other, name) is not None}
    return replace(answer, **said)
