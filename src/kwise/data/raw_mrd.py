"""MRD (ISMRMRD) raw data in HDF5, OCMR's included: Cartesian scans, of slices or of a slab, as they left
the scanner.

Readouts are read in bulk, a few MB at a time, from a file or a stream. Noise scans whiten the coils; averages
and repeated lines are averaged; reversed readouts turned; partial Fourier and asymmetric echoes stay
unacquired; readout oversampling is removed. (Inati et al., MRM 2017; Chen et al., OCMR, arXiv 2008.03410.)
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kwise.coils import mix_coils, noise_covariance, whitening_matrix
from kwise.data.raw_checks import (
    case_name,
    check_acquired,
    check_room,
    cut_readout,
    dead_coils,
    open_hdf5,
    refused,
)
from kwise.data.raw_mrd_header import Header, parse_header
from kwise.data.raw_mrd_plan import Plan, plan_readouts
from kwise.data.raw_mrd_rows import Column, Readouts, readouts_of
from kwise.data.raw_mrd_slab import slices_of_slab
from kwise.data.raw_mrd_trajectory import CARTESIAN, read_along_trajectory
from kwise.data.raw_slices import Slices, cut_slices
from kwise.types import Scan

CHUNK = 2**22  # bytes of readouts in memory at a time
_PILOT_TONE = (3, 1)  # samples at the start and end of a readout that hold a pilot tone (OCMR's reader)


def mrd_group(file: Any) -> Any | None:
    """The group of an HDF5 file that holds readouts and is usually called "dataset"; None without one."""
    found = [group for group in (file.get("dataset"), *file.values()) if _holds_readouts(group)]
    return found[0] if found else None


def read_mrd(path: Path, slices: Slices = None) -> Scan:
    """The scan of an MRD file; ValueError in one line for a damaged one.

    `notes` say what was missing in the header, what was left out and what was averaged. Of the samples, those
    of the `slices` asked for are read.
    """
    with open_hdf5(path, "MRD (ISMRMRD)") as file, path.open("rb") as plain:
        group = mrd_group(file)
        if group is None:
            raise refused(
                path, f"no readouts among {list(file)[:5]}", "a group with xml and data, as MRD has"
            )
        header = _read_header(path, group)
        if header.trajectory not in CARTESIAN:
            return read_along_trajectory(path, header, group["data"], slices)
        return scan_of_readouts(path, header, readouts_of(group["data"], plain.fileno()), slices)


def scan_of_readouts(path: Path, header: Header, readouts: Readouts, slices: Slices = None) -> Scan:
    """The scan of readouts, wherever they came from: an HDF5 file, or a stream that was kept in `path`."""
    plan = plan_readouts(path, header, readouts.heads)
    whiten = _whitening(readouts.data, plan)
    plan = plan if plan.slab else plan.only(path, slices)
    check_room(path, plan.n_coils, *plan.shape, plan.n_pixels)
    drop = _PILOT_TONE if header.pilot_tone else (0, 0)
    kspace, counts = _fill(path, readouts.data, plan, whiten, drop)
    mask = check_acquired(path, (counts > 0) & any(bool((coil != 0).any()) for coil in kspace))
    told = _told(header, int(counts.max()), whiten)
    del counts
    if plan.slab:
        kspace, mask, also = slices_of_slab(path, kspace, mask)
        told |= also
    told |= _empty_frames(mask)
    scan = Scan(
        case=case_name(path),
        kspace=kspace,
        mask=mask,
        spacing_mm=plan.spacing_mm,
        frame_ms=plan.frame_ms,
        affine=plan.affine,
        notes={"format": "MRD (ISMRMRD)"} | dict(header.notes) | plan.notes | told | dead_coils(kspace),
    )
    return cut_slices(path, scan, slices) if plan.slab else scan


def _holds_readouts(group: Any) -> bool:
    data = group.get("data") if hasattr(group, "keys") else None
    names = getattr(getattr(data, "dtype", None), "names", None) or ()
    return "head" in names and "data" in names


def _read_header(path: Path, group: Any) -> Header:
    if "xml" not in group:
        return Header()
    text = group["xml"][()]
    text = text.flat[0] if isinstance(text, np.ndarray) and text.size else text
    return parse_header(text if isinstance(text, (str, bytes)) else "", f"reading {path}")


def _whitening(data: Column, plan: Plan) -> Tensor | None:
    """(c, c) by the noise scans; None where there are none, or too few samples to tell."""
    if not len(plan.noise):
        return None
    blocks = [data.fetch(plan.noise[i : i + 1])[0].copy() for i in range(min(256, len(plan.noise)))]
    even = [block for block in blocks if block.size and not block.size % (2 * plan.n_coils)]
    values = [block.view(np.complex64).reshape(plan.n_coils, -1) for block in even]
    noise = torch.from_numpy(np.concatenate(values, axis=1)) if values else torch.zeros(1, 0)
    if (
        noise.shape[1] < 2 * plan.n_coils
        or not bool(torch.isfinite(noise.abs()).all())
        or not bool(noise.any())
    ):
        return None
    return whitening_matrix(noise_covariance(noise)).to(torch.complex64)


def _fill(
    path: Path, data: Column, plan: Plan, whiten: Tensor | None, drop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """K-space (c, z, t, ky, kx), averaged, and how often each sample (z, t, ky, kx) was acquired."""
    kspace = torch.zeros(plan.n_coils, *plan.shape, plan.n_pixels, dtype=torch.complex64)
    counts = torch.zeros(*plan.shape, plan.n_pixels, dtype=torch.int16)
    for first, last in _chunks(plan):
        for chosen in plan.alike(first, last):
            lines, where = _lines(path, data, chosen, plan, drop)
            if whiten is not None:
                lines = mix_coils(whiten, lines.transpose(0, 1)).transpose(0, 1)
            z, t, ky = (torch.from_numpy(index[chosen]) for index in (plan.z, plan.t, plan.ky))
            _add(kspace, counts, (z, t, ky), cut_readout(lines, plan.n_pixels), where)
    if int(counts.max()) > 1:
        kspace /= counts.clamp(min=1)
    if bool((empty := counts == 0).any()):  # the cut of an asymmetric echo rings into what was not acquired
        kspace.masked_fill_(empty, 0)
    return kspace, counts


def _add(
    kspace: Tensor, counts: Tensor, place: tuple[Tensor, Tensor, Tensor], lines: Tensor, where: Tensor
) -> None:
    """Add lines (n, c, kx) to k-space, and what they cover (kx,) to the counts, each at its own place."""
    z, t, ky = place
    again = bool(counts[z, t, ky].any())
    for coil, values in zip(kspace, lines.unbind(dim=1)):
        coil[z, t, ky] = coil[z, t, ky] + values if again else values
    counts[z, t, ky] += where


def _chunks(plan: Plan) -> Iterator[tuple[int, int]]:
    """Ranges of rows worth about `CHUNK` bytes."""
    step = max(1, CHUNK // (8 * plan.n_coils * max(1, plan.n_encoded)))
    used = np.flatnonzero(plan.use)  # stretches without a row to be used are never looked at
    for block in np.unique(used // step).tolist():
        yield block * step, min((block + 1) * step, plan.n_rows)


def _lines(
    path: Path, data: Column, rows: np.ndarray, plan: Plan, drop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Lines (n, c, kx) of readouts alike on the encoded grid, and which pixels (kx,) int16 they acquired."""
    row = rows[0]
    samples, center = int(plan.heads[row]["number_of_samples"]), plan.center_of(row)
    try:
        flat = data.block(rows, 2 * plan.n_coils * samples)
    except ValueError as error:
        got = f"readouts near {row} of another length than {plan.n_coils} coils x {samples} samples"
        raise refused(path, got, "data as long as their headers say") from error
    block = flat.view(np.complex64).reshape(len(rows), plan.n_coils, samples)
    values = torch.from_numpy(block)
    start, end = plan.discarded(row, drop)
    if plan.reversed_row(row):
        values, start, end = values.flip(-1), end, start  # the centre is told as after turning (OCMR)
    kept = values[..., start : samples - end]
    first = plan.n_encoded // 2 - center + start
    covered = _covered(plan, first, first + kept.shape[-1])
    if kept.shape[-1] == plan.n_encoded:
        return kept, covered
    lines = torch.zeros(*values.shape[:2], plan.n_encoded, dtype=torch.complex64)
    lines[..., first : first + kept.shape[-1]] = kept
    return lines, covered


def _covered(plan: Plan, first: int, end: int) -> Tensor:
    """(kx,) int16: 1 where a position of the final grid lies within encoded samples first to end - 1."""
    ratio = plan.n_encoded / plan.n_pixels
    position = (torch.arange(plan.n_pixels) - plan.n_pixels // 2) * ratio + plan.n_encoded // 2
    return ((position >= first - 0.5) & (position <= end - 0.5)).to(torch.int16)


def _empty_frames(mask: Tensor) -> dict[str, str]:
    """A note that names frames of which a mask (z, t, ky, kx) holds no line."""
    empty = (~mask.flatten(2).any(dim=2)).nonzero().tolist()
    if not empty:
        return {}
    named = ", ".join(f"({z}, {t})" for z, t in empty[:6]) + (", ..." if len(empty) > 6 else "")
    total = mask.shape[0] * mask.shape[1]
    return {"no line": f"{len(empty)} of {total} frames hold no line: (slice, frame) {named}, from 0"}


def _told(header: Header, most: int, whiten: Tensor | None) -> dict[str, str]:
    notes = {}
    if header.missing:
        notes["missing in the header"] = ", ".join(header.missing)
    if whiten is not None:
        notes["prewhitened"] = "by the noise scans of the file"
    if most > 1:
        notes["averaged"] = f"up to {most} readouts of the same line"
    if header.pilot_tone:
        notes["pilot tone"] = "first 3 samples and last one of every readout left out, as OCMR does"
    return notes
