"""Phenotypes and diagnoses of real hearts by cross-validation: folds, floors and the regression behind it."""

from itertools import chain
from pathlib import Path

import pytest

from kwise.data import dataset
from kwise.data.acdc_folds import N_FOLDS
from kwise.recipes import RECIPES
from kwise.recipes.patients import SIZES, _commonest, _diagnoses, expert_labels, rows, tables, train_mean
from kwise.recipes.tables import TABLES
from kwise.report.group_tables import group_table
from kwise.report.results import read_results
from kwise.report.table import to_text


def heart(left: float, fraction: float, mass: float) -> dict[str, float]:
    values = (left, left * (1 - fraction), 100 * fraction, 150.0, 70.0, 53.0, mass)
    return dict(zip(SIZES, values))


def patients(n: int = 30) -> tuple[dict, dict, dict]:
    """Three groups that volumes tell apart, dealt over five folds."""
    kinds = {"NOR": (140.0, 0.6, 100.0), "DCM": (280.0, 0.2, 150.0), "HCM": (120.0, 0.7, 220.0)}
    said, folds, groups = {}, {}, {}
    for i in range(n):
        group = list(kinds)[i % 3]
        left, fraction, mass = kinds[group]
        case = f"p{i:02d}"
        said[case] = heart(left + i, fraction, mass - i)
        folds[case], groups[case] = i // 3 % N_FOLDS, group
    return said, folds, groups


def test_diagnoses_follow_the_volumes_of_other_folds() -> None:
    said, folds, groups = patients()
    assert _diagnoses(said, folds, groups) == groups
    # Of a patient's own fold nothing is learned: with its labels spoiled the answers are the same.
    spoiled = {case: "NOR" if folds[case] == 0 else group for case, group in groups.items()}
    again = _diagnoses(said, folds, spoiled)
    assert all(again[case] == groups[case] for case in said if folds[case] == 0)


def test_the_floor_calls_everybody_the_commonest_group() -> None:
    said, folds, groups = patients(33)
    groups["p00"] = "DCM"
    assert set(_commonest(said, folds, groups).values()) == {"DCM"}


def test_shares_are_counted_group_by_group() -> None:
    scored = [
        {"case": str(i), "acceleration": 4.0, "group": group, "group_answered": answer}
        for i, (group, answer) in enumerate([("NOR", "NOR"), ("NOR", "DCM"), ("DCM", "DCM")])
    ]
    table = group_table({"m": {0: scored}}, 4.0)
    assert table.header == ("model", "all", "DCM", "NOR")
    assert table.rows[0][1].startswith("0.67 [") and table.rows[0][2:] == ("1.00", "0.50")


def test_every_patient_is_held_out_once(real_data: Path) -> None:
    held = [dataset(f"acdc_stack_fold{k}").cases(None, "val", None) for k in range(N_FOLDS)]
    everybody = set(dataset("acdc_stack").cases(None, None, None))
    assert sorted(chain.from_iterable(held)) == sorted(everybody) and len(everybody) == 80
    for k, out in enumerate(held):
        assert set(dataset(f"acdc_stack_fold{k}").cases(None, "train", None)) == everybody - set(out)


def test_floor_and_labels_are_scored_and_printed(real_data: Path, tmp_path: Path) -> None:
    for row in rows():
        if row.name != "harmonic_unet":
            row.make(row, tmp_path / row.place, tmp_path)
    scores = read_results(tmp_path / "kmtr_acdc_patients")
    assert {len(seeds[0]) for seeds in scores.values()} == {160} and len(scores) == 3
    printed = "\n".join(map(to_text, tables(tmp_path)))
    assert "LVEF_percent" in printed and "Diagnosis, R = 4" in printed
    right = [row["group"] == row["group_answered"] for row in scores["expert_labels"][0]]
    assert sum(right) / len(right) > 0.85, "volumes tell the groups of ACDC apart"
    bound = {row["case"]: row for row in scores["expert_labels_in_field"][0]}
    assert all(row["LVEDV_mL_predicted"] <= row["LVEDV_mL_true"] + 1e-3 for row in bound.values())
    assert {train_mean, expert_labels} < {row.make for row in rows()}


def test_the_table_is_a_scale_of_kmtr(tmp_path: Path) -> None:
    assert "acdc" in TABLES["kmtr"].scales
    with pytest.raises(ValueError, match="got no scores"):
        TABLES["kmtr"].tables("acdc", tmp_path)
    recipe = RECIPES["harmonic_unet_stack_fold3"]()
    assert (
        recipe.dataset == "acdc_stack_fold3"
        and recipe.init_from == "runs/harmonic_unet_small-seed0/checkpoint"
    )
