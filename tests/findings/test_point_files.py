from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.point_files import POINT_FILES, read_points_file

POINTS = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


def slicer(system: str, point: list[float]) -> dict[str, Any]:
    control = {"id": "1", "label": "F-1", "position": point, "positionStatus": "defined"}
    markup = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": [control]}
    return {"@schema": "x/markups-schema-v1.0.3.json#", "markups": [markup]}


def point_list(point: list[float]) -> dict[str, Any]:
    return {"type": "Multiple points", "points": [{"name": "1", "point": point}]}


def detections(point: list[float]) -> list[dict[str, Any]]:
    box = [*point, 6, 7, 8]
    return [{"box": [box], "label": [0], "label_scores": [0.9], "image": "a.nii.gz"}]


def every_kind(tmp_path: Path, lps: tuple[float, ...], index: tuple[float, ...]) -> dict[str, Any]:
    """The same place in files of every kind, and the arguments that they need."""
    ras = [-lps[0], -lps[1], lps[2]]
    x, y, z = (repr(value) for value in lps)
    luna25 = "PatientID,SeriesInstanceUID,CoordX,CoordY,CoordZ,AnnotationID,label\n"
    head = "# Markups fiducial file version = 4.11\n# CoordinateSystem = {}\n"
    texts = {
        "lps.mrk.json": json.dumps(slicer("LPS", list(lps))),
        "ras.mrk.json": json.dumps(slicer("RAS", ras)),
        "lps.fcsv": head.format("LPS") + f"1,{x},{y},{z},0,0,0,1,1,1,0,F-1,,\n",
        "ras.fcsv": head.format(0) + f"1,{ras[0]!r},{ras[1]!r},{z},0,0,0,1,1,1,0,F-1,,\n",
        "luna25.csv": luna25 + f"7,1.2,{x},{y},{z},a,1\n",
        "nodule-locations.json": json.dumps(point_list(list(lps))),
        "lps.csv": f"x,y,z\n{x},{y},{z}\n",
        "luna16.csv": f"seriesuid,coordX,coordY,coordZ\n1.2,{x},{y},{z}\n",
        "ras.csv": f"x,y,z\n{ras[0]!r},{ras[1]!r},{ras[2]!r}\n",
        "voxel.csv": "x,y,z\n" + ",".join(map(repr, index)) + "\n",
        "detections.json": json.dumps(detections(list(lps))),
        "detections-ras.json": json.dumps(detections(ras)),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    spaces = {"ras.csv": "ras", "voxel.csv": "voxel", "detections-ras.json": "ras"}
    return {name: spaces.get(name) for name in texts}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**31), straight=st.booleans())
def test_every_kind_lands_on_the_same_voxel(tmp_path: Path, seed: int, straight: bool) -> None:
    rng = np.random.default_rng(seed)
    turn = np.eye(3) if straight else Rotation.from_quat(rng.normal(size=4)).as_matrix()
    image = sitk.GetImageFromArray(np.full((12, 10, 11), -900, np.int16))
    image.SetSpacing(rng.uniform(0.5, 3, 3).tolist())
    image.SetOrigin(rng.uniform(-300, 300, 3).tolist())
    image.SetDirection(turn.ravel().tolist())
    index = tuple(rng.uniform(0, 9, 3).tolist())
    lps = image.TransformContinuousIndexToPhysicalPoint(index)
    sitk.WriteImage(image, str(tmp_path / "scan.mha"))
    volume = open_ct(tmp_path / "scan.mha")
    for name, space in every_kind(tmp_path, lps, index).items():
        rows = read_points_file(tmp_path / name, space=space, volume=volume)
        assert list(rows.table.columns[:4]) == ["finding_id", *POINTS]
        found = rows.table.loc[0, POINTS].to_numpy(float)
        np.testing.assert_allclose(found, lps, atol=1e-3, err_msg=name)
        # ITK's own rounding of the place against ours of the read one.
        assert image.TransformPhysicalPointToIndex(found.tolist()) == tuple(
            np.rint(volume.index_of(found)).astype(int).tolist()
        ), name


def test_a_mask_lands_on_the_same_voxel(tmp_path: Path) -> None:
    turn = Rotation.from_euler("xyz", [20, 30, -50], degrees=True).as_matrix()
    array = np.zeros((12, 10, 11), np.uint8)
    array[7:10, 4:7, 3:6] = 1
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((12.0, -80.0, 300.0))
    image.SetDirection(turn.ravel().tolist())
    scan = sitk.GetImageFromArray(np.full(array.shape, -900, np.int16))
    scan.CopyInformation(image)
    for name in ("a.nii.gz", "a.nii", "a.mha", "a.nrrd"):
        sitk.WriteImage(image, str(tmp_path / name))
        sitk.WriteImage(scan, str(tmp_path / f"scan-{name}"))
        volume = open_ct(tmp_path / f"scan-{name}")
        rows = read_points_file(tmp_path / name, volume=volume)
        index = volume.index_of(rows.table[POINTS].to_numpy())
        np.testing.assert_allclose(index, [[4, 5, 8]], atol=1e-3)
        assert rows.kind == "mask"


def test_what_each_kind_keeps(tmp_path: Path) -> None:
    every_kind(tmp_path, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    kinds = {p.name: read_points_file(p).kind for p in tmp_path.iterdir() if "voxel" not in p.name}
    assert kinds == {
        "lps.mrk.json": "slicer",
        "ras.mrk.json": "slicer",
        "lps.fcsv": "slicer",
        "ras.fcsv": "slicer",
        "luna25.csv": "luna25",
        "nodule-locations.json": "point_list",
        "lps.csv": "csv",
        "luna16.csv": "csv",
        "ras.csv": "csv",
        "detections.json": "detections",
        "detections-ras.json": "detections",
    }
    rows = read_points_file(tmp_path / "detections.json", minimum_score=0.5)
    assert rows.table.loc[0, ["diameter_mm", "detection_score"]].tolist() == [7.0, 0.9]
    # Slicer's own ending is ".mrk.json", but contents decide.
    (tmp_path / "lps.mrk.json").rename(tmp_path / "renamed.json")
    assert read_points_file(tmp_path / "renamed.json").kind == "slicer"


def test_csv_keeps_ids_and_other_columns(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("x,y,z,finding_id,scan_id,diameter_mm,note\n1,2,3,007,s1,4.5,hilar\n")
    table = read_points_file(file, space="ras").table
    assert table.loc[0].tolist() == ["007", -1.0, -2.0, 3.0, "s1", 4.5, "hilar"]
    file.write_text("x_lps_mm,y_lps_mm,z_lps_mm\n1,2,3\n")
    assert read_points_file(file).table.loc[0].tolist() == ["row-0", 1.0, 2.0, 3.0]


BAD: list[tuple[str, Any, dict[str, Any], type[Exception], str]] = [
    (
        "a.json",
        "[]",
        {},
        FindingsError,
        "found an array of 0, expected one of: 'markups' (3D Slicer), 'points' of type 'Multiple "
        "points' (LUNA25), records with 'box' and 'label_scores' or 'score' (MONAI detection); "
        "give such a file, or a CSV with x, y, z",
    ),
    (
        "a.json",
        '{"features": 1}',
        {},
        FindingsError,
        "found an object with 'features', expected one of: 'markups' (3D Slicer), 'points' of "
        "type 'Multiple points' (LUNA25), records with 'box' and 'label_scores' or 'score' (MONAI "
        "detection); give such a file, or a CSV with x, y, z",
    ),
    ("a.xls", "", {}, FindingsError, f"is of no known kind by its ending; expected {POINT_FILES}"),
    (
        "a.csv",
        "x,y,z\n1,2,3\n",
        {"space": "voxel"},
        UsageError,
        "points in voxels need their scan; give it, or points in mm",
    ),
    (
        "a.csv",
        "x,y,z\n1,2,3\n",
        {"threshold": 0.5},
        UsageError,
        "is no mask; leave out threshold=0.5",
    ),
    (
        "a.csv",
        "x,y,z\n1,2,3\n",
        {"minimum_score": 0.5},
        UsageError,
        "is no file of detections; leave out minimum_score=0.5",
    ),
    (
        "a.mrk.json",
        json.dumps(slicer("LPS", [1, 2, 3])),
        {"space": "ras"},
        UsageError,
        "is of 3D Slicer, names its space and has no scores; leave out space='ras'",
    ),
    (
        "a.json",
        json.dumps(point_list([1, 2, 3])),
        {"space": "ras"},
        UsageError,
        "is a LUNA25 point list, which is in LPS mm; leave out space='ras'",
    ),
    (
        "a.json",
        json.dumps(detections([1, 2, 3])),
        {"space": "voxel"},
        UsageError,
        "boxes of detections are in 'lps' or 'ras', not in voxels",
    ),
    ("a.nii", "", {"space": "ras"}, UsageError, "is a mask; leave out space='ras'"),
]


@pytest.mark.parametrize(("name", "text", "arguments", "kind", "message"), BAD)
def test_bad_files_and_arguments(
    tmp_path: Path,
    name: str,
    text: str,
    arguments: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(kind) as error:
        read_points_file(file, **arguments)
    assert str(error.value) == f"{file}: {message}"


def test_absent_files(tmp_path: Path) -> None:
    with pytest.raises(FindingsError, match=r"no\.csv: there is no such file; expected \.csv, "):
        read_points_file(tmp_path / "no.csv")
    with pytest.raises(FindingsError, match="is a folder; expected"):
        read_points_file(tmp_path)


def mutated(data: st.DataObject, whole: bytes) -> bytes:
    """Bytes cut out, written over or put in at a few places."""
    result = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(result)))
        length = data.draw(st.integers(0, 6))
        tokens = st.sampled_from([b"null", b"[]", b"{}", b"NaN", b"1e999", b'""', b"-", b"true"])
        result[start : start + length] = data.draw(st.binary(max_size=6) | tokens)
    return bytes(result)


@pytest.mark.parametrize("name", ["a.mrk.json", "a.json", "b.json", "a.fcsv"])
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_mutated_files_raise_findings_errors_only(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    head = "# CoordinateSystem = LPS\n# columns = id,x,y,z,label\n"
    wholes = {
        "a.mrk.json": json.dumps(slicer("LPS", [1.5, 2, 3])),
        "a.json": json.dumps(point_list([1.5, 2, 3])),
        "b.json": json.dumps({"validation": detections([1.5, 2, 3]) * 2}),
        "a.fcsv": head + '1,1.5,2,3,"F-1"\n',
    }
    file = tmp_path / name
    file.write_bytes(mutated(data, wholes[name].encode()))
    try:
        read = read_points_file(file)
    except FindingsError as error:
        message = str(error)
    else:
        message = ""
        assert np.isfinite(read.table[POINTS].to_numpy(float)).all()
        assert read.table["finding_id"].is_unique
    assert "\n" not in message


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda part: (
        st.lists(part, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["markups", "points", "point", "box", "label", "score", "image", "type", "name"]
            )
            | st.text(max_size=5),
            part,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=JSON_VALUES)
def test_any_json_raises_findings_errors_only(tmp_path: Path, value: Any) -> None:
    file = tmp_path / "any.json"
    file.write_text(json.dumps(value).replace("Infinity", "1e999"))
    with pytest.raises(FindingsError):
        read_points_file(file)


def test_a_converted_scan_takes_a_segmentation_of_its_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The series that a mask refers to is no name of a scan that was converted."""
    import pandas as pd

    from nodulenet.findings import masks

    row: dict[str, Any] = {"finding_id": "mask-1-0", "scan_id": "1.2.3"}
    row |= dict.fromkeys(POINTS, 1.0)
    monkeypatch.setattr(masks, "read_mask", lambda *_, **__: (pd.DataFrame([row]), ()))
    (tmp_path / "seg.nii").touch()
    scan: npt.NDArray[np.int16] = np.full((3, 3, 3), -900, np.int16)
    volume = CTVolume.from_array(scan, (1, 1, 1))
    rows = read_points_file(tmp_path / "seg.nii", volume=volume)
    assert "scan_id" not in rows.table.columns
    assert rows.table["referenced_series_uid"].tolist() == ["1.2.3"]
    assert len(rows.notes) == 1
    assert "scan_id" in read_points_file(tmp_path / "seg.nii").table.columns


@pytest.mark.data
def test_a_real_nodule_from_slicer_and_from_a_dicom_segmentation(
    tmp_path: Path, shared_data: Any
) -> None:
    """LIDC-IDRI-0001's nodule, whose middle voxel is known (row 367, column 316, 91 HU)."""
    hd = pytest.importorskip("highdicom")
    import pydicom
    from pydicom.sr.codedict import codes

    from nodulenet.findings.points import points_of_scan, scan_names

    folder = shared_data("dicom") / "LIDC-IDRI-0001"
    volume = open_ct(folder)
    file = tmp_path / "F.mrk.json"
    file.write_text(json.dumps(slicer("RAS", [-56.2, -86.2, -115.9])))
    point = read_points_file(file, volume=volume).table.loc[0, POINTS].to_numpy(float)
    np.testing.assert_allclose(volume.index_of(point), [316.0, 366.8, 89.6], atol=0.1)

    headers = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    slices = sorted(headers, key=lambda ds: float(ds.ImagePositionPatient[2]))[80:100]
    marked = np.zeros((20, 512, 512), np.uint8)
    z, y, x = np.ogrid[:20, :512, :512]
    marked[(z - 10) ** 2 * 9 + (y - 367) ** 2 + (x - 316) ** 2 < 15**2] = 1
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="nodule",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Nodule,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    hd.seg.Segmentation(
        source_images=slices,
        pixel_array=marked,
        segmentation_type="BINARY",
        segment_descriptions=[description],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    ).save_as(tmp_path / "seg.dcm")
    rows = read_points_file(tmp_path / "seg.dcm", volume=volume)
    mine = points_of_scan(rows.table, scan_names(folder, volume.series_uid), "seg.dcm")
    index = volume.index_of(mine[POINTS].to_numpy())
    np.testing.assert_allclose(index, [[316, 367, 90]], atol=1e-6)
    column, row, number = np.rint(index[0]).astype(int).tolist()
    assert volume.window((number, row, column), (number + 1, row + 1, column + 1)).item() > 0
