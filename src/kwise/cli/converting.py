"""`kwise convert`: a file of any format kwise reads, as kwise's own k-space file or as MRD."""

from pathlib import Path

from kwise.data.kspace_file import write_scan
from kwise.data.raw import open_any, with_kspace
from kwise.data.raw_mrd_write import write_mrd
from kwise.data.raw_slices import Slices
from kwise.predict.door import with_virtual_coils


def run_convert(
    source: Path,
    target: Path,
    layout: str | None,
    axes: str | None,
    mask: Path | None,
    coils: int | None,
    slices: Slices = None,
) -> None:
    """Write `source` as `target` in a layout (kwise or mrd; None: by the name) and say what became of it."""
    scan = with_kspace(open_any(source, axes, mask, slices))
    if coils is not None:
        scan = with_virtual_coils(scan, coils)
    chosen = layout or ("mrd" if ".mrd" in target.suffixes else "kwise")
    lost: dict[str, str] = {}
    if chosen == "mrd":
        lost = write_mrd(target, scan)
    else:
        write_scan(target, scan)
    assert scan.kspace is not None
    z, t, y, x = scan.shape
    print(f"wrote {target} ({chosen}): {len(scan.kspace)} coil(s), {z} slice(s), {t} frames, {y} x {x}")
    for key, value in (scan.notes | lost).items():
        print(f"  {key}: {value}")
