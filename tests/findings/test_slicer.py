from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nodulenet.errors import FindingsError
from nodulenet.findings.slicer import read_slicer_markups

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
ORIENTATION = [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0]


def control_point(number: int, position: Any, **changes: Any) -> dict[str, Any]:
    """As Slicer 5 writes one."""
    return {
        "id": str(number),
        "label": f"F-{number}",
        "description": "",
        "associatedNodeID": "vtkMRMLScalarVolumeNode1",
        "position": position,
        "orientation": ORIENTATION,
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    } | changes


def markups(*points: dict[str, Any], **changes: Any) -> dict[str, Any]:
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(points),
        "controlPoints": list(points),
        "measurements": [],
        "display": {"visibility": True, "color": [0.4, 1.0, 1.0]},
    } | changes
    return {"@schema": SCHEMA, "markups": [markup]}


def written(tmp_path: Path, data: Any, name: str = "F.mrk.json") -> Path:
    file = tmp_path / name
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


POINTS = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


@pytest.mark.parametrize(
    ("system", "position"),
    [
        ("LPS", [-53.4, -73.3, 10.5]),
        ("RAS", [53.4, 73.3, 10.5]),
        ("ras", [53.4, 73.3, 10.5]),
        (1, [-53.4, -73.3, 10.5]),
        (0, [53.4, 73.3, 10.5]),
        ("0", [53.4, 73.3, 10.5]),
    ],
)
def test_the_file_says_its_space(tmp_path: Path, system: Any, position: list[float]) -> None:
    file = written(tmp_path, markups(control_point(1, position), coordinateSystem=system))
    read, notes = read_slicer_markups(file)
    assert list(read.columns) == ["finding_id", *POINTS, "description"]
    assert read.loc[0].tolist() == ["F-1", -53.4, -73.3, 10.5, ""]
    assert notes == ()


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    # slicer.readthedocs.io, developer guide, Markups: the least that Slicer reads.
    data = (
        '{"@schema": "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/'
        'Markups/Resources/Schema/markups-schema-v1.0.0.json#",\n'
        '"markups": [{"type": "Fiducial", "coordinateSystem": "LPS", "controlPoints": [\n'
        '    { "label": "F-1", "position": [-53.388409961685827, -73.33572796934868, 0.0] },\n'
        '    { "label": "F-2", "position": [49.8682950191571, -88.55955938697324, 0.0] }\n'
        "]}]}"
    )
    read, notes = read_slicer_markups(written(tmp_path, data))
    assert list(read["finding_id"]) == ["F-1", "F-2"]
    assert read.loc[0, POINTS].tolist() == [-53.388409961685827, -73.33572796934868, 0.0]
    assert notes == ()


def test_no_system_is_the_schemas_default_and_said(tmp_path: Path) -> None:
    data = markups(control_point(1, [1, 2, 3]))
    del data["markups"][0]["coordinateSystem"], data["markups"][0]["coordinateUnits"]
    file = written(tmp_path, data)
    read, notes = read_slicer_markups(file)
    assert read.loc[0, POINTS].tolist() == [1, 2, 3]
    assert notes == (f"{file}: markups[0] names no coordinateSystem; read as LPS, as Slicer does",)


def test_points_that_were_never_placed_are_left_out(tmp_path: Path) -> None:
    unplaced = control_point(4, None)
    del unplaced["position"]
    file = written(
        tmp_path,
        markups(
            control_point(1, "", positionStatus="undefined"),
            control_point(2, [1, 2, 3], positionStatus="preview"),
            control_point(3, [4, 5, 6], selected=False, visibility=False, description="apical"),
            unplaced,
        ),
    )
    read, notes = read_slicer_markups(file)
    assert read["finding_id"].tolist() == ["F-3"]
    assert read["description"].tolist() == ["apical"]
    assert notes == tuple(
        f"{file}: point 'F-{n}' was never placed and is left out" for n in (1, 2, 4)
    )


def test_labels_become_different_ids(tmp_path: Path) -> None:
    labels = ["nodule", "nodule", "nodule-2", "", "nodule"]
    points = [control_point(i, [i, 0, 0], label=label) for i, label in enumerate(labels)]
    points[3]["id"] = ""
    read, notes = read_slicer_markups(written(tmp_path, markups(*points)))
    assert read["finding_id"].tolist()[:1] == ["nodule"]
    assert read["finding_id"].tolist()[2:4] == ["nodule-2", "point-3"]
    assert read["finding_id"].is_unique
    assert notes[0].endswith(": 2 labels stood more than once and were numbered")


def test_several_point_lists_in_one_file(tmp_path: Path) -> None:
    data = markups(control_point(1, [1, 2, 3]))
    data["markups"] += markups(control_point(2, [1, 2, 3]), coordinateSystem="RAS")["markups"]
    read, _ = read_slicer_markups(written(tmp_path, data))
    assert read[POINTS].to_numpy().tolist() == [[1, 2, 3], [-1, -2, 3]]


BAD: list[tuple[Any, str]] = [
    (
        markups(control_point(1, [1, 2, 3]), type="ROI"),
        ": markups[0].type: found 'ROI', expected 'Fiducial' (a point list); place the nodules as "
        "a point list in Slicer and save that",
    ),
    (
        markups(control_point(1, [1, 2, 3]), coordinateSystem="IJK"),
        ": markups[0].coordinateSystem: found 'IJK', expected LPS or RAS (in old files 1 or 0); "
        "save it again",
    ),
    (
        markups(control_point(1, [1, 2, 3]), coordinateSystem=True),
        ": markups[0].coordinateSystem: found true, expected LPS or RAS (in old files 1 or 0); "
        "save it again",
    ),
    (
        markups(control_point(1, [1, 2, 3]), coordinateUnits="um"),
        ": markups[0].coordinateUnits: found 'um', expected 'mm'; set Slicer's length unit to mm "
        "and save again",
    ),
    (
        markups(control_point(1, [1, 2])),
        ": markups[0].controlPoints[0].position: found an array of 2, expected 3 numbers (x, y, z "
        "in mm); correct or remove the entry",
    ),
    (
        markups(control_point(1, "")),
        ": markups[0].controlPoints[0].position: found '', expected an array [...]; correct the "
        "file or export it again",
    ),
    (
        markups(control_point(1, [1, 2, 3], positionStatus="maybe")),
        ": markups[0].controlPoints[0].positionStatus: found 'maybe', expected defined, undefined "
        "or preview; save it again in Slicer",
    ),
    (
        markups(),
        ": holds no placed point; expected at least one; place points in Slicer and save again",
    ),
    (
        {"@schema": "https://example.org/markups-schema-v2.0.0.json#", "markups": []},
        ": @schema: found 'https://example.org/markups-schema-v2.0.0.json#', expected "
        "markups-schema-v1.x.y.json; save it in Slicer 4.11 to 5",
    ),
    (
        {"markups": None},
        ": markups: found nothing, expected an array [...]; correct the file or export it again",
    ),
    ({"a": 1}, ": markups: found nothing, expected an array [...]; correct the file or export it"),
]


@pytest.mark.parametrize(("data", "message"), BAD)
def test_bad_markups(tmp_path: Path, data: Any, message: str) -> None:
    file = written(tmp_path, data)
    with pytest.raises(FindingsError) as error:
        read_slicer_markups(file)
    assert str(error.value).startswith(f"{file}{message}")


def test_a_coded_unit_is_read(tmp_path: Path) -> None:
    unit = ["mm", "UCUM", "millimeter"]
    file = written(tmp_path, markups(control_point(1, [1, 2, 3]), coordinateUnits=unit))
    assert len(read_slicer_markups(file)[0]) == 1


FCSV = '''# Markups fiducial file version = {version}
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,{x},{y},29.44,0,0,0,1,1,1,0,F-1,,
1,{x},{y},30.5,0,0,0,1,1,0,0,"F-1","left, ""apical""",vtkMRMLScalarVolumeNode1
'''


@pytest.mark.parametrize(
    ("version", "system", "sign"),
    [("4.10", "0", -1), ("4.10", "1", 1), ("4.13", "LPS", 1), ("5.6", "RAS", -1)],
)
def test_fcsv(tmp_path: Path, version: str, system: str, sign: int) -> None:
    data = FCSV.format(version=version, system=system, x=-19.9 * sign, y=13.9 * sign)
    read, notes = read_slicer_markups(written(tmp_path, data.replace("\n", "\r\n"), "F.fcsv"))
    assert read[POINTS].to_numpy().tolist() == [[-19.9, 13.9, 29.44], [-19.9, 13.9, 30.5]]
    assert read["finding_id"].tolist() == ["F-1", "F-1-2"]
    assert read["description"].tolist() == ["", 'left, "apical"']
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "# CoordinateSystem = 2\n",
            ": line 1, CoordinateSystem: found '2', expected LPS or RAS (in old files 1 or 0); "
            "open it in Slicer and save the points as .mrk.json",
        ),
        (
            "F,1,2,3,1,1\n",
            ": line 1: found a point before any '# CoordinateSystem = ' line, expected LPS or "
            "RAS; open it in Slicer and save the points as .mrk.json",
        ),
        (
            "# CoordinateSystem = LPS\nid,1,,3\n",
            ": line 2, column 'y': found '', expected a finite number; correct the line",
        ),
        (
            "# CoordinateSystem = LPS\nid,1,2\n",
            ": line 2, column 'z': found nothing, expected a finite number; correct the line",
        ),
        (
            "# CoordinateSystem = LPS\nid,1,2,nan\n",
            ": line 2, column 'z': found 'nan', expected a finite number; correct the line",
        ),
        (
            "# CoordinateSystem = LPS\n# columns = id,l,p,s\n",
            ": line 2, columns: found 'id,l,p,s', expected x, y and z in it; open it in Slicer "
            "and save the points as .mrk.json",
        ),
        (
            "# CoordinateSystem = LPS\n",
            ": holds no placed point; expected at least one; place points in Slicer and save again",
        ),
        (
            '# CoordinateSystem = LPS\n"' + "a" * 200_000 + '",1,2,3\n',
            ": line 2: is no CSV (field larger than field limit (131072)); open it in Slicer and "
            "save the points as .mrk.json",
        ),
    ],
)
def test_bad_fcsv(tmp_path: Path, data: str, message: str) -> None:
    file = written(tmp_path, data, "F.fcsv")
    with pytest.raises(FindingsError) as error:
        read_slicer_markups(file)
    assert str(error.value) == f"{file}{message}"


def test_an_absent_fcsv(tmp_path: Path) -> None:
    with pytest.raises(FindingsError, match="there is no such file; expected points of 3D Slicer"):
        read_slicer_markups(tmp_path / "no.fcsv")
