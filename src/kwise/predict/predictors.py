"""What answers a scan, by the task its checkpoint was trained for: one function and one line each."""

from collections.abc import Callable

from kwise.checkpoint import Loaded
from kwise.predict.answer import Answer, answer
from kwise.predict.joint import answer_joint
from kwise.predict.reconstruction import reconstruct
from kwise.types import Scan

# `preprocessing["task"]` of a checkpoint -> (scan with k-space, checkpoint) -> its answer.
PREDICTORS: dict[str, Callable[[Scan, Loaded], Answer]] = {
    "segmentation": answer,
    "reconstruction": reconstruct,
    "joint": answer_joint,
}


def answer_by_task(scan: Scan, loaded: Loaded) -> Answer:
    """The answer of a checkpoint to a scan with k-space; ValueError for a task nobody here can answer."""
    task = loaded.preprocessing.get("task", "segmentation")
    if task not in PREDICTORS:
        wanted = f"one of {', '.join(PREDICTORS)}"
        raise ValueError(f"answering with {loaded.name}: got a checkpoint for {task!r}; wanted {wanted}")
    return PREDICTORS[task](scan, loaded)
