"""The table of scans (scans.csv): an inventory as rows, and what reads the rows again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.atomic import atomic_path
from nodulenet.config.series_choice import SeriesChoice
from nodulenet.ct.inventory import Inventory, ListedSeries
from nodulenet.errors import DataError, FindingsError
from nodulenet.findings.patients import unnamed_patients
from nodulenet.findings.points import SCAN_ENDINGS, find_scan
from nodulenet.findings.reading import read_csv, refuse_rows
from nodulenet.findings.series_choice import NO, OPEN, YES, choose_series, study_keys

ACQUISITION_COLUMNS = (
    "manufacturer",
    "manufacturer_model_name",
    "kernel",
    "slice_thickness_mm",
    "slice_spacing_mm",
    "spacing_x_mm",
    "kvp",
    "exposure_mas",
    "contrast_agent",
)
"""Columns that join the findings of a scan: the names that subgroups and baselines know."""

_TEXTS = (
    "study_uid",
    "series_uid",
    "description",
    "study_description",
    "protocol",
    "modality",
    "image_type",
    "kernel",
    "plane",
    "contrast_agent",
    "manufacturer",
    "manufacturer_model_name",
    "frame_of_reference_uid",
    "patient_id",
    "format",
    "path",
    "verdict",
    "why",
    "scan_id",
)
_NUMBERS = (
    "series_number",
    "slice_thickness_mm",
    "slice_spacing_mm",
    "spacing_x_mm",
    "spacing_y_mm",
    "slices",
    "rows",
    "columns",
    "oblique_degrees",
    "kvp",
    "exposure_mas",
)
_YES = ("yes", "true", "1", "x", "1.0")
_NO = ("no", "false", "0", "0.0")


def scan_rows(inventory: Inventory, *, keep_ids: bool = False) -> pd.DataFrame:
    """One row a series: what it is, where it lies, and whether it can be opened.

    ``patient_id`` is a pseudonym by this user's key unless ``keep_ids``.

    Millimetres are rounded to 1e-6. ``usable`` is bool, ``chosen`` and ``why`` are not there yet
    (:func:`nodulenet.findings.series_choice.choose_series`). An inventory without series gives no
    rows.
    """
    rows = pd.DataFrame([_row(s) for s in inventory.series], columns=list(_row(None)))
    numbers = [c for c in _NUMBERS if c in rows.columns]
    named = rows["patient_id"].replace("", None)
    rows = unnamed_patients(rows.assign(patient_id=named), keep_ids=keep_ids).table
    rows["patient_id"] = rows["patient_id"].fillna("")
    return rows.astype(dict.fromkeys(numbers, float)).round(6).astype({"usable": bool})


def _row(series: ListedSeries | None) -> dict[str, Any]:
    """A series as a row; without one its columns."""
    made, s = (None, None) if series is None else (series.acquisition, series)

    def of(thing: Any, name: str) -> Any:
        return None if thing is None else getattr(thing, name)

    x, y, z = (None, None, None) if s is None else s.spacing_mm
    return {
        "study_uid": of(made, "study_uid"),
        "series_uid": of(s, "series_uid"),
        "series_number": of(made, "series_number"),
        "description": of(made, "description"),
        "study_description": of(made, "study_description"),
        "protocol": of(made, "protocol"),
        "modality": of(s, "modality"),
        "image_type": "\\".join(of(s, "image_type") or ()),
        "kernel": of(made, "kernel"),
        "slice_thickness_mm": of(s, "slice_thickness_mm"),
        "slice_spacing_mm": z,
        "spacing_x_mm": x,
        "spacing_y_mm": y,
        "slices": of(s, "slices"),
        "rows": of(s, "rows"),
        "columns": of(s, "columns"),
        "plane": of(s, "plane"),
        "oblique_degrees": of(s, "oblique_degrees"),
        "contrast_agent": of(made, "contrast_agent"),
        "manufacturer": of(made, "manufacturer"),
        "manufacturer_model_name": of(made, "manufacturer_model_name"),
        "kvp": of(made, "kvp"),
        "exposure_mas": of(made, "exposure_mas"),
        "frame_of_reference_uid": of(made, "frame_of_reference_uid"),
        "patient_id": of(made, "patient_id"),
        "format": of(s, "format"),
        "path": str(of(s, "path")),
        "usable": of(s, "usable"),
        "verdict": of(s, "verdict"),
    }


def write_scan_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table of series as CSV, whole or not at all; ``usable`` becomes yes or no."""
    shown = table.assign(usable=table["usable"].map({True: YES, False: NO}))
    whole = [c for c in ("series_number", "slices", "rows", "columns") if c in table.columns]
    shown = shown.astype(dict.fromkeys(whole, "Int64"))
    with atomic_path(path) as temporary:
        shown.to_csv(temporary, index=False)


@dataclass(frozen=True)
class ListedScan:
    """A scan to be opened: ``open_ct(path, series_uid=series_uid)``.

    ``scan_id`` names it in results. ``usable`` is None where the table does not say.
    ``acquisition`` has those of :data:`ACQUISITION_COLUMNS` that the table has.
    """

    scan_id: str
    path: Path
    series_uid: str | None = None
    study_uid: str = ""
    patient_id: str = ""
    usable: bool | None = None
    verdict: str = ""
    acquisition: dict[str, Any] = field(default_factory=dict)


class ScanFolder:
    """Scans in a folder, each by the name of its file or subfolder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, scan_id: str) -> ListedScan | None:
        """The scan of that name; None where there is none."""
        path = find_scan(self.folder, scan_id)
        return None if path is None else ListedScan(scan_id, path)


class ScanTable:
    """Scans by the rows of a table, and which of them are chosen.

    Attributes:
        path: the file.
        table: its rows, with ``usable`` and ``chosen`` (yes, no or nothing).
        undecided: a line for each study of which nobody has chosen a series.
    """

    def __init__(self, path: Path, table: pd.DataFrame) -> None:
        self.path, self.table = path, table
        self._scans = [_listed(row, path.parent) for _, row in table.iterrows()]
        self._chosen = table["chosen"].tolist()
        self._by_uid: dict[str, list[int]] = {}
        self._by_place: dict[str, list[int]] = {}
        for row, scan in enumerate(self._scans):
            for name in {scan.scan_id, scan.series_uid or ""} - {""}:
                self._by_uid.setdefault(name, []).append(row)
            for name in {scan.study_uid, *_names_of(scan.path)} - {""}:
                self._by_place.setdefault(name, []).append(row)
        self.undecided = tuple(undecided_studies(table))

    def chosen(self) -> list[ListedScan]:
        """The scans that are chosen, in the order of the rows."""
        return [s for s, c in zip(self._scans, self._chosen, strict=True) if c == YES]

    def find(self, scan_id: str) -> ListedScan | None:
        """The scan of that name: a ``scan_id`` or series UID, or a study, folder or file.

        A name of a study, a folder or a file means its chosen series. None where no row has it.

        Raises:
            FindingsError: it names several series of which not one is chosen.
        """
        rows = self._by_uid.get(scan_id, [])
        if not rows:
            rows = self._by_place.get(scan_id, [])
            rows = self._of(rows, YES) or self._of(rows, OPEN) or rows
        rows = self._of(rows, YES) or rows
        if len({self._scans[row].series_uid for row in rows}) > 1:
            found = ", ".join(str(self._scans[row].series_uid) for row in rows[:4])
            raise FindingsError(
                f"{self.path}: {scan_id!r} names {len(rows)} series ({found}), of which "
                f"{len(self._of(rows, YES)) or 'none'} are chosen; expected one: set its column "
                "chosen to yes and that of the others to no, or name the series by its UID"
            )
        usable = [row for row in rows if self._scans[row].usable]
        return self._scans[(usable or rows)[0]] if rows else None

    def _of(self, rows: Sequence[int], chosen: str) -> list[int]:
        return [row for row in rows if self._chosen[row] == chosen]


def read_scan_table(path: str | Path, choice: SeriesChoice | None = None) -> ScanTable:
    """The scans of a table that ``nodulenet scans`` has written, or of one made by hand.

    Needed are ``path`` (relative ones are taken from the table's folder) and ``series_uid`` (may
    be empty for files of one scan). ``scan_id`` may be added: the name by which points call the
    scan, default the series UID. ``chosen`` may be edited: yes or no; where a study has neither,
    ``choice`` decides, or, without it, whether there is one usable series only.

    Raises:
        FindingsError: no such table, a column is missing, or a value is wrong.
    """
    file = Path(path)
    table = read_csv(file, ["path", "series_uid"], texts=_TEXTS, optional_numbers=_NUMBERS)
    refuse_rows(file, table, "path", table["path"] == "", "the path of a scan")
    for column in _TEXTS:
        if column not in table.columns and column not in ("scan_id", "why"):
            table[column] = ""
    for column in _NUMBERS:
        if column not in table.columns:
            table[column] = float("nan")
    known = _yes_or_no(file, table, "usable")
    # What a table made by hand does not say, opening says.
    decided = choose_series(table.assign(usable=known != NO), choice)
    table["usable"] = known
    table["chosen"] = _yes_or_no(file, table, "chosen")
    why = table["why"] if "why" in table.columns else pd.Series("", table.index)
    open_ = table["chosen"].eq(OPEN).groupby(study_keys(table)).transform("all")
    table["chosen"] = table["chosen"].where(~open_, decided["chosen"])
    table["why"] = why.where(~open_, decided["why"])
    return ScanTable(file, table)


def open_scans(place: Path, choice: SeriesChoice | None = None) -> ScanFolder | ScanTable:
    """The scans of a source: a folder, or a table of scans.

    Raises:
        DataError: there is neither.
        FindingsError: the table is wrong.
    """
    if place.is_dir():
        return ScanFolder(place)
    if not place.is_file():
        raise DataError(f"{place}: there is no such folder or table (source.scans)")
    return read_scan_table(place, choice)


def _yes_or_no(file: Path, table: pd.DataFrame, column: str) -> pd.Series[Any]:
    if column not in table.columns:
        return pd.Series(OPEN, table.index)
    texts = table[column].astype("string").fillna("").str.strip().str.lower()
    wrong = ~texts.isin([*_YES, *_NO, ""])
    refuse_rows(file, table, column, wrong, "yes, no or nothing")
    return texts.map(lambda text: YES if text in _YES else NO if text in _NO else OPEN)


def _listed(row: pd.Series[Any], folder: Path) -> ListedScan:
    path = folder / row["path"]  # an absolute path stays as it is
    scan_id = row.get("scan_id", "") or row["series_uid"] or _names_of(path)[-1]
    return ListedScan(
        scan_id=scan_id,
        path=path,
        series_uid=row["series_uid"] or None,
        study_uid=row["study_uid"],
        patient_id=row["patient_id"],
        usable={YES: True, NO: False}.get(row["usable"]),
        verdict=row["verdict"],
        acquisition={c: row[c] for c in ACQUISITION_COLUMNS},
    )


def _names_of(path: Path) -> list[str]:
    """A file's or folder's name, and a file's without its ending."""
    short = next(
        (path.name[: -len(e)] for e in SCAN_ENDINGS if path.name.lower().endswith(e)), path.name
    )
    return [path.name, short]


def undecided_studies(table: pd.DataFrame) -> list[str]:
    """A line for each study of which nobody has chosen a series."""
    lines = []
    for study, rows in table.groupby(study_keys(table), sort=False):
        if (rows["chosen"] == YES).any() or not (rows["chosen"] == OPEN).any():
            continue
        name = f"study {study}" if rows["study_uid"].iloc[0] else f"scan {rows['path'].iloc[0]}"
        lines.append(f"{name}: none of its {len(rows)} series is chosen, so none is taken")
    return lines
