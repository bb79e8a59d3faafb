from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import LabelRule
from nodulenet.errors import FindingsError
from nodulenet.findings.labels import apply_label_rule
from nodulenet.findings.table import COLUMNS, validate_findings


def table(**columns: object) -> pd.DataFrame:
    base: dict[str, object] = {
        "finding_id": ["a", "b"],
        "scan_id": ["s", "s"],
        "patient_id": ["p", "p"],
        "x_lps_mm": [1, 2],
        "y_lps_mm": [1, 2],
        "z_lps_mm": [1, 2],
    }
    return pd.DataFrame(base | columns)


def test_columns_are_ordered_typed_and_filled_in() -> None:
    found = validate_findings(table(extra=[1, 2]), "t")
    assert list(found.columns) == [*COLUMNS, "extra"]
    assert found["x_lps_mm"].dtype == np.float64
    assert found["label"].isna().all()
    assert found["diameter_mm"].isna().all()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"finding_id": ["a", "a"]}, "'a' is there more than once"),
        ({"patient_id": ["p", None]}, "finding 1 has no patient_id"),
        ({"x_lps_mm": [1, np.nan]}, "'b': x_lps_mm is not a finite number"),
        ({"diameter_mm": [3, -1]}, "'b': diameter_mm is -1"),
        ({"label": [0, 4]}, "'b': label is 4, expected 0 or 1"),
    ],
)
def test_wrong_findings_are_named(columns: dict[str, object], expected: str) -> None:
    with pytest.raises(FindingsError, match=expected):
        validate_findings(table(**columns), "t")


def test_two_numbers_are_a_closed_range_and_more_are_a_list() -> None:
    ratings = pd.DataFrame({"r": [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, np.nan]})
    rule = LabelRule(column="r", negative=[1, 2], positive=[4, 5])
    expected = [0, 0, 0, None, None, None, 1, 1, 1, None]
    found = apply_label_rule(ratings, rule)
    assert [None if pd.isna(v) else int(v) for v in found] == expected
    listed = LabelRule(column="r", negative=[1, 2, 3], positive=[5])
    found = apply_label_rule(ratings, listed)
    expected = [0, None, 0, None, 0, None, None, None, 1, None]
    assert [None if pd.isna(v) else int(v) for v in found] == expected


def test_words_are_labels_too_and_a_rule_must_be_disjoint() -> None:
    words = pd.DataFrame({"d": ["benign", "malignant", "unknown"]})
    rule = LabelRule(column="d", negative=["benign"], positive=["malignant"])
    assert [None if pd.isna(v) else int(v) for v in apply_label_rule(words, rule)] == [0, 1, None]
    numbers = pd.DataFrame({"r": [1, 3]})
    with pytest.raises(FindingsError, match="negative and positive at once"):
        apply_label_rule(numbers, LabelRule(column="r", negative=[1, 3], positive=[3, 5]))
    with pytest.raises(FindingsError, match="'q' is no column"):
        apply_label_rule(numbers, LabelRule(column="q", negative=[1, 3], positive=[4, 5]))
