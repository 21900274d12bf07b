"""What a scanner's wide field of view costs in Dice, with and without pixels of the size learned from.

    python benchmarks/field_of_view.py [MODEL ...]

Real hearts: ACDC stacks at ED and ES (../shared/data), three middle slices, 12 frames by cross-fading between
the two, k-space simulated from the whole image and from its central 160 mm. `off centre` puts the heart 35 mm
from the middle of a larger field, as planning does. Hard foreground Dice at ED and ES, mean and worst case.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import pad

from kwise.checkpoint import Loaded, find_checkpoint, load_checkpoint
from kwise.cli.simulating import Wish, simulated
from kwise.data.acdc import read_patient_stack
from kwise.data.frames import resample_frames
from kwise.data.splits import default_root
from kwise.models import MODELS
from kwise.predict import answer
from kwise.types import Scan

N_PATIENTS, OFF_MM = 12, 35
EVERYTHING_MM = 1000.0  # a crop wider than any image


def hearts() -> Iterator[Scan]:
    """Three middle slices of every seventh patient, as cines of 12 frames."""
    home = default_root() / "acdc-stack"
    if not home.is_dir():
        raise SystemExit(f"reading hearts: got no {home}; wanted ACDC stacks there (set KWISE_DATA)")
    for folder in sorted(home.glob("patient*"))[::7][:N_PATIENTS]:
        stack = read_patient_stack(Path(folder))
        middle = slice(stack.shape[0] // 2 - 1, stack.shape[0] // 2 + 2)
        assert stack.image is not None and stack.labels is not None
        yield resample_frames(replace(stack, image=stack.image[middle], labels=stack.labels[middle]), 12)


def off_centre(scan: Scan) -> Scan:
    """The heart moved by `OFF_MM` along both axes, in a field larger by twice that."""
    n = 2 * round(OFF_MM / scan.spacing_mm[1])
    assert scan.image is not None and scan.labels is not None
    return replace(scan, image=pad(scan.image, (n, 0, n, 0)), labels=pad(scan.labels, (n, 0, n, 0)))


def coarse(loaded: Loaded) -> Loaded:
    """The checkpoint without its field of view: the central matrix alone, whatever the field, one look."""
    told = {key: value for key, value in loaded.preprocessing.items() if key != "fov_mm"}
    return replace(loaded, preprocessing=told)


def main() -> None:
    """Print a line per model, acceleration and field."""
    names = sys.argv[1:] or ["demo", "syn_net_shared", "syn_net", "disk_plus"]
    scans = list(hearts())
    for name in names:
        loaded = load_checkpoint(find_checkpoint(name), MODELS)
        for acceleration in (4.0, 8.0, 16.0):
            crop, whole = (
                Wish(acceleration=acceleration),
                Wish(acceleration=acceleration, fov_mm=EVERYTHING_MM),
            )
            fields = {
                "160 mm around the centre": ([simulated(scan, crop) for scan in scans], loaded),
                "whole, central matrix": ([simulated(scan, whole) for scan in scans], coarse(loaded)),
                "whole, two looks": ([simulated(scan, whole) for scan in scans], loaded),
                "off centre, central matrix": (
                    [simulated(off_centre(scan), whole) for scan in scans],
                    coarse(loaded),
                ),
                "off centre, two looks": ([simulated(off_centre(scan), whole) for scan in scans], loaded),
            }
            for field, (measured, model) in fields.items():
                dice = torch.tensor([list(answer(scan, model).dice.values()) for scan in measured])
                worst = float(dice.mean(dim=1).min())
                print(
                    f"{name:15} R = {acceleration:<3g} {field:27} {float(dice.mean()):.3f}, worst {worst:.3f}"
                )


if __name__ == "__main__":
    main()
