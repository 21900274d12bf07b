"""ACDC's cines, and beside them in training the full stacks at ED and ES: more patients and more slices."""

from pathlib import Path

from kwise.data import acdc
from kwise.data.patients import cine_cases, stack_cases
from kwise.types import Scan

STACK = "-stack"


def cases(root: Path | None = None, split: str | None = "train", n: int | None = None) -> list[str]:
    """At most `n` patients' cines of one split, and in the training split stacks too, `patientNNN-stack`.

    A patient is in the same split with both. Others are scored on cines alone: a stack has no time.
    """
    cines = cine_cases(root, split, None)
    stacks = [case + STACK for case in stack_cases(root, split, None)] if split == "train" else []
    return [*cines, *stacks][:n]


def read(root: Path | None, case: str) -> Scan:
    """A patient's cine, or the stack (two frames, ED and ES) where the name asks for it."""
    if case.endswith(STACK):
        return acdc.read_stack(root, case.removesuffix(STACK))
    return acdc.read(root, case)
