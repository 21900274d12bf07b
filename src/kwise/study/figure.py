"""The two figures that README begins with: the study's curve, and one real heart at R = 8."""

import shutil
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from kwise.checkpoint import Loaded, load_checkpoint
from kwise.data import DATASETS
from kwise.data.acquisition import Acquisition, draw_scan_mask, simulate
from kwise.data.sunnybrook import lv_or_rest
from kwise.fourier import ifft2c
from kwise.metrics import dice
from kwise.models import MODELS
from kwise.predict.answer import Answer, answer
from kwise.predict.facts import shared_magnitude
from kwise.report.study_figures import real_heart_figure
from kwise.study.plan import Plan
from kwise.types import Scan

# Sunnybrook Cardiac Data (Radau et al., 2009), CC0: real hearts whose pictures may be shown here.
REAL_CASE = "SC-N-07-IM-0001-0100"  # of the training slices the one whose LV lies nearest to the centre
REAL_PIXEL_MM = 1.25  # the file does not tell it: a field of view of 320 mm over 256 pixels is assumed
RATE, FRAMES, MASK, SNR = 8.0, 12, "gaussian_lines", 30.0


def draw_figures(plan: Plan, folder: Path, endpoint: str, place: Path) -> list[Path]:
    """Copy the curve of one endpoint of a finished study to `place` and draw the real heart there; returns
    both.

    ValueError where Sunnybrook's slices are not found (set KWISE_DATA to their folder).
    """
    place.mkdir(parents=True, exist_ok=True)
    curve, heart = place / f"study_{endpoint}.png", place / "real_heart_r8.png"
    shutil.copyfile(folder / f"{endpoint}.png", curve)
    scan, truth = real_heart(plan.root)
    draw_real_heart(scan, truth, load_checkpoint(plan.checkpoints[0], MODELS), heart)
    return [curve, heart]


def real_heart(root: str | None, case: str = REAL_CASE) -> tuple[Scan, Tensor]:
    """A real slice as a cine of FRAMES equal frames, its k-space simulated and undersampled; and the image
    (y, x) it was made of.
    """
    slice_ = lv_or_rest(DATASETS["sunnybrook"].read(root, case))
    assert slice_.image is not None and slice_.labels is not None
    still = replace(
        slice_,
        image=slice_.image.expand(-1, FRAMES, -1, -1).contiguous(),
        labels=slice_.labels.expand(-1, FRAMES, -1, -1).contiguous(),
        spacing_mm=(10.0, REAL_PIXEL_MM, REAL_PIXEL_MM),
        notes={key: value for key, value in slice_.notes.items() if key != "spacing"},
    )
    full = simulate(still, Acquisition(snr=(SNR, SNR)), ("figure", case))
    assert full.kspace is not None
    mask = draw_scan_mask(full, MASK, RATE, ("figure", case))
    image = ifft2c(full.kspace)[0, 0, 0].abs()
    return replace(full, mask=mask.expand(full.shape).contiguous()), image


def draw_real_heart(scan: Scan, image: Tensor, loaded: Loaded, path: Path) -> Answer:
    """The image the model never saw, what was acquired of it, and the answer beside the expert's outline."""
    from kwise.predict.answer import measurement_of

    found, seen = answer(scan, loaded), measurement_of(scan)
    assert found.labels is not None and scan.labels is not None
    ours = (found.labels == 1).long()
    first = float(dice(ours[:, :1], scan.labels[:, :1], 2)[1])
    everywhere = float(dice(ours, scan.labels, 2)[1])
    real_heart_figure(
        {
            "all of k-space (never shown to the model)": image.numpy(),
            f"one frame at R = {RATE:g}, zero-filled": ifft2c(seen.kspace)[0, 0, 0, 0].abs().numpy(),
            f"the lines of all {FRAMES} frames": shared_magnitude(seen)[0].numpy(),
        },
        found.labels[0, 0].numpy(),
        scan.labels[0, 0].numpy(),
        f"LV pool, frame 1: Dice {first:.2f} (all frames {everywhere:.2f})",
        path,
    )
    return found
