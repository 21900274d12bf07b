"""Tasks by name: each turns predictions and targets into a training loss and into one score row per case."""

from collections.abc import Mapping

from kwise.nearest import one_of
from kwise.tasks.diagnosis import Diagnosis
from kwise.tasks.joint import Joint
from kwise.tasks.phenotypes import Phenotypes
from kwise.tasks.pretraining import Pretraining
from kwise.tasks.reconstruction import Reconstruction
from kwise.tasks.segmentation import Segmentation
from kwise.tasks.task import Task

__all__ = [
    "TASKS",
    "Diagnosis",
    "Joint",
    "Phenotypes",
    "Pretraining",
    "Reconstruction",
    "Segmentation",
    "Task",
    "make_task",
    "task_name",
]

TASKS: dict[str, type[Task]] = {
    "segmentation": Segmentation,
    "reconstruction": Reconstruction,
    "phenotypes": Phenotypes,
    "diagnosis": Diagnosis,
    "pretraining": Pretraining,
    "joint": Joint,
}


def task_name(task: Task) -> str:
    """The word of a task in TASKS; ValueError for a task of no name."""
    for name, made in TASKS.items():
        if type(task) is made:
            return name
    raise ValueError(f"naming a task: got {type(task).__name__}; wanted one of {', '.join(TASKS)}")


def make_task(name: str, options: Mapping[str, object]) -> Task:
    """The task of that name; ValueError with the nearest names, or for options it does not take."""
    if name not in TASKS:
        raise ValueError(f"choosing a task: got {name!r}; wanted {one_of(name, TASKS)}")
    try:
        return TASKS[name](**options)
    except TypeError as error:
        raise ValueError(f"making the task {name}: got options {dict(options)} ({error})") from None
