"""Own scans with positions in every kind of file: all land on the same place of the right scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nodulenet.config.schema import Luna25Source, PointsSource
from nodulenet.errors import DataError, FindingsError
from nodulenet.findings.luna25 import read_luna25
from nodulenet.findings.own_scans import read_own_scans
from nodulenet.findings.summary import summarize_findings

LPS = {"a": (-37.2, 29.0, 106.0), "b": (-36.5, 28.2, 104.0)}
POINTS = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in LPS:
        image = sitk.GetImageFromArray(np.full((8, 10, 12), -900, dtype=np.int16))
        image.SetSpacing((0.7, 0.8, 2.0))
        image.SetOrigin((-40.0, 25.0, 100.0))
        sitk.WriteImage(image, str(folder / f"{name}.nrrd"))
    return folder


def write_positions(folder: Path, kind: str, scans: Path) -> None:
    """One file a scan with its one position."""
    folder.mkdir()
    for name, (x, y, z) in LPS.items():
        if kind == "slicer":
            markup = {
                "type": "Fiducial",
                "coordinateSystem": "RAS",
                "controlPoints": [{"label": "F-1", "position": [-x, -y, z]}],
            }
            (folder / f"{name}.mrk.json").write_text(json.dumps({"markups": [markup]}))
        elif kind == "detections":
            record = {
                "box": [[x, y, z, 4, 5, 6]],
                "label": [0],
                "label_scores": [0.7],
                "image": f"/elsewhere/{name}.nrrd",
            }
            (folder / f"{name}.json").write_text(json.dumps([record]))
        elif kind == "mask":
            scan = sitk.ReadImage(str(scans / f"{name}.nrrd"))
            index = scan.TransformPhysicalPointToIndex((x, y, z))
            label = sitk.Image(scan.GetSize(), sitk.sitkUInt8)
            label.CopyInformation(scan)
            label[index] = 1
            sitk.WriteImage(label, str(folder / f"{name}.nii.gz"))
        else:
            scan = sitk.ReadImage(str(scans / f"{name}.nrrd"))
            found = scan.TransformPhysicalPointToContinuousIndex((x, y, z))
            (folder / f"{name}.csv").write_text("x,y,z\n" + ",".join(map(str, found)) + "\n")


@pytest.mark.parametrize("kind", ["slicer", "detections", "mask", "voxel"])
def test_a_file_a_scan(scans: Path, tmp_path: Path, kind: str) -> None:
    write_positions(tmp_path / "positions", kind, scans)
    (tmp_path / "positions" / "notes.txt").write_text("not positions")
    source = PointsSource(
        kind="points",
        scans=scans,
        points=tmp_path / "positions",
        space="voxel" if kind == "voxel" else "lps",
    )
    found = read_own_scans(source)
    assert set(found.scans) == {"a", "b"}
    assert found.failures == ()
    table = found.table.set_index("scan_id")
    # A mask's centre is that of its voxel.
    tolerance = np.array((0.35, 0.4, 1.0)) if kind == "mask" else 1e-3
    for name, point in LPS.items():
        assert (np.abs(table.loc[name, POINTS].to_numpy(float) - point) <= tolerance).all()
    assert table["finding_id"].str.startswith(("a:", "b:")).all()


def test_one_bad_file_is_listed_and_the_others_go_on(scans: Path, tmp_path: Path) -> None:
    write_positions(tmp_path / "positions", "slicer", scans)
    (tmp_path / "positions" / "b.mrk.json").write_text("{")
    source = PointsSource(kind="points", scans=scans, points=tmp_path / "positions")
    found = read_own_scans(source)
    assert list(found.table["scan_id"]) == ["a"]
    assert [f["what"] for f in found.failures] == ["file b.mrk.json"]
    assert "line 1" in found.failures[0]["error"]
    (tmp_path / "positions" / "a.mrk.json").unlink()
    with pytest.raises(FindingsError, match=r"holds no file of positions.*first: .*b\.mrk\.json"):
        read_own_scans(source)
    (tmp_path / "none").mkdir()
    with pytest.raises(FindingsError, match="expected files named as the scans"):
        read_own_scans(PointsSource(kind="points", scans=scans, points=tmp_path / "none"))


def test_one_file_for_several_scans_names_them(scans: Path, tmp_path: Path) -> None:
    records = [
        {"box": [[*LPS[n], 4, 4, 4]], "label": [0], "score": [0.9], "image": f"/x/{n}.nrrd"}
        for n in LPS
    ]
    file = tmp_path / "detections.json"
    file.write_text(json.dumps({"validation": records}))
    found = read_own_scans(PointsSource(kind="points", scans=scans, points=file))
    assert set(found.scans) == {"a", "b"}
    table = found.table.set_index("scan_id")
    np.testing.assert_allclose(table.loc["b", POINTS].to_numpy(float), LPS["b"])
    file.write_text(json.dumps({"validation": records[:1]}))
    with pytest.raises(FindingsError, match="give a folder with a file a scan"):
        read_own_scans(PointsSource(kind="points", scans=scans, points=file))


def test_luna25_takes_the_scans_that_are_there(scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "luna25.csv"
    file.write_text(
        "PatientID,SeriesInstanceUID,StudyDate,CoordX,CoordY,CoordZ,LesionID,AnnotationID,"
        "NoduleID,label,Age_at_StudyDate,Gender\n"
        "1,a,19990102,-37.2,29,106,1,1_1_19990102,1_1,1,61,Male\n"
        "2,gone,19990102,1,2,3,1,2_1_19990102,2_1,0,70,Female\n"
    )
    found = read_luna25(Luna25Source(kind="luna25", scans=scans, table=file))
    assert list(found.scans) == ["a"]
    assert list(found.table["label"]) == [1, 0]
    assert "StudyDate" not in found.table.columns
    with pytest.raises(DataError, match="there is no such folder"):
        read_luna25(Luna25Source(kind="luna25", scans=scans / "no", table=file))


def test_the_summary_counts_what_is_there() -> None:
    table = pd.DataFrame(
        {
            "scan_id": ["a", "a", "b", "c"],
            "patient_id": ["p", "p", "p", "q"],
            "label": pd.array([1, 0, None, 0], dtype="Int64"),
            "diameter_mm": [3.999, 4.0, np.nan, 25.0],
        }
    )
    assert summarize_findings(table) == {
        "findings": 4,
        "scans": 3,
        "patients": 2,
        "labels": {"0": 2, "1": 1, "unknown": 1},
        "sizes": {
            "0 to < 4 mm": {"1": 1},
            "4 to < 6 mm": {"0": 1},
            "20 mm and more": {"0": 1},
            "unknown": {"unknown": 1},
        },
    }
    bare = summarize_findings(pd.DataFrame({"finding_id": ["x"]}))
    assert (bare["scans"], bare["patients"], bare["labels"]) == (None, None, {"unknown": 1})


@pytest.mark.parametrize("name", ["p.CSV", "p.txt"])
@pytest.mark.parametrize("space", ["ras", "voxel"])
def test_the_declared_space_holds_for_every_table(
    scans: Path, tmp_path: Path, name: str, space: str
) -> None:
    x, y, z = LPS["a"]
    scan = sitk.ReadImage(str(scans / "a.nrrd"))
    point = {
        "ras": (-x, -y, z),
        "voxel": scan.TransformPhysicalPointToContinuousIndex(LPS["a"]),
    }[space]
    file = tmp_path / name
    file.write_text("scan_id,x,y,z\na," + ",".join(map(str, point)) + "\n")
    source = PointsSource(kind="points", scans=scans, points=file, space=space)  # type: ignore[arg-type]
    found = read_own_scans(source).table[POINTS].iloc[0].to_numpy(float)
    np.testing.assert_allclose(found, LPS["a"], atol=1e-3)


def test_a_folder_may_mix_files_that_say_their_space_with_some_that_do_not(
    scans: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "positions"
    write_positions(folder, "slicer", scans)
    (folder / "a.mrk.json").unlink()
    x, y, z = LPS["a"]
    (folder / "a.csv").write_text(f"x,y,z\n{-x},{-y},{z}\n")
    source = PointsSource(kind="points", scans=scans, points=folder, space="ras")
    table = read_own_scans(source).table.set_index("scan_id")
    for name, point in LPS.items():
        np.testing.assert_allclose(table.loc[name, POINTS].to_numpy(float), point, atol=1e-3)


def test_a_label_column_that_is_a_rating_is_told(scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("scan_id,x,y,z,label\na,-37,29,106,0\na,-36,29,106,2\n")
    found = read_own_scans(PointsSource(kind="points", scans=scans, points=file))
    assert found.table["label"].isna().all()
    assert any("column 'label' holds 0, 2" in note for note in found.notes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "1,a,1,2,3,-5\n",
            r"line 2, column 'diameter_mm': found -5\.0, expected a diameter",
        ),
        ("1,a,1,2,3,5\n1,a,1,2,4,5\n", "line 3, column 'finding_id'.*every finding once"),
    ],
)
def test_impossible_rows_are_named(scans: Path, tmp_path: Path, rows: str, message: str) -> None:
    file = tmp_path / "p.csv"
    file.write_text("finding_id,scan_id,x,y,z,diameter_mm\n" + rows)
    with pytest.raises(FindingsError, match=message):
        read_own_scans(PointsSource(kind="points", scans=scans, points=file))
