"""What a checkpoint says about its input and its task: written after training, read by whoever scores it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from kwise.data import DataSet, sized
from kwise.data.loader import Acquisition
from kwise.predict.answer import matrix_of
from kwise.recipes.recipe import Recipe
from kwise.tasks import Segmentation, Task, make_task, task_name
from kwise.types import CLASS_NAMES

Preprocessing = Mapping[str, Any]


def preprocessing_of(recipe: Recipe) -> dict[str, object]:
    """What a file must go through before it meets the model, and how the model was trained; JSON."""
    acquisition = recipe.acquisition
    return {
        "matrix": None if acquisition.matrix is None else list(acquisition.matrix),
        "fov_mm": acquisition.fov_mm,
        "classes": ["background", *recipe.task.names] if recipe.task.names else [],
        "task": task_name(recipe.task),
        "task_options": asdict(recipe.task),  # type: ignore[call-overload]
        "trained_on": recipe.dataset,
        "n_frames": recipe.n_frames,
        "shape": list(recipe.shape),
        "accelerations": list(acquisition.accelerations),
        "masks": list(acquisition.masks),
        "phase": acquisition.phase,
        "n_coils": acquisition.n_coils,
        "virtual_coils": acquisition.virtual_coils,
        "snr": None if acquisition.snr is None else list(acquisition.snr),
        "reference": acquisition.reference,
        "reference_kspace": acquisition.reference_kspace,
        "one_mask": acquisition.one_mask,
        "native": acquisition.native,
        "masks_on_matrix": acquisition.masks_on_matrix,
        "fully_sampled": recipe.fully_sampled,
        "recipe": recipe.name,
        "seed": recipe.seed,
    }


def task_of(seen: Preprocessing) -> Task:
    """The task a checkpoint was trained for; segmentation of its classes where an old one does not say."""
    name, told = seen.get("task"), seen.get("task_options", {})
    if name is None:
        return Segmentation(n_classes=len(seen.get("classes", ())) or Segmentation.n_classes)
    if not isinstance(name, str) or not isinstance(told, Mapping):
        got = f"task {name!r} with options {told!r}"
        raise ValueError(f"reading the preprocessing of a checkpoint: got {got}; wanted a name and a mapping")
    return make_task(name, {key: tuple(x) if isinstance(x, list) else x for key, x in told.items()})


def acquisition_of(seen: Preprocessing) -> Acquisition:
    """How cases are measured for a checkpoint: as in its training; what an old one leaves out, as usual."""
    usual = Acquisition()
    snr = seen.get("snr", usual.snr)
    return Acquisition(
        masks=tuple(seen.get("masks", usual.masks)),
        accelerations=tuple(seen.get("accelerations", usual.accelerations)),
        phase=seen.get("phase", usual.phase),
        n_coils=seen.get("n_coils", usual.n_coils),
        virtual_coils=seen.get("virtual_coils", usual.virtual_coils),
        snr=None if snr is None else (snr[0], snr[1]),
        matrix=matrix_of(seen),
        fov_mm=seen.get("fov_mm", usual.fov_mm),
        reference=seen.get("reference", usual.reference),
        reference_kspace=seen.get("reference_kspace", usual.reference_kspace),
        one_mask=seen.get("one_mask", usual.one_mask),
        native=seen.get("native", usual.native),
        masks_on_matrix=seen.get("masks_on_matrix", usual.masks_on_matrix),
    )


def data_of(seen: Preprocessing, name: str | None = None) -> DataSet:
    """The data set of that name (None: the one of the training), at the checkpoint's frames and grid.

    ValueError where its labels do not tell apart the background and every class of the checkpoint's task.
    """
    name = str(seen.get("trained_on", "heart")) if name is None else name
    y, x = seen.get("shape", (64, 64))
    found = sized(name, int(seen.get("n_frames", 12)), (y, x), seen.get("fov_mm"))
    classes = task_of(seen).names
    if classes and not {*range(len(classes) + 1)} <= {*found.labelled}:
        told = ", ".join(CLASS_NAMES[k] for k in found.labelled) or "nothing"
        raise ValueError(
            f"evaluating on {name}: got a checkpoint that segments {', '.join(classes)}; wanted a data set "
            f"whose labels tell these and the background apart, not {told} alone"
        )
    return found
