"""The predictions table: read from a CSV or a data frame, validated once at the border."""

from __future__ import annotations

import csv
import difflib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import shown

KEY = ("finding_id", "model", "fold", "split")
SPLITS = ("inner", "outer")
_TEXT_COLUMNS = ("finding_id", "patient_id", "model", "split", "scan_id")
_NUMBER_COLUMNS = ("diameter_mm", "x_lps_mm", "y_lps_mm", "z_lps_mm")
_OURS = ("label", "probability", "fold", *_TEXT_COLUMNS, *_NUMBER_COLUMNS)
# What an empty cell is written as, in columns that are no identifiers.
_NOTHING = ("", "NA", "N/A", "#N/A", "NaN", "nan", "null", "NULL", "None", "<NA>")
# Beyond it whole numbers are not exact any more.
_LARGEST_FOLD = 2**53


def read_predictions(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    source_name: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Reads and validates a table of predictions.

    Needed are ``label`` (0 or 1) and ``probability`` (0..1, of the positive class). What is
    absent of the other columns is filled in, and each filling is named in
    ``result.attrs["notes"]``:

    - ``finding_id``: ``row-1``, ``row-2`` ... in file order (with several models or splits in
      the table this would tell equal findings apart, so there it is an error);
    - ``patient_id``: the finding's own id, so that each finding counts as a patient of its own;
    - ``fold``: 0; ``model``: ``"model"``; ``split``: ``"outer"``.

    Args:
        source: Path of a CSV file, or a data frame (which is not changed).
        source_name: How messages call the table. Defaults to the path, or "the table".
        columns: Our name -> the name in the table, e.g. ``{"probability": "score"}``; a column
            that already has our name is then set aside. Defaults to our names.

    Returns:
        A new data frame with a fresh index: ``finding_id, patient_id, model, split`` str,
        ``fold`` int64, ``label`` int8, ``probability`` float64, and every further column.

    Raises:
        PredictionsError: file, column, row or value that is wrong, and the remedy. Rows are
            counted from 1, the header not included.

    Example:
        >>> table = read_predictions(pd.DataFrame({"label": [0, 1], "probability": [0.2, 0.7]}))
        >>> list(table["patient_id"])
        ['row-1', 'row-2']
    """
    if isinstance(source, pd.DataFrame):
        # A table that was read before keeps the name of its file.
        name = source_name or str(source.attrs.get("source", "the table"))
        table = source.reset_index(drop=True)
        notes = [str(note) for note in source.attrs.get("notes", ())]
    else:
        path = Path(source)
        name = source_name or str(path)
        table = _read_csv(path, name, columns or {})
        notes = []
    table = _renamed(table, columns or {}, name)
    for column in ("label", "probability"):
        if column not in table.columns:
            raise PredictionsError(
                f"{name}: column {column!r} is missing (found: "
                f"{', '.join(map(str, table.columns)) or 'none'}); rename the column that "
                f"holds it, or name it (evaluate --column {column}=NAME; in Python "
                f"read_predictions(..., columns={{'{column}': NAME}}))"
            )
    if len(table) == 0:
        raise PredictionsError(f"{name}: no rows; expected one row a prediction")

    table = table.copy()
    table["label"] = _labels(table, name)
    table["probability"] = _probabilities(table, name)
    notes += _fill(table, name)
    for column in _TEXT_COLUMNS:
        if column in table.columns:
            table[column] = _texts(table, column, name)
    table["fold"] = _folds(table, name)
    for column in _NUMBER_COLUMNS:
        if column in table.columns:
            table[column] = _numbers(table, column, name)
    _check_split(table, name)
    _check_keys(table, name)
    _check_findings(table, name)
    table.attrs["notes"] = list(dict.fromkeys(notes))
    table.attrs["source"] = name
    return table


def outer_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows that may be evaluated: those of the outer folds.

    Raises:
        PredictionsError: there are none.
    """
    rows = predictions[predictions["split"] == "outer"]
    if rows.empty:
        raise PredictionsError(
            "no rows with split 'outer': inner rows are for choosing thresholds and calibration "
            "and are never evaluated; add the outer (out-of-fold) predictions"
        )
    return rows


def join_findings(predictions: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Adds what is known of the findings to their predictions, for subgroups and the like.

    Args:
        predictions: Of :func:`read_predictions`.
        findings: ``finding_id`` (once each) and further columns; those that the predictions have
            already are left as they are there.

    Returns:
        A new table with the same rows in the same order.
    """
    new = [c for c in findings.columns if c not in predictions.columns]
    unique = findings.drop_duplicates("finding_id")
    joined = predictions.merge(unique[["finding_id", *new]], on="finding_id", how="left")
    joined.attrs.update(predictions.attrs)
    return joined


def _renamed(table: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    for ours, theirs in columns.items():
        if theirs not in table.columns:
            raise PredictionsError(
                f"{name}: column {theirs!r}, named for {ours}, is missing (found: "
                f"{', '.join(map(str, table.columns)) or 'none'}); correct the name"
            )
        near = difflib.get_close_matches(ours, _OURS, n=1, cutoff=0.75)
        if near and ours not in _OURS:
            raise PredictionsError(
                f"{name}: there is no column {ours!r} of ours to be filled from {theirs!r}; did "
                f"you mean {near[0]}?"
            )
    # Copied, so that one column may serve as two, and two may change places.
    copies = {ours: table[theirs] for ours, theirs in columns.items()}
    return table.drop(columns=[*copies, *columns.values()], errors="ignore").assign(**copies)


def _read_csv(path: Path, name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    if not path.is_file():
        raise PredictionsError(
            f"{name}: no such file; give a CSV with the columns label, probability"
        )
    try:
        # From pandas 3.1 on numbers are read to the last digit; before, ties were made and broken.
        # Identifiers stay as they are written: "007" keeps its zeros, "NA" is a name like others.
        texts = {columns.get(column, column) for column in _TEXT_COLUMNS}
        others = [column for column in csv_columns(path, name) if column not in texts]
        return pd.read_csv(
            path,
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            na_values=dict.fromkeys(others, _NOTHING),
        )
    except pd.errors.EmptyDataError as error:
        raise PredictionsError(
            f"{name}: the file is empty; expected a CSV with a header"
        ) from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise PredictionsError(
            f"{name}: not readable as CSV ({str(error).strip()}); expected UTF-8, commas, a header"
        ) from error


def csv_columns(path: Path, name: str) -> list[str]:
    """The names in the header of a CSV, whose first row must not be longer.

    pandas would take the first field of longer rows as a row name, and all others would stand one
    column off.

    Raises:
        PredictionsError: it is longer, or there is no header.
        UnicodeDecodeError: it is no UTF-8.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream)
        header, first = next(lines, []), next(lines, [])
    if not header:
        raise PredictionsError(f"{name}: the file is empty; expected a CSV with a header")
    if header[0].startswith("PK\x03\x04"):
        raise PredictionsError(f"{name}: is no CSV but a zip or Excel file; save it as CSV")
    for separator, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise PredictionsError(
                f"{name}: the columns are separated by {called}; save it with commas, and with a "
                "point as decimal sign"
            )
    if len(first) > len(header):
        raise PredictionsError(
            f"{name}: row 1 has {len(first)} fields, more than the header names ({len(header)}); "
            "name every column, or take away the comma at the end of the rows"
        )
    return header


def _first(wrong: pd.Series[bool]) -> int:
    return int(np.flatnonzero(wrong.to_numpy())[0])


def _numeric(table: pd.DataFrame, column: str) -> pd.Series[float]:
    return pd.to_numeric(table[column], errors="coerce").astype("float64")


def _labels(table: pd.DataFrame, name: str) -> pd.Series[int]:
    numbers = _numeric(table, "label")
    wrong = ~numbers.isin((0.0, 1.0))
    if wrong.any():
        row = _first(wrong)
        raise PredictionsError(
            f"{name}, row {row + 1}: label {shown(table['label'].iloc[row])} is not 0 or 1; "
            "drop unlabelled rows and map the classes to 0 and 1"
        )
    return numbers.astype("int8")


def _probabilities(table: pd.DataFrame, name: str) -> pd.Series[float]:
    numbers = _numeric(table, "probability")
    wrong = ~((numbers >= 0) & (numbers <= 1))
    if wrong.any():
        row = _first(wrong)
        raise PredictionsError(
            f"{name}, row {row + 1}: probability {shown(table['probability'].iloc[row])} is not a "
            "number in 0..1; apply the sigmoid or softmax, or drop the row"
        )
    return numbers


def _fill(table: pd.DataFrame, name: str) -> list[str]:
    """Adds absent columns in place; returns a sentence for each."""
    notes = []
    if "finding_id" not in table.columns:
        several = [
            column
            for column in ("model", "fold", "split")
            if column in table.columns and table[column].nunique() > 1
        ]
        if "model" in several or "split" in several:
            raise PredictionsError(
                f"{name}: column 'finding_id' is missing and there are several values of "
                f"{', '.join(several)}; add finding_id so that the same finding is recognised"
            )
        table["finding_id"] = [f"row-{number}" for number in range(1, len(table) + 1)]
        notes.append("no finding_id column: every row was taken as a finding of its own")
    if "patient_id" not in table.columns:
        table["patient_id"] = table["finding_id"]
        notes.append(
            "no patient_id column: every finding was taken as a patient of its own, so the "
            "patient-clustered intervals may be too narrow"
        )
    if "fold" not in table.columns:
        table["fold"] = 0
        notes.append("no fold column: all rows were taken as one fold")
    if "model" not in table.columns:
        table["model"] = "model"
        notes.append("no model column: all rows were taken as of one model")
    if "split" not in table.columns:
        table["split"] = "outer"
        notes.append(
            "no split column: all rows were taken as outer (never seen in training, calibration "
            "or the choice of thresholds)"
        )
    return notes


def _texts(table: pd.DataFrame, column: str, name: str) -> pd.Series[str]:
    missing = table[column].isna()
    if missing.any():
        raise PredictionsError(
            f"{name}, row {_first(missing) + 1}: {column} is empty; fill it in, or leave the "
            "whole column out"
        )
    texts = table[column].astype(str)
    blank = texts.str.strip() == ""
    if blank.any():
        raise PredictionsError(
            f"{name}, row {_first(blank) + 1}: {column} is blank; fill it in, or leave the "
            "whole column out"
        )
    return texts


def _folds(table: pd.DataFrame, name: str) -> pd.Series[int]:
    numbers = _numeric(table, "fold")
    # NaN and infinity have no whole rest either.
    wrong = ~((numbers % 1) == 0) | (numbers.abs() > _LARGEST_FOLD)
    if wrong.any():
        row = _first(wrong)
        raise PredictionsError(
            f"{name}, row {row + 1}: fold {shown(table['fold'].iloc[row])} is not a whole number; "
            "number the folds 0, 1, 2 ..."
        )
    return numbers.astype("int64")


def _numbers(table: pd.DataFrame, column: str, name: str) -> pd.Series[float]:
    numbers = _numeric(table, column)
    wrong = numbers.isna() & table[column].notna()
    if wrong.any():
        row = _first(wrong)
        raise PredictionsError(
            f"{name}, row {row + 1}: {column} {shown(table[column].iloc[row])} is not a number; "
            "give millimetres, or leave the cell empty where it is unknown"
        )
    return numbers


def _check_split(table: pd.DataFrame, name: str) -> None:
    wrong = ~table["split"].isin(SPLITS)
    if wrong.any():
        row = _first(wrong)
        raise PredictionsError(
            f"{name}, row {row + 1}: split {shown(table['split'].iloc[row])} is not 'inner' or "
            "'outer'; held-out rows are 'outer', validation rows of the training part 'inner'"
        )


def _check_keys(table: pd.DataFrame, name: str) -> None:
    repeated = table.duplicated(list(KEY))
    if repeated.any():
        row = _first(repeated)
        value = ", ".join(f"{column}={table[column].iloc[row]}" for column in KEY)
        raise PredictionsError(
            f"{name}, row {row + 1}: a second row for {value}; keep one row each, or make "
            "finding_id unique over all patients"
        )
    both = table.duplicated(["finding_id", "model", "fold"])
    if both.any():
        row = _first(both)
        raise PredictionsError(
            f"{name}, row {row + 1}: finding {shown(table['finding_id'].iloc[row])} is inner and "
            f"outer in fold {table['fold'].iloc[row]} of {table['model'].iloc[row]}; thresholds "
            "would be chosen on the rows they are reported on: keep one of the two"
        )


def _check_findings(table: pd.DataFrame, name: str) -> None:
    """A finding has one label and one patient, whatever model or fold looks at it."""
    for column in ("label", "patient_id"):
        first = table.groupby("finding_id", sort=False)[column].transform("first")
        wrong = first != table[column]
        if wrong.any():
            row = _first(wrong)
            raise PredictionsError(
                f"{name}, row {row + 1}: finding {shown(table['finding_id'].iloc[row])} has "
                f"{column} {shown(table[column].iloc[row])} here and {shown(first.iloc[row])} "
                "in an earlier row; correct one, or make finding_id unique over all patients"
            )
