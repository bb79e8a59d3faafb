"""The Brock model against other publications of it, and what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.brock import brock_probability, brock_row

FLAG = st.sampled_from([0, 1])
CASES = st.fixed_dictionaries(
    {
        "age_years": st.floats(40, 90),
        "sex": st.sampled_from(["female", "male"]),
        "family_history": FLAG,
        "emphysema": FLAG,
        "diameter_mm": st.floats(1, 40),
        "nodule_type": st.sampled_from(["solid", "part-solid", "nonsolid"]),
        "upper_lobe": FLAG,
        "nodule_count": st.integers(1, 30),
        "spiculation": FLAG,
    }
)
REFERENCE: dict[str, Any] = {
    "age_years": 62,
    "sex": "male",
    "family_history": 0,
    "emphysema": 0,
    "diameter_mm": 4.0,
    "nodule_type": "solid",
    "upper_lobe": 0,
    "nodule_count": 4,
    "spiculation": 0,
}


def log_odds(case: dict[str, Any], model: Any = None) -> float:
    p = float(brock_probability(pd.DataFrame([case]), model=model).iloc[0])
    return math.log(p / (1 - p))


@given(CASES)
def test_model_2b_is_the_one_of_the_comparison_of_2019(case: dict[str, Any]) -> None:
    """Eur. Radiol. 29:5367, Table 2, column BU: raw age, count and (mm / 10) ** -0.5."""
    kind = {"solid": 0.0, "part-solid": 0.377, "nonsolid": -0.1276}[case["nodule_type"]]
    published = (
        0.2761
        + 0.0287 * case["age_years"]
        + 0.6011 * (case["sex"] == "female")
        + 0.2961 * case["family_history"]
        + 0.2953 * case["emphysema"]
        + 0.6581 * case["upper_lobe"]
        - 5.3854 * (case["diameter_mm"] / 10) ** -0.5
        + 0.7729 * case["spiculation"]
        + kind
        - 0.0824 * case["nodule_count"]
    )
    assert log_odds(case) == pytest.approx(published, abs=1e-4)


@given(CASES)
def test_model_2b_is_the_one_of_calculators_with_more_digits(case: dict[str, Any]) -> None:
    """Coefficients with six digits, as a French calculator has them, for solid nodules of men."""
    case |= {"sex": "male", "nodule_type": "solid"}
    published = (
        0.0286687 * (case["age_years"] - 62)
        + 0.296109 * case["family_history"]
        + 0.2953112 * case["emphysema"]
        - 5.385484 * ((case["diameter_mm"] / 10) ** -0.5 - 1.58113883)
        + 0.6581383 * case["upper_lobe"]
        + 0.7729335 * case["spiculation"]
        - 0.0824156 * (case["nodule_count"] - 4)
        - 6.78917
    )
    assert log_odds(case) == pytest.approx(published, abs=2e-3)


@pytest.mark.parametrize(
    ("change", "points"),
    [
        ({}, 0.0),
        ({"age_years": 72}, 0.321),
        ({"sex": "female"}, 0.5635),
        ({"family_history": 1}, 0.3013),
        ({"emphysema": 1}, 0.3462),
        # (40 / 10) ** -0.5 is 0.5: 5.6693 * (1.58113883 - 0.5).
        ({"diameter_mm": 40.0}, 6.129300),
        ({"nodule_type": "part-solid"}, 0.3395),
        ({"nodule_type": "nonsolid"}, -0.3055),
        ({"upper_lobe": 1}, 0.7116),
        ({"nodule_count": 1}, 0.2409),
        ({"spiculation": 1}, 0.0),
    ],
)
def test_points_of_model_2a(change: dict[str, Any], points: float) -> None:
    assert log_odds(REFERENCE | change, "2a") == pytest.approx(-6.8071 + points, abs=1e-6)


def test_a_hand_worked_case_and_the_choice_of_the_model() -> None:
    # 2b: -6.7892 + 0.0287*8 + 0.6011 + 0.2961 + 5.3854*(1.58113883 - 0.745356) + 0.3770 + 0.6581
    #     + 0.0824*3 + 0.7729 = 0.8937
    case = REFERENCE | {
        "age_years": 70,
        "sex": "F",
        "family_history": "yes",
        "diameter_mm": 18.0,
        "nodule_type": "Part-solid",
        "upper_lobe": True,
        "nodule_count": 1,
        "spiculation": "Y",
    }
    assert log_odds(case) == pytest.approx(0.8937, abs=2e-4)
    assert log_odds(case) == pytest.approx(log_odds(case, "2b"))
    without = {name: value for name, value in case.items() if name != "spiculation"}
    assert log_odds(without) == pytest.approx(log_odds(case, "2a"))
    assert log_odds(without) != pytest.approx(log_odds(case), abs=0.1)


def test_what_is_empty_is_unknown_and_flags_read_as_numbers_are_flags() -> None:
    table = pd.DataFrame([REFERENCE] * 5).astype(object)
    table.loc[0, "family_history"] = None
    table.loc[1, "sex"] = " "
    table.loc[2, "diameter_mm"] = -1.0
    table["emphysema"] = [0.0, 0.0, 0.0, 1.0, 0.0]
    p = brock_probability(table)
    assert p.isna().tolist() == [True, True, True, False, False]
    assert p[3] > p[4]
    assert p.dtype == np.float64


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("sex", "w", "one of f, female, m, male"),
        ("sex", 1, "one of f, female"),
        ("emphysema", "mild", "one of 1, true, yes"),
        ("spiculation", 3, "one of 1, true"),
        ("nodule_type", "glass", "one of solid, part-solid"),
        ("age_years", 7, "a number of 18 to 120"),
        ("age_years", "old", "a number of 18 to 120"),
        ("nodule_count", 0, "a whole number of 1 to"),
        ("nodule_count", 1.5, "a whole number"),
        ("diameter_mm", "big", "a number up to"),
        ("diameter_mm", math.inf, "a number up to"),
    ],
)
def test_other_spellings_and_impossible_values_are_refused(
    column: str, value: Any, expected: str
) -> None:
    table = pd.DataFrame([REFERENCE, REFERENCE | {column: value}]).assign(finding_id=["a", "b"])
    with pytest.raises(PredictionsError, match=rf"finding 'b': {column} .* is not {expected}"):
        brock_probability(table)
    with pytest.raises(PredictionsError, match=r"row 2: "):
        brock_probability(table.drop(columns="finding_id"))


def test_every_missing_column_is_named() -> None:
    table = pd.DataFrame([REFERENCE]).drop(columns=["sex", "emphysema"])
    with pytest.raises(PredictionsError, match="model 2b: the table lacks sex, emphysema;"):
        brock_probability(table)
    with pytest.raises(UsageError, match="'3a'"):
        brock_probability(pd.DataFrame([REFERENCE]), model="3a")  # type: ignore[arg-type]


def findings(n: int = 80) -> pd.DataFrame:
    random = np.random.default_rng(4)
    label = np.arange(n) % 4 == 0
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "fold": np.arange(n) % 2,
            "model": "v2",
            "split": "outer",
            "label": label.astype(int),
            "probability": random.uniform(0, 1, n),
            **REFERENCE,
            "age_years": random.uniform(45, 80, n),
            "diameter_mm": random.uniform(3, 20, n) + 10 * label,
            "sex": random.choice(["F", "M"], n),
        }
    )


def test_the_row_is_the_score_of_the_findings() -> None:
    rows = findings()
    rows.loc[[1, 2], "age_years"] = np.nan
    twice = pd.concat([rows, rows.assign(model="v1")], ignore_index=True)
    row = brock_row(twice, n_bootstrap=200)
    known = rows.drop(index=[1, 2])
    p = brock_probability(known)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["available"]
    assert row["model"] == "2b"
    assert (row["findings"], row["with_score"], row["without_score"]) == (80, 78, 2)
    assert row["unknown"] == {"age_years": 2}
    assert row["auc"]["value"] == pytest.approx(roc_auc_score(known["label"], p))
    assert row["brier"] == pytest.approx(brier_score_loss(known["label"], p))
    assert row["brier_interval"]["low"] < row["brier"] < row["brier_interval"]["high"]
    assert [c["first"] for c in row["comparisons"]] == ["v2", "v1"]
    first = row["comparisons"][0]
    assert first["rows"] == 78
    assert first["difference"] == pytest.approx(
        roc_auc_score(known["label"], known["probability"]) - row["auc"]["value"]
    )
    outside = int((~known["age_years"].between(50, 75)).sum())
    assert row["notes"][0].startswith(f"{outside} of 78 findings have age_years outside 50 to 75")
    assert any("only where the label is" in note for note in row["notes"])


def test_no_row_where_it_would_mislead() -> None:
    rows = findings()
    lacking = brock_row(rows.drop(columns=["sex", "nodule_count"]), n_bootstrap=100)
    assert lacking["available"] is False
    assert lacking["missing_columns"] == ["sex", "nodule_count"]
    assert "sex, nodule_count" in lacking["why"]
    wrong = brock_row(rows.assign(spiculation=3), n_bootstrap=100)
    assert wrong["available"] is False
    assert "finding 'f0': spiculation 3" in wrong["why"]
    rows.loc[rows["label"] == 0, "diameter_mm"] = np.nan
    measured = brock_row(rows, n_bootstrap=100)
    assert measured["available"] is False
    assert "0 of 60 negative findings" in measured["why"]
    assert "auc" not in measured
    one_class = brock_row(findings().assign(label=1), n_bootstrap=100)
    assert one_class["available"] is False
