"""Points placed in 3D Slicer: markups JSON (``.mrk.json``) and the older ``.fcsv``.

Sources: Slicer's documentation (slicer.readthedocs.io, developer guide, Markups), its JSON schema
``markups-schema-v1.0.x.json`` (``coordinateSystem`` LPS or RAS, LPS by default;
``positionStatus`` undefined, preview or defined, defined by default) and its reading code
(``vtkMRMLMarkupsJsonStorageNode``, ``vtkMRMLMarkupsFiducialStorageNode``: an ``.fcsv`` names its
system, up to Slicer 4.11 as 0 = RAS, 1 = LPS, 2 = IJK).

Slicer shows RAS on the screen and writes LPS; every file says which of them it holds, and that is
believed. Positions are read, never found: detecting nodules is out of scope.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nodulenet.ct.volume import LPS_TO_RAS
from nodulenet.errors import FindingsError
from nodulenet.findings.json_file import (
    MAX_FILE_BYTES,
    items,
    members,
    numbers,
    read_json,
    refuse,
    shown,
    text,
)
from nodulenet.findings.table import POINT_COLUMNS

_SYSTEMS: dict[str, Literal["lps", "ras"]] = {"RAS": "ras", "0": "ras", "LPS": "lps", "1": "lps"}
_POINT_LISTS = ("Fiducial", "PointList")
_NOT_PLACED = ("undefined", "preview")
_SCHEMA = re.compile(r"markups-schema-v1\.\d+\.\d+\.json#*$", re.IGNORECASE)
_FCSV_COLUMNS = [
    *("id", "x", "y", "z", "ow", "ox", "oy", "oz"),
    *("vis", "sel", "lock", "label", "desc", "associatedNodeID"),
]
_SAVE_AS_JSON = "open it in Slicer and save the points as .mrk.json"

Row = dict[str, Any]


def read_slicer_markups(path: str | Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The placed points of a Slicer point list.

    Whether a point is selected, locked or visible does not matter.

    Args:
        path: ``.fcsv``, anything else is read as markups JSON.

    Returns:
        The table: ``finding_id`` (the point's label, made unique; its id or place in the list
        where it has none), ``x_lps_mm, y_lps_mm, z_lps_mm``, ``description``; and notes: points
        that were left out because they were never placed, labels that were made unique, a
        coordinate system that is Slicer's default because the file names none.

    Raises:
        FindingsError: no such file, no JSON, another kind of markup (line, curve, ROI, plane), an
            unknown coordinate system or unit, a position that is not three finite numbers, or no
            placed point; names the line or the field.
    """
    if Path(path).name.lower().endswith(".fcsv"):
        rows, notes = _fcsv_rows(Path(path))
        return _table(path, rows, notes)
    return rows_of_markups(path, read_json(path, "markups of 3D Slicer"))


def rows_of_markups(file: str | Path, data: Any) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """As :func:`read_slicer_markups`, from what a ``.mrk.json`` holds."""
    root = members(file, "", data)
    schema = root.get("@schema")
    if schema is not None and not (isinstance(schema, str) and _SCHEMA.search(schema.strip())):
        refuse(file, "@schema", schema, "markups-schema-v1.x.y.json", "save it in Slicer 4.11 to 5")
    rows: list[Row] = []
    notes: list[str] = []
    for i, entry in enumerate(items(file, "markups", root.get("markups"))):
        field = f"markups[{i}]"
        markup = members(file, field, entry)
        kind = markup.get("type")
        if kind not in _POINT_LISTS:
            refuse(
                file,
                f"{field}.type",
                kind,
                "'Fiducial' (a point list)",
                "place the nodules as a point list in Slicer and save that",
            )
        _check_unit(file, f"{field}.coordinateUnits", markup.get("coordinateUnits", "mm"))
        if "coordinateSystem" not in markup:
            notes.append(f"{file}: {field} names no coordinateSystem; read as LPS, as Slicer does")
        system = _system(
            file,
            f"{field}.coordinateSystem",
            markup.get("coordinateSystem", "LPS"),
            "save it again",
        )
        points = items(file, f"{field}.controlPoints", markup.get("controlPoints", []))
        for k, point in enumerate(points):
            row = _control_point(file, f"{field}.controlPoints[{k}]", point, system)
            if row is None:
                label = text(point.get("label")) or f"number {k}"
                notes.append(f"{file}: point {shown(label)} was never placed and is left out")
            else:
                rows.append(row)
    return _table(file, rows, notes)


def _control_point(
    file: str | Path, field: str, value: Any, system: Literal["lps", "ras"]
) -> Row | None:
    """The row of a point, None where it is not placed."""
    point = members(file, field, value)
    status = point.get("positionStatus", "defined")
    if status in _NOT_PLACED:
        return None
    if status != "defined":
        refuse(
            file,
            f"{field}.positionStatus",
            status,
            "defined, undefined or preview",
            "save it again in Slicer",
        )
    if "position" not in point:  # Slicer itself takes such a point for undefined
        return None
    place = numbers(file, f"{field}.position", point["position"], 3, "x, y, z in mm")
    return _row(text(point.get("label")) or text(point.get("id")), place, system, point)


def _row(
    name: str, place: list[float], system: Literal["lps", "ras"], point: dict[str, Any]
) -> Row:
    lps = np.array(place) @ LPS_TO_RAS[:3, :3] if system == "ras" else np.array(place)
    row: Row = {"finding_id": name}
    row.update(zip(POINT_COLUMNS, lps.tolist(), strict=True))
    row["description"] = text(point.get("description"))
    return row


def _check_unit(file: str | Path, field: str, value: Any) -> None:
    # Slicer writes "mm", or the coded entry ["mm", "UCUM", "millimeter"].
    unit = value[0] if isinstance(value, list) and value else value
    if unit != "mm":
        refuse(file, field, unit, "'mm'", "set Slicer's length unit to mm and save again")


def _system(file: str | Path, field: str, value: Any, remedy: str) -> Literal["lps", "ras"]:
    name = str(value).strip().upper() if isinstance(value, str | int) else ""
    if isinstance(value, bool) or name not in _SYSTEMS:
        refuse(file, field, value, "LPS or RAS (in old files 1 or 0)", remedy)
    return _SYSTEMS[name]


def _table(
    file: str | Path, rows: list[Row], notes: list[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    if not rows:
        left = f" ({len(notes)} notes: {notes[0]})" if notes else ""
        raise FindingsError(
            f"{file}: holds no placed point{left}; expected at least one; place points in Slicer "
            "and save again"
        )
    given = {row["finding_id"] for row in rows}
    used: set[str] = set()
    renamed = 0
    for i, row in enumerate(rows):
        base = name = row["finding_id"] or f"point-{i}"
        count = 2
        while name in used or (count > 2 and name in given):
            name, count = f"{base}-{count}", count + 1
        renamed += name != base
        used.add(name)
        row["finding_id"] = name
    if renamed:
        notes.append(f"{file}: {renamed} labels stood more than once and were numbered")
    return pd.DataFrame(rows, columns=["finding_id", *POINT_COLUMNS, "description"]), tuple(notes)


def _fcsv_rows(file: Path) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    columns = _FCSV_COLUMNS
    system: Literal["lps", "ras"] | None = None
    for number, line in enumerate(_lines(file), start=1):
        where = f"line {number}"
        if line.startswith("#"):
            name, _, value = line[1:].partition("=")
            if name.strip() == "CoordinateSystem":
                system = _system(file, f"{where}, CoordinateSystem", value.strip(), _SAVE_AS_JSON)
            elif name.strip() == "columns":
                columns = [column.strip() for column in value.split(",")]
                if not {"x", "y", "z"} <= set(columns):
                    refuse(file, f"{where}, columns", value, "x, y and z in it", _SAVE_AS_JSON)
        elif line.strip():
            if system is None:
                raise FindingsError(
                    f"{file}: {where}: found a point before any '# CoordinateSystem = ' line, "
                    f"expected LPS or RAS; {_SAVE_AS_JSON}"
                )
            rows.append(_fcsv_row(file, where, line, columns, system))
    return rows, []


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise FindingsError(f"{file}: there is no such file; expected points of 3D Slicer")
    try:
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FindingsError(
                f"{file}: has {size} bytes, expected at most {MAX_FILE_BYTES}; {_SAVE_AS_JSON}"
            )
        return file.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise FindingsError(
            f"{file}: byte {error.start} is no UTF-8; expected points of 3D Slicer; {_SAVE_AS_JSON}"
        ) from None
    except OSError as error:
        raise FindingsError(f"{file}: cannot be read ({error.strerror}); check the file") from None


def _fcsv_row(
    file: Path, where: str, line: str, columns: list[str], system: Literal["lps", "ras"]
) -> Row:
    try:
        fields = next(csv.reader([line.rstrip("\r")]), [])
    except csv.Error as error:
        raise FindingsError(f"{file}: {where}: is no CSV ({error}); {_SAVE_AS_JSON}") from None
    point = dict(zip(columns, fields, strict=False))
    place: list[float] = []
    for axis in "xyz":
        value = point.get(axis)
        try:
            place.append(float(value) if value and "_" not in value else math.nan)
        except ValueError:
            place.append(math.nan)
        if not math.isfinite(place[-1]):
            refuse(file, f"{where}, column {axis!r}", value, "a finite number", "correct the line")
    point["description"] = point.get("desc", "")
    return _row(text(point.get("label")) or text(point.get("id")), place, system, point)
