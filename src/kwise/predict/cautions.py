"""What a reader of an answer has to know, in sentences: of the file, the slices, the frames, what is drawn.

They are made here alone and stand in `Answer.cautions`, what may make an answer worthless first: page,
terminal, run card and Python tell the same.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from kwise.phenotypes import STRUCTURES
from kwise.predict.beat import lv_pool
from kwise.predict.door import is_wide
from kwise.predict.measures import knows_pitch
from kwise.types import CLASS_NAMES, Scan

SIMULATED = "The k-space of this file was simulated"  # how the caution of that begins
_GAPS = {  # notes of readers, and what to say before them
    "no line": "Some frames were not measured, what is drawn there is a guess",
    "slice distance": "The distance of slices is not one number",
}
OPEN = 0.1  # share of the LV pool's border without muscle, between short-axis and long-axis views
# (benchmarks/open_ring.py)
_FRAMES_OF_TWO = 8  # with fewer frames two beats cannot be told from noise
# Share of the LV curve's variation (root of its energy) in one wave that is not the first: at most .34 in
# answers to one beat, .51 and more to most files of two to four (R = 1 to 8)
_SECOND_WAVE = 0.45
_LEAST = 20  # pixels of a pool that has a border to speak of


def file_cautions(
    scan: Scan, preprocessing: Mapping[str, Any], areas: Mapping[str, Tensor], seen: str
) -> tuple[str, ...]:
    """What holds for every answer to a scan: what was simulated of it, pixels, field of view, one frame, and
    structures not found, by `areas` name -> (t,), empty where nothing was segmented.
    """
    sentences = [*_simulated(scan), *_gaps(scan), *_pixels(scan, preprocessing, bool(areas), seen)]
    if areas and scan.shape[1] == 1:
        sentences.append(
            "The file has one frame, and the model learned from beating hearts: there is no ejection "
            "fraction, and it cannot tell whether this is a heart at all."
        )
    if any(float(area.min()) == 0 < float(area.max()) for area in areas.values()):
        sentences.append("In some frames a structure was not found: areas and EF may be wrong there.")
    if areas and not bool((areas[CLASS_NAMES[STRUCTURES["LV"]]] > 0).any()):
        sentences.append("The model found no LV pool: ED, ES and the ejection fraction mean nothing here.")
    return tuple(sentences)


def _short(number: str) -> str:
    """A number that a note holds in full, in three digits; other words as they are."""
    try:
        return f"{float(number):.3g}"
    except ValueError:
        return number


def _gaps(scan: Scan) -> list[str]:
    """What a reader noted that an answer cannot make good: frames nobody measured, slices at odd places."""
    return [f"{said}: {scan.notes[key]}." for key, said in _GAPS.items() if key in scan.notes]


def _simulated(scan: Scan) -> list[str]:
    if "simulated" not in scan.notes:
        return []
    snr = scan.notes.get("snr", "unknown")
    noise = "no noise" if snr == "none" else f"SNR {_short(snr)}"
    return [
        f"{SIMULATED}: {scan.notes['simulated']}, with "
        f"{scan.notes.get('phase', 'unknown')} phase, {scan.notes.get('coils', 'unknown')} coil(s) "
        f"and {noise}. A scanner's own k-space may give worse answers."
    ]


def _pixels(scan: Scan, preprocessing: Mapping[str, Any], segmented: bool, seen: str) -> list[str]:
    if scan.in_pixels:
        return [
            "The file does not tell the size of a pixel: areas are in pixels, and the model could not be "
            "given pixels of the size it learned from."
        ]
    if not segmented or not is_wide(scan, preprocessing):
        return []
    y, x = (n * mm for n, mm in zip(scan.shape[2:], scan.spacing_mm[1:]))
    learned = f"{preprocessing['fov_mm']:.0f} mm around the heart"
    return [
        f"This field of view is {y:.0f} x {x:.0f} mm; the model learned from {learned}. It looked at {seen}."
    ]


def coverage_caution(labels: Tensor, scan: Scan, ed: int) -> tuple[str, ...]:
    """Where the LV of labels (z, t, y, x) is cut by the first or last slice at frame `ed`, so that volumes
    miss a part.
    """
    if scan.shape[0] < 2 or not knows_pitch(scan):
        return ()
    inside = (labels[:, ed] == STRUCTURES["LV"]).flatten(1).any(dim=1).tolist()
    ends = [name for name, there in (("first", inside[0]), ("last", inside[-1])) if there]
    if not ends:
        return ()
    return (
        f"The LV reaches the {' and the '.join(ends)} of {scan.shape[0]} slices, which may not hold all of "
        "it: volumes and mass are of the part inside alone.",
    )


def frames_caution(scan: Scan, preprocessing: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a file has a few frames of a beat, such as ED and ES alone: models of motion learned from evenly
    filled beats blur one into the other.
    """
    trained, frames = preprocessing.get("n_frames"), scan.shape[1]
    if trained is None or not 1 < frames < trained / 2:
        return ()
    held = " They were taken for end-diastole and end-systole, each held for half of a beat." * (frames == 2)
    return (
        f"The file has {frames} frames of a beat and the model learned from {trained}.{held} Where k-space "
        "is undersampled it blurs one into the other, and the ejection fraction comes out too small.",
    )


def beats_caution(labels: Tensor) -> tuple[str, ...]:
    """Where the LV pool of labels (z, t, y, x) fills and empties more than once: a file is taken for one
    beat, whose phase the model is told.
    """
    pool = lv_pool(labels).double()
    if len(pool) < _FRAMES_OF_TWO or float(pool.max() - pool.min()) <= 0.1 * float(pool.max()):
        return ()
    frames = torch.arange(len(pool), dtype=torch.double)
    turns = torch.outer(frames[1 : len(pool) // 2 + 1], frames) * (2 * math.pi / len(pool))
    waves = torch.hypot(turns.cos() @ pool, turns.sin() @ pool)  # of one beat the first holds nearly all
    n_beats = 2 + int(waves[1:].argmax())
    if float(waves[n_beats - 1] / waves.norm()) < _SECOND_WAVE:
        return ()
    return (
        f"The LV fills and empties {n_beats} times in this file, which was answered as one beat: areas lie "
        "too near their mean and the ejection fraction is too small. Give the frames of one beat.",
    )


def start_caution(late: int | None) -> tuple[str, ...]:
    """Where the beat was taken to begin at frame `late` of the file, since the LV is largest there."""
    if late is None:
        return ()
    return (
        f"At first the LV was found largest at frame {late + 1}, and models take the first frame for "
        f"end-diastole: the beat was answered as one from frame {late + 1} on. Check that it begins there.",
    )


def ring_caution(labels: Tensor, n_classes: int, ed: int) -> tuple[str, ...]:
    """Where the muscle of labels (z, t, y, x) does not surround the LV pool at frame `ed`, as it does in
    short-axis slices: of a long-axis view, or of no heart.
    """
    if n_classes <= STRUCTURES["myo"]:
        return ()
    shares = [share for slice_ in labels[:, ed] if (share := open_share(slice_)) is not None]
    found = float(torch.tensor(shares).median()) if shares else 0.0
    if found < OPEN:
        return ()
    return (
        f"The muscle leaves {100 * found:.0f} % of the LV pool's border open, all of which it surrounds in "
        "short-axis slices: this looks like another view, or no heart, or a model that cannot read it. Look "
        "before believing a number.",
    )


def open_share(labels: Tensor) -> float | None:
    """Share of the pixels around the LV pool of labels (y, x) that are no muscle; None without much of a
    pool.
    """
    pool = labels == STRUCTURES["LV"]
    if int(pool.sum()) < _LEAST:
        return None
    around = (max_pool2d(pool[None].float(), 3, stride=1, padding=1)[0] > 0) & ~pool
    return float((labels[around] != STRUCTURES["myo"]).float().mean()) if bool(around.any()) else 1.0
