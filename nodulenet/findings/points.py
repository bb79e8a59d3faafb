"""Points in plain CSV files. Their space (LPS, RAS or voxel) is declared, never guessed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.ct import CTVolume
from nodulenet.errors import FindingsError
from nodulenet.findings.reading import read_csv, refuse_rows

Space = Literal["lps", "ras", "voxel"]

# Spellings of the three columns, and the space that a spelling fixes by itself.
_SPELLINGS: tuple[tuple[tuple[str, str, str], Space | None], ...] = (
    (("x", "y", "z"), None),
    (("x_lps_mm", "y_lps_mm", "z_lps_mm"), "lps"),
    (("coordX", "coordY", "coordZ"), "lps"),
)
SCAN_ENDINGS = (".mhd", ".mha", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".zip")


def read_points_csv(path: str | Path, space: Space = "lps") -> tuple[pd.DataFrame, Space]:
    """Rows of a CSV of points: ``x, y, z`` (float) and its other columns, and their space.

    The columns may also be called ``x_lps_mm, y_lps_mm, z_lps_mm`` or, as in LUNA16,
    ``coordX, coordY, coordZ``; both say LPS by themselves.

    Raises:
        FindingsError: no such columns, a value that is no number, or a name that says LPS where
            another space is declared.
    """
    columns = read_csv(path).columns
    spelling = next((s for s in _SPELLINGS if set(s[0]) <= set(columns)), None)
    if spelling is None:
        raise FindingsError(
            f"{path}: found the columns {', '.join(map(str, columns))}, expected x, y, z (or "
            f"x_lps_mm, y_lps_mm, z_lps_mm, or coordX, coordY, coordZ)"
        )
    names, fixed = spelling
    if fixed is not None and space != fixed:
        raise FindingsError(
            f"{path}: the columns {', '.join(names)} are in {fixed.upper()}, but the space was "
            f"declared as {space}; rename them to x, y, z or declare {fixed}"
        )
    ids = [c for c in ("finding_id", "scan_id", "patient_id") if c in columns]
    table = read_csv(path, numbers=names, ids=ids, optional_numbers=["diameter_mm"])
    if "diameter_mm" in table.columns:
        small = table["diameter_mm"] <= 0
        refuse_rows(Path(path), table, "diameter_mm", small, "a diameter above 0, or nothing")
    if "finding_id" in table.columns:
        keys = [c for c in ("scan_id", "seriesuid", "finding_id") if c in table.columns]
        refuse_rows(Path(path), table, "finding_id", table.duplicated(keys), "every finding once")
    return table.rename(columns=dict(zip(names, "xyz", strict=True))), space


def scan_names(path: Path, series_uid: str) -> set[str]:
    """What a table may call a scan: its series UID, or its folder or file as training does."""
    names = {path.name.removesuffix(ending) for ending in SCAN_ENDINGS}
    return {series_uid, *names}


def points_of_scan(rows: pd.DataFrame, names: Collection[str], file: str) -> pd.DataFrame:
    """The rows of one scan, where the table names scans (``scan_id`` or ``seriesuid``).

    Raises:
        FindingsError: it names scans, but not this one.
    """
    column = next((c for c in ("scan_id", "seriesuid") if c in rows.columns), None)
    if column is None:
        return rows
    mine = rows[rows[column].astype(str).isin(list(names))]
    if mine.empty:
        found = ", ".join(sorted(set(rows[column].astype(str)))[:3])
        raise FindingsError(
            f"{file}: column {column!r} names no point of the scan {' or '.join(sorted(names))}; "
            f"it names {found}; take its rows of this scan, or drop the column if all rows are of "
            f"this scan"
        )
    return mine


def to_lps_mm(
    points: npt.NDArray[np.float64], space: Space, volume: CTVolume
) -> npt.NDArray[np.float64]:
    """Points of shape (n, 3), x, y, z in ``space``, as LPS millimetres.

    A voxel point is (column, row, slice), counted from 0 in the scan as it was opened; DICOM
    slices rise along the stack's normal.
    """
    if space == "voxel":
        return volume.points_of(points)
    return points * [-1.0, -1.0, 1.0] if space == "ras" else points


def find_scan(folder: Path, scan_id: str) -> Path | None:
    """The scan of that name in a folder: a file or a subfolder; None where there is none.

    Raises:
        FindingsError: the name is a path.
    """
    if Path(scan_id).name != scan_id:
        raise FindingsError(
            f"scan_id {scan_id!r} is a path; expected the plain name of a scan in {folder}"
        )
    candidates = (folder / f"{scan_id}{ending}" for ending in (*SCAN_ENDINGS, ""))
    return next((path for path in candidates if path.exists()), None)
