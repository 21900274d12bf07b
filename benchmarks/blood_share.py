"""How much of the LV pool looks like blood: real hearts, wide ones, and those of the tables.

`python benchmarks/blood_share.py` reads every second training patient of ACDC ($KWISE_DATA) and 150 hearts of
each phantom. Brighter than half way between muscle (median) and blood (85th percentile of the pool) counts.
"""

import torch
from torch import Tensor

from kwise.data import DATASETS, sized
from kwise.types import Scan

LEAST = 8  # pixels of a class, below which a slice says nothing


def share(image: Tensor, labels: Tensor) -> float | None:
    """Of one frame (y, x): the share of its LV pool that is bright; None without pool or muscle."""
    pool, muscle = image[labels == 1], image[labels == 2]
    if min(len(pool), len(muscle)) < LEAST:
        return None
    middle = (torch.quantile(pool, 0.85) + muscle.median()) / 2
    return float((pool > middle).float().mean())


def shares(scans: list[Scan], frame: str) -> Tensor:
    """The shares of all slices of all scans at "ed" or "es"."""
    found = []
    for scan in scans:
        t = getattr(scan, frame)
        assert scan.image is not None and scan.labels is not None
        found += [share(image[t], labels[t]) for image, labels in zip(scan.image, scan.labels)]
    return torch.tensor([x for x in found if x is not None])


def main() -> None:
    acdc = DATASETS["acdc"]
    groups = {"acdc": [acdc.read(None, case) for case in acdc.cases(None, "train")[::2]]}
    for name in ("heart_wide", "heart"):
        data = sized(name, 12, (96, 96))
        groups[name] = [data.read(None, case) for case in data.cases(None, "train", 150)]
    for name, scans in groups.items():
        for frame in ("ed", "es"):
            found = shares(scans, frame)
            parts = torch.quantile(found, torch.tensor([0.1, 0.25, 0.5, 0.75])).tolist()
            print(f"{name:10} {frame}  " + "  ".join(f"{x:.2f}" for x in parts) + f"  {len(found)} slices")


if __name__ == "__main__":
    main()
