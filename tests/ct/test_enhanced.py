"""Enhanced multi-frame CT, zip archives, files without preamble: the same scan, the same HU."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from nodulenet.ct import extract_patch, open_ct
from nodulenet.errors import FindingsError, GeometryError, ScanError, SeriesSelectionError
from nodulenet.findings.point_files import read_points_file

IDENTITY = np.eye(3)
GEOMETRY = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)


def group(**values):
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Sequence([item])


@pytest.fixture
def write_enhanced(write_dicom, tmp_path):
    """One file whose frames are the slices of a series, in shuffled order.

    Geometry and rescale are per frame where ``own`` says so, else shared.
    """

    def write(path, hu, direction=IDENTITY, syntax=ExplicitVRLittleEndian, own=False, rescale=None):
        slices = [
            pydicom.dcmread(p) for p in write_dicom(tmp_path / "slices", hu, *GEOMETRY, direction)
        ]
        order = np.random.default_rng(3).permutation(len(slices))
        image = slices[0]
        image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.NumberOfFrames = len(slices)
        frames, pixels = [], []
        for number in order:
            one = slices[number]
            slope, intercept = rescale(number) if rescale else (1, -1024)
            frame = Dataset()
            frame.PlanePositionSequence = group(ImagePositionPatient=one.ImagePositionPatient)
            frame.PixelValueTransformationSequence = group(
                RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU"
            )
            stored = np.rint((hu[number] - float(intercept)) / float(slope)).astype(np.uint16)
            pixels.append(stored)
            if own:
                frame.PlaneOrientationSequence = group(
                    ImageOrientationPatient=one.ImageOrientationPatient
                )
                frame.PixelMeasuresSequence = group(
                    PixelSpacing=one.PixelSpacing, SliceThickness=one.SliceThickness
                )
            frames.append(frame)
        shared = Dataset()
        if not own:
            shared.PlaneOrientationSequence = group(
                ImageOrientationPatient=image.ImageOrientationPatient
            )
            shared.PixelMeasuresSequence = group(
                PixelSpacing=image.PixelSpacing, SliceThickness=image.SliceThickness
            )
        image.SharedFunctionalGroupsSequence = Sequence([shared])
        image.PerFrameFunctionalGroupsSequence = Sequence(frames)
        for name in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "SliceThickness",
            "RescaleSlope",
            "RescaleIntercept",
        ):
            delattr(image, name)
        image.PixelData = np.stack(pixels).tobytes()
        image["PixelData"].VR = "OW"
        if syntax.is_compressed:
            image.compress(syntax)
        else:
            image.file_meta.TransferSyntaxUID = syntax
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(
            path,
            image,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=True,
            enforce_file_format=True,
        )
        return path

    return write


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEGLSLossless,
        RLELossless,
    ],
    ids=lambda uid: uid.name,
)
def test_frames_are_the_slices(
    tmp_path, markers, write_enhanced, write_dicom, oblique_direction, syntax, own
):
    path = write_enhanced(tmp_path / "e" / "image", markers, oblique_direction, syntax, own)
    volume = open_ct(path)
    np.testing.assert_array_equal(volume.array(), markers)
    plain = open_ct(tmp_path / "slices")
    np.testing.assert_allclose(volume.affine_lps, plain.affine_lps, atol=1e-9)
    assert volume.series_uid == plain.series_uid
    point = plain.points_of([8.3, 6.2, 5.1])
    np.testing.assert_array_equal(
        extract_patch(volume, point, (5, 6, 7), (1, 1, 1)),
        extract_patch(plain, point, (5, 6, 7), (1, 1, 1)),
    )
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.window((3, 2, 1), (5, 7, 9)), markers[3:5, 2:7, 1:9])


def test_points_are_found_by_frame(tmp_path, markers, write_enhanced, oblique_direction):
    path = write_enhanced(tmp_path / "e" / "image", markers, oblique_direction)
    volume = open_ct(path)
    dataset = pydicom.dcmread(path)
    frames = dataset.PerFrameFunctionalGroupsSequence
    assert sorted(plane.frame_number for plane in volume.planes) == list(range(1, len(frames) + 1))
    file = tmp_path / "p.csv"
    lines = [f"{dataset.SOPInstanceUID},{n},0,0" for n in range(1, len(frames) + 1)]
    file.write_text("\n".join(["sop_instance_uid,frame_number,row,column", *lines]))
    table = read_points_file(file, volume=volume).table
    expected = [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames]
    np.testing.assert_allclose(
        table[["x_lps_mm", "y_lps_mm", "z_lps_mm"]].to_numpy(), np.array(expected, float)
    )
    file.write_text(f"sop_instance_uid,row,column\n{dataset.SOPInstanceUID},0,0\n")
    with pytest.raises(FindingsError, match=r"an image of 11 frames, expected the frame, too; add"):
        read_points_file(file, volume=volume)
    file.write_text(f"sop_instance_uid,frame_number,row,column\n{dataset.SOPInstanceUID},12,0,0\n")
    with pytest.raises(FindingsError, match="column 'frame_number': found 12, expected 1 to 11"):
        read_points_file(file, volume=volume)


def test_rescale_of_each_frame(tmp_path, markers, write_enhanced):
    even = (markers // 2 * 2).astype(np.int16)

    def rescale(k):
        return (2, -2000 + 10 * k) if k % 2 else (1, -1000 - k)

    path = write_enhanced(tmp_path / "e" / "image", even, rescale=rescale)
    np.testing.assert_array_equal(open_ct(path).array(), even)


def test_two_stacks_in_one_file_are_refused_by_frame(tmp_path, markers, write_enhanced):
    path = write_enhanced(tmp_path / "e" / "image.dcm", markers)
    image = pydicom.dcmread(path)
    frames = image.PerFrameFunctionalGroupsSequence
    frames[1].PlanePositionSequence = frames[0].PlanePositionSequence
    image.save_as(path)
    with pytest.raises(GeometryError, match=r"image.dcm frame \d+ and image.dcm frame \d+ at"):
        open_ct(path)


def test_frames_without_their_descriptions_are_refused(tmp_path, markers, write_enhanced):
    path = write_enhanced(tmp_path / "e" / "image", markers)
    image = pydicom.dcmread(path)
    del image.PerFrameFunctionalGroupsSequence[3:]
    image.save_as(path)
    with pytest.raises(ScanError, match="3 frame descriptions for 11 frames"):
        open_ct(path)
    del image.PerFrameFunctionalGroupsSequence
    image.save_as(path)
    with pytest.raises(ScanError, match="holds 11 frames without Per-frame Functional Groups"):
        open_ct(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_a_zip_of_dicom_is_read_in_place(tmp_path, markers, write_dicom, method, syntax):
    files = write_dicom(tmp_path / "s", markers, *GEOMETRY, syntax=syntax)
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", method) as packed:
        packed.writestr("series/readme.txt", "not DICOM")
        for k, file in enumerate(files):
            packed.write(file, f"series/{k}/{file.stem}")
    before = sorted(p.name for p in tmp_path.iterdir())
    volume = open_ct(archive)
    plain = open_ct(tmp_path / "s")
    np.testing.assert_array_equal(volume.array(), markers)
    np.testing.assert_array_equal(volume.affine_lps, plain.affine_lps)
    assert volume.series_uid == plain.series_uid
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.window((2, 1, 0), (9, 5, 4)), markers[2:9, 1:5, :4])
    assert sorted(p.name for p in tmp_path.iterdir()) == before  # nothing was unpacked


def test_a_zip_of_two_series_lists_them(tmp_path, markers, write_dicom):
    files = write_dicom(tmp_path / "a", markers, *GEOMETRY, series_uid="1.2.3")
    files += write_dicom(tmp_path / "b", markers, *GEOMETRY, series_uid="1.2.4")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as packed:
        for file in files:
            packed.write(file, f"{file.parent.name}/{file.name}")
    with pytest.raises(SeriesSelectionError, match=r"holds 2 CT series.*1\.2\.3.*1\.2\.4"):
        open_ct(tmp_path / "two.zip")
    assert open_ct(tmp_path / "two.zip", series_uid="1.2.4").series_uid == "1.2.4"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_files_without_preamble_and_meta_information(tmp_path, markers, write_dicom, syntax):
    for path in write_dicom(tmp_path / "s", markers, *GEOMETRY):
        image = pydicom.dcmread(path)
        del image.file_meta
        image.preamble = None
        bare = path.with_suffix("")
        pydicom.dcmwrite(
            bare,
            image,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=True,
            enforce_file_format=False,
        )
        assert b"DICM" not in bare.read_bytes()[:132]
        path.unlink()
    np.testing.assert_array_equal(open_ct(tmp_path / "s").array(), markers)
    np.testing.assert_array_equal(open_ct(bare).array(), markers)
