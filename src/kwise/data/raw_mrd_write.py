"""A scan as an MRD (ISMRMRD) HDF5 file, for the software that reads those: one readout per acquired line."""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import torch
from torch import Tensor

from kwise.atomic import write_atomically
from kwise.types import Scan

_COUNTERS = (
    "kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase", "repetition",
    "set", "segment",
)  # fmt: skip
# AcquisitionHeader of ismrmrd.h, version 1.
_HEAD: list[Any] = [
    ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
    ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)), ("number_of_samples", "<u2"),
    ("available_channels", "<u2"), ("active_channels", "<u2"), ("channel_mask", "<u8", (16,)),
    ("discard_pre", "<u2"), ("discard_post", "<u2"), ("center_sample", "<u2"), ("encoding_space_ref", "<u2"),
    ("trajectory_dimensions", "<u2"), ("sample_time_us", "<f4"), ("position", "<f4", (3,)),
    ("read_dir", "<f4", (3,)), ("phase_dir", "<f4", (3,)), ("slice_dir", "<f4", (3,)),
    ("patient_table_position", "<f4", (3,)),
    ("idx", [*[(name, "<u2") for name in _COUNTERS], ("user", "<u2", (8,))]),
    ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,)),
]  # fmt: skip
ACQUISITION_HEADER = np.dtype(_HEAD)


def write_mrd(path: str | Path, scan: Scan) -> dict[str, str]:
    """Write the acquired lines of a scan with k-space; gives notes about what MRD has no place for.

    Labels and coil maps are left out; `scan.notes` go into the header as strings. The file is there whole or
    not at all. Positions along a trajectory go into the `traj` rows as (kx, ky) in cycles per pixel.
    ValueError for an image, or a mask with gaps along a readout.
    """
    path = Path(path)
    doing = f"writing MRD file {path}"
    if scan.kspace is None:
        raise ValueError(f"{doing}: got an image; wanted k-space")
    if max(scan.kspace.shape) > 65535:
        raise ValueError(f"{doing}: got shape {tuple(scan.kspace.shape)}; wanted axes of at most 65535")
    grid = scan.kspace.shape[1:]
    mask = torch.ones(grid, dtype=torch.bool) if scan.mask is None else scan.mask.expand(grid)
    spans = _spans(doing, mask)
    write_atomically(path, lambda part: _write(part, scan, spans))
    lost = [name for name in ("labels", "coil_maps") if getattr(scan, name) is not None]
    return {"left out": f"{', '.join(lost)}: MRD raw data have no place for them"} if lost else {}


def _spans(doing: str, mask: Tensor) -> np.ndarray:
    """Rows (z, t, ky, first, end) of every acquired line and the samples of it that were acquired."""
    lines = mask.any(dim=-1).nonzero()
    samples = mask[tuple(lines.T)]
    first = samples.to(torch.uint8).argmax(dim=-1)
    count = samples.sum(dim=-1)
    inside = torch.arange(samples.shape[-1])
    whole = (inside >= first.unsqueeze(1)) & (inside < (first + count).unsqueeze(1))
    if not torch.equal(whole, samples):
        raise ValueError(f"{doing}: got a mask with gaps along kx; wanted readouts without gaps, as MRD has")
    return torch.cat([lines, first.unsqueeze(1), (first + count).unsqueeze(1)], dim=1).numpy()


def _write(path: Path, scan: Scan, spans: np.ndarray) -> None:
    import h5py

    assert scan.kspace is not None
    floats = h5py.vlen_dtype(np.dtype("<f4"))
    kind = np.dtype([("head", _HEAD), ("traj", floats), ("data", floats)])
    kspace = scan.kspace.resolve_conj()
    with h5py.File(path, "w") as file:
        text = np.array([mrd_header(scan)], dtype=object)
        file.create_dataset("dataset/xml", data=text, dtype=h5py.string_dtype("utf-8"))
        data = file.create_dataset("dataset/data", (len(spans),), dtype=kind)
        for start in range(0, len(spans), 256):  # a few readouts in memory at a time
            rows = np.empty(min(256, len(spans) - start), dtype=kind)
            rows["head"] = _heads(scan, spans[start : start + 256], start)
            for row, (z, t, ky, first, end) in zip(rows, spans[start : start + 256]):
                values = kspace[:, z, t, ky, first:end].contiguous().to(torch.complex64).numpy()
                row["data"], row["traj"] = values.view(np.float32).ravel(), _traj(scan, z, t, ky, first, end)
            data[start : start + 256] = rows


def _traj(scan: Scan, z: int, t: int, ky: int, first: int, end: int) -> np.ndarray:
    """Positions (kx, ky) of the samples of a readout, one after the other; empty on the grid."""
    if scan.trajectory is None:
        return np.zeros(0, np.float32)
    return scan.trajectory[z, t, ky, first:end].flip(-1).to(torch.float32).numpy().ravel()


def _heads(scan: Scan, spans: np.ndarray, start: int) -> np.ndarray:
    assert scan.kspace is not None
    z, t, ky, first, end = spans.T
    heads = np.zeros(len(spans), dtype=_HEAD)
    heads["version"] = 1
    heads["scan_counter"] = start + np.arange(len(spans))
    heads["number_of_samples"] = end - first
    heads["available_channels"] = heads["active_channels"] = len(scan.kspace)
    # Where DC lies outside the readout there is no sample to name: the grid is then told by the limits alone.
    heads["center_sample"] = np.clip(scan.kspace.shape[-1] // 2 - first, 0, None)
    if scan.trajectory is not None:
        heads["trajectory_dimensions"] = 2
        heads["center_sample"] = 0  # the positions tell where DC is
    for name, values in {"kspace_encode_step_1": ky, "slice": z, "phase": t}.items():
        heads["idx"][name] = values
    if scan.affine is not None:
        _place(heads, scan, z)
    return heads


def _place(heads: np.ndarray, scan: Scan, z: np.ndarray) -> None:
    """Position of the centre of each slice and its directions, in MRD's axes (left, back, up)."""
    assert scan.affine is not None
    affine = scan.affine.to(torch.float64).numpy().copy()
    affine[:2] *= -1
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    for name, column, length in zip(("read_dir", "phase_dir", "slice_dir"), affine[:3, :3].T, lengths):
        heads[name] = column / (length or 1)
    centre = np.array([scan.shape[3] // 2, scan.shape[2] // 2])
    heads["position"] = affine[:3, 3] + affine[:3, :2] @ centre + np.outer(z, affine[:3, 2])


def mrd_header(scan: Scan) -> str:
    """The XML header of a scan: its grid, field of view, counters, frame time and notes."""
    n_slices, n_frames, ky, kx = scan.shape
    n_coils = 1 if scan.kspace is None else len(scan.kspace)
    space = f"<matrixSize><x>{kx}</x><y>{ky}</y><z>1</z></matrixSize><fieldOfView_mm>" + "".join(
        f"<{axis}>{size:.9g}</{axis}>"
        for axis, size in zip("xyz", (kx * scan.spacing_mm[2], ky * scan.spacing_mm[1], scan.spacing_mm[0]))
    )
    limits = "".join(
        f"<{name}><minimum>0</minimum><maximum>{n - 1}</maximum><center>{center}</center></{name}>"
        for name, n, center in (
            ("kspace_encoding_step_1", *_steps(scan)), ("slice", n_slices, 0), ("phase", n_frames, 0)
        )
    )  # fmt: skip
    timing = f"<sequenceParameters><TR>{scan.frame_ms:.9g}</TR></sequenceParameters>" if scan.frame_ms else ""
    notes = "".join(
        f"<userParameterString><name>{escape('kwise ' + _plain(key))}</name>"
        f"<value>{escape(_plain(value))}</value></userParameterString>"
        for key, value in scan.notes.items()
    )
    return (
        '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><version>1</version>'
        f"<acquisitionSystemInformation><receiverChannels>{n_coils}</receiverChannels>"
        "</acquisitionSystemInformation><experimentalConditions><H1resonanceFrequency_Hz>0"
        "</H1resonanceFrequency_Hz></experimentalConditions>"
        f"<encoding><encodedSpace>{space}</fieldOfView_mm></encodedSpace>"
        f"<reconSpace>{space}</fieldOfView_mm></reconSpace>"
        f"<encodingLimits>{limits}</encodingLimits><trajectory>{_path_name(scan)}</trajectory></encoding>"
        f"{timing}" + (f"<userParameters>{notes}</userParameters>" if notes else "") + "</ismrmrdHeader>"
    )


def _path_name(scan: Scan) -> str:
    """A word of ISMRMRD's trajectoryType; what is no spoke and no arm by its own word is "other"."""
    if scan.trajectory is None:
        return "cartesian"
    told = scan.notes.get("lines", "")
    return {"golden_angle_radial": "goldenangle", "spiral": "spiral"}.get(told, "other")


def _steps(scan: Scan) -> tuple[int, int]:
    """Lines of the grid and the one at DC; spokes have no such one, and count from 0."""
    lines = scan.shape[2] if scan.kspace is None else scan.kspace.shape[-2]
    return lines, 0 if scan.trajectory is not None else lines // 2


def _plain(text: str) -> str:
    """Without characters that XML cannot hold."""
    return "".join(letter for letter in text if letter.isprintable() or letter == " ")
