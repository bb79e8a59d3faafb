"""The tables that FROC needs: annotations, excluded findings, series and marks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import PredictionsError
from nodulenet.evaluation.arrays import Floats, shown
from nodulenet.evaluation.table import csv_columns

_LUNA16 = ("seriesuid", "coordX", "coordY", "coordZ")
_OURS = ("scan_id", "x_lps_mm", "y_lps_mm", "z_lps_mm")


@dataclass(frozen=True)
class FrocReference:
    """What the marks are compared with.

    Attributes:
        annotations: The nodules to be found: ``seriesuid, coordX, coordY, coordZ`` (or
            ``scan_id, x_lps_mm, y_lps_mm, z_lps_mm``) and ``diameter_mm``.
        excluded: Findings on which marks are ignored, same columns; None for none.
        series: The scans that count, one entry a scan.
        warnings: What was odd when it was read.
    """

    annotations: pd.DataFrame
    excluded: pd.DataFrame | None
    series: Sequence[str]
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(self.series) == 0:
            raise PredictionsError("FROC: the list of series is empty; list the scans that count")

    @classmethod
    def read(
        cls,
        annotations: str | os.PathLike[str],
        excluded: str | os.PathLike[str] | None,
        series: str | os.PathLike[str],
    ) -> FrocReference:
        """Reads LUNA16's three files.

        Args:
            annotations: ``annotations.csv``.
            excluded: ``annotations_excluded.csv``, or None.
            series: ``seriesuids.csv``: one series UID a line, no header.

        Raises:
            PredictionsError: a file is missing, unreadable or lacks a column.
        """
        uids = _read_series(Path(series))
        warnings: tuple[str, ...] = ()
        if uids and uids[0].lower() in ("seriesuid", "series_uid", "scan_id"):
            warnings = (
                f"{series}: the first line ({uids[0]!r}) looks like a header and is counted as a "
                "scan, as LUNA16's script does; remove it",
            )
        return cls(
            annotations=read_marks(annotations),
            excluded=None if excluded is None else read_marks(excluded),
            series=tuple(uids),
            warnings=warnings,
        )


def read_marks(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads a CSV of marks or annotations; identifiers stay text, numbers keep every digit.

    Raises:
        PredictionsError: the file is missing, empty or not readable.
    """
    if not Path(path).is_file():
        raise PredictionsError(f"{path}: no such file; expected a CSV with {', '.join(_LUNA16)}")
    try:
        csv_columns(Path(path), str(path))
        table = pd.read_csv(
            path,
            dtype={"seriesuid": str, "scan_id": str, "finding_id": str, "patient_id": str},
        )
    except pd.errors.EmptyDataError as error:
        raise PredictionsError(f"{path}: the file is empty; expected a header") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise PredictionsError(f"{path}: not readable as CSV ({str(error).strip()})") from error
    table.attrs["source"] = str(path)
    return table


def positions(
    table: pd.DataFrame | None, name: str, *, value: str
) -> tuple[npt.NDArray[np.object_], Floats, Floats]:
    """Scan, position and one value of every row of a table.

    Args:
        table: Marks or annotations with LUNA16's or our column names; None is an empty table.
        name: How messages call it.
        value: The further column, ``"probability"`` or ``"diameter_mm"``.

    Returns:
        Scan identifiers (n,), positions (n, 3) x, y, z in LPS mm, values (n,).

    Raises:
        PredictionsError: a column is missing, or a value is not a finite number.
    """
    if table is None:
        return np.empty(0, dtype=object), np.empty((0, 3)), np.empty(0)
    name = f"{name} ({table.attrs['source']})" if "source" in table.attrs else name
    columns = _OURS if set(_OURS) <= set(table.columns) else _LUNA16
    for column in (*columns, value):
        if column not in table.columns:
            raise PredictionsError(
                f"{name}: column {column!r} is missing (found: "
                f"{', '.join(map(str, table.columns)) or 'none'}); expected "
                f"{', '.join(_LUNA16)} or {', '.join(_OURS)}, and {value}"
            )
    numbers = {}
    for column in (*columns[1:], value):
        parsed = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(parsed))
        if wrong.size:
            row = int(wrong[0])
            raise PredictionsError(
                f"{name}, row {row + 1}: {column} {shown(table[column].iloc[row])} is not a finite "
                "number; correct or drop the row"
            )
        numbers[column] = parsed
    nameless = np.flatnonzero(table[columns[0]].isna())
    if nameless.size:
        raise PredictionsError(
            f"{name}, row {int(nameless[0]) + 1}: {columns[0]} is empty; fill it in or drop the row"
        )
    scans = table[columns[0]].astype(str).to_numpy(dtype=object)
    return scans, np.stack([numbers[c] for c in columns[1:]], axis=1), numbers[value]


def _read_series(path: Path) -> list[str]:
    if not path.is_file():
        raise PredictionsError(f"{path}: no such file; expected one series UID a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PredictionsError(f"{path}: not readable as UTF-8 text") from error
    return [line.split(",")[0].strip().strip('"') for line in lines if line.strip()]
