"""Lung-RADS: read, put in order, set beside a model; never worked out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.lung_rads import CATEGORIES, lung_rads_row, read_lung_rads
from nodulenet.evaluation.summary import summarize


def study() -> pd.DataFrame:
    random = np.random.default_rng(4)
    label = np.repeat([0, 1], [60, 30])
    rank = np.clip(np.rint(1.5 + 2.5 * label + random.normal(0, 1, 90)), 1, 6).astype(int)
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(90)],
            "patient_id": [f"p{i // 2}" for i in range(90)],
            "model": "m",
            "label": label,
            "probability": np.clip(0.3 + 0.2 * label + random.normal(0, 0.15, 90), 0, 1),
            "diameter_mm": 5 + 5 * label + random.random(90),
            "lung_rads": [CATEGORIES[i - 1] for i in rank],
        }
    )


def test_categories_are_read_as_they_are_written() -> None:
    cells = [1, 2.0, "3", "4a", "4B S", "4X-S", "2S", "Lung-RADS 4A", 0, None, " ", np.nan]
    read = read_lung_rads(pd.Series(cells, dtype=object))
    assert read["category"].tolist() == [
        "1", "2", "3", "4A", "4B", "4X", "2", "4A", "0", None, None, None
    ]  # fmt: skip
    expected = [1, 2, 3, 4, 5, 6, 2, 4, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(read["rank"], expected)
    assert read["s_modifier"].tolist() == [False] * 4 + [True] * 3 + [False] * 5


@pytest.mark.parametrize("value", ["4", "5", "4C", "2.5", "S", "4A 8 mm", "high"])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(PredictionsError, match=f"row 2: '{value}' is no Lung-RADS") as caught:
        read_lung_rads(pd.Series(["1", value]))
    assert "expected one of 0, 1, 2, 3, 4A, 4B, 4X" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_stands_beside_the_model_and_comes_from_the_column_alone() -> None:
    table = study()
    metrics = summarize(table, None)
    row = metrics["lung_rads"]
    rank = table["lung_rads"].map({c: i for i, c in enumerate(CATEGORIES)})
    assert row["auc"]["value"] == pytest.approx(roc_auc_score(table["label"], rank))
    point = next(p for p in row["operating_points"] if p["name"] == "4A or higher")
    called, positive = rank >= 3, table["label"] == 1
    assert point["sensitivity"]["count"] == int((called & positive).sum())
    assert point["specificity"]["count"] == int((~called & ~positive).sum())
    assert row["comparisons"][0]["first"] == "m"
    own = next(r for r in metrics["overview"]["rows"] if r["model"] == "Lung-RADS")
    assert own["auc"] == row["auc"]["value"]
    # Sizes change nothing; without the column there is no row, whatever else is known.
    again = lung_rads_row(table.assign(diameter_mm=30.0), n_bootstrap=100)
    assert again["auc"]["value"] == row["auc"]["value"]
    assert lung_rads_row(table.drop(columns="lung_rads"))["why"] == "there is no column 'lung_rads'"


def test_what_would_mislead_is_no_row_and_is_said() -> None:
    table = study()
    few = table.assign(lung_rads=table["lung_rads"].where(table["label"] == 1))
    assert "compare who was measured" in lung_rads_row(few, n_bootstrap=10)["why"]
    wrong = table.assign(lung_rads=table["lung_rads"].replace("4A", "4"))
    assert "4 needs its letter" in lung_rads_row(wrong)["why"]
    twice = pd.concat([table.head(1), table.head(1).assign(lung_rads="4X")], ignore_index=True)
    assert "more than one category" in lung_rads_row(twice)["why"]


def test_what_any_row_of_a_finding_says_is_counted() -> None:
    """The first model's rows are blank, the second's say 0, and 3 with an S."""
    findings = ["a", "b", "c", "d", "e", "f"]
    rows = pd.DataFrame(
        {
            "finding_id": findings * 2,
            "patient_id": findings * 2,
            "label": [0, 1, 0, 1, 0, 1] * 2,
            "model": ["m"] * 6 + ["n"] * 6,
            "fold": 0,
            "split": "outer",
            "probability": 0.5,
            "lung_rads": [None] * 6 + ["0", "3S", "2", "4A", "2", "4B"],
        }
    )
    row = lung_rads_row(rows, n_bootstrap=0)
    assert (row["incomplete"], row["s_modifier"], row["with_category"]) == (1, 1, 5)
