from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nodulenet.config.schema import LabelRule, PointsSource
from nodulenet.ct import open_ct
from nodulenet.errors import DataError, FindingsError
from nodulenet.findings.labels import apply_label_rule
from nodulenet.findings.own_scans import read_own_scans
from nodulenet.findings.points import points_of_scan, read_points_csv, scan_names


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    image = sitk.GetImageFromArray(np.full((8, 10, 12), -900, dtype=np.int16))
    image.SetSpacing((0.7, 0.8, 2.0))
    image.SetOrigin((-40.0, 25.0, 100.0))
    folder = tmp_path / "scans"
    folder.mkdir()
    sitk.WriteImage(image, str(folder / "a.mhd"))
    return folder


def test_lps_ras_and_voxel_points_land_on_the_same_place(scans: Path, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(scans / "a.mhd"))
    index = (4.5, 3.0, 2.25)
    lps = image.TransformContinuousIndexToPhysicalPoint(index)
    written = {"lps": lps, "ras": (-lps[0], -lps[1], lps[2]), "voxel": index}
    for space, point in written.items():
        file = tmp_path / f"{space}.csv"
        file.write_text("scan_id,x,y,z\na," + ",".join(map(str, point)) + "\n")
        source = PointsSource(kind="points", scans=scans, points=file, space=space)  # type: ignore[arg-type]
        row = read_own_scans(source).table.iloc[0]
        np.testing.assert_allclose([row["x_lps_mm"], row["y_lps_mm"], row["z_lps_mm"]], lps)


def test_names_that_say_lps_contradict_another_space(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("coordX,coordY,coordZ\n1,2,3\n")
    rows, space = read_points_csv(file)
    assert space == "lps"
    assert list(rows.columns) == ["x", "y", "z"]
    with pytest.raises(FindingsError, match="are in LPS, but the space was declared as ras"):
        read_points_csv(file, "ras")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(FindingsError, match="found the columns a, b, expected x, y, z"):
        read_points_csv(file)


def test_ids_stay_text(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("finding_id,x,y,z\n007,1,2,3\n")
    rows, _ = read_points_csv(file)
    assert rows["finding_id"][0] == "007"


def test_a_scan_id_is_no_path(scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("scan_id,x,y,z\n../scans/a,1,2,3\n")
    with pytest.raises(FindingsError, match="is a path"):
        read_own_scans(PointsSource(kind="points", scans=scans, points=file))
    with pytest.raises(DataError, match="there is no such folder"):
        read_own_scans(PointsSource(kind="points", scans=scans / "no", points=file))


def test_voxel_points_of_an_absent_scan_are_listed(scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("scan_id,x,y,z\na,1,2,3\nb,1,2,3\n")
    found = read_own_scans(PointsSource(kind="points", scans=scans, points=file, space="voxel"))
    assert list(found.table["scan_id"]) == ["a"]
    assert found.failures[0]["what"] == "scan b (1 findings)"
    assert open_ct(found.scans["a"]).shape == (8, 10, 12)


def test_words_and_ratings_in_a_label_column_wait_for_a_rule(scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("scan_id,x,y,z,label\na,1,2,3,benign\na,1,2,4,malignant\n")
    table = read_own_scans(PointsSource(kind="points", scans=scans, points=file)).table
    assert table["label"].isna().all()
    rule = LabelRule(column="label", negative=["benign"], positive=["malignant"])
    assert list(apply_label_rule(table, rule)) == [0, 1]
    file.write_text("scan_id,x,y,z,label\na,1,2,3,0\na,1,2,4,1\n")
    table = read_own_scans(PointsSource(kind="points", scans=scans, points=file)).table
    assert list(table["label"]) == [0, 1]


def test_points_of_other_scans_are_not_taken_for_this_one() -> None:
    rows = pd.DataFrame({"seriesuid": ["1.2", "1.3"], "x": [1, 2], "y": 0, "z": 0})
    assert list(points_of_scan(rows, {"1.3", "scan"}, "p.csv")["x"]) == [2]
    assert len(points_of_scan(rows.drop(columns="seriesuid"), {"1.3"}, "p.csv")) == 2
    assert scan_names(Path("a/CT.01.nii.gz"), "1.3") >= {"1.3", "CT.01"}
    assert scan_names(Path("a/LIDC-1"), "1.3") == {"1.3", "LIDC-1"}
    with pytest.raises(FindingsError, match=r"names no point of the scan 9; it names 1\.2, 1\.3"):
        points_of_scan(rows, {"9"}, "p.csv")


def test_semicolons_are_named_as_such(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("x;y;z\n1,5;2,5;3,5\n")
    with pytest.raises(FindingsError, match="is separated by semicolons, expected commas"):
        read_points_csv(file)
