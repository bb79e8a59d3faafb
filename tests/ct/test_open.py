"""The same scan through every format, and what bad files get."""

from __future__ import annotations

import gzip
import itertools
import pickle
import struct
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nodulenet.ct import CTVolume, extract_patch, open_ct

SPACING, ORIGIN = (0.75, 0.875, 1.5), (-31.0, 12.0, -205.0)

ITK_FILES = ["scan.mhd", "scan.mha", "scan.nii", "scan.nii.gz", "scan.nrrd"]


def ras_affine():
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.array(
        [[0.75, 0, 0, -31], [0, 0.875, 0, 12], [0, 0, 1.5, -205], [0, 0, 0, 1]]
    )


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ITK_FILES)
def test_files_of_simpleitk_give_its_voxels_and_points(
    tmp_path, markers, itk_image, oblique_direction, name, compressed, oblique
):
    hu = markers.copy()
    hu[0, 0] = -3024  # padding
    direction = oblique_direction if oblique else np.eye(3)
    image = itk_image(hu, SPACING, ORIGIN, direction)
    path = tmp_path / name
    sitk.WriteImage(image, str(path), compressed)
    volume = open_ct(path)
    expected = np.maximum(hu, -1024)
    np.testing.assert_array_equal(volume.window((0, 2, 3), (5, 9, 14)), expected[0:5, 2:9, 3:14])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(volume)).array(), expected)
    points = np.array(
        [image.TransformIndexToPhysicalPoint(i) for i in ((0, 0, 0), (16, 0, 0), (3, 12, 10))]
    )
    np.testing.assert_allclose(
        volume.points_of([(0, 0, 0), (16, 0, 0), (3, 12, 10)]), points, atol=1e-4
    )
    assert (volume.series_uid, volume.warnings) == ("scan", ())
    assert open_ct(path, series_uid="1.2.3").series_uid == "1.2.3"


def test_every_format_gives_the_same_patch_bit_for_bit(tmp_path, markers, itk_image, write_dicom):
    image = itk_image(markers, SPACING, ORIGIN)
    for name in ITK_FILES:
        sitk.WriteImage(image, str(tmp_path / name))
    write_dicom(tmp_path / "dicom", markers, SPACING, ORIGIN)
    reference = CTVolume.from_array(markers, SPACING, ORIGIN)
    for name in [*ITK_FILES, "dicom"]:
        volume = open_ct(tmp_path / name)
        for point in (reference.points_of((8, 6, 5)), reference.points_of((7.3, 6.8, 4.6))):
            np.testing.assert_array_equal(
                extract_patch(volume, point, (6, 7, 8), (0.6, 0.7, 0.8)),
                extract_patch(reference, point, (6, 7, 8), (0.6, 0.7, 0.8)),
                err_msg=name,
            )


@pytest.mark.parametrize(
    ("order", "signs"),
    list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))),
)
def test_nifti_in_all_48_orientations_made_by_nibabel(tmp_path, markers, order, signs):
    image = nib.Nifti1Image(markers.T, ras_affine())
    turned = image.as_reoriented(np.column_stack([order, signs]))
    nib.save(turned, tmp_path / "turned.nii")
    volume = open_ct(tmp_path / "turned.nii")
    reference = CTVolume.from_array(markers, SPACING, ORIGIN)
    on_voxels = extract_patch(volume, reference.points_of((8, 6, 5)), (7, 7, 7), SPACING)
    np.testing.assert_array_equal(on_voxels, markers[2:9, 3:10, 5:12])


def test_nifti_scaling_and_float_and_rounding(tmp_path, markers):
    image = nib.Nifti1Image((markers.T + 1024).astype(np.uint16), ras_affine())
    image.header.set_slope_inter(0.5, -512.0)
    path = tmp_path / "scaled.nii"
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<ff", 1.0, -1024.0)  # scl_slope, scl_inter
    raw[352:] = (markers.astype(np.int32) + 1024).astype("<u2").tobytes()
    path.write_bytes(raw)
    np.testing.assert_array_equal(open_ct(path).array(), markers)
    nib.save(nib.Nifti1Image(markers.T + np.float32(0.3), ras_affine()), tmp_path / "float.nii.gz")
    np.testing.assert_array_equal(open_ct(tmp_path / "float.nii.gz").array(), markers)


def test_nifti_with_one_volume_of_four_dimensions(tmp_path, markers):
    nib.save(nib.Nifti1Image(markers.T[..., None], ras_affine()), tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(open_ct(tmp_path / "one.nii.gz").array(), markers)


def test_nifti_sform_goes_before_qform_and_none_is_warned_of(tmp_path, markers):
    image = nib.Nifti1Image(markers.T, ras_affine())
    other = ras_affine()
    other[0, 3] += 100
    image.set_qform(other, 1)
    image.set_sform(ras_affine(), 2)
    nib.save(image, tmp_path / "both.nii")
    assert open_ct(tmp_path / "both.nii").origin_lps_mm == pytest.approx(ORIGIN)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "q.nii")
    assert open_ct(tmp_path / "q.nii").origin_lps_mm == pytest.approx((-131.0, 12.0, -205.0))
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "none.nii")
    assert "neither qform nor sform is set" in open_ct(tmp_path / "none.nii").warnings[0]


def test_nifti_in_metres_is_read_in_millimetres(tmp_path, markers):
    image = nib.Nifti1Image(markers.T, np.diag([1e-3, 1e-3, 1e-3, 1]) @ ras_affine())
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "metres.nii")
    assert open_ct(tmp_path / "metres.nii").spacing_mm == pytest.approx(SPACING)


@pytest.mark.parametrize("pixel_type", [sitk.sitkInt32, sitk.sitkFloat32, sitk.sitkFloat64])
def test_metaimage_types(tmp_path, markers, itk_image, pixel_type):
    sitk.WriteImage(sitk.Cast(itk_image(markers, SPACING, ORIGIN), pixel_type), tmp_path / "a.mhd")
    np.testing.assert_array_equal(open_ct(tmp_path / "a.mhd").array(), markers)


def test_metaimage_big_endian_with_spaces_in_its_name(tmp_path, markers):
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\n"
        "ElementSpacing = 0.75 0.875 1.5\nOffset = -31 12 -205\nDimSize = 17 13 11\n"
        "ElementType = MET_SHORT\nElementDataFile = the voxels.raw\n"
    )
    (tmp_path / "big.mhd").write_text(header)
    (tmp_path / "the voxels.raw").write_bytes(markers.astype(">i2").tobytes())
    volume = open_ct(tmp_path / "big.mhd")
    np.testing.assert_array_equal(volume.array(), markers)
    assert (volume.spacing_mm, volume.origin_lps_mm) == (SPACING, ORIGIN)


@pytest.mark.parametrize(("size", "before"), [(100, 100), (-1, 77)])
def test_metaimage_with_a_foreign_header_before_its_voxels(tmp_path, markers, size, before):
    (tmp_path / "a.raw").write_bytes(b"x" * before + markers.astype("<i2").tobytes())
    (tmp_path / "a.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nElementSpacing = 1 1 1\n"
        f"DimSize = 17 13 11\nElementType = MET_SHORT\nHeaderSize = {size}\n"
        "ElementDataFile = a.raw\n"
    )
    np.testing.assert_array_equal(open_ct(tmp_path / "a.mhd").array(), markers)


def test_compressed_scans_decode_once_and_warn_when_read(tmp_path, markers, itk_image):
    path = tmp_path / "windowed.nii.gz"
    sitk.WriteImage(itk_image(np.clip(markers, 0, 255), SPACING, ORIGIN), str(path))
    volume = open_ct(path)
    assert volume.warnings == ()
    volume.window((0, 0, 0), (1, 1, 1))
    assert "from 0 to 255" in volume.warnings[0]
    path.unlink()
    np.testing.assert_array_equal(volume.array(), np.clip(markers, 0, 255))


def test_gzip_header_alone_does_not_decode(tmp_path, markers):
    """A file whose voxels are missing opens, since the header says all that opening needs."""
    nib.save(nib.Nifti1Image(markers.T, ras_affine()), tmp_path / "a.nii")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()[:352]))
    assert open_ct(tmp_path / "a.nii.gz").shape == (11, 13, 17)


def test_importing_the_package_is_light():
    code = (
        "import sys, nodulenet.ct, nodulenet.ct.open\n"
        "heavy = {'numpy', 'scipy', 'SimpleITK', 'nibabel', 'pydicom', 'torch', 'tensorflow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from nodulenet.ct import extract_patch, open_ct\n"
        "rest = {'SimpleITK', 'nibabel', 'pydicom', 'torch', 'tensorflow', 'pandas'}\n"
        "assert not rest & set(sys.modules), rest & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
