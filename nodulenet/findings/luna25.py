"""LUNA25: the public training table, and the point list that its algorithms are given.

Sources: the challenge's pages (luna25.grand-challenge.org), the public table
``LUNA25_Public_Training_Development_Data.csv`` and the public baseline's ``inference.py``
(DIAGNijmegen, luna25-baseline-public), which takes points as ITK world coordinates (LPS mm) and
reads ``/input/nodule-locations.json``; the JSON is Grand Challenge's interface of kind
"Multiple points" (its JSON schema: ``name``, ``type``, ``points`` of ``name``, ``point`` and
perhaps ``probability``, ``version``).

Positions are read, never found: detecting nodules is out of scope.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.config.schema import CsvFormat, Luna25Source
from nodulenet.errors import DataError, FindingsError
from nodulenet.findings.json_file import items, members, number, numbers, read_json, refuse, text
from nodulenet.findings.points import find_scan
from nodulenet.findings.reading import read_csv, refuse_rows
from nodulenet.findings.table import POINT_COLUMNS, Findings, validate_findings

POINT_LIST_TYPE = "Multiple points"
"""What the field ``type`` of a point list says."""

CSV_POINT_COLUMNS = ("CoordX", "CoordY", "CoordZ")
"""How the table spells x, y, z (LPS mm); LUNA16 writes ``coordX``."""

_RENAMED = {
    "AnnotationID": "finding_id",
    "SeriesInstanceUID": "scan_id",
    "PatientID": "patient_id",
    **dict(zip(CSV_POINT_COLUMNS, POINT_COLUMNS, strict=True)),
    "label": "label",
    "NoduleID": "nodule_id",
    "Age_at_StudyDate": "age_years",
    "Gender": "sex",
}


def read_luna25_csv(path: str | Path, *, form: CsvFormat | None = None) -> pd.DataFrame:
    """The nodules of LUNA25's table, one row an annotation.

    Args:
        path: ``LUNA25_Public_Training_Development_Data.csv``, or part of its rows.
        form: its separator and decimal sign, where somebody saved it anew. Defaults to None:
            commas and points.

    Returns:
        ``finding_id`` (AnnotationID: patient, lesion, time point), ``scan_id``
        (SeriesInstanceUID, also the name of the scan's ``.mha``), ``patient_id``, ``x_lps_mm,
        y_lps_mm, z_lps_mm``, ``diameter_mm`` (never given: NaN), ``label`` (1 malignant, 0
        benign, by histology and follow-up, not by a reader's opinion; <NA> where the column is
        absent) and, where the table has them, ``nodule_id`` (the same nodule at all its time
        points), ``age_years`` and ``sex``. The study date is left out.

    Raises:
        FindingsError: a column is missing, a coordinate is no finite number, a label is neither
            0 nor 1, an AnnotationID is there twice; names file and line.
    """
    file = Path(path)
    table = read_csv(
        file,
        numbers=CSV_POINT_COLUMNS,
        ids=["PatientID", "SeriesInstanceUID", "AnnotationID"],
        optional_numbers=["label", "Age_at_StudyDate"],
        texts=["NoduleID", "Gender"],
        form=form,
    )
    if "label" in table.columns:
        wrong = ~table["label"].isin([0, 1]) & table["label"].notna()
        refuse_rows(file, table, "label", wrong, "0 (benign) or 1 (malignant)")
    twice = table["AnnotationID"].duplicated()
    refuse_rows(file, table, "AnnotationID", twice, "each annotation once")
    kept = [column for column in _RENAMED if column in table.columns]
    return validate_findings(table[kept].rename(columns=_RENAMED), str(file))


def read_luna25(source: Luna25Source) -> Findings:
    """LUNA25's table with the scans that are there; the others are left to be listed.

    Raises:
        DataError: the folder of scans is absent.
        FindingsError: the table is wrong.
    """
    if not source.scans.is_dir():
        raise DataError(f"{source.scans}: there is no such folder (source.scans)")
    table = read_luna25_csv(source.table)
    uids = sorted(set(table["scan_id"]))
    return Findings(table, {u: path for u in uids if (path := find_scan(source.scans, u))})


def read_point_list_json(path: str | Path) -> pd.DataFrame:
    """The points of a Grand Challenge "Multiple points" file, such as ``nodule-locations.json``.

    Args:
        path: the JSON; its coordinates are world coordinates of the image, in LPS mm.

    Returns:
        ``finding_id`` (the point's name; ``point-0``, ... where it has none), ``x_lps_mm,
        y_lps_mm, z_lps_mm`` and, where any point has one, ``listed_probability`` (what the file
        says of the point; of what, only its maker knows).

    Raises:
        FindingsError: no such file, no JSON, another type of annotation, a point that is not
            three finite numbers, a name twice, or no points at all.
    """
    return rows_of_point_list(path, read_json(path, "a list of points"))


def rows_of_point_list(file: str | Path, data: Any) -> pd.DataFrame:
    """As :func:`read_point_list_json`, from what the file holds."""
    root = members(file, "", data)
    if root.get("type") != POINT_LIST_TYPE:
        refuse(
            file,
            "type",
            root.get("type"),
            repr(POINT_LIST_TYPE),
            "give a list of points (nodule-locations.json)",
        )
    points = items(file, "points", root.get("points"))
    if not points:
        raise FindingsError(f"{file}: points: is empty; expected at least one point")
    rows: list[dict[str, Any]] = []
    for i, entry in enumerate(points):
        point = members(file, f"points[{i}]", entry)
        place = numbers(file, f"points[{i}].point", point.get("point"), 3, "x, y, z in LPS mm")
        row: dict[str, Any] = {"finding_id": text(point.get("name")) or f"point-{i}"}
        row.update(zip(POINT_COLUMNS, place, strict=True))
        if point.get("probability") is not None:
            field = f"points[{i}].probability"
            row["listed_probability"] = number(file, field, point["probability"])
        rows.append(row)
    table = pd.DataFrame(rows)
    twice = table["finding_id"].duplicated()
    if twice.any():
        i = int(twice.to_numpy().argmax())
        refuse(
            file, f"points[{i}].name", table["finding_id"][i], "each name once", "rename the point"
        )
    return table
