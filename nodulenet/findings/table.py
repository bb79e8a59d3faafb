"""The one validated table of findings that every adapter makes and every later stage reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from nodulenet.errors import FindingsError

POINT_COLUMNS = ("x_lps_mm", "y_lps_mm", "z_lps_mm")
COLUMNS = ("finding_id", "scan_id", "patient_id", *POINT_COLUMNS, "diameter_mm", "label")
_TEXT = ("finding_id", "scan_id", "patient_id")


@dataclass(frozen=True)
class Findings:
    """Findings, the scans they lie in, and what is known about both.

    Attributes:
        table: one row a finding: ``finding_id, scan_id, patient_id`` (text), ``x_lps_mm, y_lps_mm,
            z_lps_mm, diameter_mm`` (float64; diameter NaN = unknown; a point is NaN only where
            the source has patches instead of scans), ``label`` (Int64: 0, 1 or <NA>), then the
            source's own columns.
        scans: path of each scan by ``scan_id``; a scan that is absent on disk is absent here.
        series: DICOM series to open at that path by ``scan_id``, where the source names it.
        notes: what the adapter left out or assumed, for people.
        failures: ``{"what", "error"}`` of what could not be taken over.
        reference: tables that evaluation needs (``annotations``, ``annotations_excluded``,
            ``seriesuids``), where the source has them.
        originals: the source's own id of each pseudonym in ``patient_id``; for checks, never
            written.
    """

    table: pd.DataFrame
    scans: dict[str, Path] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict, kw_only=True)
    notes: tuple[str, ...] = ()
    failures: tuple[dict[str, str], ...] = ()
    reference: dict[str, Path] = field(default_factory=dict)
    originals: dict[str, str] = field(default_factory=dict, kw_only=True)


def validate_findings(table: pd.DataFrame, source: str, *, points: bool = True) -> pd.DataFrame:
    """The table with its columns in order and of their types.

    Args:
        table: at least the columns of :data:`COLUMNS` without ``diameter_mm`` and ``label``,
            which are filled in as unknown.
        source: what to call the table in an error.
        points: whether every row must have a point.

    Raises:
        FindingsError: a column is missing, an id is empty or twice there, a point is not finite,
            a diameter is not above zero, a label is neither 0 nor 1.
    """
    missing = [c for c in (*_TEXT, *POINT_COLUMNS) if c not in table.columns]
    if missing:
        raise FindingsError(f"{source}: column {missing[0]!r} is missing from the findings")
    if table.empty:
        raise FindingsError(f"{source}: holds no findings; expected at least one")
    result = table.copy()
    for column in _TEXT:
        if result[column].isna().any():
            row = int(np.flatnonzero(result[column].isna())[0])
            raise FindingsError(f"{source}: finding {row} has no {column}; expected an id")
        result[column] = result[column].astype(str)
    twice = result["finding_id"][result["finding_id"].duplicated()]
    if len(twice):
        raise FindingsError(
            f"{source}: finding_id {twice.iloc[0]!r} is there more than once "
            f"({len(twice)} repeats); ids must differ"
        )
    for column in POINT_COLUMNS:
        result[column] = result[column].astype(float)
        if points and not np.isfinite(result[column]).all():
            bad = result.loc[~np.isfinite(result[column]), "finding_id"].iloc[0]
            raise FindingsError(f"{source}: finding {bad!r}: {column} is not a finite number")
    for column in ("diameter_mm", "label"):
        given = result.get(column, pd.Series(np.nan, result.index))
        result[column] = pd.to_numeric(given, errors="coerce").astype(float)
        wrong = result[column].isna() & given.notna()
        if wrong.any():
            raise FindingsError(
                f"{source}: finding {result['finding_id'][wrong].iloc[0]!r}: {column} is "
                f"{given[wrong].iloc[0]!r}, expected a number"
            )
    small = result["diameter_mm"] <= 0
    if small.any():
        bad = result[small].iloc[0]
        raise FindingsError(
            f"{source}: finding {bad['finding_id']!r}: diameter_mm is {bad['diameter_mm']}, "
            f"expected above 0, or empty when it is not known"
        )
    wrong = ~result["label"].isin([0, 1]) & result["label"].notna()
    if wrong.any():
        bad = result[wrong].iloc[0]
        raise FindingsError(
            f"{source}: finding {bad['finding_id']!r}: label is {bad['label']:g}, expected 0 or 1; "
            f"a rating needs a label_rule"
        )
    result["label"] = result["label"].astype("Int64")
    rest = [c for c in result.columns if c not in COLUMNS]
    return result[[*COLUMNS, *rest]].reset_index(drop=True)
