"""The nouns of kwise: Scan, Measurement, Samples, Query, Targets, Prediction.

Axis names: b case, c coil, z slice or view, t frame, ky phase encoding, kx readout, y and x image, n sample,
f queried frame, q queried point, k class. Shapes are checked here, once.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from kwise.checks import check_finite, check_kspace, check_mask, check_rank, check_shape, fit_mask, wanted
from kwise.scan import VIEWS, Scan

__all__ = [
    "CLASS_NAMES", "IGNORE", "VIEWS", "Batch", "Measurement", "Prediction", "Query", "Samples", "Scan",
    "Targets",
]  # fmt: skip

CLASS_NAMES = ("background", "LV pool", "LV myocardium", "RV pool", "LA", "RA")
IGNORE = -1  # label of a pixel nobody annotated

Noun = TypeVar("Noun")


def _move(noun: Noun, device: torch.device | str) -> Noun:
    """The same noun with every tensor, and every noun in it, on another device."""
    values = {f.name: getattr(noun, f.name) for f in fields(noun)}  # type: ignore[arg-type]
    return replace(noun, **{n: x.to(device) for n, x in values.items() if hasattr(x, "to")})  # type: ignore[type-var]


@dataclass(frozen=True)
class Samples:
    """The acquired samples as a set.

    `values` (b, n, c) complex64; `coords` (b, n, 4) float32, order (z, t, ky, kx), each in [-0.5, 0.5);
    `valid` (b, n) bool, False = padding of a ragged batch, None when nothing is padded (flash attention).
    """

    values: Tensor
    coords: Tensor
    valid: Tensor | None = None


@dataclass(frozen=True)
class Measurement:
    """What was measured, batched: the only noun that enters a model.

    `kspace` (b, c, z, t, ky, kx) complex64, centred, orthonormal; `mask` (b, z, t, ky, kx) bool, True =
    acquired (singleton axes broadcast); `coil_maps` (b, c, z, y, x) complex64 or None; `trajectory` (b, z, t,
    ky, kx, 2) float32 positions (ky, kx) in [-0.5, 0.5) cycles per pixel of a non-Cartesian scan, whose axes
    ky, kx then count spokes and readout points, and `image_shape` (y, x) says which grid it stands for.
    `spacing_mm` (b, 3) is (z, y, x). `views` (b, z) int64 names the plane of each z by its index in VIEWS,
    None where nobody told; a view with nothing acquired is a missing view.

    The constructor zeroes everything that was not acquired, so no model can peek.
    """

    kspace: Tensor
    mask: Tensor
    coil_maps: Tensor | None = None
    trajectory: Tensor | None = None
    image_shape: tuple[int, int] | None = None
    spacing_mm: Tensor | None = None
    views: Tensor | None = None

    def __post_init__(self) -> None:
        check_kspace("Measurement.kspace", self.kspace, "b c z t ky kx")
        check_mask("Measurement.mask", self.mask, "b z t ky kx")
        b, c, z, t, ky, kx = self.kspace.shape
        mask = fit_mask("Measurement.mask", self.mask, (b, z, t, ky, kx))
        if not bool(mask.flatten(1).any(dim=1).all()):
            raise wanted(
                "checking Measurement.mask", "a case without acquired samples", "at least one True each"
            )
        # where(), not a product: NaN or Inf in unacquired positions must vanish as well.
        kept = torch.where(mask.unsqueeze(1), self.kspace, torch.zeros((), dtype=self.kspace.dtype))
        kept = kept.to(torch.complex64)  # before the check: what single precision cannot hold becomes Inf
        check_finite("Measurement.kspace", kept)
        shape = (ky, kx) if self.image_shape is None else self.image_shape
        if self.trajectory is not None:
            check_shape("Measurement.trajectory", self.trajectory, (b, z, t, ky, kx, 2))
            if self.image_shape is None:
                got = "a trajectory without image_shape"
                raise wanted("building a Measurement", got, "the (y, x) of its grid")
        if self.coil_maps is not None:
            check_shape("Measurement.coil_maps", self.coil_maps, (b, c, z, *shape))
        if self.views is not None:
            check_shape("Measurement.views", self.views, (b, z))
        object.__setattr__(self, "kspace", kept)
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "image_shape", shape)

    @property
    def n_frames(self) -> int:
        """Frames of the cine."""
        return self.kspace.shape[3]

    @property
    def n_slices(self) -> int:
        """Slices or views."""
        return self.kspace.shape[2]

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(b, z, t, y, x) of the image this measurement stands for."""
        assert self.image_shape is not None
        b, _, z, t = self.kspace.shape[:4]
        return b, z, t, *self.image_shape

    def to(self, device: torch.device | str) -> Self:
        """The same measurement on another device."""
        return _move(self, device)

    def fold_slices(self) -> Self:
        """Every slice as a case, for models that see one slice: (b, c, z, ...) -> (b * z, c, 1, ...)."""
        moved: dict[str, Any] = {}
        for name, axis in (("kspace", 2), ("coil_maps", 2), ("mask", 1), ("trajectory", 1), ("views", 1)):
            if (x := getattr(self, name)) is not None:
                moved[name] = (x.transpose(1, 2) if axis == 2 else x).flatten(0, 1).unsqueeze(axis)
        if self.spacing_mm is not None:
            moved["spacing_mm"] = self.spacing_mm.repeat_interleave(self.n_slices, dim=0)
        return replace(self, **moved)

    @staticmethod
    def stack(items: "list[Measurement]") -> "Measurement":
        """Join measurements of equal grid along b; ValueError where some alone have a field."""
        for name in (f.name for f in fields(Measurement)):
            if len({getattr(m, name) is None for m in items}) > 1:
                raise wanted("stacking measurements", f"{name} of some alone", f"{name} of all or of none")
        names = items[0]._tensors()
        joined: dict[str, Any] = {name: torch.cat([getattr(m, name) for m in items]) for name in names}
        return replace(items[0], **joined)

    def only(self, i: int) -> Self:
        """One case, as a batch of one."""
        return replace(self, **{name: x[i : i + 1] for name, x in self._tensors().items()})  # type: ignore[arg-type]

    def _tensors(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: x for name, x in values.items() if isinstance(x, Tensor)}


@dataclass(frozen=True)
class Query:
    """What a model is asked: which frames, on which grid, at which points. The default asks for everything.

    `frames` (b, f) int64 or None (all frames, in order); `resolution` (y, x) or None (the measured grid);
    `points` (b, q) int64 positions in the flattened (f, y, x) grid, or None (all of it).
    """

    frames: Tensor | None = None
    resolution: tuple[int, int] | None = None
    points: Tensor | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same question on another device."""
        return _move(self, device)

    def repeat_slices(self, n_slices: int) -> Self:
        """The same question for each of the slices folded into b."""
        again = [None if x is None else x.repeat_interleave(n_slices, 0) for x in (self.frames, self.points)]
        return replace(self, frames=again[0], points=again[1])


@dataclass(frozen=True)
class Targets:
    """The truth a task scores against, at the frames of `query`.

    `labels` (b, z, f, y, x) int64, IGNORE where unknown; `image` (b, z, f, y, x) complex64 or float32
    magnitude, None where nobody needs it; `query` says which frames these are; `spacing_mm` (b, 3) is (z, y,
    x); `ed`, `es` (b,) int64 index into f, -1 unknown. `phenotypes` (b, p) float32 in the order and units of
    `kwise.phenotypes.PHENOTYPES`, NaN unknown; `diseases` (b, d) 0, 1 or NaN in the order of DISEASES;
    `kspace` (b, c, z, t, ky, kx) all of it, for pretraining alone.
    """

    labels: Tensor
    image: Tensor | None = None
    query: Query = field(default_factory=Query)
    spacing_mm: Tensor | None = None
    ed: Tensor | None = None
    es: Tensor | None = None
    phenotypes: Tensor | None = None
    diseases: Tensor | None = None
    kspace: Tensor | None = None

    def __post_init__(self) -> None:
        check_rank("Targets.labels", self.labels, "b z f y x")
        if self.labels.dtype != torch.int64:
            raise wanted("checking Targets.labels", f"dtype {self.labels.dtype}", "int64 class indices")

    def to(self, device: torch.device | str) -> Self:
        """The same truth on another device."""
        return _move(self, device)

    def at_points(self) -> Tensor:
        """Labels (b, z, q) at `query.points`, or all of them flattened when no points were asked."""
        flat = self.labels.flatten(2)
        if self.query.points is None:
            return flat
        index = self.query.points.unsqueeze(1).expand(-1, flat.shape[1], -1)
        return flat.gather(2, index)


@dataclass(frozen=True)
class Prediction:
    """A model's answer.

    `logits` (b, k, z, f, y, x), or (b, k, z, q) where the query named points; `image` (b, z, f, y, x)
    or (b, z, q), complex64 or its magnitude, in the units measured; `latents` (b, m, d) of the encoder;
    `losses` named scalars a model adds to its task's loss (weight 1). `phenotypes` (b, p) and the standard
    deviation `phenotype_sd` (b, p) the model gives each, in the units of PHENOTYPES; `diseases` (b, d) logits
    and the probability `disease_threshold` (b, d) from which the model would call each; `kspace` (b, c, z, t,
    ky, kx) all of it, as a masked autoencoder restores it.
    """

    logits: Tensor | None = None
    image: Tensor | None = None
    latents: Tensor | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    phenotypes: Tensor | None = None
    phenotype_sd: Tensor | None = None
    diseases: Tensor | None = None
    disease_threshold: Tensor | None = None
    kspace: Tensor | None = None

    def probabilities(self) -> Tensor:
        """Class probabilities, same shape as `logits`."""
        assert self.logits is not None
        return self.logits.softmax(dim=1)

    def labels(self) -> Tensor:
        """Hard labels (b, z, f, y, x), the class of highest logit."""
        assert self.logits is not None
        return self.logits.argmax(dim=1)


@dataclass(frozen=True)
class Batch:
    """What a loader yields: names of the cases, what was measured, the truth, the nominal R of each case."""

    cases: tuple[str, ...]
    measurement: Measurement
    targets: Targets
    accelerations: tuple[float, ...]
