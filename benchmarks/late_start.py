"""Cines that begin elsewhere than at end-diastole, and files of two frames: the error of area EF.

`python benchmarks/late_start.py [N]` asks the shipped weights of N validation hearts (30), upright and wide,
whose cines begin at end-diastole, a third and half of a beat later, at R = 8, 16, 32. Printed: mean |error|
in points of the answer as if frame 0 were end-diastole, of the answer that `kwise predict` gives, and the
share of cines that it answers from another frame. Then ED and ES alone, fully sampled and at R = 4: the two
as the model would see them, and as `kwise predict` shows them, each held for half of a beat.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from kwise.checkpoint import Loaded
from kwise.data import DATASETS
from kwise.data.loader import Acquisition, evaluation_batches
from kwise.phenotypes import ejection_fraction
from kwise.predict import answer, load_model
from kwise.predict.beat import begun_at, lv_pool
from kwise.types import Scan

RATES = (8.0, 16.0, 32.0)
LATE = {"at ED": 0.0, "a third": 1 / 3, "half": 1 / 2}


def hearts(data: str, rate: float, n: int) -> Iterator[tuple[Scan, float]]:
    """Undersampled scans of validation hearts, and their true area EF in percent."""
    source = DATASETS[data]
    yield from measured(source.cases(None, "val", n), partial(source.read, None), rate)


def measured(cases: Sequence[str], read: Callable[[str], Scan], rate: float) -> Iterator[tuple[Scan, float]]:
    """The scans of cases with k-space in place of images, and their true area EF in percent."""
    for batch in evaluation_batches(cases, read, Acquisition(), rate, 1):
        seen, spacing = batch.measurement, read(batch.cases[0]).spacing_mm
        pool = lv_pool(batch.targets.labels[0]).double()
        scan = Scan(batch.cases[0], kspace=seen.kspace[0], mask=seen.mask[0], spacing_mm=spacing)
        yield scan, ejection_fraction(float(pool.max()), float(pool.min()))


def pairs(data: str, rate: float, n: int) -> Iterator[tuple[Scan, float]]:
    """ED and ES alone of the same hearts, undersampled, and their true area EF."""
    source = DATASETS[data]

    def read(case: str) -> Scan:
        scan = source.read(None, case)
        assert scan.image is not None and scan.labels is not None
        ends = [0, int(lv_pool(scan.labels).argmin())]
        return replace(scan, image=scan.image[:, ends], labels=scan.labels[:, ends], ed=0, es=1)

    yield from measured(source.cases(None, "val", n), read, rate)


def errors(scan: Scan, true: float, loaded: Loaded) -> tuple[float, float, bool]:
    """|error| taken as it begins, |error| of the answer, and whether that is from another frame."""
    plain, found = answer(replace(scan, ed=0), loaded), answer(scan, loaded)
    again = any("largest at frame" in sentence for sentence in found.cautions)
    return abs(plain.ejection_fraction - true), abs(found.ejection_fraction - true), again


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    loaded = load_model("demo")
    print(f"{'':28}  taken as it begins  answered  from another frame")
    for data in ("heart", "heart_wide"):
        for rate in RATES:
            found = list(hearts(data, rate, n))
            for name, share in LATE.items():
                rows = [errors(begun_at(s, int(share * s.shape[1])), true, loaded) for s, true in found]
                first, second, again = torch.tensor(rows, dtype=torch.double).mean(dim=0).tolist()
                print(f"{data:10} R = {rate:2.0f}, {name:8}  {first:18.1f}  {second:8.1f}  {again:18.0%}")
    print(f"{'ED and ES alone':28}  {'as they are':>18}  answered")
    as_they_are = replace(loaded, preprocessing={**loaded.preprocessing, "n_frames": 2})
    for data in ("heart", "heart_wide"):
        for rate in (1.0, 4.0):
            found = list(pairs(data, rate, n))
            first, second = (
                sum(abs(answer(scan, asked).ejection_fraction - true) for scan, true in found) / len(found)
                for asked in (as_they_are, loaded)
            )
            print(f"{data:10} R = {rate:2.0f}{'':11}  {first:18.1f}  {second:8.1f}")


if __name__ == "__main__":
    main()
