"""Where every readout of an MRD file belongs: slice, frame, line; which ones are no image data; geometry."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from kwise.data.raw_checks import refused
from kwise.data.raw_mrd_header import Header, Limit
from kwise.data.raw_mrd_place import (
    Stack,
    affine_of,
    frame_ms_of,
    in_order,
    numbered,
    slice_distance,
    slices_in,
    spacing_of,
)
from kwise.data.raw_slices import Slices, picked, placed

NOISE, REVERSE = 19, 22  # bits of the flags, from 1, as ismrmrd.h counts them
CALIBRATION, CALIBRATION_AND_IMAGE = 20, 21
# Readouts that are no image data: navigators, phase correction, feedback, dummies, coil correction.
OTHER = (23, 24, 26, 27, 28, 29, 30, 31)
JOINED = "averaged where they hold the same line, filled from each other where not"
_FAR = 4  # times as many lines as the header tells of: damage, not a grid that is larger than told
_NEEDED = ("flags", "number_of_samples", "active_channels", "center_sample", "idx")


@dataclass(frozen=True)
class Plan:
    """Indices (n_rows,) z, t, ky of every readout, valid where `use`; `shape` (z, t, ky) of the grid.

    `n_encoded` readout pixels with oversampling, `n_pixels` without. In a `slab` z counts partitions that are
    still encoded.
    """

    heads: np.ndarray
    use: np.ndarray
    noise: np.ndarray
    z: np.ndarray
    t: np.ndarray
    ky: np.ndarray
    shape: tuple[int, int, int]
    n_coils: int
    n_encoded: int
    n_pixels: int
    spacing_mm: tuple[float, float, float]
    frame_ms: float | None
    affine: Tensor | None
    notes: dict[str, str]
    stack: Stack
    slab: bool = False

    @property
    def n_rows(self) -> int:
        """Readouts in the file."""
        return len(self.heads)

    def only(self, path: Path, slices: Slices) -> "Plan":
        """The plan of some slices: the readouts of the others are not used."""
        chosen = picked(path, slices, self.shape[0])
        uneven = self.stack.check(path, chosen)
        if slices is None:
            return replace(self, notes=self.notes | uneven)
        number = np.full(self.shape[0], -1)
        number[list(chosen)] = np.arange(len(chosen))
        spacing, affine = placed(self.spacing_mm, self.affine, chosen)
        if "spacing" in self.notes:
            spacing = self.spacing_mm
        plan = replace(
            self,
            use=self.use & (number[self.z] >= 0),
            z=number[self.z].clip(min=0),
            shape=(len(chosen), *self.shape[1:]),
            spacing_mm=spacing,
            affine=affine,
            notes=self.notes | uneven,
        )
        return plan if self.stack.regular else plan._placed_anew(list(chosen))

    def _placed_anew(self, chosen: list[int]) -> "Plan":
        """The same with the geometry of its slices, `chosen` from a stack that is not regular."""
        if self.affine is None or self.stack.positions is None:
            return self
        positions = self.stack.positions[chosen]
        spacing = (slice_distance(positions, self.spacing_mm[0]), *self.spacing_mm[1:])
        first = self.heads[np.flatnonzero(self.use & (self.z == 0))[0]]
        return replace(
            self,
            spacing_mm=spacing,
            affine=affine_of(first, positions, spacing, (1, self.shape[2], self.n_pixels)),
        )

    def center_of(self, row: int) -> int:
        """The sample of a readout at DC; the middle where the file says 0."""
        return int(_centers(self.heads[row : row + 1])[0])

    def reversed_row(self, row: int) -> bool:
        """Whether a readout ran backwards."""
        return bool(flagged(self.heads[row : row + 1], REVERSE)[0])

    def discarded(self, row: int, drop: tuple[int, int]) -> tuple[int, int]:
        """Samples without meaning at the start and end of a readout, at least `drop`."""
        names = self.heads.dtype.names or ()
        told = (
            int(self.heads[row][name]) if name in names else 0 for name in ("discard_pre", "discard_post")
        )
        pre, post = (max(a, b) for a, b in zip(told, drop))
        return (pre, post) if pre + post < int(self.heads[row]["number_of_samples"]) else (0, 0)

    def alike(self, first: int, last: int) -> Iterator[np.ndarray]:
        """Row numbers from `first` to `last` to be handled together: same length, never a line twice."""
        rows = np.arange(first, last)[self.use[first:last]]
        heads = self.heads[rows]
        names = [n for n in ("number_of_samples", "center_sample", "discard_pre", "discard_post")]
        columns = [heads[n] for n in names if n in (heads.dtype.names or ())]
        columns += [flagged(heads, REVERSE), _occurrence(self.z[rows], self.t[rows], self.ky[rows])]
        kinds = np.stack([column.astype(np.int64) for column in columns], axis=1)
        for kind in np.unique(kinds, axis=0) if len(rows) else ():
            yield rows[(kinds == kind).all(axis=1)]


def plan_readouts(path: Path, header: Header, heads: np.ndarray) -> Plan:
    """Where every readout belongs; ValueError for one that has no place in Cartesian slices or one slab."""
    if lacking := [name for name in _NEEDED if name not in (heads.dtype.names or ())]:
        raise refused(path, f"readout headers without {lacking}", "those of ISMRMRD")
    if header.trajectory not in (None, "cartesian"):
        raise refused(path, f"trajectory {header.trajectory}", "cartesian (others are not read yet)")
    use, notes = image_rows(path, heads)
    check_rows(path, heads[use])
    idx = heads["idx"]
    z, n_slices = slices_in(path, heads, use, notes)
    phases, phase = numbered(idx["phase"], use)
    repetitions, repetition = numbered(idx["repetition"], use)
    if len(phases) > 1 and len(repetitions) > 1:
        notes["frames"] = f"{len(repetitions)} repetitions of {len(phases)} phases, joined: {JOINED}"
    ky, n_lines = _line_index(path, header, idx, 1, use, notes)
    centers, samples = _centers(heads[use]), heads[use]["number_of_samples"].astype(int)
    n_encoded = _fitting(header.matrix[0] if header.matrix else 0, -centers, samples - centers)
    z, stack = in_order(heads, use, z, n_slices)
    n_partitions = partitions_in(heads, use)
    slab = n_partitions > 1
    if slab and n_slices > 1:
        raise refused(path, f"{n_slices} slabs of partitions", "slices, or one slab")
    if slab:
        z, n_partitions = _line_index(path, header, idx, 2, use, notes)
    n_pixels = header.readout_pixels(n_encoded)
    if n_pixels < n_encoded:
        notes["readout oversampling"] = f"removed: {n_encoded} to {n_pixels} samples"
    t, n_frames = (phase, len(phases)) if len(phases) > 1 else (repetition, len(repetitions))
    shape = (n_partitions if slab else n_slices, n_frames, n_lines)
    spacing = spacing_of(header, n_encoded, n_lines, stack.positions, n_partitions, notes)
    return Plan(
        heads=heads,
        use=use,
        noise=np.flatnonzero(
            flagged(heads, NOISE) & (heads["active_channels"] == heads[use]["active_channels"][0])
        ),
        z=z,
        t=t,
        ky=ky,
        shape=shape,
        n_coils=int(heads[use]["active_channels"][0]),
        n_encoded=n_encoded,
        n_pixels=n_pixels,
        spacing_mm=spacing,
        frame_ms=frame_ms_of(header, shape[1]),
        affine=affine_of(heads[use][0], stack.positions, spacing, (n_partitions, n_lines, n_pixels)),
        notes=notes,
        stack=stack,
        slab=slab,
    )


def flagged(heads: np.ndarray, bit: int) -> np.ndarray:
    """(n,) bool: which readouts have that bit of their flags set, counted from 1."""
    return (heads["flags"] & np.uint64(1 << (bit - 1))) != 0


def partitions_in(heads: np.ndarray, use: np.ndarray) -> int:
    """How many partitions the used readouts encode: more than 1 in a 3-D scan."""
    return len(np.unique(heads["idx"]["kspace_encode_step_2"][use]))


def image_rows(path: Path, heads: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """Which readouts are image data, and notes about the others."""
    idx, use = heads["idx"], np.ones(len(heads), dtype=bool)
    notes = {}
    calibration = flagged(heads, CALIBRATION) & ~flagged(heads, CALIBRATION_AND_IMAGE)
    others = np.any([flagged(heads, bit) for bit in OTHER], axis=0) if len(heads) else use
    first = {name: idx[name] == 0 for name in ("set", "contrast")}
    if "encoding_space_ref" in (heads.dtype.names or ()):
        first["encoding space"] = heads["encoding_space_ref"] == 0
    use &= ~flagged(heads, NOISE)
    for name, left_out in {"calibration": calibration, "navigator or correction": others}.items():
        if count := int((use & left_out).sum()):
            notes[f"left out: {name}"] = f"{count} readouts"
        use &= ~left_out
    for name, kept in first.items():
        if count := int((use & ~kept).sum()):
            notes[f"left out: another {name}"] = f"{count} readouts; only {name} 0 is read"
        use &= kept
    if not use.any():
        raise refused(path, f"{len(heads)} readouts, none of them of an image", "at least one")
    return use, notes


def check_rows(path: Path, heads: np.ndarray) -> None:
    """ValueError unless all readouts are of the same coils and hold samples."""
    channels = np.unique(heads["active_channels"])
    if len(channels) > 1 or channels[0] == 0:
        raise refused(
            path, f"readouts of {channels.tolist()[:4]} coils", "the same coils, at least 1, in all"
        )
    if int(heads["number_of_samples"].min()) == 0:
        raise refused(path, "a readout without samples", "number_of_samples of at least 1")


def _centers(heads: np.ndarray) -> np.ndarray:
    """The sample at DC; a header that says 0, or beyond the end, was not filled in: then the middle."""
    samples, told = heads["number_of_samples"].astype(int), heads["center_sample"].astype(int)
    return np.where((told > 0) & (told < samples), told, samples // 2)


def _line_index(
    path: Path, header: Header, idx: np.ndarray, axis: int, use: np.ndarray, notes: dict[str, str]
) -> tuple[np.ndarray, int]:
    """Index of each row's line (`axis` 1) or partition (2) with DC at n//2, and n."""
    word, steps = ("line", "partition")[axis - 1], idx[f"kspace_encode_step_{axis}"]
    used = steps[use].astype(int)
    limit = header.limits.get(f"kspace_encoding_step_{axis}")
    n = header.matrix[axis] if header.matrix else 0
    if limit is None:
        n = max(n, int(used.max()) + 1)
        limit = Limit(0, n - 1, n // 2)
        notes[f"centre {word}"] = f"not told by the header: {word} {n // 2} of {n} taken as DC"
    elif limit.center == 0 and limit.maximum > 1:
        limit = Limit(limit.minimum, limit.maximum, max(n, limit.maximum + 1) // 2)
        notes[f"centre {word}"] = f"0 in the header: {word} {limit.center} taken as DC"
    if not 0 <= limit.center <= max(n, limit.maximum):
        got = f"encodingLimits.kspace_encoding_step_{axis}.center = {limit.center}"
        raise refused(path, got, f"a {word}")
    total = _fitting(n, used - limit.center, used - limit.center + 1)
    if header.matrix and total > _FAR * max(n, 16):
        raise refused(path, f"a readout of {word} {int(used.max())}", f"the {n} {word}s the header tells of")
    if n and total != n:
        notes["phase encoding" if axis == 1 else "partitions"] = (
            f"{word}s beyond the header's {n}: grid of {total}"
        )
    return (steps.astype(int) - limit.center + total // 2).clip(0, total - 1), total


def _fitting(n: int, lowest: np.ndarray, end: np.ndarray) -> int:
    """The smallest grid of at least `n` that holds offsets from DC of `lowest` up to before `end`."""
    return max(n, 2 * -int(lowest.min()), 2 * int(end.max()) - 1, 1)


def _occurrence(z: np.ndarray, t: np.ndarray, ky: np.ndarray) -> np.ndarray:
    """How many rows before each went to the same line."""
    line = np.stack([z, t, ky])
    order = np.lexsort(line)
    ordered = line[:, order]
    new = np.ones(len(z), dtype=bool)
    new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(axis=0)
    start = np.maximum.accumulate(np.where(new, np.arange(len(z)), 0))
    count = np.empty(len(z), dtype=int)
    count[order] = np.arange(len(z)) - start
    return count
