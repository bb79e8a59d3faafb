"""Whether millimetres that were measured on one series mean the same place in another.

They do where both series name the same Frame of Reference (DICOM PS3.3 C.7.4.1): series of one
acquisition, reconstructed twice, mostly do; those of two examinations never do, however alike.
Points of another series are carried over only then, and never without a note.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from nodulenet.ct import CTVolume
from nodulenet.errors import FindingsError
from nodulenet.findings.points import NAMES_OF_SCANS, is_of_scan, scan_names

FRAME = "frame_of_reference_uid"
MARKED_ON = "marked_on_series_uid"
_SERIES = ("seriesuid", "series_uid")
_UID = re.compile(r"\d+(\.\d+){4,}")


def names_of(volume: CTVolume) -> set[str]:
    """What a table may call an opened scan."""
    return scan_names(volume.source or Path(volume.series_uid), volume.series_uid)


def says_its_frame(columns: Collection[str]) -> bool:
    """Whether a table says on which series or in which frame of reference its points were made."""
    return bool({FRAME, "series_uid"} & set(columns))


def carry_over(
    table: pd.DataFrame, volume: CTVolume, file: str | Path
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Points of a table as far as they mean places of a scan; those of other scans stay as named.

    Args:
        table: positions in LPS mm; ``scan_id``, ``seriesuid`` or ``series_uid`` say of which scan,
            ``frame_of_reference_uid`` in which space, both where known.
        volume: the scan.
        file: the table's file, for messages.

    Returns:
        The rows, and notes. Rows of this scan that are in another frame of reference, or were
        marked on another series and name no frame, are left out. Where the table names none of
        this scan's rows, those of one other series in the same frame of reference are taken: they
        get this scan's name and keep their own in ``marked_on_series_uid``.

    Raises:
        FindingsError: all rows of this scan are left out, or rows of several other series could be
            carried over.
    """
    table, notes = _of_converted_scan(table, volume, file)
    frames = _text(table, FRAME)
    series_column = next((c for c in _SERIES if c in table.columns), None)
    series = _text(table, series_column)
    names = names_of(volume)
    mine = is_of_scan(table, names)
    # A converted scan no longer knows its series, but scan_id still says that it is this one.
    converted = "scan_id" in table.columns and volume.format != "dicom"
    same_series = series.isin([*names, ""]) | converted
    compared = (frames != "") & bool(volume.frame_of_reference_uid)
    agrees = compared & (frames == volume.frame_of_reference_uid)
    kept = mine & same_series & ~(compared & ~agrees)
    carried = mine & ~same_series & agrees
    if not mine.any():
        carried = agrees & ~mine
        origins = sorted(set(_origin(table[carried])))
        if len(origins) > 1:
            raise FindingsError(
                f"{file}: names no point of {volume.series_uid}, but points of {len(origins)} "
                f"other series in its frame of reference ({', '.join(origins[:3])}); expected one "
                f"series, or nodules would be doubled; keep the rows of one"
            )
    left_out = mine & ~kept & ~carried
    notes += _notes(table, frames, series, volume, file, left_out & compared, left_out & ~compared)
    if left_out.any() and not (kept.any() or carried.any()):
        raise FindingsError(
            f"{notes[-1]}: none is left; give the series that they were marked on, or mark them on "
            f"this one"
        )
    if (kept & (frames != "") & ~compared).any():
        notes.append(
            f"{file}: the scan {volume.series_uid} names no frame of reference, so that of the "
            f"table could not be compared"
        )
    result = table[~left_out].copy()
    carried = carried[~left_out]
    if carried.any():
        marked_on = _origin(result)
        notes.append(
            f"{file}: {int(carried.sum())} points were marked on {marked_on[carried].iloc[0]} and "
            f"are carried over to {volume.series_uid}, whose frame of reference is the same"
        )
        result[MARKED_ON] = marked_on.where(carried, "")
        for column in NAMES_OF_SCANS:
            if column in result.columns:
                renamed = carried & ~result[column].astype(str).isin(names)
                result.loc[renamed, column] = volume.series_uid
    return result, tuple(notes)


def _of_converted_scan(
    table: pd.DataFrame, volume: CTVolume, file: str | Path
) -> tuple[pd.DataFrame, list[str]]:
    """The table without a series UID that a converted scan cannot know, and a note of it.

    Such a table is what ``nodulenet findings points --scan SERIES`` writes.
    """
    names_scans = {"scan_id", "seriesuid"} & set(table.columns)
    knows = volume.format == "dicom" or _UID.fullmatch(volume.series_uid)
    if knows or names_scans or "series_uid" not in table.columns:
        return table, []
    found = set(_text(table, "series_uid")) - {""}
    if len(found) != 1 or found <= names_of(volume):
        return table, []
    return table.rename(columns={"series_uid": "referenced_series_uid"}), [
        f"{file}: refers to the series {found.pop()}; taken for the scan {volume.series_uid}, "
        f"which is {volume.format} and does not know its series"
    ]


def _text(table: pd.DataFrame, column: str | None) -> pd.Series:
    if column is None or column not in table.columns:
        return pd.Series("", index=table.index)
    return table[column].fillna("").astype(str).str.strip()


def _origin(rows: pd.DataFrame) -> pd.Series:
    """The series, else the scan, that each row names."""
    column = next((c for c in (*_SERIES, "scan_id") if c in rows.columns), None)
    return _text(rows, column)


def _notes(
    table: pd.DataFrame,
    frames: pd.Series,
    series: pd.Series,
    volume: CTVolume,
    file: str | Path,
    elsewhere: pd.Series,
    unknown: pd.Series,
) -> list[str]:
    notes = []
    if elsewhere.any():
        first = table["finding_id"][elsewhere].iloc[0]
        notes.append(
            f"{file}: {int(elsewhere.sum())} points (the first is {first}) are in the frame of "
            f"reference {frames[elsewhere].iloc[0]}, the scan {volume.series_uid} is in "
            f"{volume.frame_of_reference_uid}; their millimetres mean other places and are left out"
        )
    if unknown.any():
        first = table["finding_id"][unknown].iloc[0]
        notes.append(
            f"{file}: {int(unknown.sum())} points (the first is {first}) were marked on the series "
            f"{series[unknown].iloc[0]}, not on {volume.series_uid}, and without equal frames of "
            f"reference on both sides (column {FRAME}) they mean unknown places and are left out"
        )
    return notes
