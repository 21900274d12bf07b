"""A recipe: everything that makes one trained model, as one frozen value."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from hashlib import blake2b
from typing import Any

from kwise.data.loader import Acquisition
from kwise.tasks import Segmentation, Task, task_name
from kwise.training import Stage


@dataclass(frozen=True)
class Recipe:
    """One row of a table: data set, acquisition, model, loss and training stages, and the published number
    beside it.

    `options` are the model's constructor keywords. `frames` and `points` are what a training step asks of a
    case (None: everything). `frame_counts`: cines are brought to one of these lengths, or drawn with it where
    they are drawn. `fully_sampled` hides the undersampling from the model: the upper bound. `init_from` names
    a checkpoint to start from (its folder, its run folder, or one that comes with kwise), its U-Net perhaps
    shallower, or several that give an encoder each. `n_train` bounds the cases trained on (None: all there
    are); `n_validation` cases choose weights, `n_calibration` fit what a model keeps of them (thresholds,
    spreads). `published` maps R to the published (mean, sd) of the paper's own score.
    """

    name: str
    model: str
    dataset: str = "heart"
    n_frames: int = 12
    shape: tuple[int, int] = (64, 64)
    options: Mapping[str, object] = field(default_factory=dict)
    acquisition: Acquisition = field(default_factory=Acquisition)
    task: Task = field(default_factory=Segmentation)
    stages: tuple[Stage, ...] = (Stage(),)
    batch_size: int = 8
    frames: int | None = 3
    points: int | None = None
    augment: str = "none"
    frame_counts: tuple[int, ...] | None = None
    fully_sampled: bool = False
    init_from: str | tuple[str, ...] | None = None
    n_train: int | None = None
    seed: int = 0
    n_validation: int = 20
    n_calibration: int = 200
    published: Mapping[float, tuple[float, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """All fields, nested ones too, and the name of the task beside its own."""
        fields = asdict(self)
        return {**fields, "task": {"name": task_name(self.task), **fields["task"]}}

    def digest(self) -> str:
        """Sixteen hexadecimal digits: BLAKE2b of the fields that are not at their defaults, as sorted JSON.

        So a new field does not orphan runs half done, and a default that changes keeps the digest.
        """
        text = json.dumps({**_said(self), "kind": task_name(self.task)}, sort_keys=True, default=str)
        return blake2b(text.encode(), digest_size=8).hexdigest()


def _said(value: Any) -> Any:
    """Fields of a dataclass, and of those within it, that are not at their defaults; lists and mappings of
    such; anything else as it is.
    """
    if is_dataclass(value):
        own = ((f, getattr(value, f.name)) for f in fields(value))
        return {f.name: _said(x) for f, x in own if x != _default(f)}
    if isinstance(value, list | tuple):
        return [_said(x) for x in value]
    if isinstance(value, Mapping):
        return {str(key): _said(x) for key, x in value.items()}
    return value


def _default(own: Field[Any]) -> object:
    return own.default if own.default_factory is MISSING else own.default_factory()
