"""CSV files that people wrote: what is wrong is named by file, line and column."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nodulenet.errors import FindingsError

FIRST_ROW_LINE = 2  # line 1 is the header


def read_csv(
    path: str | Path,
    required: Sequence[str] = (),
    *,
    numbers: Sequence[str] = (),
    ids: Sequence[str] = (),
    optional_numbers: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> pd.DataFrame:
    """A CSV with a header, checked.

    Args:
        path: the file.
        required: columns that must be there.
        numbers: columns whose every value must be a finite number.
        ids: columns kept as text (``007`` stays ``007``); none may be empty.
        optional_numbers: columns that become floats, NaN where empty.
        texts: columns that, where there are any, stay text; empty text where empty.

    Raises:
        FindingsError: no file, no rows, a column is missing, a value is no number; names the
            file, the line and the column.
    """
    file = Path(path)
    if not file.is_file():
        raise FindingsError(f"{file}: there is no such file; expected a CSV table")
    _refuse_other_separator(file)
    try:
        with warnings.catch_warnings():
            # Rows longer than the header: pandas would shift or cut them with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                file,
                dtype=dict.fromkeys([*ids, *texts], str),
                skipinitialspace=True,
                index_col=False,
            )
    except pd.errors.EmptyDataError:
        raise FindingsError(f"{file}: is empty; expected a header line and rows") from None
    except pd.errors.ParserWarning:
        raise FindingsError(
            f"{file}: has rows with more fields than the header; remove the extra commas, or "
            f"quote fields that hold one"
        ) from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise FindingsError(
            f"{file}: cannot be read as CSV ({' '.join(str(error).split())})"
        ) from None
    missing = [c for c in (*required, *numbers, *ids) if c not in table.columns]
    if missing:
        raise FindingsError(
            f"{file}: column {missing[0]!r} is missing; found the columns "
            f"{', '.join(map(str, table.columns[:12]))}"
        )
    if table.empty:
        raise FindingsError(f"{file}: has a header but no rows; expected at least one row")
    for column in ids:
        refuse_rows(file, table, column, table[column].isna(), "an id")
    for column in numbers:
        values = as_numbers(file, table, column)
        refuse_rows(file, table, column, ~np.isfinite(values), "a finite number")
        table[column] = values
    for column in texts:
        if column in table.columns:
            table[column] = table[column].fillna("")
    for column in optional_numbers:
        if column in table.columns:
            table[column] = as_numbers(file, table, column)
    return table


def _refuse_other_separator(file: Path) -> None:
    """What Excel writes where the comma is the decimal sign."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        header = lines.readline()
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if separator in header and "," not in header:
            raise FindingsError(
                f"{file}: line 1 is separated by {name}, expected commas between fields and a "
                f"point as decimal sign; save it as CSV (comma separated)"
            )


def as_numbers(file: Path, table: pd.DataFrame, column: str) -> pd.Series:
    """The column as float64, NaN where it is empty; anything else that is no number is refused."""
    values = pd.to_numeric(table[column], errors="coerce").astype(float)
    refuse_rows(file, table, column, values.isna() & table[column].notna(), "a number")
    return values


def refuse_rows(
    file: Path, table: pd.DataFrame, column: str, wrong: pd.Series, expected: str
) -> None:
    """Raise for the first row that is wrong, saying how many more there are."""
    rows = np.flatnonzero(np.asarray(wrong))
    if len(rows) == 0:
        return
    value = table[column].iloc[rows[0]]
    shown = "nothing" if pd.isna(value) else repr(value.item() if hasattr(value, "item") else value)
    more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
    raise FindingsError(
        f"{file}: line {rows[0] + FIRST_ROW_LINE}, column {column!r}: found {shown}, expected "
        f"{expected}{more}; correct or remove the row"
    )
