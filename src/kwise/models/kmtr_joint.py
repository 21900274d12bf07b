"""Ours: one encoder of undersampled k-space, and all answers of k-MTR in one forward pass.

One model for every R from 2 to 16. Its tokens are positioned latents that know the Fourier basis, as in
DiSK+; it is told nothing else. Phenotypes come with a standard deviation each, diseases with calibrated
probabilities.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from kwise.models.answer import EVERYTHING
from kwise.models.kmtr import HEADS, answer_head, make_head
from kwise.models.kmtr_encoders import Encoded, KSpaceEncoder, on_grid, preset_of
from kwise.models.kmtr_heads import DiseaseHead, PhenotypeHead
from kwise.types import Measurement, Prediction, Query, Targets


class KmtrJoint(nn.Module):
    """Phenotypes with their uncertainty, diseases, segmentation and image (`heads`, all or some) of one
    encoding.

    The vector heads read the class token beside the mean of all tokens: both are one number per channel
    whatever the number of views.
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
        self.mix = (
            nn.Linear(2 * sizes.width, sizes.width) if {"phenotypes", "diseases"} & set(heads) else None
        )
        self.heads = nn.ModuleDict(
            {name: make_head(name, sizes, n_classes=n_classes, gaussian=True) for name in heads}
        )

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """Every answer there is a head for, and the encoder's summary as latents (b, 1, d)."""
        measurement = on_grid(measurement)
        encoded = self.kspace_encoder(measurement)
        answer = Prediction(latents=encoded.summary.unsqueeze(1))
        pooled = encoded if self.mix is None else replace(encoded, states=[self.pooled(encoded, self.mix)])
        for head in self.heads.values():
            vector = isinstance(head, (PhenotypeHead, DiseaseHead))
            said = answer_head(head, pooled if vector else encoded, measurement, query)
            answer = merged(answer, said)
        return answer

    def pooled(self, encoded: Encoded, mix: nn.Module) -> Tensor:
        """(b, 1, d): class token and mean of the tokens, mixed."""
        tokens = encoded.states[-1][:, 1:]
        if encoded.valid is None:
            mean = tokens.mean(dim=1)
        else:
            real = encoded.valid[:, 1:].unsqueeze(-1)
            mean = torch.where(real, tokens, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)
        return mix(torch.cat([encoded.summary, mean], dim=1)).unsqueeze(1)

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
