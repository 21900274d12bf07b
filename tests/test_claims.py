"""Claims of order: what holds, fails or stays open, on the same cases."""

import numpy as np
import pytest

from kwise.report.claim_table import auc_claim, claim_table, error_claim, mean_claim, r2_claim


def scored(noise: float, seed: int, n: int = 200, cases: str = "c") -> dict[int, list[dict]]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        error, ill = noise * rng.normal(), float(i % 3 == 0)
        rows.append(
            {"case": f"{cases}{i}", "acceleration": 4.0, "phenotype_error": abs(error), "psnr_db": 30 - noise,
             "LVM_g_predicted": i + 60 * error, "LVM_g_true": float(i), "CAD_true": ill,
             "CAD_probability": ill + noise * rng.normal()}
        )  # fmt: skip
    return {0: rows}


RESULTS = {"good": scored(0.3, 1), "bad": scored(1.0, 2), "twin": scored(0.3, 3)}


def outcome(claim) -> str:
    return claim_table(RESULTS, [claim], 4.0, "claims").rows[0][3]


def test_a_claim_holds_fails_or_stays_open() -> None:
    assert outcome(r2_claim("good", "bad", ["LVM_g"])) == "holds"
    assert outcome(r2_claim("bad", "good", ["LVM_g"])) == "fails"
    assert outcome(r2_claim("good", "twin", ["LVM_g"])) == "open"
    assert outcome(error_claim("good", "bad", 1.1)) == "holds"
    assert outcome(error_claim("bad", "good", 1.1)) == "fails"
    assert outcome(auc_claim("good", "bad", "CAD", 0.03)) == "holds"
    assert outcome(auc_claim("bad", "good", "CAD", 0.03)) == "fails"
    assert outcome(mean_claim("good", "bad", "psnr_db")) == "holds"


def test_models_without_scores_make_no_claims() -> None:
    assert claim_table(RESULTS, [r2_claim("good", "nobody", ["LVM_g"])], 4.0, "claims").rows == ()


def test_cases_are_paired_by_name_whatever_their_order() -> None:
    shuffled = {0: RESULTS["good"][0][::-1] + scored(0.0, 4, 5, cases="stranger")[0]}
    table = claim_table({"a": RESULTS["good"], "b": shuffled}, [r2_claim("a", "b", ["LVM_g"])], 4.0, "claims")
    assert table.rows[0][1] == "0.000 [0.000, 0.000]"


def test_strangers_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="without a case in common"):
        claim_table({"a": scored(1, 1), "b": scored(1, 1, cases="d")}, [error_claim("a", "b", 1)], 4.0, "x")


def test_of_a_score_that_is_not_finite_nothing_is_claimed() -> None:
    failed = [dict(row) for row in RESULTS["good"][0]]
    failed[7]["psnr_db"] = float("nan")
    table = claim_table({"a": {0: failed}, "b": RESULTS["bad"]}, [mean_claim("a", "b", "psnr_db")], 4.0, "x")
    assert table.rows[0][1:] == ("not finite", "at least 0", "-")
