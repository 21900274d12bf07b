"""One examination of one case, as a reader or the phantom gives it, before any batching: the noun `Scan`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from kwise.checks import check_finite, check_kspace, check_mask, check_rank, check_shape, fit_mask, wanted

# Fields that hold arrays -> the type that those of numpy are brought to; None: as it is.
_TENSORS = {
    "image": torch.float32,
    "kspace": torch.complex64,
    "mask": None,
    "labels": torch.int64,
    "coil_maps": torch.complex64,
    "trajectory": torch.float32,
    "affine": torch.float64,
}
VIEWS = ("SAX", "LAX_2CH", "LAX_3CH", "LAX_4CH")  # what `Scan.views` may say of each z


@dataclass(frozen=True)
class Scan:
    """One examination of one case, as a reader or the phantom gives it, before any batching.

    Either `image` (magnitude (z, t, y, x) float32: k-space has still to be simulated) or `kspace`
    ((c, z, t, ky, kx) complex64) is set; arrays may be numpy's. `mask` (z, t, ky, kx) bool tells what the
    scanner acquired (None: everything). `labels` (z, t, y, x) int64 uses kwise's classes, IGNORE where nobody
    annotated. `spacing_mm` is (z, y, x). `affine` (4x4) maps voxel (x, y, z) to scanner mm as in NIfTI. `ed`,
    `es` are 0-based frames. `trajectory` (z, t, ky, kx, 2) and `image_shape` (y, x) are as in a Measurement.
    `views` names the plane of each z by a word of VIEWS. `phenotypes` (LVEDV_mL, LVEF_percent, ...),
    `diseases` (CAD, high_blood_pressure, hypertension: 0 or 1) and `covariates` (age_years, sex_male,
    height_cm, weight_kg) say what is known of the person, NaN = unknown.
    """

    case: str
    image: Tensor | None = None
    kspace: Tensor | None = None
    mask: Tensor | None = None
    labels: Tensor | None = None
    coil_maps: Tensor | None = None
    trajectory: Tensor | None = None
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    frame_ms: float | None = None
    affine: Tensor | None = None
    ed: int | None = None
    es: int | None = None
    notes: dict[str, str] = field(default_factory=dict)
    image_shape: tuple[int, int] | None = None
    views: tuple[str, ...] | None = None
    phenotypes: Mapping[str, float] | None = None
    diseases: Mapping[str, float] | None = None
    covariates: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        self._take_arrays()
        if (self.image is None) == (self.kspace is None):
            raise wanted(f"building Scan {self.case}", "both or neither of image and kspace", "exactly one")
        if self.image is not None:
            check_rank("Scan.image", self.image, "z t y x")
            check_finite("Scan.image", self.image)
        self._check_kspace()
        if self.labels is not None:
            check_rank("Scan.labels", self.labels, "z t y x")
            if self.image is not None:
                check_shape("Scan.labels", self.labels, self.shape)
        if self.views is not None and not (len(self.views) == self.shape[0] and {*self.views} <= {*VIEWS}):
            wish = f"{self.shape[0]} words out of {', '.join(VIEWS)}"
            raise wanted(f"building Scan {self.case}", f"views {', '.join(self.views)}", wish)

    def _take_arrays(self) -> None:
        """Arrays of numpy become tensors of their field's type; real k-space stays real, and is refused."""
        for name, dtype in _TENSORS.items():
            if isinstance(array := getattr(self, name), np.ndarray):
                kind = None if dtype is torch.complex64 and array.dtype.kind != "c" else dtype
                try:
                    tensor = torch.as_tensor(np.ascontiguousarray(array), dtype=kind)
                except (TypeError, ValueError) as error:
                    got = f"{name} of {array.dtype}"
                    raise wanted(f"building Scan {self.case}", got, "numbers") from error
                object.__setattr__(self, name, tensor)
            elif array is not None and not isinstance(array, Tensor):
                got = f"{name} of type {type(array).__name__}"
                raise wanted(f"building Scan {self.case}", got, "an array of torch or numpy")

    def _check_kspace(self) -> None:
        if self.trajectory is not None and (self.kspace is None or self.image_shape is None):
            raise wanted(f"building Scan {self.case}", "a trajectory alone", "kspace and image_shape with it")
        grid: tuple[int, ...] = self.shape
        if self.kspace is not None:
            check_kspace("Scan.kspace", self.kspace, "c z t ky kx")
            grid = tuple(self.kspace.shape[1:])
        if self.trajectory is not None:
            check_shape("Scan.trajectory", self.trajectory, (*grid, 2))
        mask = None
        if self.mask is not None:
            check_mask("Scan.mask", self.mask, "z t ky kx")
            mask = fit_mask("Scan.mask", self.mask, grid)
        for coil in () if self.kspace is None else self.kspace:  # one at a time: nothing as large beside it
            # What was not acquired may hold anything: readers differ in what they leave there.
            if not bool(torch.isfinite(coil.sum())):
                check_finite("Scan.kspace", coil if mask is None else torch.where(mask, coil, 0))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(z, t, y, x)."""
        x = self.image if self.image is not None else self.kspace
        assert x is not None
        z, t, y, x_ = x.shape[-4:]
        return (z, t, y, x_) if self.image_shape is None else (z, t, *self.image_shape)

    @property
    def in_pixels(self) -> bool:
        """Whether nobody told the pixel size: `spacing_mm` then counts pixels, and no size is in mm."""
        return "spacing" in self.notes
