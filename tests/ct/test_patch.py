from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from nodulenet.ct import CTVolume, extract_patch
from nodulenet.errors import PointOutsideScanError, UsageError

ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]

SPACING, ORIGIN = np.array((0.7, 0.9, 1.6)), np.array((-31.0, 12.0, -205.0))


def reoriented(hu, order, signs):
    """The same scan stored with index axes x, y, z along patient axes ``order``, ``signs``."""
    stored = hu.transpose([2 - axis for axis in order[::-1]])
    direction = np.zeros((3, 3))
    origin = ORIGIN.copy()
    for index_axis, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        direction[axis, index_axis] = sign
        if sign < 0:
            stored = np.flip(stored, 2 - index_axis)
            origin[axis] += SPACING[axis] * (hu.shape[2 - axis] - 1)
    return CTVolume.from_array(stored, SPACING[list(order)], origin, direction)


def itk_patch(image, point, size, spacing, interpolator=sitk.sitkLinear, outside=-1024.0):
    resample = sitk.ResampleImageFilter()
    resample.SetInterpolator(interpolator)
    resample.SetSize([int(n) for n in size[::-1]])
    resample.SetOutputSpacing([float(s) for s in spacing])
    start = [p - (n - 1) / 2 * s for p, n, s in zip(point, size[::-1], spacing, strict=True)]
    resample.SetOutputOrigin(start)
    resample.SetOutputDirection(np.eye(3).ravel().tolist())
    resample.SetDefaultPixelValue(outside)
    resample.SetOutputPixelType(sitk.sitkFloat32)
    resample.SetNumberOfThreads(1)
    return sitk.GetArrayFromImage(resample.Execute(image))


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_all_48_orientations_give_the_same_patch(markers, order, signs):
    volume = reoriented(markers, order, signs)
    centre = ORIGIN + SPACING * (8, 6, 5)
    on_voxels = extract_patch(volume, centre, (7, 9, 11), SPACING)
    np.testing.assert_array_equal(on_voxels, markers[2:9, 2:11, 3:14])
    between = {
        "point_lps_mm": np.add(centre, (0.31, -0.47, 0.93)),
        "size": (6, 8, 7),
        "spacing_mm": (1, 1, 1),
    }
    straight = CTVolume.from_array(markers, SPACING, ORIGIN)
    np.testing.assert_allclose(
        extract_patch(volume, **between), extract_patch(straight, **between), atol=1e-3
    )


def test_axes_point_to_head_back_and_left(markers):
    patch = extract_patch(
        reoriented(markers, (2, 0, 1), (-1, 1, -1)),
        ORIGIN + SPACING * (8, 6, 5),
        (5, 5, 5),
        SPACING,
    )
    assert patch[2, 2, 4] == 100  # x rises to the patient's left
    assert patch[2, 4, 2] == 400  # y to the back
    assert patch[4, 2, 2] == 900  # z to the head


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize(
    ("shift", "size", "spacing"),
    [
        ((0.0, 0.0, 0.0), (6, 6, 6), (0.8, 0.8, 0.8)),
        ((0.33, -0.21, 0.77), (5, 8, 7), (0.5, 1.1, 1.3)),
        ((-5.4, 3.9, 4.7), (30, 20, 24), (0.7, 0.9, 1.1)),  # reaches far out of the scan
    ],
)
def test_agrees_with_simpleitk(
    markers, itk_image, oblique_direction, interpolation, oblique, shift, size, spacing
):
    direction = oblique_direction if oblique else np.eye(3)
    image = itk_image(markers, SPACING, ORIGIN, direction)
    volume = CTVolume.from_array(markers, SPACING, ORIGIN, direction)
    point = volume.points_of(np.array((8.0, 6.0, 5.0)) + shift)
    itk = {"linear": sitk.sitkLinear, "bspline": sitk.sitkBSpline}[interpolation]
    expected = itk_patch(sitk.Cast(image, sitk.sitkFloat32), point, size, spacing, itk, -777.0)
    patch = extract_patch(
        volume, point, size, spacing, interpolation=interpolation, outside_hu=-777.0
    )
    assert patch.dtype == np.float32
    np.testing.assert_array_equal(patch == -777.0, expected == -777.0)
    np.testing.assert_allclose(patch, expected, atol=0.05)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, -1)])
def test_the_outer_half_voxel_counts_as_inside_at_both_ends(markers, signs):
    volume = reoriented(markers, (0, 1, 2), signs)
    centre = ORIGIN + SPACING * (8, 6, 5)
    patch = extract_patch(volume, centre, (12, 14, 18), SPACING, outside_hu=-777.0)
    assert not (patch == -777.0).any()  # the outermost samples lie half a voxel out
    patch = extract_patch(volume, centre, (13, 15, 19), SPACING, outside_hu=-777.0)
    np.testing.assert_array_equal(patch[1:-1, 1:-1, 1:-1], markers)
    outermost = [patch[0], patch[-1], patch[:, 0], patch[:, -1], patch[:, :, 0], patch[:, :, -1]]
    assert all((face == -777.0).all() for face in outermost)


@pytest.mark.parametrize("oblique", [False, True])
def test_a_linear_ramp_in_mm_is_reproduced_exactly(oblique_direction, oblique):
    direction = oblique_direction if oblique else np.eye(3)
    spacing = (0.5, 0.5, 0.5)
    index = np.stack(np.meshgrid(*[np.arange(40)] * 3, indexing="ij"), -1)[..., ::-1]
    empty = CTVolume.from_array(np.full((40, 40, 40), -900), spacing, ORIGIN, direction)
    gradient = np.array((8.0, -20.0, 14.0))  # HU per mm
    middle = empty.points_of((19.5, 19.5, 19.5))
    ramp = (empty.points_of(index.reshape(-1, 3)) - middle) @ gradient
    volume = CTVolume.from_array(np.rint(ramp).reshape(40, 40, 40), spacing, ORIGIN, direction)
    point, step, size = np.add(middle, (0.3, -0.2, 0.11)), (0.45, 0.6, 0.35), (9, 8, 11)
    patch = extract_patch(volume, point, size, step)
    k, j, i = np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in size], indexing="ij")
    where = point + np.stack([i, j, k], -1) * step
    # Rounding to whole HU is the only error left; interpolation averages it.
    np.testing.assert_allclose(patch, (where - middle) @ gradient, atol=0.5)


def test_symmetric_about_the_point(markers):
    """The patch of the mirrored scan at the mirrored point is the mirrored patch."""
    straight = CTVolume.from_array(markers, (1, 1, 1))
    mirrored = CTVolume.from_array(markers[:, :, ::-1], (1, 1, 1), (-16, 0, 0))
    arguments = {"size": (4, 5, 6), "spacing_mm": (0.7, 0.8, 0.9)}
    left = extract_patch(straight, (8.3, 6.2, 5.1), **arguments)
    right = extract_patch(mirrored, (-8.3, 6.2, 5.1), **arguments)
    np.testing.assert_allclose(left, right[:, :, ::-1], atol=1e-3)


def test_forms_show_the_planes_through_the_point(markers):
    volume = CTVolume.from_array(markers, (1.0, 1.2, 1.4), ORIGIN)
    point = volume.points_of((8.2, 6.1, 5.3))
    cube = extract_patch(volume, point, (5, 5, 5), (1, 1, 1))
    plane = extract_patch(volume, point, (5, 5), (1, 1, 1), form="2d")
    np.testing.assert_allclose(plane, cube[2], atol=1e-3)
    np.testing.assert_array_equal(
        plane, extract_patch(volume, point, (1, 5, 5), (1, 1, 1), form="2d")
    )
    planes = extract_patch(volume, point, (5, 5), (1, 1, 1), form="2.5d")
    assert planes.shape == (5, 5, 3)
    for channel, expected in enumerate((cube[2], cube[:, 2], cube[:, :, 2])):
        np.testing.assert_allclose(planes[..., channel], expected, atol=1e-3)


@pytest.mark.parametrize("direction_key", ["straight", "oblique"])
def test_antialias_removes_what_the_coarse_grid_cannot_hold(oblique_direction, direction_key):
    """Stripes of one voxel vanish into their mean; a constant stays what it is."""
    direction = oblique_direction if direction_key == "oblique" else np.eye(3)
    hu = np.full((40, 40, 40), -1000)
    hu[:, :, ::2] = 0
    stripes = CTVolume.from_array(hu, (0.5, 0.5, 0.5), ORIGIN, direction)
    point = stripes.points_of((20.0, 20.0, 20.0))
    arguments = {"size": (3, 3, 3), "spacing_mm": (3.0, 3.0, 3.0)}
    assert np.ptp(extract_patch(stripes, point, **arguments)) > 300 or direction_key == "straight"
    smooth = extract_patch(stripes, point, antialias=True, **arguments)
    np.testing.assert_allclose(smooth, -500, atol=5)
    finer = {"size": (3, 3, 3), "spacing_mm": (0.4, 0.4, 0.4)}
    np.testing.assert_array_equal(
        extract_patch(stripes, point, antialias=True, **finer),
        extract_patch(stripes, point, **finer),
    )


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
@pytest.mark.parametrize("shape", [(1, 9, 9), (2, 2, 9), (1, 1, 1)])
def test_thin_scans(shape, interpolation):
    volume = CTVolume.from_array(np.full(shape, -700), (1, 1, 1))
    patch = extract_patch(
        volume, (0, 0, 0), (3, 3, 3), (0.4, 0.4, 0.4), interpolation=interpolation
    )
    np.testing.assert_allclose(patch, -700, atol=0.01)


def test_only_a_window_is_read(markers, monkeypatch):
    volume = CTVolume.from_array(np.tile(markers, (6, 6, 6)), (1, 1, 1))
    read = []
    inner = volume.window
    monkeypatch.setattr(volume, "window", lambda *a: (read.append(a), inner(*a))[1])
    extract_patch(volume, (50, 40, 30), (8, 8, 8), (1, 1, 1))
    ((start, stop),) = read
    assert np.prod(np.subtract(stop, start)) <= 10**3


def test_point_outside_names_extent_and_ras():
    volume = CTVolume.from_array(
        np.full((10, 10, 10), -900), (1, 1, 1), (50, 60, -100), series_uid="1.2.3"
    )
    with pytest.raises(PointOutsideScanError) as error:
        extract_patch(volume, (-55, -65, -95), (4, 4, 4), (1, 1, 1))
    assert str(error.value) == (
        "point (-55.0, -65.0, -95.0) lies outside the scan 1.2.3; expected LPS mm within x 49.5 to "
        "59.5, y 59.5 to 69.5, z -100.5 to -90.5; with the signs of x and y turned it lies inside, "
        "so it is probably RAS: declare the space as ras, or negate x and y"
    )
    with pytest.raises(PointOutsideScanError, match=r"as voxel indices .* it lies inside"):
        extract_patch(volume, (5, 5, 5), (4, 4, 4), (1, 1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (4, 4)}, "size is .4, 4. for form='3d'.*use form='2d'"),
        ({"size": (4, 4, 0)}, "three positive integers"),
        ({"size": (4, 4, 4.0)}, "three positive integers"),
        ({"size": (2, 4, 4), "form": "2d"}, "two positive integers"),
        ({"size": (4,), "form": "2.5d"}, "rows, columns.*neighbouring axial slices"),
        ({"form": "4d"}, "form is '4d'"),
        ({"spacing_mm": (1, 1)}, "spacing_mm is"),
        ({"spacing_mm": (1, 1, -1)}, "three positive numbers"),
        ({"interpolation": "cubic"}, "'linear' or 'bspline'"),
        ({"point_lps_mm": (0, 0, np.nan)}, "three finite numbers"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    volume = CTVolume.from_array(np.full((9, 9, 9), -900), (1, 1, 1))
    arguments = {"point_lps_mm": (4, 4, 4), "size": (3, 3, 3), "spacing_mm": (1, 1, 1)} | change
    with pytest.raises(UsageError, match=message):
        extract_patch(volume, **arguments)
