"""MRD (ISMRMRD) raw data in HDF5, OCMR's included: Cartesian 2-D scans as they left the scanner.

Readouts are read in bulk straight through HDF5, a few MB at a time. Noise scans whiten the coils; averages
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
from kwise.data.raw_mrd_trajectory import CARTESIAN, read_along_trajectory
from kwise.types import Scan

CHUNK = 2**24  # bytes of readouts in memory at a time
_PILOT_TONE = (3, 1)  # samples at the start and end of a readout that hold a pilot tone (OCMR's reader)


def mrd_group(file: Any) -> Any | None:
    """The group of an HDF5 file that holds readouts and is usually called "dataset"; None without one."""
    found = [group for group in (file.get("dataset"), *file.values()) if _holds_readouts(group)]
    return found[0] if found else None


def read_mrd(path: Path) -> Scan:
    """The scan of an MRD file; ValueError in one line for a damaged or 3-D one.

    `notes` say what was missing in the header, what was left out and what was averaged.
    """
    with open_hdf5(path, "MRD (ISMRMRD)") as file:
        group = mrd_group(file)
        if group is None:
            raise refused(
                path, f"no readouts among {list(file)[:5]}", "a group with xml and data, as MRD has"
            )
        header = _read_header(path, group)
        if header.trajectory not in CARTESIAN:
            return read_along_trajectory(path, header, group["data"])
        heads = group["data"].fields("head")[:]
        plan = plan_readouts(path, header, heads)
        check_room(path, plan.n_coils, *plan.shape, plan.n_pixels)
        whiten = _whitening(group["data"], plan)
        kspace, counts = _fill(
            path, group["data"], plan, whiten, _PILOT_TONE if header.pilot_tone else (0, 0)
        )
    mask = check_acquired(path, counts > 0)
    notes = {"format": "MRD (ISMRMRD)"} | dict(header.notes) | plan.notes | _told(header, counts, whiten)
    return Scan(
        case=case_name(path),
        kspace=kspace,
        mask=mask,
        spacing_mm=plan.spacing_mm,
        frame_ms=plan.frame_ms,
        affine=plan.affine,
        notes=notes | dead_coils(kspace),
    )


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


def _whitening(rows: Any, plan: Plan) -> Tensor | None:
    """(c, c) by the noise scans; None where there are none, or too few samples to tell."""
    if not len(plan.noise):
        return None
    blocks = [np.asarray(rows.fields("data")[int(row)]) for row in plan.noise[:256]]
    values = [block.view(np.complex64).reshape(plan.n_coils, -1) for block in blocks if block.size]
    noise = torch.from_numpy(np.concatenate(values, axis=1)) if values else torch.zeros(1, 0)
    if (
        noise.shape[1] < 2 * plan.n_coils
        or not bool(torch.isfinite(noise.abs()).all())
        or not bool(noise.any())
    ):
        return None
    return whitening_matrix(noise_covariance(noise)).to(torch.complex64)


def _fill(
    path: Path, rows: Any, plan: Plan, whiten: Tensor | None, drop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """K-space (c, z, t, ky, kx), averaged, and how often each sample (z, t, ky, kx) was acquired."""
    kspace = torch.zeros(plan.n_coils, *plan.shape, plan.n_pixels, dtype=torch.complex64)
    counts = torch.zeros(*plan.shape, plan.n_pixels, dtype=torch.int16)
    for first, last in _chunks(plan):
        data = rows.fields("data")[first:last]
        for chosen in plan.alike(first, last):
            lines, where = _lines(path, data[chosen - first], plan, chosen[0], drop)
            if whiten is not None:
                lines = mix_coils(whiten, lines.transpose(0, 1)).transpose(0, 1)
            z, t, ky = (torch.from_numpy(index[chosen]) for index in (plan.z, plan.t, plan.ky))
            kspace[:, z, t, ky] += cut_readout(lines, plan.n_pixels).transpose(0, 1)
            counts[z, t, ky] += where
    if int(counts.max()) > 1:
        kspace /= counts.clamp(min=1)
    if bool((counts == 0).any()):  # the cut of an asymmetric echo rings into what was not acquired
        for coil in kspace:
            coil.masked_fill_(counts == 0, 0)
    return kspace, counts


def _chunks(plan: Plan) -> Iterator[tuple[int, int]]:
    """Ranges of rows worth about `CHUNK` bytes."""
    step = max(1, CHUNK // (8 * plan.n_coils * max(1, plan.n_encoded)))
    for first in range(0, plan.n_rows, step):
        yield first, min(first + step, plan.n_rows)


def _lines(
    path: Path, data: np.ndarray, plan: Plan, row: int, drop: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Lines (n, c, kx) of readouts alike on the encoded grid, and which pixels (kx,) int16 they acquired."""
    head = plan.heads[row]
    samples, center = int(head["number_of_samples"]), plan.center_of(row)
    try:
        block = np.concatenate(data).view(np.complex64).reshape(len(data), plan.n_coils, samples)
    except ValueError as error:
        got = f"readouts near {row} of another length than {plan.n_coils} coils x {samples} samples"
        raise refused(path, got, "data as long as their headers say") from error
    values = torch.from_numpy(block)
    start, end = plan.discarded(row, drop)
    if plan.reversed_row(row):
        values, start, end = values.flip(-1), end, start  # the centre is told as after turning (OCMR)
    kept = values[..., start : samples - end]
    first = plan.n_encoded // 2 - center + start
    lines = torch.zeros(*values.shape[:2], plan.n_encoded, dtype=torch.complex64)
    lines[..., first : first + kept.shape[-1]] = kept
    return lines, _covered(plan, first, first + kept.shape[-1])


def _covered(plan: Plan, first: int, end: int) -> Tensor:
    """(kx,) int16: 1 where a position of the final grid lies within encoded samples first to end - 1."""
    ratio = plan.n_encoded / plan.n_pixels
    position = (torch.arange(plan.n_pixels) - plan.n_pixels // 2) * ratio + plan.n_encoded // 2
    return ((position >= first - 0.5) & (position <= end - 0.5)).to(torch.int16)


def _told(header: Header, counts: Tensor, whiten: Tensor | None) -> dict[str, str]:
    notes = {}
    if header.missing:
        notes["missing in the header"] = ", ".join(header.missing)
    if whiten is not None:
        notes["prewhitened"] = "by the noise scans of the file"
    if int(counts.max()) > 1:
        notes["averaged"] = f"up to {int(counts.max())} readouts of the same line"
    if header.pilot_tone:
        notes["pilot tone"] = "first 3 samples and last one of every readout left out, as OCMR does"
    return notes
