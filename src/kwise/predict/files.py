"""K-space file -> files that hold the answer, each of them whole or not there."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from kwise.atomic import part_of
from kwise.checkpoint import Loaded, find_checkpoint, load_checkpoint, weights_sha256
from kwise.data.out_table import readable
from kwise.data.raw import open_any, with_kspace
from kwise.models import MODELS
from kwise.predict.answer import Answer
from kwise.predict.door import with_pixel_size
from kwise.predict.outputs import OUTPUTS, Delivery, Output, chosen_outputs
from kwise.predict.predictors import answer
from kwise.predict.run_card import file_name, question


def predict_file(
    file: Path | str,
    folder: Path | str,
    checkpoint: Path | str | None = None,
    also: Sequence[str] = (),
    command: str | None = None,
    pixel_mm: tuple[float, float] | None = None,
    axes: str | None = None,
) -> Answer:
    """Answer any file `open_any` reads with a checkpoint (None: the shipped one) into `folder`.

    Writes what OUTPUTS calls always, and the outputs named in `also`; they appear together or not at all.
    `pixel_mm` (y, x) is for files that do not tell it, `axes` ("t ky kx") for arrays of numpy.
    """
    return Asked.of(checkpoint, also, command, pixel_mm, axes).answer(file, folder)


@dataclass(frozen=True)
class Asked:
    """A checkpoint in memory and the outputs wanted of it: what many files share."""

    loaded: Loaded
    weights: str
    outputs: Mapping[str, Output]
    command: str | None = None
    pixel_mm: tuple[float, float] | None = None
    axes: str | None = None

    @staticmethod
    def of(
        checkpoint: Path | str | None,
        also: Sequence[str] = (),
        command: str | None = None,
        pixel_mm: tuple[float, float] | None = None,
        axes: str | None = None,
    ) -> "Asked":
        """Load a checkpoint (None: the shipped one); errors as in `load_checkpoint` and `chosen_outputs`."""
        outputs = chosen_outputs(also)
        checkpoint = find_checkpoint(checkpoint)
        loaded = load_checkpoint(checkpoint, MODELS)
        return Asked(loaded, weights_sha256(checkpoint), outputs, command, pixel_mm, axes)

    def question(self) -> dict[str, object]:
        """What decides the answers beside the files, as their run cards tell it."""
        return question(self.loaded, self.weights, self.pixel_mm, self.axes)

    def answer(self, file: Path | str, folder: Path | str) -> Answer:
        """Answer one file into one folder."""
        check_folder(folder)
        scan = with_pixel_size(with_kspace(open_any(file, self.axes)), self.pixel_mm)
        scan = replace(scan, case=readable(scan.case))  # the name of the file, as every format can hold it
        found = answer(scan, self.loaded)
        told = Delivery(
            found,
            self.loaded,
            self.weights,
            file_name(file),
            Path(file),
            self.command,
            tuple(self.outputs),
            pixel_mm=self.pixel_mm,
            axes=self.axes,
        )
        write_outputs(Path(folder), told, self.outputs)
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
    """Write the files of an answer that are written always; `reference` (z, t, y, x) is an image to show the
    labels on, never used.
    """
    outputs = chosen_outputs(())
    told = Delivery(found, loaded, weights, file, outputs=tuple(outputs), reference=reference)
    write_outputs(folder, told, outputs)


def write_outputs(folder: Path, told: Delivery, outputs: Mapping[str, Output]) -> None:
    """Write outputs into `folder`, in place of all that an older answer left there; other files stay.

    They are written beside it first: whatever fails while writing leaves the folder as it was.
    """
    part = part_of(folder.absolute())
    try:
        part.mkdir(parents=True)
        for output in outputs.values():
            output.write(part, told)
        folder.mkdir(parents=True, exist_ok=True)
        made = {path.name: path for path in part.iterdir()}
        for name in {name for output in OUTPUTS.values() for name in output.files} | set(made):
            if name not in made or made[name].is_dir():
                _remove(folder / name)  # an older answer beside the new run card would be believed
            if name in made:
                made[name].replace(folder / name)
    finally:
        with suppress(OSError):
            shutil.rmtree(part, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
