"""The floor of phenotypes and diseases: the mean and the prevalence of the training cases, whoever is
measured.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from kwise.models.answer import EVERYTHING, query_frames
from kwise.phenotypes import DISEASES, PHENOTYPES
from kwise.types import Batch, Measurement, Prediction, Query


class TrainMean(nn.Module):
    """The same phenotypes, their spread as uncertainty, and the same diseases for every measurement."""

    fitted_stages = ("train",)

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.sd: Tensor
        self.logits: Tensor
        self.register_buffer("mean", torch.tensor([m for m, _ in PHENOTYPES.values()]))
        self.register_buffer("sd", torch.tensor([s for _, s in PHENOTYPES.values()]))
        self.register_buffer("logits", torch.zeros(len(DISEASES)))

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """phenotypes (b, p), phenotype_sd (b, p), diseases (b, q); everybody is called ill, for the best
        F1.
        """
        b = len(measurement.kspace)
        query_frames(query, b, measurement.n_frames, self.mean.device)
        logits = self.logits.expand(b, -1)
        return Prediction(
            phenotypes=self.mean.expand(b, -1),
            phenotype_sd=self.sd.expand(b, -1),
            diseases=logits,
            disease_threshold=torch.zeros_like(logits),
        )

    def fit(self, batches: Iterable[Batch]) -> None:
        """Learn mean, sd and prevalence; what is unknown (NaN) counts nowhere."""
        phenotypes, diseases = [], []
        for targets in (batch.targets for batch in batches):
            if targets.phenotypes is None or targets.diseases is None:
                raise ValueError("fitting train_mean: got cases without phenotypes and diseases; wanted both")
            phenotypes.append(targets.phenotypes)
            diseases.append(targets.diseases)
        if not phenotypes:
            raise ValueError("fitting train_mean: got no training cases; wanted at least one")
        values, ill = torch.cat(phenotypes), torch.cat(diseases)
        mean = values.nanmean(dim=0)
        self.mean.copy_(torch.where(mean.isnan(), self.mean, mean))
        spread = (values - self.mean).square().nanmean(dim=0).sqrt()
        self.sd.copy_(torch.where(spread > 0, spread, self.sd))
        self.logits.copy_(ill.nanmean(dim=0).clamp(1e-3, 1 - 1e-3).logit().nan_to_num(0.0))
