"""How much of the LV pool's border an answer leaves without muscle, in short-axis slices and in other images.

`python benchmarks/open_ring.py [N]` asks the shipped weights at R = 8 of up to N cases (20) of each group:
heart cines of ACDC ($KWISE_DATA), wide phantom hearts, every view of the virtual population, slices of a
brain. Printed per group: percentiles of the share at end-diastole, how many slices have no pool, and how many
get the caution of `predict.cautions`.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from kwise.data import DATASETS, DataSet
from kwise.data.loader import Acquisition, evaluation_batches
from kwise.predict import load_model
from kwise.predict.beat import lv_pool
from kwise.predict.cautions import OPEN, open_share
from kwise.types import Scan

RATE, NATIVE = 8.0, Acquisition(native=True)
GROUPS = (("acdc", "train"), ("heart_wide", "val"), ("population", "val"), ("brain", "train"))
PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def labelled(data: DataSet, case: str) -> Scan:
    """A scan of the data set; background alone where nobody labelled it."""
    scan = data.read(None, case)
    assert scan.image is not None
    return scan if scan.labels is not None else replace(scan, labels=torch.zeros_like(scan.image).long())


def shares(group: str, split: str, n: int) -> Iterator[tuple[str, float | None]]:
    """A name and the open share at end-diastole of every slice of every case of a data set."""
    data, model = DATASETS[group], load_model("demo").model
    for batch in evaluation_batches(data.cases(None, split, n), partial(labelled, data), NATIVE, RATE, 1):
        with torch.inference_mode():
            labels = model(batch.measurement, batch.targets.query).labels()[0]
        views = data.read(None, batch.cases[0]).views or ("",) * len(labels)
        for view, slice_ in zip(views, labels[:, int(lv_pool(labels).argmax())]):
            yield f"{group} {view}", open_share(slice_)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    found: dict[str, list[float | None]] = {}
    for group, split in GROUPS:
        for name, share in shares(group, split, n):
            found.setdefault(name, []).append(share)
    print(f"{'':24} slices  no pool  cautioned  " + "  ".join(f"{p:4.0%}" for p in PERCENTILES))
    for name, values in found.items():
        known = torch.tensor([value for value in values if value is not None])
        levels = known.quantile(torch.tensor(PERCENTILES)).tolist() if len(known) else []
        print(
            f"{name:24} {len(values):6}  {len(values) - len(known):7}  {int((known > OPEN).sum()):9}  "
            + "  ".join(f"{level:4.2f}" for level in levels)
        )


if __name__ == "__main__":
    main()
