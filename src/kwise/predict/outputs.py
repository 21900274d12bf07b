"""What an answer becomes on disk: one function and one line a format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from kwise.checkpoint import Loaded
from kwise.data.dicom_source import identity_of
from kwise.data.extras import check_extra
from kwise.data.out_dicom import write_dicom_images
from kwise.data.out_dicom_seg import write_dicom_segmentations
from kwise.data.out_mrd import write_mrd_images
from kwise.data.out_nifti import write_image, write_segmentation
from kwise.data.out_table import Row, area_rows, phenotype_rows, write_csv, write_json, write_parquet
from kwise.predict.answer import Answer
from kwise.predict.bounds import bound_columns
from kwise.predict.door import measurement_of
from kwise.predict.facts import page_of, zero_filled_magnitude
from kwise.predict.measures import area_columns
from kwise.predict.run_card import file_state, question, run_card
from kwise.report.figures import CLASS_COLOURS
from kwise.report.page import write_page

RUN_CARD, PHENOTYPES = "run.json", "phenotypes.json"


@dataclass(frozen=True)
class Delivery:
    """All that an output may tell: an answer, the checkpoint, its `weights` (SHA-256), the `file` answered.

    `source` is where that file lies, None if nowhere; `command` the words that asked for the answer,
    `outputs` the names of the formats it is written in; `pixel_mm` (y, x) and `axes` were told by the user,
    None if not.
    `reference` (z, t, y, x) is an image to show labels on, never used for the answer.
    """

    answer: Answer
    loaded: Loaded
    weights: str
    file: str = ""
    source: Path | None = None
    command: str | None = None
    outputs: tuple[str, ...] = ()
    reference: Tensor | None = None
    pixel_mm: tuple[float, float] | None = None
    axes: str | None = None

    def image(self) -> tuple[Tensor, str]:
        """Magnitude (z, t, y, x) that labels lie on, and what it is: a reconstruction, else zero-filled."""
        if self.answer.image is not None:
            return self.answer.image, f"reconstruction by kwise {self.loaded.name}"
        return zero_filled_magnitude(measurement_of(self.answer.scan)), "zero-filled"


@dataclass(frozen=True)
class Output:
    """A format: what it is, and `write(folder, delivery)`, which adds its `files` to an existing folder.

    An answer without what the format holds (no labels, no areas) gives no file. `libraries` of the `extra` of
    kwise have to be installed; `always` is written without being asked for.
    """

    about: str
    write: Callable[[Path, Delivery], None]
    files: tuple[str, ...]
    always: bool = False
    extra: str = ""
    libraries: tuple[str, ...] = ()


def write_nifti(folder: Path, told: Delivery) -> None:
    """segmentation.nii.gz, reconstruction.nii.gz and, in rad, phase.nii.gz."""
    found = told.answer
    if found.labels is not None:
        write_segmentation(folder / "segmentation.nii.gz", found.labels, found.scan)
    if found.image is not None:
        write_image(folder / "reconstruction.nii.gz", found.image, found.scan)
    if found.phase is not None:
        write_image(folder / "phase.nii.gz", found.phase, found.scan, "phase, rad")


def write_tables(folder: Path, told: Delivery) -> None:
    """areas.csv and phenotypes.csv."""
    for name, rows in tables(told.answer).items():
        write_csv(folder / f"{name}.csv", rows)


def write_parquets(folder: Path, told: Delivery) -> None:
    """areas.parquet and phenotypes.parquet."""
    for name, rows in tables(told.answer).items():
        write_parquet(folder / f"{name}.parquet", rows)


def tables(found: Answer) -> dict[str, list[Row]]:
    """Name of a table -> its rows; none for what the answer does not have."""
    named = {}
    if found.areas and found.ed is not None and found.es is not None:
        columns = area_columns(found.areas, found.scan) | bound_columns(found.intervals)
        ef, frame_ms = found.ejection_fraction, found.scan.frame_ms
        named["areas"] = area_rows(columns, found.ed, found.es, ef, frame_ms)
    if found.phenotypes:
        named["phenotypes"] = phenotype_rows(found.scan.case, found.phenotypes)
    return named


def write_phenotypes(folder: Path, told: Delivery) -> None:
    """phenotypes.json, and run.json, the run card that goes with every answer."""
    found = told.answer
    values = {
        p.name: {"value": p.value, "unit": p.unit, "low": p.low, "high": p.high, "about": p.about}
        for p in found.phenotypes
    }
    rows = [dict(row) for row in tables(found).get("areas", [])]
    content = {"case": found.scan.case, "ED": found.ed, "ES": found.es, "phenotypes": values, "areas": rows}
    write_json(folder / PHENOTYPES, content)
    card = run_card(found, told.loaded, told.weights, told.file, told.command)
    card |= {"file_state": file_state(told.source), "outputs": list(told.outputs)}
    card |= {"asked": question(told.loaded, told.weights, told.pixel_mm, told.axes)}
    write_json(folder / RUN_CARD, card)


def write_report(folder: Path, told: Delivery) -> None:
    """report.html."""
    page = page_of(told.answer, told.loaded, told.weights, told.file, told.reference)
    write_page(folder / "report.html", page)


def write_dicom(folder: Path, told: Delivery) -> None:
    """dicom/images.dcm, and dicom/seg_001.dcm, ... where there are labels."""
    found, (magnitude, about) = told.answer, told.image()
    (folder / "dicom").mkdir()
    identity = identity_of(found.scan, told.source)
    images = write_dicom_images(folder / "dicom" / "images.dcm", magnitude, found.scan, identity, about)
    if found.labels is not None:
        write_dicom_segmentations(
            folder / "dicom",
            found.labels,
            found.n_classes,
            found.scan,
            images,
            told.loaded.name,
            CLASS_COLOURS,
        )


def write_mrd(folder: Path, told: Delivery) -> None:
    """images.mrd.h5: the image series, then the labels as another."""
    magnitude, about = told.image()
    series = {about: magnitude}
    if told.answer.labels is not None:
        series["segmentation"] = told.answer.labels
    write_mrd_images(folder / "images.mrd.h5", series, told.answer.scan)


OUTPUTS: dict[str, Output] = {
    "nifti": Output(
        "labels and images as 4-D NIfTI in the scanner's geometry",
        write_nifti,
        ("segmentation.nii.gz", "reconstruction.nii.gz"),
        always=True,
    ),
    "csv": Output(
        "areas per frame and phenotypes", write_tables, ("areas.csv", "phenotypes.csv"), always=True
    ),
    "json": Output(
        "phenotypes with units and intervals, and the run card",
        write_phenotypes,
        (PHENOTYPES, RUN_CARD),
        always=True,
    ),
    "report": Output("one self-contained page", write_report, ("report.html",), always=True),
    "dicom": Output(
        "an enhanced MR image, and a SEG per cardiac phase",
        write_dicom,
        ("dicom",),
        extra="dicom",
        libraries=("pydicom", "highdicom"),
    ),
    "mrd": Output("images and labels as MRD image series", write_mrd, ("images.mrd.h5",)),
    "parquet": Output(
        "the tables as Parquet",
        write_parquets,
        ("areas.parquet", "phenotypes.parquet"),
        extra="parquet",
        libraries=("pyarrow",),
    ),
}


def chosen_outputs(also: Sequence[str]) -> dict[str, Output]:
    """The outputs written always, and those asked for; ValueError for an unknown one or a missing library."""
    for name in also:
        if name not in OUTPUTS:
            raise ValueError(f"choosing outputs: got {name!r}; wanted some of {', '.join(OUTPUTS)}")
        check_extra(f"writing {name}", OUTPUTS[name].libraries, OUTPUTS[name].extra)
    return {name: made for name, made in OUTPUTS.items() if made.always or name in also}
