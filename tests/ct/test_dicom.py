from __future__ import annotations

import pickle
import re
import shutil

import numpy as np
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

from nodulenet.ct import dicom_pixels, open_ct
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


@pytest.mark.parametrize("missing", [1, 5, 9])
def test_missing_slices_are_counted_and_placed(tmp_path, markers, write_dicom, missing):
    paths = write_dicom(tmp_path, markers, *GEOMETRY)
    paths[missing].unlink()
    with pytest.raises(GeometryError, match="about 1 slices are missing, at 1 gaps") as error:
        open_ct(tmp_path)
    below, above = paths[missing - 1].name, paths[missing + 1].name
    assert f"3.2 mm between {below} at" in str(error.value)
    assert f"and {above} at" in str(error.value)


def test_opening_decodes_at_most_one_slice(tmp_path, markers, write_dicom, monkeypatch):
    write_dicom(tmp_path, markers, *GEOMETRY, syntax=RLELossless)
    decoded = []
    inner = dicom_pixels._decoded_frame
    monkeypatch.setattr(
        dicom_pixels,
        "_decoded_frame",
        lambda header, stream: (decoded.append(header.name), inner(header, stream))[1],
    )
    volume = open_ct(tmp_path)
    assert len(decoded) == 1
    volume.window((2, 0, 0), (4, 5, 5))
    volume.window((2, 5, 5), (4, 9, 9))
    assert len(decoded) == 3


def test_a_slice_that_cannot_be_opened_is_not_passed_over(tmp_path, markers, write_dicom):
    """At the end of a stack its absence would show nowhere."""
    files = write_dicom(tmp_path, markers, *GEOMETRY)
    files[-1].unlink()
    files[-1].symlink_to(tmp_path / "elsewhere.dcm")
    with pytest.raises(ScanError, match=rf"{files[-1].name}: cannot be read \(No such file"):
        open_ct(tmp_path)
