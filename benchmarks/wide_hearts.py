"""How like real hearts the wide ones are: brightness around the borders of the ventricles, and sizes.

`python benchmarks/wide_hearts.py` reads the training patients of ACDC ($KWISE_DATA), 150 wide hearts that are
not held upright, and 150 of the tables. Brightness: 0 is the median of the muscle, 1 the 85th percentile of
the ventricle's pool. Printed are the 20th, 50th and 80th percentiles over slices.
"""

from collections.abc import Iterator
from math import nan, pi

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from kwise.data import DATASETS
from kwise.phantom import heart_scan, wide
from kwise.types import Scan

LEAST = 8  # pixels, below which a slice says nothing
N_HEARTS, SIDE = 150, 112
INSIDE_MM = ((0, 1), (1, 2), (2, 3), (3, 4.5), (4.5, 6), (6, 9))  # depth below the border
OUTSIDE_MM = ((0, 1), (1, 2), (2, 3), (3, 4.5), (4.5, 7), (7, 10))
PERCENTILES = (0.2, 0.5, 0.8)


def profile(image: Tensor, labels: Tensor, spacing_mm: float, pool: int, around: int) -> list[float] | None:
    """Mean brightness of each layer inside the class `pool`, then of each layer of `around` outside it."""
    inside, muscle = labels == pool, image[labels == 2]
    if min(int(inside.sum()), len(muscle)) < LEAST:
        return None
    dark = muscle.median()
    scaled = (image - dark) / (torch.quantile(image[inside], 0.85) - dark)
    depth = torch.from_numpy(distance_transform_edt(inside) - 0.5) * spacing_mm
    away = torch.from_numpy(distance_transform_edt(~inside) - 0.5) * spacing_mm
    return [
        *layers(scaled, depth, inside, INSIDE_MM),
        *layers(scaled, away, labels == around, OUTSIDE_MM),
    ]


def layers(values: Tensor, distance: Tensor, where: Tensor, edges: tuple) -> Iterator[float]:
    """Means over the pixels of `where` between two distances; nan where there are none."""
    for low, high in edges:
        chosen = values[where & (distance >= low) & (distance < high)]
        yield float(chosen.mean()) if len(chosen) > 3 else nan


def sizes(labels: Tensor, spacing_mm: float) -> list[float]:
    """LV, muscle and RV area in mm^2, and the thickness of the muscle in mm."""
    lv, muscle, rv = (float((labels == k).sum()) * spacing_mm**2 for k in (1, 2, 3))
    return [lv, muscle, rv, ((lv + muscle) / pi) ** 0.5 - (lv / pi) ** 0.5]


def slices(scans: list[Scan], frame: str) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Image and labels (y, x) of every slice at "ed" or "es", and its pixel in mm."""
    for scan in scans:
        assert scan.image is not None and scan.labels is not None
        for image, labels in zip(scan.image, scan.labels):
            t = getattr(scan, frame)
            yield image[t], labels[t], scan.spacing_mm[-1]


def show(name: str, rows: list[list[float]], digits: int) -> None:
    """Percentiles of every column."""
    found = torch.tensor(rows).nanquantile(torch.tensor(PERCENTILES), dim=0)
    for share, line in zip(PERCENTILES, found.tolist()):
        print(f"{name:34} {share:.0%}  " + "  ".join(f"{x:.{digits}f}" for x in line))


def main() -> None:
    acdc = DATASETS["acdc"]
    names = [f"train-{i:06d}" for i in range(N_HEARTS)]
    wide.UPRIGHT = 0.0
    groups = {
        "acdc": [acdc.read(None, case) for case in acdc.cases(None, "train")],
        "heart_wide": [wide.wide_heart_scan(f"wide-{n}", shape=(SIDE, SIDE)) for n in names],
        "heart": [heart_scan(f"heart-{n}", shape=(SIDE, SIDE)) for n in names],
    }
    for frame in ("ed", "es"):
        for what, pool, around in (("LV, then muscle", 1, 2), ("RV, then around", 3, 0)):
            for group, scans in groups.items():
                found = [profile(*one, pool, around) for one in slices(scans, frame)]
                show(f"{group:10} {frame} {what}", [row for row in found if row], 2)
        for group, scans in groups.items():
            rows = [sizes(labels, mm) for _, labels, mm in slices(scans, frame)]
            show(f"{group:10} {frame} mm^2, mm^2, mm^2, mm", [row for row in rows if row[0]], 1)


if __name__ == "__main__":
    main()
