from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nodulenet.errors import FindingsError
from nodulenet.findings import json_file
from nodulenet.findings.json_file import read_json
from nodulenet.findings.luna25 import read_luna25_csv, read_point_list_json

HEADER = (
    "PatientID,SeriesInstanceUID,StudyDate,CoordX,CoordY,CoordZ,LesionID,AnnotationID,NoduleID,"
    "label,Age_at_StudyDate,Gender"
)
ROWS = [
    "000123,1.2.3.1,19990102,61.14,-163.28,-177.75,1,000123_1_19990102,000123_1,1,63,Male",
    "000123,1.2.3.2,20000102,30.64,-95.96,-128.59,1,000123_1_20000102,000123_1,1,64,Male",
    "000456,1.2.3.3,19990102,-82.53,5,1601.41,2,000456_2_19990102,000456_2,0,,Female",
]


def table(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    file = tmp_path / "luna25.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def test_the_public_table(tmp_path: Path) -> None:
    read = read_luna25_csv(table(tmp_path, *ROWS))
    assert list(read.columns) == [
        *("finding_id", "scan_id", "patient_id", "x_lps_mm", "y_lps_mm", "z_lps_mm"),
        *("diameter_mm", "label", "nodule_id", "age_years", "sex"),
    ]
    assert list(read["patient_id"]) == ["000123", "000123", "000456"]
    assert list(read["label"]) == [1, 1, 0]
    assert read["nodule_id"].nunique() == 2
    assert read.loc[2, ["x_lps_mm", "y_lps_mm", "z_lps_mm"]].tolist() == [-82.53, 5.0, 1601.41]
    assert read["diameter_mm"].isna().all()
    assert pd.isna(read["age_years"][2])
    assert read["sex"][2] == "Female"


def test_a_table_without_outcomes_has_no_labels(tmp_path: Path) -> None:
    header = "PatientID,SeriesInstanceUID,CoordX,CoordY,CoordZ,AnnotationID"
    read = read_luna25_csv(table(tmp_path, "7,1.2,1,2,3,a", header=header))
    assert read["label"].isna().all()
    assert "sex" not in read.columns


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [ROWS[0], ROWS[1].replace("30.64", "")],
            "line 3, column 'CoordX': found nothing, expected a finite number; correct or remove "
            "the row",
        ),
        (
            [ROWS[0].replace(",1,63", ",2,63")],
            "line 2, column 'label': found 2.0, expected 0 (benign) or 1 (malignant); correct or "
            "remove the row",
        ),
        (
            [ROWS[0], ROWS[0]],
            "line 3, column 'AnnotationID': found '000123_1_19990102', expected each annotation "
            "once; correct or remove the row",
        ),
        (
            [ROWS[0].replace("-163.28", "inf")],
            "line 2, column 'CoordY': found inf, expected a finite number; correct or remove the "
            "row",
        ),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[str], message: str) -> None:
    file = table(tmp_path, *rows)
    with pytest.raises(FindingsError) as error:
        read_luna25_csv(file)
    assert str(error.value) == f"{file}: {message}"


def point_list(**changes: Any) -> dict[str, Any]:
    """As the challenge's ``nodule-locations.json``."""
    return {
        "name": "Points of interest",
        "type": "Multiple points",
        "points": [
            {"name": "100_1_19990102", "point": [61.14, -163.28, -177.75]},
            {"name": "100_2_19990102", "point": [1, 2, 3]},
        ],
        "version": {"major": 1, "minor": 0},
    } | changes


def written(tmp_path: Path, data: Any) -> Path:
    file = tmp_path / "nodule-locations.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def test_the_point_list_of_the_algorithm_interface(tmp_path: Path) -> None:
    read = read_point_list_json(written(tmp_path, point_list()))
    assert list(read.columns) == ["finding_id", "x_lps_mm", "y_lps_mm", "z_lps_mm"]
    assert read.loc[0].tolist() == ["100_1_19990102", 61.14, -163.28, -177.75]
    assert read.loc[1].tolist() == ["100_2_19990102", 1.0, 2.0, 3.0]


def test_names_may_be_absent_and_probabilities_there(tmp_path: Path) -> None:
    points = [{"point": [1, 2, 3], "probability": 0.25}, {"point": [4, 5, 6]}]
    read = read_point_list_json(written(tmp_path, point_list(points=points)))
    assert list(read["finding_id"]) == ["point-0", "point-1"]
    assert read["listed_probability"][0] == 0.25
    assert pd.isna(read["listed_probability"][1])


BAD_POINT_LISTS: list[tuple[Any, str]] = [
    (
        "[1, 2]",
        ": found an array of 2, expected an object {...}; correct the file or export it again",
    ),
    (
        point_list(type="Multiple 2D bounding boxes"),
        ": type: found 'Multiple 2D bounding boxes', expected 'Multiple points'; give a list of "
        "points (nodule-locations.json)",
    ),
    (
        point_list(points={"a": 1}),
        ": points: found an object with 'a', expected an array [...]; correct the file or export "
        "it again",
    ),
    (point_list(points=[]), ": points: is empty; expected at least one point"),
    (
        point_list(points=[{"point": [1, 2]}]),
        ": points[0].point: found an array of 2, expected 3 numbers (x, y, z in LPS mm); correct "
        "or remove the entry",
    ),
    (
        point_list(points=[{"point": [1, True, 3]}]),
        ": points[0].point[1]: found true, expected a finite number; correct or remove the entry",
    ),
    (
        point_list(points=[{"point": [1, "2", 3]}]),
        ": points[0].point[1]: found '2', expected a finite number; correct or remove the entry",
    ),
    (
        '{"type": "Multiple points", "points": [{"point": [1, 1e999, 3]}]}',
        ": points[0].point[1]: found inf, expected a finite number; correct or remove the entry",
    ),
    (
        point_list(points=[{"point": [10**400, 1, 3]}]),
        ": points[0].point[0]: found a number of more than 60 digits, expected a finite number; "
        "correct or remove the entry",
    ),
    (
        point_list(points=[{"name": "a", "point": [1, 2, 3]}, {"name": "a", "point": [1, 2, 4]}]),
        ": points[1].name: found 'a', expected each name once; rename the point",
    ),
    (
        '{"type": "Multiple points",\n "points": [{"name": "NaN", "point": [1,\nNaN, 3]}]}',
        ": line 3: found NaN, which is no JSON number; correct or remove the entry",
    ),
    (
        '{"type": "Multiple points",\n "points": [}',
        ": line 2, column 13: Expecting value; expected JSON with a list of points; save it again",
    ),
    (
        '{"points": [], "points": []}',
        ": an object holds the name 'points' twice; expected each name once; save the file again",
    ),
    ("[" * 200_000, ": is nested too deeply; expected JSON with a list of points; save it again"),
    (
        '{"points": ' * 50_000,
        ": is nested too deeply; expected JSON with a list of points; save it again",
    ),
    (
        '{"points": ' + "9" * 5000 + "}",
        ": holds a number of thousands of digits; expected millimetres; save it again",
    ),
    (
        "",
        ": line 1, column 1: Expecting value; expected JSON with a list of points; save it again",
    ),
]


@pytest.mark.parametrize(("data", "message"), BAD_POINT_LISTS)
def test_bad_point_lists(tmp_path: Path, data: Any, message: str) -> None:
    file = written(tmp_path, data)
    with pytest.raises(FindingsError) as error:
        read_point_list_json(file)
    assert str(error.value) == f"{file}{message}"


def test_json_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FindingsError, match=r"no\.json: there is no such file; expected points"):
        read_json(tmp_path / "no.json", "points")
    with pytest.raises(FindingsError, match="there is no such file"):
        read_json(tmp_path, "points")
    file = tmp_path / "a.json"
    file.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(FindingsError, match="byte 7 is no UTF-8"):
        read_json(file, "points")
    file.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(file, "points") == [1]
    monkeypatch.setattr(json_file, "MAX_FILE_BYTES", 5)
    with pytest.raises(FindingsError, match="has 6 bytes, expected at most 5 of JSON with points"):
        read_json(file, "points")


def test_a_label_is_one_line_that_can_be_written(tmp_path: Path) -> None:
    points = '[{"name": "a\\nb\\ud800", "point": [1, 2, 3]}]'
    file = written(tmp_path, '{"type": "Multiple points", "points": ' + points + "}")
    assert read_point_list_json(file)["finding_id"][0] == "a b?"
