"""A vision transformer on image magnitudes, with a head for phenotypes or diseases: from scratch the ViT row,
from a masked autoencoder of images the MAE row.

Dosovitskiy et al., ICLR 2021; tokens and width as in k-MTR's image branch (arXiv 2603.09945).
"""

from collections.abc import Iterable

from kwise.models.answer import EVERYTHING
from kwise.models.kmtr import answer_head, make_head
from kwise.models.kmtr_encoders import (
    ImageEncoder,
    Whitening,
    kinds_of,
    on_grid,
    preset_of,
    scaled_magnitude,
    views_seen,
)
from kwise.models.kmtr_heads import DiseaseHead, PhenotypeHead
from kwise.types import Measurement, Prediction, Query, Targets

VECTOR_HEADS = ("phenotypes", "diseases")


class Vit(Whitening):
    """Zero-filled magnitudes of all views -> phenotypes or diseases (`head`)."""

    def __init__(self, *, preset: str = "small", head: str = "phenotypes") -> None:
        super().__init__()
        if head not in VECTOR_HEADS:
            raise ValueError(f"building vit: got head={head!r}; wanted one of {', '.join(VECTOR_HEADS)}")
        sizes = preset_of(preset)
        self.image_encoder = ImageEncoder(sizes)
        self.head = make_head(head, sizes)

    def forward(self, measurement: Measurement, query: Query = EVERYTHING) -> Prediction:
        """phenotypes (b, p), or diseases (b, q)."""
        measurement = on_grid(measurement)
        kinds = kinds_of(measurement)
        encoded = self.image_encoder(scaled_magnitude(measurement), views_seen(measurement), kinds)
        return answer_head(self.head, encoded, measurement, query)

    def calibrate(self, answers: Iterable[tuple[Prediction, Targets]]) -> None:
        """Fit what the head keeps from validation cases."""
        assert isinstance(self.head, (PhenotypeHead, DiseaseHead))
        self.head.calibrate(answers)
