"""The reference scans: facts that their README states and other programs confirm."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from nodulenet.ct import extract_patch, open_ct
from nodulenet.errors import SeriesSelectionError

pytestmark = pytest.mark.data

LIDC_UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192"
NODULE = (56.208, 86.343, -115.868)  # luna16/annotations.csv


@pytest.fixture(scope="module")
def lidc(shared_data):
    return shared_data("dicom") / "LIDC-IDRI-0001"


@pytest.fixture(scope="module")
def lidc_image(lidc):
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(lidc)))


def test_lidc_geometry_and_nodule(lidc):
    volume = open_ct(lidc)
    assert (volume.series_uid, volume.warnings) == (LIDC_UID, ())
    assert volume.shape == (133, 512, 512)
    assert volume.spacing_mm == pytest.approx((0.703125, 0.703125, 2.5))
    assert volume.origin_lps_mm == pytest.approx((-166.0, -171.699997, -340.0))
    np.testing.assert_allclose(
        volume.index_of((56.2, 86.2, -115.9)), (316.0, 366.8, 89.6), atol=0.1
    )
    assert volume.window((90, 367, 316), (91, 368, 317)).item() == 91
    patch = extract_patch(volume, NODULE, (64, 64, 64), (1, 1, 1))
    assert -50 < np.median(patch[28:36, 28:36, 28:36]) < 100  # soft tissue in the middle
    assert np.median(patch[4:8]) < -600  # lung 25 mm below it
    # The back of the chest lies behind, the left chest wall to the left, lung to the right front.
    assert np.median(patch[32, 58:, 20:44]) > -150
    assert np.median(patch[32, 4:20, 36:50]) < -700


def test_lidc_gives_the_same_patch_from_every_format(lidc, lidc_image, tmp_path):
    image = sitk.Cast(lidc_image, sitk.sitkInt16)
    reference = extract_patch(open_ct(lidc), NODULE, (48, 64, 64), (1, 0.8, 0.8))
    for name in ("lidc.mhd", "lidc.nii", "lidc.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
        patch = extract_patch(open_ct(tmp_path / name), NODULE, (48, 64, 64), (1, 0.8, 0.8))
        np.testing.assert_allclose(patch, reference, atol=1e-3, err_msg=name)


def test_lidc_agrees_with_simpleitk(lidc, lidc_image):
    resample = sitk.ResampleImageFilter()
    resample.SetSize([64, 64, 64])
    resample.SetOutputOrigin([p - 31.5 for p in NODULE])
    resample.SetOutputPixelType(sitk.sitkFloat32)
    image = sitk.Clamp(lidc_image, sitk.sitkInt16, -1024, 32767)
    expected = sitk.GetArrayFromImage(resample.Execute(image))
    patch = extract_patch(open_ct(lidc), NODULE, (64, 64, 64), (1, 1, 1))
    np.testing.assert_allclose(patch, expected, atol=0.05)


def test_jpeg_2000_with_empty_uids(shared_data):
    volume = open_ct(shared_data("dicom") / "TotalSegmentator-example_ct_dicom")
    assert volume.series_uid == "2.25.336788536618016339379278830476666080082"
    assert "SeriesInstanceUID is empty" in volume.warnings[0]
    assert volume.shape == (20, 512, 512)
    assert volume.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    hu = volume.array()
    assert (hu.min(), hu.max()) == (-1024, 1839)


def test_siemens_thick_slices(shared_data):
    volume = open_ct(shared_data("dicom") / "Lung_Dx-A0002")
    assert (volume.shape, volume.spacing_mm[2]) == ((30, 512, 512), 8.0)
    assert volume.origin_lps_mm[2] == 80.0
    hu = volume.array()
    assert (hu.min(), hu.max()) == (-1024, 1904)


def test_three_series_in_one_folder(shared_data):
    folder = shared_data("dicom") / "COVID-19-NY-SBU-A046441"
    with pytest.raises(SeriesSelectionError, match=r"holds 3 CT series.*'STANDARD 2.5MM'"):
        open_ct(folder)
    coronal = "1.3.6.1.4.1.14519.5.2.1.99.1071.26701436893281625026171802526036"
    volume = open_ct(folder, series_uid=coronal)
    np.testing.assert_allclose(volume.direction[:, 1], (0, 0, -1), atol=1e-6)
    assert volume.window((0, 0, 0), volume.shape).min() == -1024


def test_nifti_with_negative_axes(shared_data):
    volume = open_ct(shared_data("nifti") / "totalseg_aorta_ct_cropped.nii.gz")
    assert volume.shape == (164, 126, 120)
    assert volume.origin_lps_mm == pytest.approx((-71.658203125, -255.658203125, 540.2000122070312))
    np.testing.assert_allclose(volume.direction, np.eye(3), atol=1e-6)
    hu = volume.array()
    assert (hu.min(), hu.max()) == (-1024, 3343)
    assert 0.26 < np.mean((hu >= -950) & (hu <= -700)) < 0.30
