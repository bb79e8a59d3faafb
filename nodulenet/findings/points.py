"""Points in plain CSV files. Their space (LPS, RAS or voxel) is declared, never guessed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import CsvFormat
from nodulenet.ct import CTVolume
from nodulenet.ct.outside import Space
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.reading import csv_columns, read_csv, refuse_rows

__all__ = [
    "NAMES_OF_SCANS",
    "SCAN_ENDINGS",
    "Space",
    "coordinate_names",
    "find_scan",
    "is_of_scan",
    "our_name",
    "points_of_scan",
    "read_points_csv",
    "read_rows",
    "scan_names",
    "to_lps_mm",
]

# Spellings of the three columns, and the space that a spelling fixes by itself.
_SPELLINGS: tuple[tuple[tuple[str, str, str], Space | None], ...] = (
    (("x", "y", "z"), None),
    (("x_lps_mm", "y_lps_mm", "z_lps_mm"), "lps"),
    (("coordX", "coordY", "coordZ"), "lps"),
)
NAMES_OF_SCANS = ("scan_id", "seriesuid", "series_uid")
"""Columns that say of which scan a row is; the first that is there counts."""

# What DICOM calls columns that we spell as the others.
_DICOM_KEYWORDS = {
    "SeriesInstanceUID": "series_uid",
    "series_instance_uid": "series_uid",
    "FrameOfReferenceUID": "frame_of_reference_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "PatientID": "patient_id",
    "SeriesNumber": "series_number",
    "InstanceNumber": "instance_number",
    "FrameNumber": "frame_number",
    "Row": "row",
    "Column": "column",
}
_UIDS = ("series_uid", "seriesuid", "frame_of_reference_uid", "sop_instance_uid")

SCAN_ENDINGS = (".mhd", ".mha", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".zip")


def read_points_csv(
    path: str | Path, space: Space = "lps", *, form: CsvFormat | None = None
) -> tuple[pd.DataFrame, Space]:
    """Rows of a CSV of points: ``x, y, z`` (float) and its other columns, and their space.

    The columns may also be called ``x_lps_mm, y_lps_mm, z_lps_mm`` or, as in LUNA16,
    ``coordX, coordY, coordZ``; both say LPS by themselves. UIDs may stand under DICOM's keywords
    (``SeriesInstanceUID``) and come back as ``series_uid, frame_of_reference_uid``.

    Args:
        path: the file.
        space: what x, y and z are. Defaults to "lps".
        form: its separator and decimal sign. Defaults to commas and points.

    Raises:
        FindingsError: no such columns, a value that is no number, a name that says LPS where
            another space is declared, or a CSV that is written otherwise than declared.
    """
    columns = csv_columns(path, form or CsvFormat())
    spelling = coordinate_names(columns)
    if spelling is None:
        raise FindingsError(
            f"{path}: found the columns {', '.join(columns)}, expected x, y, z (or x_lps_mm, "
            f"y_lps_mm, z_lps_mm, or coordX, coordY, coordZ), or places in DICOM images: "
            f"sop_instance_uid, row, column (or series_number, instance_number, row, column)"
        )
    names, fixed = spelling
    if fixed is not None and space != fixed:
        raise FindingsError(
            f"{path}: the columns {', '.join(names)} are in {fixed.upper()}, but the space was "
            f"declared as {space}; rename them to x, y, z or declare {fixed}"
        )
    table = read_rows(path, columns, form, numbers=names)
    return table.rename(columns=dict(zip(names, "xyz", strict=True))), space


def coordinate_names(
    columns: Collection[str],
) -> tuple[tuple[str, str, str], Space | None] | None:
    """The columns of x, y, z and the space that their names fix; None where there are none."""
    return next((s for s in _SPELLINGS if set(s[0]) <= set(columns)), None)


def read_rows(
    path: str | Path,
    columns: Collection[str],
    form: CsvFormat | None,
    *,
    numbers: Sequence[str],
    optional_numbers: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of a CSV of points, checked, with DICOM's keywords renamed to our columns.

    Args:
        path: the file.
        columns: those of its header.
        form: its separator and decimal sign; None: commas and points.
        numbers: columns, as the header spells them, whose every value must be a finite number.
        optional_numbers: columns that become floats, NaN where empty.

    Raises:
        FindingsError: a value is wrong, a finding stands twice; names the line.
    """
    own = ("finding_id", "scan_id", "patient_id")
    ids = [c for c in columns if our_name(c, columns) in own]
    uids = [c for c in columns if our_name(c, columns) in _UIDS]
    table = read_csv(
        path,
        numbers=numbers,
        ids=ids,
        optional_numbers=["diameter_mm", *optional_numbers],
        texts=uids,
        form=form or CsvFormat(),
    )
    for column in uids:
        # DICOM pads UIDs with a null.
        table[column] = table[column].str.strip(" \t\0")
    if "diameter_mm" in table.columns:
        small = table["diameter_mm"] <= 0
        refuse_rows(Path(path), table, "diameter_mm", small, "a diameter above 0, or nothing")
    if "finding_id" in table.columns:
        keys = [c for c in ("scan_id", "seriesuid", "finding_id") if c in table.columns]
        refuse_rows(Path(path), table, "finding_id", table.duplicated(keys), "every finding once")
    return table.rename(columns={c: our_name(c, columns) for c in columns})


def our_name(column: str, columns: Collection[str]) -> str:
    """What we call a column of a table that may use DICOM's keywords."""
    name = _DICOM_KEYWORDS.get(column, column)
    return column if name in columns else name


def scan_names(path: Path, series_uid: str) -> set[str]:
    """What a table may call a scan: its series UID, or its folder or file as training does."""
    names = {path.name.removesuffix(ending) for ending in SCAN_ENDINGS}
    return {series_uid, *names}


def is_of_scan(rows: pd.DataFrame, names: Collection[str]) -> pd.Series:
    """Which rows are of a scan (bool); all, where the table names no scans."""
    column = next((c for c in NAMES_OF_SCANS if c in rows.columns), None)
    if column is None:
        return pd.Series(True, index=rows.index)
    return rows[column].astype(str).isin(list(names))


def points_of_scan(rows: pd.DataFrame, names: Collection[str], file: str) -> pd.DataFrame:
    """The rows of one scan, where the table names scans (a column of :data:`NAMES_OF_SCANS`).

    Raises:
        FindingsError: it names scans, but not this one.
    """
    mine = rows[is_of_scan(rows, names)]
    if len(rows) and not len(mine):
        column = next(c for c in NAMES_OF_SCANS if c in rows.columns)
        found = ", ".join(sorted(set(rows[column].astype(str)))[:3])
        raise FindingsError(
            f"{file}: column {column!r} names no point of the scan {' or '.join(sorted(names))}; "
            f"it names {found}; take its rows of this scan, or drop the column if all rows are of "
            f"this scan; points of another series carry over only where the column "
            f"frame_of_reference_uid names the scan's own frame of reference"
        )
    return mine


def to_lps_mm(
    points: npt.NDArray[np.float64], space: Space, volume: CTVolume | None
) -> npt.NDArray[np.float64]:
    """Points of shape (n, 3), x, y, z in ``space``, as LPS millimetres.

    A voxel point is (column, row, slice), counted from 0 in the scan as it was opened; DICOM
    slices rise along the stack's normal.

    Raises:
        UsageError: voxels without their scan.
    """
    if space == "voxel":
        if volume is None:
            raise UsageError("points in voxels need their scan; give it, or points in mm")
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
