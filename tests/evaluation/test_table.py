"""The predictions table: what is filled in, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.table import outer_rows, read_predictions

FULL = pd.DataFrame(
    {
        "finding_id": ["a", "b", "a", "b"],
        "patient_id": ["p1", "p2", "p1", "p2"],
        "fold": [0, 1, 0, 1],
        "model": ["m", "m", "n", "n"],
        "split": ["outer"] * 4,
        "label": [1, 0, 1, 0],
        "probability": [0.9, 0.1, 0.8, 0.3],
        "diameter_mm": [12.0, np.nan, 12.0, np.nan],
        "texture": ["solid", "solid", "solid", "solid"],
    }
)


def test_a_csv_and_its_data_frame_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    FULL.to_csv(path, index=False)
    from_file, from_frame = read_predictions(path), read_predictions(FULL)
    pd.testing.assert_frame_equal(from_file, from_frame, check_dtype=False)
    assert from_file["fold"].dtype == np.int64
    assert list(from_file["texture"]) == ["solid"] * 4
    assert from_file.attrs["notes"] == []


def test_the_callers_frame_is_not_changed() -> None:
    frame = pd.DataFrame({"label": [True, False], "probability": ["0.5", "0.25"]}, index=[7, 3])
    before = frame.copy()
    table = read_predictions(frame)
    pd.testing.assert_frame_equal(frame, before)
    assert list(table["label"]) == [1, 0]
    assert list(table["probability"]) == [0.5, 0.25]


def test_absent_columns_are_filled_in_and_named() -> None:
    table = read_predictions(pd.DataFrame({"label": [1, 0], "probability": [0.5, 0.5]}))
    assert list(table["finding_id"]) == ["row-1", "row-2"]
    assert list(table["patient_id"]) == ["row-1", "row-2"]
    assert set(table["fold"]) == {0}
    assert set(table["model"]) == {"model"}
    assert set(table["split"]) == {"outer"}
    notes = " ".join(table.attrs["notes"])
    for column in ("finding_id", "patient_id", "fold", "model", "split"):
        assert f"no {column} column" in notes
    # A second reading must not lose what the first one filled in.
    assert read_predictions(table).attrs["notes"] == table.attrs["notes"]


def test_numeric_identifiers_become_text_and_leading_zeros_stay(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("finding_id,patient_id,label,probability\n01,007,1,0.5\n1,7,0,0.5\n")
    table = read_predictions(path)
    assert list(table["finding_id"]) == ["01", "1"]
    assert list(table["patient_id"]) == ["007", "7"]


def test_every_digit_of_a_probability_is_read(tmp_path: Path) -> None:
    # Two neighbouring numbers must not become a tie (pandas before 3.1 made one of some).
    value = 0.1234567890123456789
    texts = [repr(float(np.nextafter(value, 1))), repr(value)]
    path = tmp_path / "p.csv"
    path.write_text("label,probability\n1," + texts[0] + "\n0," + texts[1] + "\n")
    assert [repr(p) for p in read_predictions(path)["probability"].tolist()] == texts


@pytest.mark.parametrize(
    ("column", "row", "value", "words"),
    [
        ("label", 1, 2, ["row 2", "label", "2", "0 or 1"]),
        ("label", 0, np.nan, ["row 1", "label", "nan"]),
        ("probability", 2, 1.5, ["row 3", "probability", "1.5", "0..1"]),
        ("probability", 3, -0.1, ["row 4", "-0.1"]),
        ("probability", 1, np.nan, ["row 2", "probability", "nan"]),
        ("split", 3, "test", ["row 4", "'test'", "outer"]),
        ("fold", 0, 0.5, ["row 1", "fold", "0.5"]),
        ("fold", 0, np.inf, ["row 1", "fold", "inf"]),
        ("patient_id", 1, None, ["row 2", "patient_id is empty"]),
        ("model", 1, " ", ["row 2", "model is blank"]),
        ("diameter_mm", 1, "large", ["row 2", "diameter_mm", "'large'"]),
        ("label", 2, 0, ["row 3", "'a'", "label"]),
        ("patient_id", 3, "p9", ["row 4", "'b'", "patient_id", "'p9'"]),
        ("model", 2, "m", ["row 3", "second row", "finding_id=a", "model=m", "fold=0"]),
    ],
)
def test_wrong_values_are_named(column: str, row: int, value: object, words: list[str]) -> None:
    table = FULL.astype(object)
    table.loc[row, column] = value
    with pytest.raises(PredictionsError) as caught:
        read_predictions(table, source_name="mine.csv")
    message = str(caught.value)
    assert "\n" not in message
    for word in ["mine.csv", *words]:
        assert word in message


@pytest.mark.parametrize("column", ["label", "probability"])
def test_a_missing_column_is_named_with_those_found(column: str) -> None:
    with pytest.raises(PredictionsError, match=rf"'{column}' is missing .*finding_id"):
        read_predictions(FULL.drop(columns=column))


def test_several_models_without_finding_id_are_refused() -> None:
    with pytest.raises(PredictionsError, match="finding_id"):
        read_predictions(FULL.drop(columns=["finding_id"]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("", "empty"),
        ("label,probability\n", "no rows"),
        ("a\n1\n2,3\n", "CSV"),
    ],
)
def test_unusable_files(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "p.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(PredictionsError, match=words) as caught:
        read_predictions(path)
    assert "p.csv" in str(caught.value)


def test_binary_rubbish_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xff\xfe\x00\x81" * 50)
    with pytest.raises(PredictionsError, match="not readable as CSV"):
        read_predictions(path)


def test_a_nullable_label_column_is_read_and_its_gap_named() -> None:
    frame = pd.DataFrame({"label": pd.array([1, None], dtype="Int64"), "probability": [0.5, 0.5]})
    with pytest.raises(PredictionsError, match="row 2: label <NA>"):
        read_predictions(frame)
    assert list(read_predictions(frame.iloc[:1])["label"]) == [1]


def test_only_outer_rows_may_be_evaluated() -> None:
    table = FULL.assign(split=["inner", "outer", "inner", "inner"])
    assert list(outer_rows(read_predictions(table))["finding_id"]) == ["b"]
    with pytest.raises(PredictionsError, match="outer"):
        outer_rows(read_predictions(table.assign(split="inner")))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"label;probability\n1;0,5\n", "separated by semicolons"),
        (b"label\tprobability\n1\t0.5\n", "separated by tabs"),
        (b"PK\x03\x04\x14\x00\x06\x00\x08,\n", "a zip or Excel file; save it as CSV"),
    ],
)
def test_what_other_programs_save_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "theirs.csv"
    file.write_bytes(content)
    with pytest.raises(PredictionsError, match=words):
        read_predictions(file)
