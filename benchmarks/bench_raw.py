"""Reading raw data: MB a second from a warm cache, memory taken, and what one slice of a large file costs.

Files are generated in a temporary folder and read in fresh processes; `KWISE_MB` is the size of each (default
64; 512 is the size of the claim). MRD is read as kwise does and through HDF5's own library alone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kwise.data.raw import open_any
from kwise.data.raw_mrd_write import write_mrd
from kwise.seeding import generator
from kwise.types import Scan

MEGABYTES = int(os.environ.get("KWISE_MB", "64"))
COILS, SLICES, LINES, READOUT = 16, 8, 128, 256


def scan() -> Scan:
    """Random k-space of about `MEGABYTES`."""
    frames = max(1, MEGABYTES * 2**20 // (8 * COILS * SLICES * LINES * READOUT))
    shape = (COILS, SLICES, frames, LINES, READOUT)
    return Scan("bench", kspace=torch.randn(*shape, dtype=torch.complex64, generator=generator("bench raw")))


def save_npy(path: Path, kspace: np.ndarray) -> None:
    np.save(path, kspace)


def save_cfl(path: Path, kspace: np.ndarray) -> None:
    c, z, t, ky, kx = kspace.shape
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{kx} {ky} 1 {c} 1 1 1 1 1 1 {t} 1 1 {z} 1 1\n")
    np.ascontiguousarray(kspace.transpose(1, 2, 0, 3, 4)).tofile(path)


def save_mat73(path: Path, kspace: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        kind = np.dtype([("real", "<f4"), ("imag", "<f4")])
        stored = np.ascontiguousarray(kspace.transpose(2, 1, 0, 3, 4))
        file["kspace_full"] = stored.view(np.float32).view(kind).reshape(stored.shape)


def save_fastmri(path: Path, kspace: np.ndarray) -> None:
    import h5py

    c, z, t, ky, kx = kspace.shape
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.transpose(1, 2, 0, 4, 3).reshape(z * t, c, kx, ky)


SAVE: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "numpy": (".npy", save_npy),
    "BART": (".cfl", save_cfl),
    "CMRxRecon v7.3": (".mat", save_mat73),
    "fastMRI": (".h5", save_fastmri),
}


def read(path: Path, slices: str, way: str) -> dict[str, float]:
    """Core and wall seconds of reading a file, and how far the peak of this process grew."""
    if way == "library":
        from kwise.data import raw_mrd, raw_mrd_rows

        raw_mrd.readouts_of = lambda data, handle: raw_mrd_rows.through_hdf5(data)
    torch.set_num_threads(1)
    import h5py  # noqa: F401 - imports are no part of reading

    before = peak_mb()
    wall, core = time.perf_counter(), time.process_time()
    open_any(path, slices=None if slices == "all" else int(slices))
    wall, core = time.perf_counter() - wall, time.process_time() - core
    return {"wall": wall, "core": core, "grown": peak_mb() - before}


def peak_mb() -> float:
    """The most memory this program ever held; ru_maxrss would count that of the process it came from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def fresh(path: Path, slices: str = "all", way: str = "kwise") -> dict[str, float]:
    """The best of three readings, each by a process of its own, the file in the cache."""
    words = [sys.executable, __file__, str(path), slices, way]
    runs = [
        json.loads(subprocess.run(words, capture_output=True, check=True, text=True).stdout) for _ in range(3)
    ]
    return min(runs, key=lambda run: run["core"])


def report(name: str, path: Path, way: str = "kwise") -> dict[str, float]:
    """Print a row: all of a file, then one slice of it."""
    size = path.stat().st_size / 2**20
    whole, slice_ = fresh(path, "all", way), fresh(path, "3", way)
    print(
        f"{name:<28} {size:5.0f} MB {size / whole['core']:6.0f} MB/core s {size / whole['wall']:6.0f} MB/s "
        f"+{whole['grown'] / size:.2f} of its size in memory | one of {SLICES} slices: "
        f"{slice_['core'] / whole['core']:.2f} of the time, +{slice_['grown'] / size:.2f}"
    )
    return whole


def test_mrd(benchmark, tmp_path: Path) -> None:
    path = tmp_path / "bench.h5"
    write_mrd(path, scan())
    print()
    report("MRD through HDF5's library", path, "library")
    benchmark.pedantic(lambda: report("MRD", path), rounds=1)


@pytest.mark.parametrize("kind", SAVE)
def test_others(kind: str, benchmark, tmp_path: Path) -> None:
    ending, save = SAVE[kind]
    kspace = scan().kspace
    assert kspace is not None
    save(tmp_path / f"bench{ending}", kspace.numpy())
    benchmark.pedantic(lambda: report(kind, tmp_path / f"bench{ending}"), rounds=1)


if __name__ == "__main__":
    print(json.dumps(read(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
