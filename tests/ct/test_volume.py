from __future__ import annotations

import pickle

import numpy as np
import pytest

from nodulenet.ct import CTVolume
from nodulenet.errors import GeometryError, UsageError


def test_points_agree_with_simpleitk(markers, itk_image, oblique_direction):
    spacing, origin = (0.7, 0.9, 2.5), (-160.5, 20.0, -300.0)
    image = itk_image(markers, spacing, origin, oblique_direction)
    volume = CTVolume.from_array(markers, spacing, origin, oblique_direction)
    index = np.random.default_rng(0).uniform(-3, 20, (20, 3))
    expected = np.array([image.TransformContinuousIndexToPhysicalPoint(i) for i in index])
    np.testing.assert_allclose(volume.points_of(index), expected, atol=1e-9)
    np.testing.assert_allclose(volume.index_of(expected), index, atol=1e-9)
    ras = index @ volume.affine_ras[:3, :3].T + volume.affine_ras[:3, 3]
    np.testing.assert_allclose(ras, expected * (-1, -1, 1), atol=1e-9)


def test_contains_reaches_half_a_voxel_beyond_the_outer_centres():
    volume = CTVolume.from_array(np.full((3, 4, 5), -900), (1, 2, 4), (10, 20, 30))
    points = [(10, 20, 30), (9.51, 19.1, 28.1), (14.49, 26.9, 39.9), (9.4, 20, 30), (10, 27.1, 30)]
    assert volume.contains(points).tolist() == [True, True, True, False, False]
    assert bool(volume.contains((10, 20, 40.1))) is False
    assert volume.extent_lps_mm() == ((9.5, 19.0, 28.0), (14.5, 27.0, 40.0))


def test_window_is_a_copy_of_the_asked_voxels(markers):
    volume = CTVolume.from_array(markers, (1, 1, 1))
    window = volume.window((1, 2, 3), (4, 9, 12))
    np.testing.assert_array_equal(window, markers[1:4, 2:9, 3:12])
    window[:] = 0
    np.testing.assert_array_equal(volume.array(), markers)
    with pytest.raises(UsageError, match="does not fit the scan of shape"):
        volume.window((0, 0, 0), (12, 13, 17))


def test_array_is_copied_clamped_and_named_by_content(markers):
    hu = markers.copy()
    hu[0] = -2048
    volume = CTVolume.from_array(hu, (1, 1, 1))
    other = CTVolume.from_array(hu, (1, 1, 1))
    hu[:] = 0
    assert volume.window((0, 0, 0), (1, 1, 1)).item() == -1024
    assert volume.array()[5, 6, 12] == 100
    assert volume.series_uid == other.series_uid
    assert volume.series_uid != CTVolume.from_array(markers, (1, 1, 1)).series_uid
    assert CTVolume.from_array(markers, (1, 1, 1), series_uid="a").series_uid == "a"


def test_pickle_keeps_voxels_and_geometry(markers, oblique_direction):
    volume = CTVolume.from_array(markers, (1, 2, 3), (4, 5, 6), oblique_direction)
    again = pickle.loads(pickle.dumps(volume))
    np.testing.assert_array_equal(again.array(), markers)
    np.testing.assert_array_equal(again.affine_lps, volume.affine_lps)


@pytest.mark.parametrize(
    ("values", "guess"),
    [
        (np.linspace(0, 255, 27), "windowed or normalised"),
        (np.linspace(0, 1, 27), "windowed or normalised"),
        (np.linspace(-100, 3000, 27), "without rescale"),
    ],
)
def test_values_that_cannot_be_hu_give_a_warning_with_their_range(values, guess):
    volume = CTVolume.from_array(values.reshape(3, 3, 3), (1, 1, 1))
    (warning,) = volume.warnings
    assert guess in warning
    assert f"from {round(values.min()):g} to {round(values.max()):g}" in warning


def test_hu_give_no_warning_even_where_the_middle_slice_holds_no_air():
    hu = np.full((9, 4, 4), 40)
    hu[0] = -900
    assert CTVolume.from_array(hu, (1, 1, 1)).warnings == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing_mm": (1, 1, np.nan)}, "spacing is .*nan.*three finite numbers"),
        ({"spacing_mm": (1, 0, 1)}, r"spacing is \(1.0, 0.0, 1.0\).*expected 0.01 to 100"),
        ({"spacing_mm": (1, 1, 1e6)}, "expected 0.01 to 100"),
        ({"spacing_mm": (1, 1)}, "three finite numbers"),
        ({"origin_lps_mm": (0, 0, np.inf)}, "origin is .*inf"),
        ({"direction": np.eye(3) * 2}, "off unit length"),
        ({"direction": [[1, 0, 0], [0, 1, 0.2], [0, 0, 0.98]]}, "11.54 degrees off a right angle"),
        ({"direction": np.full((3, 3), np.nan)}, "matrix of finite"),
        ({"hu_zyx": np.zeros((4, 4))}, r"shape \(4, 4\).*three dimensions"),
        ({"hu_zyx": np.zeros((4, 0, 4))}, "at least one voxel"),
    ],
)
def test_impossible_geometry_is_refused(change, message):
    arguments = {"hu_zyx": np.full((3, 3, 3), -900), "spacing_mm": (1, 1, 1)} | change
    with pytest.raises(GeometryError, match=message):
        CTVolume.from_array(**arguments)
