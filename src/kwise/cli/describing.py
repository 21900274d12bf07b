"""What `kwise info` says about a scan of any format: axes, coils, geometry, what is missing, what fits."""

import math
from collections import Counter
from pathlib import Path

from torch import Tensor

from kwise.data.raw import FORMATS, format_of, lone_mask, open_any
from kwise.data.raw_slices import Slices
from kwise.gridding import cells_of
from kwise.types import Scan


def facts_and_mask(path: Path, slices: Slices = None) -> tuple[dict[str, str], Tensor | None]:
    """Facts about a file by name, and its mask (z, t, ky, kx); None for magnitude images."""
    name = format_of(path)
    alone = lone_mask(path)
    if alone is not None:
        t, ky, kx = alone.shape
        told = {"format": "CMRxRecon sampling mask, no k-space", "axes": f"(t, ky, kx) = {(t, ky, kx)}"}
        return told, alone.unsqueeze(0)
    scan = open_any(path, slices=slices)
    told = {"file": path.name, "format": FORMATS[name].about} | scan_facts(scan) | spoke_facts(scan)
    if name == "kwise":  # what else its header tells, as it stands there
        from kwise.data.kspace_file import describe

        told |= {key: value for key, value in describe(path).items() if key not in (*told, *scan.notes)}
    return told, _mask_on_grid(scan)


def is_cohort(path: Path) -> bool:
    """Whether a folder holds a manifest in the layout of a cohort."""
    from kwise.data.cohort import MANIFEST

    return (path / MANIFEST).is_file()


def cohort_facts(folder: Path) -> dict[str, str]:
    """What a cohort on disk holds, in the words of its manifest, and the grid of its first subject."""
    from kwise.data.cohort import manifest, read

    rows = list(manifest(folder).values())
    splits = Counter(row.split for row in rows)
    scan = read(folder, rows[0].subject)
    facts = {
        "folder": str(folder),
        "format": "a cohort: a manifest and a file per subject",
        "subjects": f"{len(rows)} ({', '.join(f'{n} {split}' for split, n in splits.items())})",
        "views": ", ".join(scan.views or ()),
        "first subject": f"{rows[0].subject}, (z, t, y, x) = {tuple(scan.shape)}",
        "covariates": ", ".join(rows[0].covariates),
        "phenotypes": ", ".join(rows[0].phenotypes),
    }
    for name in rows[0].diseases:
        known = [row.diseases[name] for row in rows if not math.isnan(row.diseases[name])]
        facts[name] = f"{sum(known):.0f} of {len(known)} subjects"
    lost = [row.file for row in rows if not (folder / row.file).is_file()]
    facts["missing"] = f"{len(lost)} files, first {lost[0]}" if lost else "nothing"
    return {key: value for key, value in facts.items() if value}


def _mask_on_grid(scan: Scan) -> Tensor | None:
    return scan.mask if scan.trajectory is None else None


def spoke_facts(scan: Scan) -> dict[str, str]:
    """What a scan along a trajectory acquired, with its middle slice's first frame drawn; nothing on the
    grid.
    """
    if scan.trajectory is None or scan.kspace is None:
        return {}
    from kwise.cli.showing import draw_lines, speaks_blocks
    from kwise.predict.door import acceleration_of, measurement_of

    measurement = measurement_of(scan)
    counts = measurement.mask[0].any(dim=-1).sum(dim=-1)
    low, high = int(counts.min()), int(counts.max())
    cells = held_cells(measurement.mask[0, scan.shape[0] // 2, 0], scan, scan.shape[0] // 2)
    return {
        "trajectory": f"{scan.notes.get('lines', 'not Cartesian')}, read as it lies or gridded",
        "spokes a frame": f"{low if low == high else f'{low} to {high}'} of {scan.kspace.shape[-1]} points",
        "acceleration achieved": f"{acceleration_of(measurement):.2f}, positions of the grid over samples",
        "k-space of frame 1": "ky down, kx across\n" + draw_lines(cells.T, plain=not speaks_blocks()),
    }


def held_cells(mask: Tensor, scan: Scan, z: int) -> Tensor:
    """(y, x) bool: the cells of the grid that hold an acquired sample of the first frame of slice `z`."""
    assert scan.trajectory is not None
    path, acquired = scan.trajectory[z, :1].flatten(1, 2), mask.reshape(1, -1)
    return cells_of(path, acquired, (scan.shape[2], scan.shape[3]))[0]


def scan_facts(scan: Scan) -> dict[str, str]:
    """What a scan holds, for people."""
    z, t, y, x = scan.shape
    mm, unknown = scan.spacing_mm, "spacing" in scan.notes
    facts = {"case": scan.case}
    if scan.kspace is not None:
        facts["kspace"] = f"(c, z, t, ky, kx) = {tuple(scan.kspace.shape)} complex64"
        facts["coils"] = str(len(scan.kspace))
        facts["trajectory"] = "Cartesian" if scan.trajectory is None else "not Cartesian"
    else:
        facts["image"] = f"(z, t, y, x) = {tuple(scan.shape)} magnitude: k-space has to be simulated"
    facts |= {
        "slices": str(z),
        "frames": str(t),
        "matrix": f"{y} x {x} (y, x)",
        "voxel": "" if unknown else f"{mm[0]:.3g} x {mm[1]:.3g} x {mm[2]:.3g} mm (z, y, x)",
        "field of view": "" if unknown else f"{y * mm[1]:.4g} x {x * mm[2]:.4g} mm (y, x)",
        "frame time": f"{scan.frame_ms:.1f} ms" if scan.frame_ms else "",
        "missing": ", ".join(missing(scan)) or "nothing",
        "models that fit": ", ".join(fitting_models(scan)) or "none that comes with kwise",
    }
    notes = {f"note: {key}": value for key, value in scan.notes.items() if key != "format"}
    return {key: value for key, value in (facts | notes).items() if value}


def missing(scan: Scan) -> list[str]:
    """What the file does not tell, and an answer would be better for."""
    return [
        name
        for name, there in {
            "pixel size": "spacing" not in scan.notes,
            "frame time": scan.frame_ms is not None or scan.shape[1] == 1,
            "position in the scanner": scan.affine is not None,
            "coil maps": scan.coil_maps is not None or scan.kspace is None or len(scan.kspace) == 1,
        }.items()
        if not there
    ]


def fitting_models(scan: Scan) -> list[str]:
    """Shipped checkpoints that can answer a scan: those trained on no finer a grid than it has."""
    import json

    from kwise.predict import all_shipped

    fitting = []
    for folder in all_shipped():
        matrix = json.loads((folder / "preprocessing.json").read_text()).get("matrix") or [1, 1]
        built = json.loads((folder / "config.json").read_text())
        of_lines = built.get("model") == "disk_plus" and built.get("options", {}).get("tokens") != "points"
        if scan.trajectory is not None and of_lines:
            continue
        if all(n <= have for n, have in zip(matrix, scan.shape[2:])):
            fitting.append(folder.name)
    return fitting
