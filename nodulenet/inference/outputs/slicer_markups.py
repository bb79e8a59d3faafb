"""Answers as a point list of 3D Slicer (``.mrk.json``).

Sources: Slicer's JSON schema ``markups-schema-v1.0.3.json`` and its reading code
(``vtkMRMLMarkupsJsonStorageNode``). A point's label is the ``finding_id``, so that the file reads
back as points of the same names; the probability stands in its description, in the list's
measurements (``controlPointValues``, one number a point).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nodulenet.atomic import write_json
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.answer_words import (
    call_text,
    conformal_text,
    diameter_text,
    model_text,
    number_of,
    plain,
    probability_text,
    range_text,
    rows_of,
    text_of,
)
from nodulenet.inference.outputs.sources import Sources, Written

FILE = "findings.mrk.json"

# Slicer of all versions since 4.11 knows it by this name, though the address leads nowhere today.
SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
# The axes of a point, as Slicer writes them in LPS.
_ORIENTATION = [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0]
_RATIO = ["1", "UCUM", "no units"]
_MM = ["mm", "UCUM", "millimeter"]


def slicer_markups(answers: Answers) -> dict[str, Any]:
    """What the file holds."""
    rows = rows_of(answers)
    return {
        "@schema": SCHEMA,
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "locked": True,
                "fixedNumberOfControlPoints": False,
                "labelFormat": "%N-%d",
                "lastUsedControlPointNumber": len(rows),
                "controlPoints": [
                    _control_point(number, row, answers) for number, row in enumerate(rows, start=1)
                ],
                "measurements": _measurements(rows, answers),
                "display": {
                    "visibility": True,
                    "opacity": 1.0,
                    "color": [0.9, 0.62, 0.0],
                    "selectedColor": [0.9, 0.62, 0.0],
                    "activeColor": [0.34, 0.71, 0.91],
                    "propertiesLabelVisibility": False,
                    "pointLabelsVisibility": True,
                    "textScale": 3.0,
                    # Lines that leave the nodule to be seen.
                    "glyphType": "StarBurst2D",
                    "glyphScale": 3.0,
                    "useGlyphScale": True,
                    "sliceProjection": False,
                },
            }
        ],
    }


def write_slicer_markups(answers: Answers, folder: Path, _sources: Sources) -> Written:
    """Writes ``findings.mrk.json``."""
    target = folder / FILE
    write_json(target, slicer_markups(answers))
    return Written((target,))


def _control_point(number: int, row: dict[str, Any], answers: Answers) -> dict[str, Any]:
    return {
        "id": str(number),
        "label": text_of(row, "finding_id"),
        "description": _description(row, answers),
        "associatedNodeID": "",
        "position": [float(row[column]) for column in POINT_COLUMNS],
        "orientation": _ORIENTATION,
        "selected": True,
        "locked": True,
        "visibility": True,
        "positionStatus": "defined",
    }


def _description(row: dict[str, Any], answers: Answers) -> str:
    warnings = [text_of(row, "warnings"), *answers.warnings]
    parts = [
        f"{probability_text(float(row['probability']))} {answers.meaning}",
        f"fold models: {range_text(row)}",
        f"call: {call_text(row, answers)}",
        f"conformal answer: {conformal_text(row, answers)}",
        f"diameter: {diameter_text(row)}",
        *(f"WARNING: {plain(text)}" for text in warnings if text),
        "research use only",
    ]
    return "; ".join(parts)


def _measurements(rows: list[dict[str, Any]], answers: Answers) -> list[dict[str, Any]]:
    """Measurements of the list; one that lacks a number for a point is left out whole."""
    by = f"by {model_text(answers)}; research use only"
    wanted = (
        ("probability", _RATIO, "%.3f", f"{answers.meaning}, {by}"),
        ("fold_low", _RATIO, "%.3f", f"lowest of the fold models: {answers.meaning}, {by}"),
        ("fold_high", _RATIO, "%.3f", f"highest of the fold models: {answers.meaning}, {by}"),
        ("diameter_mm", _MM, "%.1f %s", "diameter as it was given with the point"),
    )
    found: list[dict[str, Any]] = []
    for name, units, form, description in wanted:
        values = [number_of(row, name) for row in rows]
        numbers = [value for value in values if value is not None]
        if not rows or len(numbers) < len(values):
            continue
        measurement: dict[str, Any] = {
            "name": name,
            "enabled": True,
            "units": units,
            "description": description,
            "printFormat": form,
            "controlPointValues": numbers,
        }
        if len(numbers) == 1:
            measurement["value"] = numbers[0]
        found.append(measurement)
    return found
