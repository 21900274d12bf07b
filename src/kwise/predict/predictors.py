"""What answers a scan, by the task its checkpoint was trained for: one function and one line each."""

from collections.abc import Callable
from pathlib import Path

from kwise.checkpoint import Loaded, find_checkpoint, load_checkpoint
from kwise.models import MODELS
from kwise.predict.answer import Answer
from kwise.predict.answer import answer as segmented
from kwise.predict.door import as_acquired
from kwise.predict.joint import answer_joint
from kwise.predict.reconstruction import reconstruct
from kwise.types import Scan

# `preprocessing["task"]` of a checkpoint -> (scan with k-space, checkpoint) -> its answer.
PREDICTORS: dict[str, Callable[[Scan, Loaded], Answer]] = {
    "segmentation": segmented,
    "reconstruction": reconstruct,
    "joint": answer_joint,
}


def load_model(checkpoint: Path | str | None = None) -> Loaded:
    """A trained model with all it was told: of a checkpoint folder, or one that comes with kwise by name
    ("demo", also None: the best of them). Errors as in `find_checkpoint` and `load_checkpoint`.
    """
    return load_checkpoint(find_checkpoint(checkpoint), MODELS)


def answer(scan: Scan, model: Loaded | Path | str | None = None) -> Answer:
    """What a model says about a scan with k-space: areas, ED and ES, ejection fraction, cautions.

    `model` is what `load_model` gives, or takes. Where the scan has no mask, lines of zeros alone count as
    not acquired. ValueError for a magnitude image, and for a task nobody here can answer.
    """
    loaded = model if isinstance(model, Loaded) else load_model(model)
    task = loaded.preprocessing.get("task", "segmentation")
    if task not in PREDICTORS:
        wanted = f"one of {', '.join(PREDICTORS)}"
        raise ValueError(f"answering with {loaded.name}: got a checkpoint for {task!r}; wanted {wanted}")
    if scan.kspace is None:
        ways = "kwise.data.raw.with_kspace transforms it, kwise.simulate_scan adds phase, coils and noise"
        raise ValueError(f"answering {scan.case}: got a magnitude image; wanted k-space ({ways})")
    return PREDICTORS[task](as_acquired(scan), loaded)
