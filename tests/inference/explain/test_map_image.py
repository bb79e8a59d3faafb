"""Maps lie in the patient where the patch does, in their own voxels and in the scan's."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct import CTVolume, extract_patch
from nodulenet.errors import UsageError
from nodulenet.inference.explain.map_image import map_images, on_scan_grid, write_maps

POINT = (12.3, -7.7, 31.1)


def scan(turned: bool) -> CTVolume:
    direction = np.eye(3)
    if turned:
        direction = Rotation.from_euler("zyx", [30, 20, 10], degrees=True).as_matrix()
        direction = direction[:, [1, 2, 0]] * [1, -1, 1]
    hu = np.zeros((40, 44, 48), np.int16)
    volume = CTVolume.from_array(hu, (1.3, 1.1, 1.7), direction=direction)
    origin = np.array(POINT) - volume.points_of([23.4, 20.7, 19.3])
    return CTVolume.from_array(hu, (1.3, 1.1, 1.7), origin, direction)


def image_of(volume: CTVolume) -> sitk.Image:
    image = sitk.GetImageFromArray(np.zeros(volume.shape, np.float32))
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_lps_mm)
    image.SetDirection(volume.direction.ravel().tolist())
    return image


@pytest.mark.parametrize("turned", [False, True])
def test_in_the_voxels_of_the_scan_as_simpleitk_resamples(turned: bool, tmp_path: Path) -> None:
    volume = scan(turned)
    spec = PatchSpec(form="3d", size=(9, 12, 10), spacing_mm=(1.5, 0.9, 2.1))
    values = np.random.default_rng(0).normal(size=spec.size).astype(np.float32)
    own, in_scan = write_maps(tmp_path, map_images(values, spec, POINT), volume)
    assert (own.name, in_scan.name) == ("map.nii.gz", "map-on-scan-grid.nii.gz")
    expected = sitk.Resample(sitk.ReadImage(str(own)), image_of(volume), sitk.Transform(3, 1))
    found = sitk.ReadImage(str(in_scan))
    assert found.GetSize() == expected.GetSize()
    np.testing.assert_allclose(found.GetOrigin(), expected.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(found.GetDirection(), expected.GetDirection(), atol=1e-6)
    arrays = [sitk.GetArrayFromImage(image) for image in (found, expected)]
    np.testing.assert_allclose(*arrays, atol=2e-3)
    assert 200 < (arrays[0] != 0).sum() < arrays[0].size / 4
    np.testing.assert_allclose(nib.load(in_scan).affine, volume.affine_ras, atol=1e-3)


def test_every_form_has_its_place(tmp_path: Path) -> None:
    """A mark at a known place of a scan: the map of the patch has it at that place, too."""
    hu = np.zeros((60, 60, 60), np.int16)
    volume = CTVolume.from_array(hu, (1, 1, 1), (-20, -37, 2))
    mark = np.array([13.0, -9.0, 33.0])
    hu[tuple(np.rint(mark - volume.origin_lps_mm).astype(int)[::-1])] = 1000
    volume = CTVolume.from_array(hu, (1, 1, 1), (-20, -37, 2))
    for form, size, names in (
        ("3d", (15, 13, 11), ["map"]),
        ("2d", (13, 11), ["map"]),
        ("2.5d", (5, 13, 11), ["map"]),
        ("2.5d", (13, 11), ["axial", "coronal", "sagittal"]),
    ):
        spec = PatchSpec.model_validate({"form": form, "size": size, "spacing_mm": 1.0})
        for point in mark + np.array([[2, 3, 0], [-2, 0, 3], [0, 2, -3]]):
            patch = extract_patch(volume, point, size, (1, 1, 1), form=spec.form)
            values = np.moveaxis(patch, -1, 0) if form == "2.5d" else patch
            images = map_images(values, spec, point)
            assert [image.name for image in images] == names
            seen = [image for image in images if image.values.max() > 500]
            if not seen:  # the mark lies beside this plane
                assert form != "3d"
                continue
            for image in seen:
                file = nib.load(image.write(tmp_path / "one.nii.gz"))
                np.testing.assert_allclose(file.affine, image.affine_ras, atol=1e-5)
                array = file.get_fdata()
                place = file.affine @ [*np.unravel_index(array.argmax(), array.shape), 1]
                np.testing.assert_allclose(place[:3] * [-1, -1, 1], mark, atol=1e-4)
            back = on_scan_grid(images, volume)
            index = np.unravel_index(back.argmax(), back.shape)
            np.testing.assert_allclose(volume.points_of(index[::-1]), mark, atol=1e-6)


def test_a_plane_is_never_lost_between_thick_slices() -> None:
    volume = CTVolume.from_array(np.zeros((9, 30, 30)), (1, 1, 5), (0, 0, 0))
    spec = PatchSpec(form="2d", size=(8, 8), spacing_mm=(1, 1))
    values = np.ones((8, 8), np.float32)
    for z, slices in ((16.0, [3]), (18.9, [4]), (20.0, [4])):
        found = on_scan_grid(map_images(values, spec, (14.5, 14.5, z)), volume)
        assert [int(i) for i in np.flatnonzero(found.any(axis=(1, 2)))] == slices
        assert found.sum() == 64
    outside = on_scan_grid(map_images(values, spec, (500, 0, 0)), volume)
    assert not outside.any()
    with pytest.raises(UsageError, match=r"map has shape \(8, 8\); expected .* \(3, 8, 8\)"):
        map_images(values, PatchSpec(form="2.5d", size=(8, 8)), (0, 0, 0))
