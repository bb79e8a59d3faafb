"""Rows and columns of images: SimpleITK, which reads each file alone, says where they lie."""

from __future__ import annotations

import runpy
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from nodulenet.cli.main import app
from nodulenet.config.schema import PointsSource
from nodulenet.ct import CTVolume, open_ct
from nodulenet.ct.planes import ImagePlane
from nodulenet.errors import FindingsError, NoduleNetError, UsageError
from nodulenet.findings.own_scans import read_own_scans
from nodulenet.findings.point_files import read_points_file

writer = runpy.run_path(str(Path(__file__).with_name("series_writer.py")))
write_series, SERIES, FRAME = writer["write_series"], writer["SERIES"], writer["FRAME"]
ROWS, COLUMNS, IMAGE_NUMBERS = writer["ROWS"], writer["COLUMNS"], writer["IMAGE_NUMBERS"]

POINTS = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]
OBLIQUE = Rotation.from_euler("xyz", [17, -8, 30], degrees=True).as_matrix()


def by_simpleitk(file: Path, row: float, column: float) -> tuple[float, ...]:
    """LPS mm of a place in an image, counted from 0 at the centre of the first pixel."""
    point: tuple[float, ...] = sitk.ReadImage(str(file)).TransformContinuousIndexToPhysicalPoint(
        (column, row, 0.0)
    )
    return point


@pytest.mark.parametrize("first_pixel", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE], ids=["axial", "oblique"])
def test_each_row_lies_where_its_own_image_says(
    tmp_path: Path, direction: Any, first_pixel: float | None
) -> None:
    paths = write_series(tmp_path / "scan", direction=direction)
    volume = open_ct(tmp_path / "scan")
    rng = np.random.default_rng(1)
    by_uid = ["finding_id,sop_instance_uid,row,column"]
    by_number = ["finding_id,SeriesNumber,InstanceNumber,Row,Column"]
    expected = []
    for i in rng.permutation(len(paths)):
        row, column = rng.uniform(-0.5, (ROWS - 0.5, COLUMNS - 0.5)).tolist()
        expected.append(by_simpleitk(paths[i], row, column))
        place = f"{row + (first_pixel or 0)!r},{column + (first_pixel or 0)!r}"
        by_uid.append(f"f{i},{pydicom.dcmread(paths[i]).SOPInstanceUID},{place}")
        by_number.append(f"f{i},4,{IMAGE_NUMBERS[i]},{place}")
    for name, lines in {"uid.csv": by_uid, "number.csv": by_number}.items():
        (tmp_path / name).write_text("\n".join(lines))
        rows = read_points_file(tmp_path / name, volume=volume, first_pixel=first_pixel)
        assert (rows.kind, rows.notes) == ("images", ())
        np.testing.assert_allclose(rows.table[POINTS].to_numpy(), expected, atol=1e-6)
        assert volume.contains(rows.table[POINTS].to_numpy()).all()
        assert set(rows.table["frame_of_reference_uid"]) == {FRAME}
    if direction is not OBLIQUE:  # an image number is no index of a slice
        slices = np.rint(volume.index_of(np.array(expected))[:, 2]).astype(int)
        assert [IMAGE_NUMBERS[k] for k in slices] == [
            int(line.split(",")[2]) for line in by_number[1:]
        ]


def test_a_tilted_series_is_placed_by_its_slices_not_by_its_grid(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scan", tilt=0.6)
    volume = open_ct(tmp_path / "scan", irregular="resample")
    file = tmp_path / "p.csv"
    file.write_text(f"series_number,instance_number,row,column\n4,{IMAGE_NUMBERS[3]},2.5,6\n")
    found = read_points_file(file, volume=volume).table[POINTS].to_numpy(float)[0]
    np.testing.assert_allclose(found, by_simpleitk(paths[3], 2.5, 6), atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(
    # Of angles like 1e-306 SimpleITK makes NaN.
    turn=st.tuples(*[st.floats(-180, 180).map(lambda degrees: round(degrees, 6))] * 3),
    spacing=st.tuples(*[st.floats(0.1, 3)] * 2),
    position=st.tuples(*[st.floats(-500, 500)] * 3),
    place=st.tuples(*[st.floats(-0.5, 511.5)] * 2),
)
def test_a_plane_and_simpleitk_undo_each_other(
    turn: Any, spacing: Any, position: Any, place: Any
) -> None:
    axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    plane = ImagePlane(
        "1.2", 1, 1, None, 512, 512, position, tuple(axes[:, :2].T.ravel()), spacing[::-1]
    )
    image = sitk.Image([512, 512, 1], sitk.sitkInt16)
    image.SetOrigin(position)
    image.SetSpacing([*spacing, 1.0])
    image.SetDirection(axes.ravel().tolist())
    row, column = place
    point = plane.points_of([row], [column])[0]
    index = image.TransformPhysicalPointToContinuousIndex(point.tolist())
    np.testing.assert_allclose(index, (column, row, 0), atol=1e-6)


HEAD = "series_number,instance_number,row,column\n"
BAD = [
    (HEAD + "4,8,1,1\n", "line 2, column 'instance_number': found 8, expected an image of the "
     "series: 7 to 40 (29 of them not there); correct or remove the row"),
    (HEAD + "4,7,1,1\n4,7.5,1,1\n", "line 3, column 'instance_number': found 7.5, expected a "
     "whole number"),
    (HEAD + "4,7,8,1\n", "line 2, column 'row': found 8, expected -0.5 to 7.5 for 8 pixels counted "
     "from 0 at the first one's centre; if pixels count from 0.5, declare that"),
    (HEAD + "4,7,1,11.5\n", "line 2, column 'column': found 11.5, expected -0.5 to 10.5 for 11"),
    (HEAD + ",7,1,1\n", "line 2, column 'series_number': found nothing, expected the image's"),
    (HEAD + "4,,1,1\n", "line 2, column 'instance_number': found nothing, expected an image"),
    (HEAD + "5,7,1,1\n", f"none of its 1 rows is of the series {SERIES} (number 4); the first "
     "names series_number 5, instance_number 7; rows and columns hold on their own series"),
    ("instance_number,row,column\n7,1,1\n", "column 'series_number' is missing; an image number "
     "alone does not say of which series it is"),
    ("row,column\n1,1\n", "found the columns row, column, expected the image of each row"),
    ("sop_instance_uid,instance_number,row,column\n" + f"{SERIES}.7,30,1,1\n",
     f"column 'instance_number': found 30, expected 7, which the image {SERIES}.7 bears"),
    ("sop_instance_uid,row,column\n1.2.3,1,1\n", "the first names sop_instance_uid 1.2.3"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD)
def test_wrong_rows_are_named(tmp_path: Path, text: str, message: str) -> None:
    write_series(tmp_path / "scan")
    file = tmp_path / "p.csv"
    file.write_text(text)
    with pytest.raises(FindingsError) as error:
        read_points_file(file, volume=open_ct(tmp_path / "scan"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_images_need(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text(HEAD + "4,7,1,1\n")
    with pytest.raises(UsageError, match="give the scan they were marked on"):
        read_points_file(file)
    with pytest.raises(UsageError, match="in rows and columns of images; leave out space='ras'"):
        read_points_file(file, space="ras")
    volume = CTVolume.from_array(np.full((3, 3, 3), -900, np.int16), (1, 1, 1))
    with pytest.raises(FindingsError, match="is array and has none; place them with `nodulenet"):
        read_points_file(file, volume=volume)
    write_series(tmp_path / "scan")
    with pytest.raises(UsageError, match=r"first_pixel is 2\.0; expected 0, 0\.5 or 1"):
        read_points_file(file, volume=open_ct(tmp_path / "scan"), first_pixel=2.0)
    file.write_text("x,y,z\n1,2,3\n")
    with pytest.raises(UsageError, match=r"leave out first_pixel=1\.0"):
        read_points_file(file, first_pixel=1.0)


def test_image_numbers_that_stand_twice_are_no_name(tmp_path: Path) -> None:
    def same_number(ds: Any, k: int) -> None:
        ds.InstanceNumber = 1 + k // 2

    paths = write_series(tmp_path / "scan", change=same_number)
    volume = open_ct(tmp_path / "scan")
    file = tmp_path / "p.csv"
    file.write_text(HEAD + "4,2,1,1\n")
    with pytest.raises(FindingsError, match="found 2, which 2 images at different places bear"):
        read_points_file(file, volume=volume)
    file.write_text(HEAD + "4,3,1,1\n")
    found = read_points_file(file, volume=volume).table[POINTS].to_numpy(float)[0]
    np.testing.assert_allclose(found, by_simpleitk(paths[4], 1, 1), atol=1e-6)


def test_rows_of_another_series_are_left_out_and_told(tmp_path: Path) -> None:
    write_series(tmp_path / "scan")
    file = tmp_path / "p.csv"
    file.write_text("finding_id," + HEAD + "a,5,7,1,1\nb,4,7,1,1\n")
    rows = read_points_file(file, volume=open_ct(tmp_path / "scan"))
    assert list(rows.table["finding_id"]) == ["b"]
    assert rows.notes == (
        f"{file}: 1 rows are of other series than {SERIES} and are left out; the first names "
        "series_number 5, instance_number 7",
    )


def test_own_scans_by_image_number(tmp_path: Path) -> None:
    """Two patients whose series and images bear the same numbers, and an absent one."""
    places = {"a": (-31.0, 12.0, -205.0), "b": (10.0, -5.0, 300.0)}
    paths = {
        name: write_series(tmp_path / "scans" / name, origin=place, series_uid=f"{SERIES}.{i}")
        for i, (name, place) in enumerate(places.items(), 1)
    }
    file = tmp_path / "p.csv"
    file.write_text(
        "scan_id;series_number;instance_number;row;column\n"
        "a;4;7;2,5;3\nb;4;7;2,5;3\nb;4;40;1;1\nc;4;7;1;1\nb;9;7;1;1\n"
    )
    source = PointsSource.model_validate(
        {
            "kind": "points",
            "scans": tmp_path / "scans",
            "points": file,
            "csv": {"separator": ";", "decimal": ","},
            "first_pixel": 1,
        }
    )
    found = read_own_scans(source)
    expected = [
        by_simpleitk(paths["a"][4], 1.5, 2),
        by_simpleitk(paths["b"][4], 1.5, 2),
        by_simpleitk(paths["b"][0], 0, 0),
    ]
    assert list(found.table["scan_id"]) == ["a", "b", "b"]
    np.testing.assert_allclose(found.table[POINTS].to_numpy(), expected, atol=1e-6)
    assert [f["what"] for f in found.failures] == ["scan c (1 findings)"]
    assert any("1 rows are of other series" in note for note in found.notes)

    folder = tmp_path / "positions"
    folder.mkdir()
    (folder / "b.csv").write_text("sop_instance_uid,row,column\n" + f"{SERIES}.2.22,2.5,3\n")
    found = read_own_scans(source.model_copy(update={"points": folder, "csv": type(source.csv)()}))
    np.testing.assert_allclose(
        found.table[POINTS].to_numpy()[0], by_simpleitk(paths["b"][3], 1.5, 2), atol=1e-6
    )


def test_findings_places_images_and_the_table_carries_over(tmp_path: Path) -> None:
    """Marked on a thick series, asked for on a thin one of the same frame of reference."""
    thick = write_series(tmp_path / "study" / "thick")
    thin = f"{SERIES}.9"
    write_series(
        tmp_path / "study" / "thin",
        origin=(-31.35, 11.55, -206.0),
        series_uid=thin,
        image_numbers=range(1, 9),
    )
    file, out = tmp_path / "p.csv", tmp_path / "t.csv"
    file.write_text(HEAD.replace(",", ";") + "4;30;3,5;3\n")
    arguments = ["findings", "points", file, "--scan", tmp_path / "study", "--out", out]
    arguments += ["--series", SERIES, "--csv-separator", ";", "--csv-decimal", ","]
    arguments += ["--first-pixel", "1"]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert ",4,30,3.5,3.0," in out.read_text()
    rows = read_points_file(out, volume=open_ct(tmp_path / "study", series_uid=thin))
    np.testing.assert_allclose(
        rows.table[POINTS].to_numpy(float)[0], by_simpleitk(thick[2], 2.5, 2), atol=1e-6
    )
    assert rows.table["marked_on_series_uid"].tolist() == [SERIES]
    assert rows.table["series_uid"].tolist() == [thin]
    assert rows.notes == (
        f"{out}: 1 points were marked on {SERIES} and are carried over to {thin}, whose frame of "
        "reference is the same",
    )


@pytest.mark.data
def test_real_image_numbers_and_real_boxes(tmp_path: Path, shared_data: Any) -> None:
    folder = shared_data("dicom")
    scan = folder / "LIDC-IDRI-0001"
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in scan.glob("*.dcm")]
    image = next(h for h in headers if h.ImagePositionPatient[2] == -115)
    file = tmp_path / "p.csv"
    file.write_text(f"{HEAD}{image.SeriesNumber},{image.InstanceNumber},366.8,316\n")
    volume = open_ct(scan)
    place = read_points_file(file, volume=volume).table[POINTS].to_numpy(float)
    # The nodule's centre as four readers drew it (the data's README), and its slice from below.
    np.testing.assert_allclose(place[0], (56.2, 86.2, -115), atol=0.1)
    np.testing.assert_allclose(volume.index_of(place)[0], (316, 366.8, 90), atol=1e-4)
    assert int(image.InstanceNumber) not in (90, 91)

    lines = ["SOPInstanceUID,row,column"]
    for xml in sorted((folder / "Lung_Dx-A0002_annotation").glob("*.xml")):
        found = next(ElementTree.parse(xml).iter("bndbox"))
        box = {side.tag: float(side.text or "nan") for side in found}
        middle = (box["ymin"] + box["ymax"]) / 2, (box["xmin"] + box["xmax"]) / 2
        lines.append(f"{xml.stem},{middle[0]},{middle[1]}")
    file.write_text("\n".join(lines))
    volume = open_ct(folder / "Lung_Dx-A0002")
    rows = read_points_file(file, volume=volume)
    index = np.rint(volume.index_of(rows.table[POINTS].to_numpy())).astype(int)
    assert len(index) == 8
    hu = [volume.window((z, y, x), (z + 1, y + 1, x + 1)).item() for x, y, z in index.tolist()]
    # The middle of a tumour is soft tissue, lung is far below it.
    assert np.median(hu) > -150
    with pytest.raises(NoduleNetError, match="none of its 8 rows is of the series"):
        read_points_file(file, volume=open_ct(scan))
