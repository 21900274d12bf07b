"""ACDC's training and validation patients in five folds: what is chosen on real hearts is chosen by all of
them, each answered by a model that never saw it.
"""

from pathlib import Path

from kwise.data.acdc_both import STACK
from kwise.data.patients import patient_splits
from kwise.data.splits import check_count, pick_split, ranked_splits

N_FOLDS = 5


def cases(
    fold: int, root: Path | None = None, split: str | None = "train", n: int | None = None
) -> list[str]:
    """At most `n` cases of one split: val are the cines of a fold, train all others, and the stacks
    (`-stack`) of everybody who is not in the fold. Patients of ACDC's own test split are in none.
    """
    doing = f"listing fold {fold} of ACDC"
    check_count(n, doing)
    cines, stacks = (
        {case for case, of in patient_splits(root, home).items() if of != "test"}
        for home in ("acdc-cine", "acdc-stack")
    )
    held = held_out(sorted(cines), fold)
    splits = {case: "val" if case in held else "train" for case in cines}
    splits |= {case + STACK: "train" for case in stacks - held}
    return pick_split(splits, split, doing)[:n]


def stacks(
    fold: int, root: Path | None = None, split: str | None = "train", n: int | None = None
) -> list[str]:
    """At most `n` stacks of one split: val are those of a fold, train all others."""
    doing = f"listing fold {fold} of ACDC's stacks"
    check_count(n, doing)
    found = [case for case, of in patient_splits(root, "acdc-stack").items() if of != "test"]
    held = held_out(sorted(found), fold)
    return pick_split({case: "val" if case in held else "train" for case in found}, split, doing)[:n]


def held_out(patients: list[str], fold: int) -> set[str]:
    """Those of one fold, by the order of their salted hash: folds differ by one patient at most."""
    ranked = list(ranked_splits(patients, "acdc folds", {"train": len(patients)}))
    return set(ranked[fold::N_FOLDS])
