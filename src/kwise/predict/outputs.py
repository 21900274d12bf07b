"""What an answer becomes on disk: one function and one line a format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kwise.checkpoint import Loaded
from kwise.data.answers import write_areas, write_image, write_segmentation
from kwise.predict.answer import Answer
from kwise.predict.bounds import bound_columns
from kwise.predict.facts import page_of
from kwise.report.page import write_page


@dataclass(frozen=True)
class Delivery:
    """All that an output may tell: the answer, the checkpoint, its `weights` (SHA-256), the `file` answered.

    `reference` (z, t, y, x) is an image to show labels on, never used for the answer.
    """

    answer: Answer
    loaded: Loaded
    weights: str
    file: str = ""
    reference: Tensor | None = None


@dataclass(frozen=True)
class Output:
    """A format: what it is, and `write(folder, delivery)`, which adds its files to an existing folder.

    An answer without what the format holds (no labels, no areas) gives no file.
    """

    about: str
    write: Callable[[Path, Delivery], None]


def write_nifti(folder: Path, told: Delivery) -> None:
    """segmentation.nii.gz and reconstruction.nii.gz."""
    found = told.answer
    if found.labels is not None:
        write_segmentation(folder / "segmentation.nii.gz", found.labels, found.scan)
    if found.image is not None:
        write_image(folder / "reconstruction.nii.gz", found.image, found.scan)


def write_csv(folder: Path, told: Delivery) -> None:
    """areas.csv."""
    found = told.answer
    if found.areas and found.ed is not None and found.es is not None:
        columns = {f"{name.replace(' ', '_')}_mm2": area.tolist() for name, area in found.areas.items()}
        columns |= bound_columns(found.intervals)
        ef, frame_ms = found.ejection_fraction, found.scan.frame_ms
        write_areas(folder / "areas.csv", columns, found.ed, found.es, ef, frame_ms)


def write_report(folder: Path, told: Delivery) -> None:
    """report.html."""
    page = page_of(told.answer, told.loaded, told.weights, told.file, told.reference)
    write_page(folder / "report.html", page)


OUTPUTS: dict[str, Output] = {
    "nifti": Output("labels and images as 4-D NIfTI in the scanner's geometry", write_nifti),
    "csv": Output("areas, a row per frame", write_csv),
    "report": Output("one self-contained page", write_report),
}
ALWAYS = ("nifti", "csv", "report")
