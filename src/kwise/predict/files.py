"""K-space file -> files that hold the answer, each of them whole or not there."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from torch import Tensor

from kwise.checkpoint import Loaded, load_checkpoint
from kwise.data.raw import open_any, with_kspace
from kwise.models import MODELS
from kwise.predict.answer import Answer
from kwise.predict.outputs import Delivery, Output, chosen_outputs
from kwise.predict.predictors import answer_by_task
from kwise.predict.run_card import file_name

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


def predict_file(
    file: Path | str,
    folder: Path | str,
    checkpoint: Path | str | None = None,
    also: Sequence[str] = (),
    command: str | None = None,
) -> Answer:
    """Answer any file `open_any` reads with a checkpoint (None: the shipped one) into `folder`.

    Writes what OUTPUTS calls always, and the outputs named in `also`; they appear together or not at all.
    """
    asked = Asked.of(checkpoint, also, command)
    return asked.answer(file, folder)


@dataclass(frozen=True)
class Asked:
    """A checkpoint in memory and the outputs wanted of it: what many files share."""

    loaded: Loaded
    weights: str
    outputs: Mapping[str, Output]
    command: str | None = None

    @staticmethod
    def of(checkpoint: Path | str | None, also: Sequence[str] = (), command: str | None = None) -> "Asked":
        """Load a checkpoint (None: the shipped one); errors as in `load_checkpoint` and `chosen_outputs`."""
        outputs = chosen_outputs(also)
        checkpoint = shipped() if checkpoint is None else Path(checkpoint)
        return Asked(load_checkpoint(checkpoint, MODELS), weights_sha256(checkpoint), outputs, command)

    def answer(self, file: Path | str, folder: Path | str) -> Answer:
        """Answer one file into one folder."""
        check_folder(folder)
        scan = with_kspace(open_any(file))
        found = answer_by_task(scan, self.loaded)
        told = Delivery(
            found,
            self.loaded,
            self.weights,
            file_name(file),
            Path(file),
            self.command,
            tuple(self.outputs),
        )
        write_outputs(Path(folder), told, self.outputs)
        return found


def check_folder(folder: Path | str) -> None:
    """ValueError where answers cannot go to `folder` because a file is in the way."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"writing answers to {folder}: got a file of that name; wanted a folder, new or not")


def weights_sha256(checkpoint: Path) -> str:
    """The SHA-256 of a checkpoint's weights: which weights these were."""
    return hashlib.sha256((checkpoint / WEIGHTS).read_bytes()).hexdigest()


def fingerprint(checkpoint: Path) -> str:
    """The first 12 hexadecimal digits of `weights_sha256`, for people."""
    return weights_sha256(checkpoint)[:12]


def write_answer(
    folder: Path,
    found: Answer,
    loaded: Loaded,
    weights: str,
    file: str = "",
    reference: Tensor | None = None,
) -> None:
    """Write the files of an answer that are written always; `reference` (z, t, y, x) is an image to show the
    labels on, never used.
    """
    outputs = chosen_outputs(())
    told = Delivery(found, loaded, weights, file, outputs=tuple(outputs), reference=reference)
    write_outputs(folder, told, outputs)


def write_outputs(folder: Path, told: Delivery, outputs: Mapping[str, Output]) -> None:
    """Write outputs into `folder`, in place of older ones of the same names.

    They are written beside it first: whatever fails while writing leaves the folder as it was.
    """
    part = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        for output in outputs.values():
            output.write(part, told)
        folder.mkdir(parents=True, exist_ok=True)
        for made in sorted(part.iterdir()):
            if made.is_dir():
                shutil.rmtree(folder / made.name, ignore_errors=True)
            made.replace(folder / made.name)
    finally:
        with suppress(OSError):
            shutil.rmtree(part, ignore_errors=True)
