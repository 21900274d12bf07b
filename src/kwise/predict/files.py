"""K-space file -> files that hold the answer, each of them whole or not there."""

import os
import shutil
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from torch import Tensor

from kwise.checkpoint import Loaded, fingerprint, load_checkpoint
from kwise.data.raw import open_any, with_kspace
from kwise.models import MODELS
from kwise.predict.answer import Answer
from kwise.predict.outputs import ALWAYS, OUTPUTS, Delivery
from kwise.predict.predictors import answer_by_task

WEIGHTS = "model.safetensors"
SHIPPED = Path(str(files("kwise"))) / "weights"  # checkpoints that come with kwise, a folder each


def shipped(name: str = "demo") -> Path:
    """The folder of a checkpoint that comes with kwise; ValueError where it was not shipped."""
    folder = SHIPPED / name
    if not folder.is_dir():
        raise ValueError(
            f"looking for a shipped checkpoint: got no {folder}; wanted one, or --checkpoint yours"
        )
    return folder


def all_shipped() -> list[Path]:
    """The folders of all checkpoints that come with kwise, by name."""
    return sorted(file.parent for file in SHIPPED.glob(f"*/{WEIGHTS}"))


def predict_file(file: Path | str, folder: Path | str, checkpoint: Path | str | None = None) -> Answer:
    """Answer any file `open_any` reads with a checkpoint (None: the shipped one) into `folder`.

    Writes segmentation.nii.gz, areas.csv and report.html; each appears whole or not at all.
    """
    checkpoint = shipped() if checkpoint is None else Path(checkpoint)
    check_folder(folder)
    scan = with_kspace(open_any(file))
    loaded = load_checkpoint(checkpoint, MODELS)
    found = answer_by_task(scan, loaded)
    write_answer(Path(folder), found, loaded, fingerprint(checkpoint), Path(file).name)
    return found


def check_folder(folder: Path | str) -> None:
    """ValueError where answers cannot go to `folder` because a file is in the way."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"writing answers to {folder}: got a file of that name; wanted a folder, new or not")


def write_answer(
    folder: Path,
    found: Answer,
    loaded: Loaded,
    weights: str,
    file: str = "",
    reference: Tensor | None = None,
) -> None:
    """Write the files of an answer; `reference` (z, t, y, x) is an image to show the labels on, never used.

    They replace older ones of the same names together: whatever fails while writing leaves the folder as it
    was.
    """
    told = Delivery(found, loaded, weights, file, reference)
    part = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        for name in ALWAYS:
            OUTPUTS[name].write(part, told)
        folder.mkdir(parents=True, exist_ok=True)
        for made in sorted(part.iterdir()):
            made.replace(folder / made.name)
    finally:
        with suppress(OSError):
            shutil.rmtree(part, ignore_errors=True)
