"""CSV files that people wrote: what is wrong is named by file, line and column."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nodulenet.config.schema import CsvFormat
from nodulenet.errors import FindingsError

FIRST_ROW_LINE = 2  # line 1 is the header

_COMMAS = CsvFormat()
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?")


def read_csv(
    path: str | Path,
    required: Sequence[str] = (),
    *,
    numbers: Sequence[str] = (),
    ids: Sequence[str] = (),
    optional_numbers: Sequence[str] = (),
    texts: Sequence[str] = (),
    form: CsvFormat | None = None,
) -> pd.DataFrame:
    """A CSV with a header, checked.

    Args:
        path: the file.
        required: columns that must be there.
        numbers: columns whose every value must be a finite number.
        ids: columns kept as text (``007`` stays ``007``); none may be empty.
        optional_numbers: columns that become floats, NaN where empty.
        texts: columns that, where there are any, stay text; empty text where empty.
        form: how its fields and decimals are written, where that can be declared; rows must then
            have as many fields as the header, since ``12,5`` read as two of them would shift the
            rest unseen. Defaults to None: commas and points.

    Raises:
        FindingsError: no file, no rows, a column is missing, a value is no number, or other
            separators or decimal signs than declared; names the file, the line and the column.
    """
    file = Path(path)
    if not file.is_file():
        raise FindingsError(f"{file}: there is no such file; expected a CSV table")
    _refuse_other_separator(file, form)
    if form is not None:
        _refuse_ragged_rows(file, form)
    written = form or _COMMAS
    # Points and commas in one column must not both pass for decimal signs: its numbers are read
    # one by one.
    as_text = [*numbers, *optional_numbers] if written.decimal == "," else []
    try:
        with warnings.catch_warnings():
            # Rows longer than the header: pandas would shift or cut them with a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                file,
                sep=written.delimiter,
                decimal=written.decimal,
                dtype=dict.fromkeys([*ids, *texts, *as_text], str),
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
        values = as_numbers(file, table, column, form)
        refuse_rows(file, table, column, ~np.isfinite(values), "a finite number")
        table[column] = values
    for column in texts:
        if column in table.columns:
            table[column] = table[column].fillna("")
    for column in optional_numbers:
        if column in table.columns:
            table[column] = as_numbers(file, table, column, form)
    return table


def csv_columns(path: str | Path, form: CsvFormat) -> list[str]:
    """The names in a CSV's header, without a look at its rows.

    Raises:
        FindingsError: no file, empty, not UTF-8, or another separator than declared.
    """
    file = Path(path)
    if not file.is_file():
        raise FindingsError(f"{file}: there is no such file; expected a CSV table")
    _refuse_other_separator(file, form)
    header = next(_records(file, form), None)
    if header is None:
        raise FindingsError(f"{file}: is empty; expected a header line and rows")
    return header[1]


def _refuse_other_separator(file: Path, form: CsvFormat | None) -> None:
    """What Excel writes where the comma is the decimal sign, or what was declared wrongly."""
    declared = (form or _COMMAS).delimiter
    with file.open(encoding="utf-8", errors="replace") as lines:
        header = lines.readline()
    found = next((s for s in _SEPARATORS if s != declared and s in header), None)
    if found is None or declared in header:
        return
    if form is None:
        raise FindingsError(
            f"{file}: line 1 is separated by {_SEPARATORS[found]}, expected commas between fields "
            f"and a point as decimal sign; save it as CSV (comma separated)"
        )
    separator = "tab" if found == "\t" else found
    raise FindingsError(
        f"{file}: line 1 is separated by {_SEPARATORS[found]}, expected {_SEPARATORS[declared]}; "
        f"{_declare(separator)}, if its numbers are written 12,5 also {_declare(None, ',')}"
    )


def _declare(separator: str | None = None, decimal: str | None = None) -> str:
    """How to say what a CSV is written with: on the command line, in a configuration."""
    name, value = ("separator", separator) if decimal is None else ("decimal", decimal)
    return f"declare it with --csv-{name} '{value}' (csv: {{{name}: \"{value}\"}})"


def _records(file: Path, form: CsvFormat) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each record that is not blank."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter=form.delimiter, skipinitialspace=True)
            for fields in reader:
                if fields and (len(fields) > 1 or fields[0].strip()):
                    yield reader.line_num, fields
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise FindingsError(
            f"{file}: cannot be read as CSV ({' '.join(str(error).split())})"
        ) from None


def _refuse_ragged_rows(file: Path, form: CsvFormat) -> None:
    records = _records(file, form)
    header = next(records, (0, []))[1]
    for line, fields in records:
        if len(fields) != len(header):
            more = "more" if len(fields) > len(header) else "fewer"
            hint = "; quote fields that hold the separator"
            if form.delimiter == ",":
                hint = (
                    f"; if its numbers are written 12,5, separate fields with semicolons and "
                    f"{_declare(';')} and {_declare(None, ',')}"
                )
            raise FindingsError(
                f"{file}: line {line} has {len(fields)} fields, {more} fields than the header "
                f"({len(header)}){hint}"
            )


def as_numbers(
    file: Path, table: pd.DataFrame, column: str, form: CsvFormat | None = None
) -> pd.Series:
    """The column as float64, NaN where it is empty; anything else that is no number is refused."""
    found, given = table[column], table[column].notna()
    if form is not None and form.decimal == ",":
        # As text, for columns that pandas has read as numbers may have had points.
        found = found.astype(str).str.strip()
        refuse_rows(
            file,
            table,
            column,
            given & ~found.str.fullmatch(_DECIMAL_COMMA),
            "a number with a decimal comma, as declared",
            f"correct the row, or if its numbers are written 12.5 {_declare(None, '.')}",
        )
        found = found.str.replace(",", ".").where(given)
        return pd.to_numeric(found, errors="coerce").astype(float)
    values = pd.to_numeric(found, errors="coerce").astype(float)
    wrong = values.isna() & given
    remedy = "correct or remove the row"
    if (
        form is not None
        and wrong.any()
        and _DECIMAL_COMMA.fullmatch(str(found[wrong].iloc[0]).strip())
    ):
        remedy = f"if that is a decimal comma, {_declare(None, ',')}"
    refuse_rows(file, table, column, wrong, "a number", remedy)
    return values


def refuse_rows(
    file: Path,
    table: pd.DataFrame,
    column: str,
    wrong: pd.Series,
    expected: str,
    remedy: str = "correct or remove the row",
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
        f"{expected}{more}; {remedy}"
    )
