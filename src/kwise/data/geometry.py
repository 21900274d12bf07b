"""Fields of view and grids: crop a scan to its centre, and bring labels to the grid that cropped k-space
gives.

The sub-pixel convention of kwise: pixel i of n lies at (i - n//2) * FOV / n, so index n//2 is the centre of
the field of view on every grid, and it stays the centre when k-space is cropped or padded
(`kwise.operator.crop_centre`). This is *not* the corner-aligned convention of common image resizers, which
moves the centre by (n/m - 1)/2 pixels and so would shift labels against the image by half a pixel at a
factor of two.
"""

from dataclasses import replace

import torch
from torch import Tensor

from kwise.fourier import fft2c, ifft2c
from kwise.types import Scan


def crop_fov(scan: Scan, fov_mm: float) -> Scan:
    """The central field of view of a scan that holds an image, in-plane sides at most `fov_mm`; never pads.

    Index n//2 stays the centre. Image, labels and coil maps are cut alike and the affine moves along, so
    every pixel keeps its place in the scanner. ValueError for a scan of k-space (crop before simulating) or
    a field under 2 pixels.
    """
    doing = f"cropping {scan.case} to {fov_mm} mm"
    if scan.image is None:
        raise ValueError(f"{doing}: got k-space; wanted an image (crop before simulating k-space)")
    sizes = [min(n, int(fov_mm / mm + 1e-6)) for n, mm in zip(scan.shape[2:], scan.spacing_mm[1:])]
    if min(sizes) < 2:
        raise ValueError(f"{doing}: got pixels of {scan.spacing_mm[1:]} mm; wanted at least 2 pixels a side")
    (y, ny), (x, nx) = [(n // 2 - m // 2, m) for n, m in zip(scan.shape[2:], sizes)]

    def cut(array: Tensor | None) -> Tensor | None:
        return None if array is None else array[..., y : y + ny, x : x + nx].contiguous()

    affine = None if scan.affine is None else _moved(scan.affine, x, y)
    return replace(
        scan, image=cut(scan.image), labels=cut(scan.labels), coil_maps=cut(scan.coil_maps), affine=affine
    )


def readout_window(scan: Scan, start: int, n: int) -> Scan:
    """The columns `start` to `start + n` of a scan of k-space, cut out along its readout as oversampling is.

    Every acquired line must be whole, or an echo that ends early alike in all of them: then the aliasing of
    undersampling runs along y alone and columns can be told apart. Pixels keep their size and values; labels
    and coil maps are cut alike and the affine moves along. ValueError for images, trajectories and masks with
    gaps along kx.
    """
    doing = f"cutting the readout of {scan.case}"
    if scan.kspace is None or scan.trajectory is not None:
        raise ValueError(f"{doing}: got an image or a trajectory; wanted Cartesian k-space")
    have = scan.shape[3]
    if not 0 <= start < start + n <= have:
        raise ValueError(f"{doing}: got columns {start} to {start + n}; wanted some of {have}")
    mask = None if scan.mask is None else _windowed_mask(doing, scan.mask, n)
    kspace = fft2c(ifft2c(scan.kspace)[..., start : start + n])
    if mask is not None:
        kspace = torch.where(mask, kspace, 0)

    def cut(array: Tensor | None) -> Tensor | None:
        return None if array is None else array[..., start : start + n].contiguous()

    affine = None if scan.affine is None else _moved(scan.affine, start, 0)
    return replace(
        scan,
        kspace=kspace,
        mask=mask,
        labels=cut(scan.labels),
        coil_maps=cut(scan.coil_maps),
        affine=affine,
    )


def whole_readouts(mask: Tensor | None) -> bool:
    """Whether all acquired lines of a mask (z, t, ky, kx) acquired the same run of samples around DC."""
    if mask is None:
        return True
    columns = mask.flatten(0, -2).any(dim=0)
    run = columns.nonzero().flatten()
    lines = mask.any(dim=-1, keepdim=True)
    gapless = len(run) > 0 and int(run[-1] - run[0]) + 1 == len(run)
    return gapless and bool(columns[len(columns) // 2]) and torch.equal(mask, lines & columns)


def _windowed_mask(doing: str, mask: Tensor, n: int) -> Tensor:
    """(z, t, ky, n): lines stay lines; of the readout what lies within the samples acquired."""
    if not whole_readouts(mask):
        raise ValueError(f"{doing}: got a mask with gaps along kx; wanted whole readouts")
    have = mask.shape[-1]
    run = mask.flatten(0, -2).any(dim=0).nonzero().flatten()
    position = (torch.arange(n) - n // 2) * (have / n) + have // 2
    inside = (position >= int(run[0]) - 0.5) & (position <= int(run[-1]) + 0.5)
    return mask.any(dim=-1, keepdim=True) & inside


def _moved(affine: Tensor, x: int, y: int) -> Tensor:
    """The affine (4, 4) of a grid whose voxel (0, 0, 0) was voxel (x, y, 0)."""
    moved = affine.clone()
    moved[:3, 3] += affine[:3, 0] * x + affine[:3, 1] * y
    return moved


def resample_labels(labels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Labels (..., y, x) on another grid (..., *shape) of the same field of view: the class of largest area
    wins.

    Each class's area under every new pixel is exact (box against box, the pixels centred as the head of this
    file says), so labels stay on the image whose k-space was cropped to `shape`. IGNORE counts as a class of
    its own. The lower class wins a tie. New pixels that reach beyond the old field of view (at most half a
    new pixel) are judged by the part inside.
    """
    if tuple(labels.shape[-2:]) == tuple(shape):
        return labels
    if min(shape) < 1:
        raise ValueError(f"resampling labels: got shape {shape}; wanted at least 1 x 1")
    rows, columns = (overlap(n, m) for n, m in zip(labels.shape[-2:], shape))
    best = torch.full((*labels.shape[:-2], *shape), -1.0)
    winner = torch.zeros(best.shape, dtype=labels.dtype)
    for label in labels.unique().tolist():
        area = rows @ (labels == label).to(torch.float32) @ columns.T
        wins = area > best + 1e-5  # the margin lets rounding not decide a tie
        best = torch.where(wins, area, best)
        winner[wins] = label
    return winner


def overlap(n: int, m: int) -> Tensor:
    """(m, n) share of each of m new pixels that each of n old pixels covers; rows sum to 1, centres at
    n//2 and m//2.
    """
    old = (torch.arange(n, dtype=torch.float64) - n // 2) / n
    new = (torch.arange(m, dtype=torch.float64) - m // 2) / m
    low = torch.maximum((new - 0.5 / m).unsqueeze(1), (old - 0.5 / n).unsqueeze(0))
    high = torch.minimum((new + 0.5 / m).unsqueeze(1), (old + 0.5 / n).unsqueeze(0))
    shared = (high - low).clamp(min=0)
    return (shared / shared.sum(dim=1, keepdim=True)).to(torch.float32)
