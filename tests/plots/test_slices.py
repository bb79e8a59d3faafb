"""Slices of a whole scan: the right one, turned the right way, marks at the right pixel."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.ct import CTVolume
from nodulenet.errors import UsageError
from nodulenet.phantom import make_scan
from nodulenet.plots.slices import pixel_of, scan_slice, slice_at, slice_count, slice_figure

PLANES = ("axial", "coronal", "sagittal")
AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""The patient's axes (x, y, z) across, down and along the normal."""

ORIENTATIONS = [
    (order, signs)
    for order in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for signs in np.ndindex(2, 2, 2)
]


def as_stored(order: tuple[int, ...], signs: tuple[int, ...]) -> CTVolume:
    """A scan of 5 x 6 x 7 mm voxels whose HU say where they lie: 100 x + 10 y + z, counted from 0
    at the right, front and feet, stored with its axes in any order and direction.
    """
    x, y, z = np.meshgrid(np.arange(4), np.arange(5), np.arange(6), indexing="ij")
    hu = (100 * x + 10 * y + z).transpose(order)
    spacing, direction = np.array([5.0, 6.0, 7.0]), np.zeros((3, 3))
    origin = np.zeros(3)
    for index, axis in enumerate(order):
        direction[axis, index] = -1.0 if signs[index] else 1.0
        if signs[index]:
            hu = np.flip(hu, index)
            origin[axis] = spacing[axis] * ((4, 5, 6)[axis] - 1)
    stored = hu.transpose(2, 1, 0)  # index axes x, y, z are the array's last to first
    return CTVolume.from_array(stored, spacing[list(order)], origin, direction)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_is_turned_the_same_way(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    volume = as_stored(order, signs)
    axial = scan_slice(volume, 2)
    # Rows to the back, columns to the left.
    np.testing.assert_array_equal(
        axial.image, [[100 * x + 10 * y + 2 for x in range(4)] for y in range(5)]
    )
    coronal = scan_slice(volume, 3, "coronal")
    np.testing.assert_array_equal(
        coronal.image, [[100 * x + 30 + z for x in range(4)] for z in reversed(range(6))]
    )
    sagittal = scan_slice(volume, 1, "sagittal")
    np.testing.assert_array_equal(
        sagittal.image, [[100 + 10 * y + z for y in range(5)] for z in reversed(range(6))]
    )
    assert [s.place_mm for s in (axial, coronal, sagittal)] == [14.0, 18.0, 5.0]
    assert [s.count for s in (axial, coronal, sagittal)] == [6, 5, 4]
    assert sagittal.left_top_mm == (0.0, 35.0)
    assert sagittal.right_bottom_mm == (24.0, 0.0)
    assert coronal.spacing_mm == (5.0, 7.0)
    point = (10.0, 12.0, 28.0)
    assert pixel_of(volume, point) == pytest.approx((2, 2, 4))
    assert pixel_of(volume, point, "coronal") == pytest.approx((2, 1, 2))
    assert pixel_of(volume, point, "sagittal") == pytest.approx((2, 1, 2))


@settings(max_examples=25)
@given(
    place=st.tuples(*[st.floats(0.0, 1.0)] * 3),
    # SimpleITK cannot invert a matrix with subnormal numbers.
    turn=st.floats(-0.6, 0.6).map(lambda angle: round(angle, 6)),
    plane=st.sampled_from(PLANES),
)
def test_a_mark_lies_where_simpleitk_says(
    place: tuple[float, float, float], turn: float, plane: str
) -> None:
    """Also in a scan that is turned about the z axis."""
    c, s = np.cos(turn), np.sin(turn)
    direction = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    volume = CTVolume.from_array(
        np.zeros((7, 8, 9)), (0.7, 0.9, 2.5), (-11.0, 20.0, -300.0), direction
    )
    image = sitk.Image(9, 8, 7, sitk.sitkInt16)
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.origin_lps_mm)
    image.SetDirection(direction.ravel().tolist())
    point = volume.points_of(np.array(place) * [8, 7, 6])
    x, y, z = image.TransformPhysicalPointToContinuousIndex(point.tolist())
    expected = {"axial": (x, y, z), "coronal": (x, 6 - z, y), "sagittal": (y, 6 - z, x)}[plane]
    across, down, number = pixel_of(volume, point, plane)  # type: ignore[arg-type]
    assert (across, down, number) == pytest.approx(expected, abs=1e-6)
    nearest = slice_at(volume, point, plane)  # type: ignore[arg-type]
    figure = slice_figure(volume, nearest, plane, points_lps_mm=[point])  # type: ignore[arg-type]
    (ring,) = figure.findobj(lambda artist: artist.get_gid() == "point-0")
    assert ring.center == pytest.approx(expected[:2], abs=1e-6)
    assert abs(nearest - expected[2]) <= 0.5 + 1e-6


def test_the_ring_is_round_the_nodule_of_a_phantom() -> None:
    scan = make_scan(seed=1, index=0)
    volume = CTVolume.from_array(scan.hu, scan.spacing_mm, scan.origin_lps_mm, scan.direction)
    nodule = scan.nodules[0]
    for plane in PLANES:
        number = slice_at(volume, nodule.centre_mm, plane)  # type: ignore[arg-type]
        figure = slice_figure(volume, number, plane, points_lps_mm=[nodule.centre_mm])  # type: ignore[arg-type]
        (picture,) = figure.findobj(lambda artist: artist.get_gid() == "slice")
        (ring,) = figure.findobj(lambda artist: artist.get_gid() == "point-0")
        across, down = (round(value) for value in ring.center)
        near = np.asarray(picture.get_array())[down - 1 : down + 2, across - 1 : across + 2]
        # Brighter than the lung at -850, where the mark would lie if an axis were mixed up.
        assert np.median(near) > -400
        # Ticks are LPS: that of the ring is the nodule's own coordinate, to a pixel.
        ax = figure.axes[0]
        for axis, place, patient in zip(
            (ax.xaxis, ax.yaxis), ring.center, AXES[plane][:2], strict=True
        ):
            values = [float(text.get_text()) for text in axis.get_ticklabels()]
            slope, start = np.polyfit(axis.get_ticklocs(), values, 1)
            assert slope * place + start == pytest.approx(nodule.centre_mm[patient], abs=0.1)


def test_marks_stand_on_their_slice_and_near_it_alone() -> None:
    volume = CTVolume.from_array(np.zeros((20, 8, 8)), (1.0, 1.0, 1.5))
    point = (3.0, 3.0, 15.0)  # slice 10
    styles = {}
    for number in range(slice_count(volume)):
        figure = slice_figure(volume, number, points_lps_mm=[point])
        rings = figure.findobj(lambda artist: artist.get_gid() == "point-0")
        if rings:
            styles[number] = rings[0].get_linestyle()
    assert sorted(styles) == [8, 9, 10, 11, 12]  # within 4 mm of it, 1.5 mm apart
    assert [number for number, style in styles.items() if style == "solid"] == [10]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"number": 7}, "slice is 7; expected 0 to 6, the axial slices"),
        ({"number": -1}, "slice is -1"),
        ({"number": 0, "plane": "top"}, "plane is 'top'; expected axial, coronal, sagittal"),
        ({"number": 0, "window": "brain"}, "window is 'brain'"),
        ({"number": 0, "points_lps_mm": [[1, 2]]}, r"points_lps_mm has shape \(1, 2\)"),
        ({"number": 0, "points_lps_mm": [[1, 2, 3]], "names": []}, "0 names for 1 points"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, object], said: str) -> None:
    volume = CTVolume.from_array(np.zeros((7, 8, 9)), (1, 1, 1))
    with pytest.raises(UsageError, match=said):
        slice_figure(volume, **arguments)  # type: ignore[arg-type]
