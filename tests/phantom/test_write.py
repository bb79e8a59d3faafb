"""The three formats, read back by SimpleITK, nibabel and pydicom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import UID, CTImageStorage

from nodulenet.errors import UsageError
from nodulenet.phantom import PhantomScan, make_scan, write_scan

# Attributes of type 1 and 2 of the CT image's modules (PS3.3, A.3).
REQUIRED = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "Modality",
    "SeriesNumber",
    "PositionReferenceIndicator",
    "Manufacturer",
    "InstanceNumber",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "KVP",
    "AcquisitionNumber",
]

FORMATS = ["metaimage", "dicom", "nifti"]


def _read(path: Path) -> SimpleITK.Image:
    if path.is_dir():
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        return reader.Execute()
    return SimpleITK.ReadImage(str(path))


def _marked(scan: PhantomScan, direction: np.ndarray) -> tuple[PhantomScan, dict[int, np.ndarray]]:
    """Returns the scan with a different marker on every axis, and each marker's LPS place."""
    hu = np.full((12, 20, 28), -1000, dtype=np.int16)
    indices = {300: (25, 3, 2), 600: (4, 17, 3), 900: (6, 5, 10), 1200: (4, 3, 2)}
    for value, (x, y, z) in indices.items():
        hu[z, y, x] = value
    plan = replace(scan.plan, direction=direction, shape=hu.shape)
    marked = PhantomScan(hu, plan)
    places = {
        value: np.array(plan.origin_lps_mm) + direction @ (np.array(index) * plan.spacing_mm)
        for value, index in indices.items()
    }
    return marked, places


_TURN = np.deg2rad(12.0)
DIRECTIONS = {
    "supine": np.eye(3),
    "prone": np.diag([-1.0, -1.0, 1.0]),
    "oblique": np.array(
        [
            [np.cos(_TURN), -np.sin(_TURN), 0.0],
            [np.sin(_TURN), np.cos(_TURN), 0.0],
            [0.0, 0.0, 1.0],
        ]
    ),
}


@pytest.mark.parametrize("direction", list(DIRECTIONS))
@pytest.mark.parametrize("format", FORMATS)
def test_markers_are_where_their_millimetres_say(
    tmp_path: Path, small_shape: tuple[int, int, int], format: str, direction: str
) -> None:
    scan = make_scan(2, 0, shape=(32, 64, 64), negatives=0)
    marked, places = _marked(scan, DIRECTIONS[direction])
    image = _read(write_scan(marked, tmp_path, format))
    array = SimpleITK.GetArrayFromImage(image)
    for value, place in places.items():
        (found,) = np.argwhere(array == value)
        point = image.TransformIndexToPhysicalPoint([int(i) for i in found[::-1]])
        np.testing.assert_allclose(point, place, atol=2e-4)


@pytest.mark.parametrize("index", [0, 1])
def test_all_formats_are_the_same_scan(tmp_path: Path, index: int) -> None:
    scan = make_scan(4, index, shape=(32, 64, 80), negatives=0)
    for format in FORMATS:
        image = _read(write_scan(scan, tmp_path, format))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), scan.hu)
        np.testing.assert_allclose(image.GetSpacing(), scan.spacing_mm, rtol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), scan.origin_lps_mm, atol=1e-4)
        direction = np.reshape(image.GetDirection(), (3, 3))
        np.testing.assert_allclose(direction, scan.direction, atol=1e-6)


def test_padding_survives_dicom(tmp_path: Path) -> None:
    scan = make_scan(4, 0, shape=(32, 64, 64), negatives=0)
    scan.hu[:, 0, 0] = -2048
    path = write_scan(scan, tmp_path, "dicom")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(_read(path)), scan.hu)
    first = pydicom.dcmread(path / "000001.dcm")
    assert first.PixelPaddingValue * first.RescaleSlope + first.RescaleIntercept == -2048


def test_metaimage_header_has_the_keys_of_luna16_in_their_order(tmp_path: Path) -> None:
    scan = make_scan(4, 0, shape=(32, 64, 80), negatives=0)
    path = write_scan(scan, tmp_path)
    lines = path.read_text(encoding="ascii").splitlines()
    assert [line.split(" = ")[0] for line in lines] == [
        "ObjectType",
        "NDims",
        "BinaryData",
        "BinaryDataByteOrderMSB",
        "CompressedData",
        "TransformMatrix",
        "Offset",
        "CenterOfRotation",
        "AnatomicalOrientation",
        "ElementSpacing",
        "DimSize",
        "ElementType",
        "ElementDataFile",
    ]
    assert "TransformMatrix = 1 0 0 0 1 0 0 0 1" in lines
    assert "DimSize = 80 64 32" in lines
    assert f"ElementDataFile = {scan.series_uid}.raw" in lines
    assert (tmp_path / f"{scan.series_uid}.raw").stat().st_size == 2 * 32 * 64 * 80
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".mhd", ".raw"]


def test_nifti_agrees_with_nibabel_in_ras(tmp_path: Path) -> None:
    scan = make_scan(4, 0, shape=(32, 64, 80), negatives=0)
    image = nibabel.load(write_scan(scan, tmp_path, "nifti"))
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(image.affine, lps_to_ras @ scan.affine_lps, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, scan.hu)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_dicom_series_is_valid_ct(tmp_path: Path) -> None:
    scan = make_scan(4, 0, shape=(32, 64, 80), negatives=0)
    files = sorted(write_scan(scan, tmp_path, "dicom").iterdir())
    slices = [pydicom.dcmread(file) for file in files]
    assert len(slices) == 32
    assert {s.SOPClassUID for s in slices} == {CTImageStorage}
    assert {s.SeriesInstanceUID for s in slices} == {scan.series_uid}
    assert len({s.StudyInstanceUID for s in slices}) == 1
    assert len({s.FrameOfReferenceUID for s in slices}) == 1
    assert len({s.SOPInstanceUID for s in slices}) == 32
    for s in slices:
        for uid in (s.SOPInstanceUID, s.StudyInstanceUID, s.FrameOfReferenceUID):
            assert UID(uid).is_valid
            assert len(uid) <= 64
        assert s.file_meta.MediaStorageSOPInstanceUID == s.SOPInstanceUID
        for keyword in REQUIRED:
            assert keyword in s, keyword
        assert "PHANTOM" in str(s.PatientName)
    assert [s.InstanceNumber for s in slices] == list(range(1, 33))
    heights = [float(s.ImagePositionPatient[2]) for s in slices]
    np.testing.assert_allclose(np.diff(heights), -scan.spacing_mm[2])
    assert slices[-1].ImagePositionPatient == list(scan.origin_lps_mm)


@pytest.mark.parametrize("format", FORMATS)
def test_writing_twice_gives_the_same_bytes_and_leaves_no_other_file(
    tmp_path: Path, format: str
) -> None:
    scan = make_scan(4, 0, shape=(32, 64, 64), negatives=0)
    folders = [tmp_path / name for name in ("a", "b")]
    contents = []
    for folder in folders:
        write_scan(scan, folder, format)
        write_scan(scan, folder, format)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        assert not [path for path in files if path.name.endswith(".part")]
        contents.append({path.name: path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert contents[0]


def test_unknown_format_is_refused(tmp_path: Path) -> None:
    scan = make_scan(4, 0, shape=(32, 64, 64), negatives=0)
    with pytest.raises(UsageError, match="metaimage, dicom, nifti"):
        write_scan(scan, tmp_path, "nrrd")
    assert list(tmp_path.iterdir()) == []
