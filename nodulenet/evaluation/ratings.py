"""Readers' ratings of findings on an ordered scale: read from a table, validated once.

Three forms of a table are read: long (a row a rating), wide (a column a reader), and wide with
all ratings of a finding joined in one cell, as :mod:`nodulenet.findings.lidc` writes them.

In LIDC-IDRI ``r1 .. r4`` are no persons. Each scan was read in (mostly) four sessions by
radiologists who are not named: the files call them "anon", or by a number that no second session
carries. Session 1 of one scan and session 1 of the next need not be the same person, and nothing in
the files says when they are. A column there is a *reading slot*; :attr:`Ratings.persons` says which
of the two columns are. The ratings are those of the second reading of each session, which was made
with the other readers' anonymous marks in sight: agreement on them is not that of strangers.

Source: Armato S. G. et al., Medical Physics 38:915-931, 2011; McNitt-Gray M. F. et al., Academic
Radiology 14:1464-1474, 2007 (the two readings); pylidc issue 4 (no reader can be followed).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.errors import PredictionsError, UsageError
from nodulenet.evaluation.arrays import shown
from nodulenet.evaluation.table import csv_columns

LONG = ("finding_id", "reader", "rating")
SLOTS = (
    "the columns are reading slots, not persons (LIDC-IDRI's sessions are anonymous, and slot r1 "
    "of one scan need not be r1 of the next): what is said of a slot is said of no radiologist"
)
_NOTHING = ("", "nan", "na", "n/a", "none", "null", "<na>")


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Ratings of findings by readers.

    Attributes:
        table: One row a finding (index ``finding_id``, text), a column a reader, in the order of
            the source; float64, NaN where the reader gave no rating.
        patients: Patient of each finding, indexed like the table.
        levels: The scale, rising.
        persons: Whether a column is one person throughout. False: it is a reading slot.
        notes: What was filled in or joined, for people.
        source: What messages call the table.
    """

    table: pd.DataFrame
    patients: pd.Series[str]
    levels: tuple[int, ...]
    persons: bool
    notes: tuple[str, ...] = ()
    source: str = "the ratings"

    @property
    def readers(self) -> list[str]:
        return [str(reader) for reader in self.table.columns]

    def counts(self) -> dict[str, Any]:
        """JSON-ready: ``findings, patients, readers, persons, ratings, missing`` (cells without a
        rating), ``missing_by_reader`` and ``findings_by_ratings`` (number of ratings -> findings).
        """
        given = self.table.notna()
        each = given.sum(axis=1).value_counts().sort_index()
        return {
            "findings": len(self.table),
            "patients": int(self.patients.nunique()),
            "readers": self.readers,
            "persons": self.persons,
            "ratings": int(given.to_numpy().sum()),
            "missing": int((~given).to_numpy().sum()),
            "missing_by_reader": {str(r): int((~given[r]).sum()) for r in self.table.columns},
            "findings_by_ratings": {str(k): int(count) for k, count in each.items()},
        }

    def long(self) -> pd.DataFrame:
        """A row a rating that was given: ``finding_id, patient_id, reader, rating`` (int)."""
        stacked = self.table.reset_index(names="finding_id").melt(
            "finding_id", var_name="reader", value_name="rating"
        )
        stacked = stacked.dropna(subset="rating").astype({"rating": "int64", "reader": str})
        patients = stacked["finding_id"].map(self.patients)
        stacked.insert(1, "patient_id", patients)
        return stacked.reset_index(drop=True)


def read_ratings(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    readers: Sequence[str] | None = None,
    rating: str = "malignancy",
    scale: tuple[int, int] = (1, 5),
    persons: bool | None = None,
) -> Ratings:
    """Reads and validates ratings in any of three forms.

    - long: columns ``finding_id, reader, rating``, a row a rating;
    - wide: the columns named by ``readers``, else ``malignancy_r1, malignancy_r2 ...``;
    - joined: ``malignancy_readers`` (``"3;4;4"``) and ``sessions`` (``"0;1;3"``), the columns of
      :func:`nodulenet.findings.lidc.lidc_nodules`. A reader who drew a nodule in parts rated it
      more than once in one session: the highest rating stands.

    Empty cells are ratings that were not given. ``patient_id`` is used where it is there; without
    it each finding counts as a patient of its own, and a note says so.

    Args:
        source: Path of a CSV (UTF-8, commas) or a data frame, which is not changed.
        readers: Columns that hold the readers of a wide table. Defaults to those found by name.
        rating: What was rated: the first part of those names. Defaults to ``"malignancy"``.
        scale: Lowest and highest rating, whole numbers. Defaults to (1, 5).
        persons: Whether a column (or name) is one person throughout. Defaults to True for a long
            table and for named columns, and to False for ``.._r1`` and for joined ratings, which
            is how LIDC-IDRI's anonymous sessions are written.

    Raises:
        UsageError: a scale that is not two rising whole numbers.
        PredictionsError: no form fits, a finding or a rating is there twice, or a value is not on
            the scale; with the row (from 1, the header not included), the value and the remedy.

    Example:
        >>> table = pd.DataFrame({"finding_id": ["a", "b"], "ann": [1, 4], "bea": [2, None]})
        >>> read_ratings(table, readers=["ann", "bea"]).counts()["missing_by_reader"]
        {'ann': 0, 'bea': 1}
    """
    low, high = scale
    if int(low) != low or int(high) != high or not low < high:
        raise UsageError(
            f"ratings: scale {scale!r}; expected two whole numbers that rise, e.g. (1, 5)"
        )
    frame, name = _frame(source)
    if "finding_id" not in frame.columns:
        raise _no_column(name, frame, "finding_id")
    _check_ids(frame, name)
    levels = tuple(range(int(low), int(high) + 1))
    joined = f"{rating}_readers"
    slots = [c for c in frame.columns if re.fullmatch(rf"{re.escape(rating)}_r\d+", str(c))]
    notes: list[str] = []
    if readers is not None:
        for column in readers:
            if column not in frame.columns:
                raise _no_column(name, frame, column)
        wide, default = _wide(frame, list(readers), levels, name), True
    elif all(column in frame.columns for column in LONG):
        wide, default = _from_long(frame, levels, name), True
    elif slots:
        wide, default = _wide(frame, slots, levels, name), False
        wide.columns = pd.Index([str(c)[len(rating) + 1 :] for c in slots])
    elif joined in frame.columns and "sessions" in frame.columns:
        wide, more = _from_joined(frame, joined, levels, name)
        notes, default = more, False
    else:
        raise PredictionsError(
            f"{name}: no ratings found (columns: {', '.join(map(str, frame.columns))}); expected "
            f"{', '.join(LONG)}, or {rating}_r1, {rating}_r2 ..., or {joined} and sessions, or "
            "name the columns (readers=[...])"
        )
    if wide.shape[1] < 2:
        raise PredictionsError(
            f"{name}: {wide.shape[1]} reader found; expected at least two readers"
        )
    if "patient_id" in frame.columns:
        named = frame[["finding_id", "patient_id"]].astype(str).drop_duplicates()
        twice = named["finding_id"].duplicated()
        if twice.any():
            finding = named["finding_id"][twice].iloc[0]
            raise PredictionsError(
                f"{name}: finding {finding!r} has more than one patient_id; expected one a finding"
            )
        patients = named.set_index("finding_id")["patient_id"]
    else:
        patients = pd.Series(wide.index, index=wide.index, name="patient_id")
        notes.append(
            "no patient_id column: every finding was taken as a patient of its own, so the "
            "patient-clustered intervals may be too narrow"
        )
    is_person = default if persons is None else persons
    return Ratings(
        table=wide.rename_axis(index="finding_id", columns=None),
        patients=patients.reindex(wide.index),
        levels=levels,
        persons=is_person,
        notes=tuple(notes if is_person else [*notes, SLOTS]),
        source=name,
    )


def _frame(source: str | os.PathLike[str] | pd.DataFrame) -> tuple[pd.DataFrame, str]:
    if isinstance(source, pd.DataFrame):
        name = str(source.attrs.get("source", "the ratings"))
        frame = source.reset_index(drop=True)
    else:
        path = Path(source)
        name = str(path)
        if not path.is_file():
            raise PredictionsError(
                f"{name}: no such file; give a CSV with finding_id and the readers' ratings"
            )
        try:
            csv_columns(path, name)
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        except (pd.errors.ParserError, UnicodeDecodeError) as error:
            raise PredictionsError(
                f"{name}: not readable as CSV ({str(error).strip()}); expected UTF-8, commas, a "
                "header"
            ) from error
    if frame.empty:
        raise PredictionsError(f"{name}: no rows; expected one row a finding or a rating")
    return frame, name


def _no_column(name: str, frame: pd.DataFrame, column: str) -> PredictionsError:
    return PredictionsError(
        f"{name}: column {column!r} is missing (found: {', '.join(map(str, frame.columns))}); "
        "rename the column that holds it"
    )


def _check_ids(frame: pd.DataFrame, name: str) -> None:
    long = set(LONG) <= set(frame.columns)
    for column in ("finding_id", "patient_id", *(("reader",) if long else ())):
        if column in frame.columns:
            empty = frame[column].isna() | (frame[column].astype(str).str.strip() == "")
            if empty.any():
                raise PredictionsError(
                    f"{name}, row {_first(empty) + 1}: {column} is empty; fill it in"
                )


def _wide(
    frame: pd.DataFrame, columns: list[Any], levels: tuple[int, ...], name: str
) -> pd.DataFrame:
    _refuse_twice(frame, ["finding_id"], name)
    ids = frame["finding_id"].astype(str)
    return pd.DataFrame(
        {str(column): _numbers(frame[column], ids, levels, name) for column in columns}
    ).set_index(pd.Index(ids))


def _from_long(frame: pd.DataFrame, levels: tuple[int, ...], name: str) -> pd.DataFrame:
    _refuse_twice(frame, ["finding_id", "reader"], name)
    ids = frame["finding_id"].astype(str)
    values = _numbers(frame["rating"], ids, levels, name)
    long = pd.DataFrame(
        {"finding_id": ids, "reader": frame["reader"].astype(str), "rating": values}
    )
    wide = long.pivot(index="finding_id", columns="reader", values="rating")
    return wide.reindex(index=ids.unique(), columns=long["reader"].unique())


def _from_joined(
    frame: pd.DataFrame, column: str, levels: tuple[int, ...], name: str
) -> tuple[pd.DataFrame, list[str]]:
    _refuse_twice(frame, ["finding_id"], name)
    rows, parts = [], 0
    for number, (finding, texts, sessions) in enumerate(
        zip(frame["finding_id"], frame[column], frame["sessions"], strict=True), start=1
    ):
        given, slots = _split(texts), _split(sessions)
        if len(given) != len(slots):
            raise PredictionsError(
                f"{name}, row {number} (finding {shown(str(finding))}): {column} {shown(texts)} "
                f"and sessions {shown(sessions)} differ in length; expected one session a rating"
            )
        parts += len(slots) != len(set(slots))
        rows += [(str(finding), slot, value) for slot, value in zip(slots, given, strict=True)]
    long = pd.DataFrame(rows, columns=["finding_id", "session", "rating"])
    long["rating"] = _numbers(long["rating"], long["finding_id"], levels, name, column)
    wide = long.groupby(["finding_id", "session"])["rating"].max().unstack("session")
    wide = wide.reindex(index=frame["finding_id"].astype(str))
    sessions = sorted((str(slot) for slot in wide.columns), key=_by_number)
    wide = wide[sessions]
    wide.columns = pd.Index([_slot_name(session) for session in sessions])
    note = (
        f"{parts} findings were rated more than once in one session (drawn in parts): the highest "
        "rating stands"
    )
    return wide, [note] if parts else []


def _split(cell: Any) -> list[str]:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return []
    # A column of single values with an empty cell is read as 0.0, 1.0.
    whole = isinstance(cell, float) and cell.is_integer()
    text = str(int(cell)) if whole else str(cell).strip()
    return [part.strip() for part in text.split(";")] if text else []


def _by_number(session: str) -> tuple[int, str]:
    return len(session), session


def _slot_name(session: str) -> str:
    """Sessions count from 0, slots from 1, as in other tables of LIDC."""
    return f"r{int(session) + 1}" if session.isdigit() else session


def _numbers(
    values: pd.Series[Any],
    findings: pd.Series[str],
    levels: tuple[int, ...],
    name: str,
    column: str | None = None,
) -> pd.Series[float]:
    texts = values.astype("object").map(lambda v: "" if v is None else str(v).strip())
    empty = values.isna() | texts.str.lower().isin(_NOTHING)
    numbers = pd.to_numeric(texts.where(~empty), errors="coerce").astype("float64")
    wrong = ~empty & ~numbers.isin([float(level) for level in levels])
    if wrong.any():
        row = _first(wrong)
        where = f"row {row + 1} " if column is None else ""
        raise PredictionsError(
            f"{name}, {where}(finding {shown(str(findings.iloc[row]))}): {column or values.name} "
            f"{shown(values.iloc[row])} is not a whole number of {levels[0]} to {levels[-1]}; "
            "correct it, or leave the cell empty where the reader gave no rating"
        )
    return numbers


def _refuse_twice(frame: pd.DataFrame, key: list[str], name: str) -> None:
    twice = frame.astype(dict.fromkeys(key, str)).duplicated(key)
    if twice.any():
        row = _first(twice)
        what = ", ".join(f"{column}={frame[column].iloc[row]}" for column in key)
        raise PredictionsError(
            f"{name}, row {row + 1}: a second row for {what}; keep one each, or make finding_id "
            "unique over all patients"
        )


def _first(wrong: pd.Series[bool]) -> int:
    return int(np.flatnonzero(wrong.to_numpy())[0])
