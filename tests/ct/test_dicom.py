from __future__ import annotations

import pickle
import re
import shutil
import struct

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from nodulenet.ct import open_ct
from nodulenet.ct.dicom import list_series
from nodulenet.errors import GeometryError, ScanError, SeriesSelectionError

GEOMETRY = ((0.7, 0.9, 1.6), (-31.0, 12.0, -205.0))


def test_slices_are_ordered_by_position_as_in_simpleitk(
    tmp_path, markers, write_dicom, oblique_direction
):
    write_dicom(tmp_path, markers, *GEOMETRY, oblique_direction)
    (tmp_path / "reader.xml").write_text("<LidcReadMessage/>")
    volume = open_ct(tmp_path)
    oracle = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    np.testing.assert_array_equal(volume.array(), sitk.GetArrayFromImage(oracle))
    np.testing.assert_array_equal(volume.array(), markers)
    np.testing.assert_allclose(volume.spacing_mm, oracle.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(volume.origin_lps_mm, oracle.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.direction.ravel(), oracle.GetDirection(), atol=1e-6)
    assert (volume.format, volume.warnings) == ("dicom", ())
    assert volume.series_uid == "1.2.826.0.1.3680043.8.498.1"


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
    ],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("signed", [False, True])
def test_transfer_syntaxes_and_signs(tmp_path, markers, write_dicom, syntax, signed):
    hu = np.tile(markers[:4], (1, 3, 3))  # JPEG 2000 wants 32 pixels
    intercept = 0.0 if signed else -1024.0
    write_dicom(tmp_path, hu, *GEOMETRY, syntax=syntax, signed=signed, intercept=intercept)
    volume = open_ct(tmp_path)
    np.testing.assert_array_equal(volume.window((1, 3, 5), (3, 11, 20)), hu[1:3, 3:11, 5:20])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).array(), hu)


def test_slope_and_intercept_of_each_slice(tmp_path, markers, write_dicom):
    def change(ds, k):
        if k % 2:  # the same HU, stored at half the scale with another offset
            hu = np.frombuffer(ds.PixelData, np.uint16).astype(int) - 1024
            ds.RescaleSlope, ds.RescaleIntercept = "2", "-2000"
            ds.PixelData = ((hu + 2000) // 2).astype(np.uint16).tobytes()

    even = markers // 2 * 2
    write_dicom(tmp_path, even, *GEOMETRY, change=change)
    np.testing.assert_array_equal(open_ct(tmp_path).array(), even)


def test_only_stored_bits_count(tmp_path, markers, write_dicom):
    def change(ds, k):
        ds.BitsStored, ds.HighBit = 12, 11
        stored = np.frombuffer(ds.PixelData, np.uint16)
        ds.PixelData = (stored | 0xA000).astype(np.uint16).tobytes()  # overlay bits above

    write_dicom(tmp_path, markers, *GEOMETRY, change=change)
    np.testing.assert_array_equal(open_ct(tmp_path).array(), markers)


def test_padding_is_lifted_to_air_whatever_its_tag_says(tmp_path, markers, write_dicom):
    hu = markers.copy()
    hu[:, 0] = -2048

    def change(ds, k):
        ds.add_new("PixelPaddingValue", "SS", -2000)

    write_dicom(tmp_path, hu, *GEOMETRY, signed=True, change=change)
    volume = open_ct(tmp_path)
    assert (volume.array()[:, 0] == -1024).all()
    np.testing.assert_array_equal(volume.array()[:, 1:], hu[:, 1:])


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path, markers, write_dicom):
    write_dicom(tmp_path / "a", markers, *GEOMETRY, series_uid="1.2.3")
    write_dicom(tmp_path / "a", markers[:3] + 1, *GEOMETRY, series_uid="1.2.4", prefix="B")
    with pytest.raises(SeriesSelectionError) as error:
        open_ct(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: holds 2 CT series, expected one; choose with --series UID "
        "(series_uid= in Python): 1.2.3 'CHEST 1.0' "
        "(11 slices, 0.7 x 0.9 x 1.6 mm); 1.2.4 'CHEST 1.0' (3 slices, 0.7 x 0.9 x 1.6 mm)"
    )
    np.testing.assert_array_equal(open_ct(tmp_path, series_uid="1.2.4").array(), markers[:3] + 1)
    assert [(s.series_uid, s.slices) for s in list_series(tmp_path)] == [
        ("1.2.3", 11),
        ("1.2.4", 3),
    ]
    one = next((tmp_path / "a").glob("B*"))
    np.testing.assert_array_equal(open_ct(one).array(), markers[:3] + 1)
    with pytest.raises(SeriesSelectionError, match=r"no CT series '9.9'; expected one of: 1.2.3"):
        open_ct(tmp_path, series_uid="9.9")


def test_localizers_and_other_modalities_are_left_out(tmp_path, markers, write_dicom):
    def scout(ds, k):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def pet(ds, k):
        ds.Modality = "PT"

    write_dicom(tmp_path, markers, *GEOMETRY)
    write_dicom(tmp_path, markers[:1], *GEOMETRY, series_uid="1.2.5", change=scout, prefix="S")
    write_dicom(tmp_path, markers, *GEOMETRY, series_uid="1.2.6", change=pet, prefix="P")
    np.testing.assert_array_equal(open_ct(tmp_path).array(), markers)


def test_empty_series_uid_gets_a_stable_name_and_a_warning(tmp_path, markers, write_dicom):
    def change(ds, k):
        ds.SeriesInstanceUID = ""

    write_dicom(tmp_path / "a", markers, *GEOMETRY, change=change)
    write_dicom(tmp_path / "b", markers + 1, *GEOMETRY, change=change)
    volume = open_ct(tmp_path / "a")
    assert re.fullmatch(r"2\.25\.\d{30,39}", volume.series_uid)
    assert "SeriesInstanceUID is empty" in volume.warnings[0]
    shutil.copytree(tmp_path / "a", tmp_path / "moved")
    assert open_ct(tmp_path / "moved").series_uid == volume.series_uid
    assert open_ct(next((tmp_path / "moved").iterdir())).series_uid == volume.series_uid
    assert open_ct(tmp_path / "b").series_uid != volume.series_uid


def test_missing_rescale_and_windowed_values_are_warned_of(tmp_path, markers, write_dicom):
    def change(ds, k):
        del ds.RescaleIntercept

    write_dicom(tmp_path, markers, *GEOMETRY, change=change)
    first, second = open_ct(tmp_path).warnings
    assert "11 slices lack Rescale Slope or Intercept" in first
    assert "without any below -200 HU" in second


def test_single_slice_takes_its_thickness(tmp_path, markers, write_dicom):
    write_dicom(tmp_path, markers[:1], *GEOMETRY)
    volume = open_ct(tmp_path)
    assert volume.spacing_mm == (0.7, 0.9, 1.6)
    assert "holds a single slice" in volume.warnings[0]


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_regular(tmp_path, markers, write_dicom):
    def change(ds, k):
        ds.ImagePositionPatient[2] = f"{round(-200 + 1.25 * k, 1):.1f}"

    write_dicom(tmp_path, markers, *GEOMETRY, change=change)
    assert open_ct(tmp_path).spacing_mm[2] == pytest.approx(1.25, abs=0.01)


def tilted(ds, k):
    ds.ImagePositionPatient[1] += 1.6 * k * np.tan(np.radians(10))


def shifted_once(ds, k):
    if k == 4:
        ds.ImagePositionPatient[0] += 3.0


def uneven(ds, k):
    ds.ImagePositionPatient[2] += 0.4 if k == 5 else 0.0


def turned(ds, k):
    if k == 3:
        ds.ImageOrientationPatient = [0.99, 0.141, 0, -0.141, 0.99, 0]


def same_place(ds, k):
    if k == 6:
        ds.ImagePositionPatient[2] -= 1.6


def other_spacing(ds, k):
    if k == 2:
        ds.PixelSpacing = ["0.8", "0.8"]


def no_position(ds, k):
    if k == 2:
        del ds.ImagePositionPatient


def bad_orientation(ds, k):
    ds.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tilted, r"gantry tilt of 10.00 degrees: .* by 2.82 mm from .*tolerance 0.1 mm"),
        (
            shifted_once,
            r"shifted within their plane by up to 3 mm .*, worst IM\d+.dcm at \(-28, 12",
        ),
        (uneven, r"unevenly spaced: 1.2 to 2 mm, .* worst"),
        (turned, r"differ in orientation by up to 0.141 \(tolerance 0.001\): IM\d+.dcm"),
        (same_place, r"1 pairs of slices lie at the same place .*: IM\d+.dcm and IM\d+.dcm at"),
        (other_spacing, r"differ in pixel spacing by 14.29% \(tolerance 0.1%\): IM\d+"),
        (no_position, r"Image Position \(Patient\) \(0020,0032\) is missing in IM\d+.dcm"),
        (bad_orientation, "expected two unit vectors at a right angle"),
    ],
)
def test_what_is_no_regular_stack_is_refused(tmp_path, markers, write_dicom, change, message):
    write_dicom(tmp_path, markers, *GEOMETRY, change=change)
    with pytest.raises(GeometryError, match=message) as error:
        open_ct(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("missing", [1, 5, 9])
def test_missing_slices_are_counted_and_placed(tmp_path, markers, write_dicom, missing):
    paths = write_dicom(tmp_path, markers, *GEOMETRY)
    paths[missing].unlink()
    with pytest.raises(GeometryError, match="about 1 slices are missing, at 1 gaps") as error:
        open_ct(tmp_path)
    below, above = paths[missing - 1].name, paths[missing + 1].name
    assert f"3.2 mm between {below} at" in str(error.value)
    assert f"and {above} at" in str(error.value)


def test_differing_matrix_is_refused(tmp_path, markers, write_dicom):
    write_dicom(tmp_path, markers, *GEOMETRY)
    write_dicom(tmp_path, markers[:1, 1:], (0.7, 0.9, 1.6), (-31, 12, -210), prefix="X")
    with pytest.raises(GeometryError, match=r"differ in matrix: .*17 x 12 .*X0000.dcm|17 x 13"):
        open_ct(tmp_path)


def test_wrong_modality_names_it(tmp_path, markers, write_dicom):
    def change(ds, k):
        ds.Modality = "MR"

    paths = write_dicom(tmp_path, markers, *GEOMETRY, change=change)
    with pytest.raises(ScanError, match="has modality 'MR'; expected 'CT'"):
        open_ct(paths[0])
    with pytest.raises(SeriesSelectionError, match="holds no CT series, only 11 x MR"):
        open_ct(tmp_path)


def test_text_named_dcm(tmp_path, markers, write_dicom):
    paths = write_dicom(tmp_path, markers, *GEOMETRY)
    note = tmp_path / "note.dcm"
    note.write_text("not an image " * 100)
    with pytest.raises(ScanError, match=r"note.dcm: is not a DICOM file \(no 'DICM' mark\)"):
        open_ct(note)
    (warning,) = open_ct(tmp_path).warnings
    assert warning.endswith("were left out: note.dcm")
    for path in paths:
        path.unlink()
    with pytest.raises(SeriesSelectionError, match="holds no DICOM image"):
        open_ct(tmp_path)


@pytest.mark.parametrize("keep", [140, 600, -10])
def test_cut_short_slice_is_named(tmp_path, markers, write_dicom, keep):
    paths = write_dicom(tmp_path, markers, *GEOMETRY)
    paths[3].write_bytes(paths[3].read_bytes()[:keep])
    with pytest.raises(ScanError) as error:
        open_ct(tmp_path)
    assert "\n" not in str(error.value)
    if keep == -10:
        assert str(error.value).startswith(f"{paths[3]}: holds 432 bytes of pixels, expected 442")


def test_damaged_compressed_slice_is_named(tmp_path, markers, write_dicom):
    paths = write_dicom(tmp_path, markers, *GEOMETRY, syntax=RLELossless)
    blob = bytearray(paths[0].read_bytes())
    start = blob.rindex(struct.pack("<I", 64))  # RLE header: offset of the first segment
    blob[start : start + 40] = b"\xff" * 40
    paths[0].write_bytes(blob)
    with pytest.raises(ScanError, match=r"its pixels cannot be decoded .*RLE Lossless"):
        open_ct(tmp_path).array()


def test_enhanced_multiframe_is_refused_clearly(tmp_path, markers, write_dicom):
    def change(ds, k):
        ds.NumberOfFrames = 2
        ds.PixelData = ds.PixelData * 2

    write_dicom(tmp_path, markers[:1], *GEOMETRY, change=change)
    with pytest.raises(ScanError, match=r"multi-frame. image of 2 frames"):
        open_ct(tmp_path)


def test_no_message_holds_personal_data(tmp_path, markers, write_dicom):
    write_dicom(tmp_path, markers, *GEOMETRY, change=tilted)
    with pytest.raises(GeometryError) as error:
        open_ct(tmp_path)
    assert "secret" not in str(error.value).lower()
    with pytest.raises(SeriesSelectionError) as chosen:
        open_ct(tmp_path, series_uid="1")
    assert "secret" not in str(chosen.value).lower()


def test_opening_decodes_at_most_one_slice(tmp_path, markers, write_dicom, monkeypatch):
    write_dicom(tmp_path, markers, *GEOMETRY, syntax=RLELossless)
    decoded = []
    inner = pydicom.dataset.FileDataset.convert_pixel_data
    monkeypatch.setattr(
        pydicom.dataset.FileDataset,
        "convert_pixel_data",
        lambda self, *a: (decoded.append(self.InstanceNumber), inner(self, *a))[1],
    )
    volume = open_ct(tmp_path)
    assert len(decoded) == 1
    volume.window((2, 0, 0), (4, 5, 5))
    volume.window((2, 5, 5), (4, 9, 9))
    assert len(decoded) == 3


def test_a_number_of_wrong_length_is_a_damaged_header(tmp_path, markers, write_dicom):
    paths = write_dicom(tmp_path, markers, *GEOMETRY)
    blob = paths[2].read_bytes()
    rows = bytes.fromhex("28001000") + b"US" + struct.pack("<HH", 2, 13)
    assert blob.count(rows) == 1
    spoilt = bytes.fromhex("28001000") + b"US" + struct.pack("<HHB", 3, 13, 0)
    paths[2].write_bytes(blob.replace(rows, spoilt))
    with pytest.raises(ScanError, match="its DICOM header is damaged"):
        open_ct(tmp_path)
