"""`kwise predict`."""

import math
from pathlib import Path

from kwise.predict import Answer, predict_file
from kwise.predict.bounds import bound_lines


def run_predict(file: Path, folder: Path, checkpoint: Path | None) -> None:
    """Answer a k-space file into a folder and say in a few lines what was found and where it lies."""
    found = predict_file(file, folder, checkpoint)
    for line in summary(found):
        print(line)
    print(f"wrote {folder / 'segmentation.nii.gz'}, areas.csv and report.html")


def summary(found: Answer) -> list[str]:
    """What was found, in a few lines."""
    z, t, y, x = found.scan.shape
    lines = [f"{found.scan.case}: {z} slice(s), {t} frames, {y} x {x}"]
    if found.ed is None or found.es is None:
        lines.append("no areas: the model reconstructs") if found.image is not None else None
    elif math.isnan(found.ejection_fraction):
        lines.append("no LV pool was found")
    else:
        what = f"ED frame {found.ed + 1}, ES frame {found.es + 1}"
        lines.append(f"area ejection fraction {found.ejection_fraction:.1f} % ({what})")
    if found.dice:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in found.dice.items())
        lines.append(f"Dice against the truth in the file: {scores}")
    return lines + bound_lines(found.intervals)
