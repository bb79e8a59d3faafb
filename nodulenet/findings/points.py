"""Points in plain CSV files. Their space (LPS, RAS or voxel) is declared, never guessed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import PointsSource
from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import DataError, FindingsError, ScanError
from nodulenet.findings.labels import keep_rating
from nodulenet.findings.reading import read_csv
from nodulenet.findings.table import POINT_COLUMNS, Findings, validate_findings

Space = Literal["lps", "ras", "voxel"]

# Spellings of the three columns, and the space that a spelling fixes by itself.
_SPELLINGS: tuple[tuple[tuple[str, str, str], Space | None], ...] = (
    (("x", "y", "z"), None),
    (("x_lps_mm", "y_lps_mm", "z_lps_mm"), "lps"),
    (("coordX", "coordY", "coordZ"), "lps"),
)
_SCAN_SUFFIXES = (".mhd", ".mha", ".nii.gz", ".nii", ".nrrd", ".zip", "")


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
    return table.rename(columns=dict(zip(names, "xyz", strict=True))), space


def scan_names(path: Path, series_uid: str) -> set[str]:
    """What a table may call a scan: its series UID, or its folder or file as training does."""
    names = {path.name.removesuffix(suffix) for suffix in _SCAN_SUFFIXES if suffix}
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


def read_points(source: PointsSource) -> Findings:
    """Own scans and a table of points as findings; a scan that is absent is left to be listed.

    Raises:
        DataError: the folder of scans is absent.
        FindingsError: the table is wrong.
    """
    if not source.scans.is_dir():
        raise DataError(f"{source.scans}: there is no such folder (source.scans)")
    rows, space = read_points_csv(source.points, source.space)
    if "scan_id" not in rows.columns:
        raise FindingsError(
            f"{source.points}: column 'scan_id' is missing; it names each point's scan in "
            f"{source.scans}"
        )
    scans = {s: p for s in sorted(set(rows["scan_id"])) if (p := _find_scan(source.scans, s))}
    notes: list[str] = []
    failures: list[dict[str, str]] = []
    table = rows.drop(columns=["x", "y", "z"])
    points = rows[["x", "y", "z"]].to_numpy(dtype=float)
    if space == "voxel":
        table[list(POINT_COLUMNS)] = _voxels_to_lps(points, rows["scan_id"], scans)
        lost = table["x_lps_mm"].isna()
        for scan_id, count in table["scan_id"][lost].value_counts(sort=False).items():
            error = (
                f"absent from {source.scans} or unreadable, so its points in voxels have no place "
                f"in millimetres; add or mend it"
            )
            failures.append({"what": f"scan {scan_id} ({count} findings)", "error": error})
        table = table[~lost]
        if table.empty:
            raise FindingsError(f"{source.points}: {failures[0]['what']}: {failures[0]['error']}")
    else:
        table[list(POINT_COLUMNS)] = points * ([-1.0, -1.0, 1.0] if space == "ras" else 1.0)
    if "finding_id" not in table.columns:
        table["finding_id"] = [f"point-{i}" for i in table.index]
    if "patient_id" not in table.columns:
        table["patient_id"] = table["scan_id"]
        notes.append("no patient_id column: every scan counts as a patient of its own")
    table = keep_rating(table)
    return Findings(
        validate_findings(table, str(source.points)), scans, tuple(notes), tuple(failures)
    )


def _voxels_to_lps(
    points: npt.NDArray[np.float64], scan_ids: pd.Series, scans: dict[str, Path]
) -> npt.NDArray[np.float64]:
    result = np.full(points.shape, np.nan)
    for scan_id, rows in scan_ids.groupby(scan_ids).indices.items():
        if scan_id in scans:
            try:
                result[rows] = open_ct(scans[str(scan_id)]).points_of(points[rows])
            except ScanError:
                continue  # its points stay NaN and the scan is listed
    return result


def _find_scan(folder: Path, scan_id: str) -> Path | None:
    if Path(scan_id).name != scan_id:
        raise FindingsError(
            f"scan_id {scan_id!r} is a path; expected the plain name of a scan in {folder}"
        )
    candidates = (folder / f"{scan_id}{suffix}" for suffix in _SCAN_SUFFIXES)
    return next((path for path in candidates if path.exists()), None)
