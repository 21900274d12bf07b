"""What every model shares: a common scale, folded slices, and answers on the frames, grid and points asked.

Axis names: b case, k class, z slice, t frame, f queried frame, y and x image, q queried point.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from kwise.coils import with_maps
from kwise.gridding import gridded
from kwise.operator import zero_filled
from kwise.types import Measurement, Query

N_CONTEXT = 5  # numbers of `acquisition_context`
EVERYTHING = Query()  # all frames, on the measured grid


def robust_scale(measurement: Measurement, *, each_slice: bool = False) -> Tensor:
    """(b, 1, 1, 1, 1, 1) root mean square of the image, estimated from the acquired samples alone; of every
    slice on its own, (b, 1, z, 1, 1, 1), with `each_slice`.

    Every k-space position counts once, with its energy averaged over the frames that acquired it: unlike the
    plain rms of the samples the estimate hardly depends on the acceleration. 1 where all samples are zero.
    Of a trajectory its gridded k-space counts, for samples crowd around DC.
    """
    measurement = gridded(measurement)
    magnitude = measurement.kspace.abs()
    peak = magnitude.amax(dim=(1, 3, 4, 5) if each_slice else (1, 2, 3, 4, 5), keepdim=True)
    peak = torch.where(peak > 0, peak, torch.ones_like(peak))
    # Relative to the peak: squares of raw scanner data may underflow.
    energy = (magnitude / peak).square().sum(dim=(1, 3))
    times = measurement.mask.sum(dim=2).clamp(min=1)
    mean = (energy / times).mean(dim=(2, 3) if each_slice else (1, 2, 3))
    rms = mean.sqrt().reshape(len(mean), 1, -1, 1, 1, 1)
    return peak * torch.where(rms > 0, rms, torch.ones_like(rms))


def scaled_frames(measurement: Measurement) -> Tensor:
    """Zero-filled frames (b, z, t, y, x) complex64, each slice at one scale; trajectories are gridded."""
    folded = with_maps(gridded(measurement.fold_slices()))
    frames = zero_filled(folded) / robust_scale(folded).squeeze(1)
    return frames.reshape(measurement.shape)


def frame_images(frames: Tensor) -> Tensor:
    """Complex frames (b, t, y, x) -> real and imaginary channels (b, 2, t, y, x)."""
    return torch.stack([frames.real, frames.imag], dim=1)


def rolled_frames(frames: Tensor, query: Query, n_frames: int) -> Tensor:
    """For each queried frame, `n_frames` frames of the cine in cyclic order, the queried one first.

    `frames` (b, t, y, x) -> (b, f, n_frames, y, x). A cine of another length is read at even offsets.
    """
    b, t = frames.shape[:2]
    offsets = (torch.arange(n_frames, device=frames.device) * t / n_frames).round().long()
    index = (query_frames(query, b, t, frames.device).unsqueeze(-1) + offsets) % t
    return frames[torch.arange(b, device=frames.device)[:, None, None], index]


def query_frames(query: Query, batch: int, n_frames: int, device: torch.device) -> Tensor:
    """(b, f) int64 frame indices asked for; all of them in order where the query names none."""
    if query.frames is None:
        return torch.arange(n_frames, device=device).expand(batch, -1)
    if int(query.frames.max()) >= n_frames or int(query.frames.min()) < 0:
        got = f"frames {int(query.frames.min())} to {int(query.frames.max())}"
        raise ValueError(f"reading a query: got {got}; wanted 0 to {n_frames - 1}")
    return query.frames.to(device)


def acquisition_context(measurement: Measurement, frames: Tensor) -> Tensor:
    """(b, f, N_CONTEXT): two harmonics of the cardiac phase of frames (b, f), log of the sampled share.

    Frame 0 is end-diastole in a gated cine; the share of k-space sampled is log(1/R) over log(64).
    """
    phase = 2 * math.pi * frames / measurement.n_frames
    waves = torch.stack([phase.cos(), phase.sin(), (2 * phase).cos(), (2 * phase).sin()], dim=-1)
    full = math.prod(measurement.shape[1:])  # of the grid: a trajectory counts against it as well
    share = (measurement.mask.flatten(1).sum(dim=1) / full).log() / math.log(64)
    return torch.cat([waves, share[:, None, None].expand(*frames.shape, 1)], dim=-1)


def with_context(channels: Tensor, measurement: Measurement, frames: Tensor) -> Tensor:
    """Images (b, f, channel, y, x) of frames (b, f), and `acquisition_context` as constant channels behind
    them.
    """
    told = acquisition_context(measurement, frames)[..., None, None]
    return torch.cat([channels, told.expand(-1, -1, -1, *channels.shape[-2:])], dim=2)


def select_frames(x: Tensor, query: Query) -> Tensor:
    """The queried frames of `x` (b, k, t, y, x) -> (b, k, f, y, x)."""
    if query.frames is None:
        return x
    index = query_frames(query, x.shape[0], x.shape[2], x.device)[:, None, :, None, None]
    return x.gather(2, index.expand(-1, x.shape[1], -1, *x.shape[-2:]))


def output_shape(measurement: Measurement, query: Query) -> tuple[int, int]:
    """(y, x) of the answer: the resolution asked for, or the measured grid."""
    return query.resolution or (measurement.shape[-2], measurement.shape[-1])


def gather_points(logits: Tensor, query: Query) -> Tensor:
    """(b, k, z, f, y, x) -> (b, k, z, q) at `query.points`; unchanged where the query names no points."""
    if query.points is None:
        return logits
    flat = logits.flatten(3)
    index = query.points.to(logits.device)[:, None, None, :]
    return flat.gather(3, index.expand(-1, flat.shape[1], flat.shape[2], -1))


def resize_answer(logits: Tensor, resolution: tuple[int, int]) -> Tensor:
    """Bilinear resampling of the last two axes (..., y, x) to `resolution` over the same field of view.

    Positions are (i - n//2)/n on both grids, so index n//2 stays at index n//2. The first axis is the batch.
    """
    if tuple(logits.shape[-2:]) == tuple(resolution):
        return logits
    flat = logits.reshape(len(logits), -1, *logits.shape[-2:])
    grid = sampling_grid(flat, resolution).expand(len(flat), -1, -1, -1)
    sampled = functional.grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.reshape(*logits.shape[:-2], *resolution)


def sampling_grid(image: Tensor, resolution: tuple[int, int]) -> Tensor:
    """(1, y, x, 2): where grid_sample (align_corners=False) finds the pixels of a grid of `resolution` in
    `image`.
    """
    axes = []
    for have, want in zip(image.shape[-2:], resolution):
        position = (torch.arange(want, device=image.device, dtype=image.dtype) - want // 2) / want
        axes.append((2 * (position * have + have // 2) + 1) / have - 1)
    y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y], dim=-1).unsqueeze(0)


def unfold_slices(folded: Tensor, n_slices: int) -> Tensor:
    """Slices that travelled as cases, (b * z, k, ...) -> (b, k, z, ...)."""
    return folded.unflatten(0, (-1, n_slices)).transpose(1, 2)


def finish_answer(logits: Tensor, measurement: Measurement, query: Query) -> Tensor:
    """Logits (b * z, k, f, y, x) of a grid model -> (b, k, z, f, y, x) on the grid asked, or (b, k, z, q)."""
    on_grid = resize_answer(logits, output_shape(measurement, query))
    return gather_points(unfold_slices(on_grid, measurement.n_slices), query)
