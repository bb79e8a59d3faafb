"""Tilted and unevenly spaced slices: refused, or resampled onto the right places."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.interpolate import RegularGridInterpolator

from nodulenet.ct import extract_patch, open_ct
from nodulenet.errors import GeometryError, UsageError

SPACING, ORIGIN = (0.8, 0.9, 2.0), (-31.0, 12.0, -205.0)
SHAPE = (12, 30, 36)
IDENTITY = np.eye(3)
GRADIENT = np.array((3.0, -4.0, 6.0))  # HU per mm along x, y, z


def ramp(points):
    return -700.0 + (points - ORIGIN) @ GRADIENT


def write_at(write_dicom, folder, places, direction=IDENTITY, values=ramp):
    """Slices whose first pixels lie at ``places`` (mm along x, y, z of the stack)."""
    rows, columns = SHAPE[1:]
    j, i = np.mgrid[0:rows, 0:columns]
    hu = []
    for place in places:
        index = np.stack([i * SPACING[0], j * SPACING[1], 0 * i], -1) + place
        hu.append(values(index @ direction.T + ORIGIN))

    def change(ds, k):
        position = direction @ places[k] + ORIGIN
        ds.ImagePositionPatient = [f"{v:.9g}" for v in position]
        ds.PixelData = np.rint(hu[k] + 1024).astype(np.uint16).tobytes()

    return write_dicom(folder, np.zeros(SHAPE, np.int16), SPACING, ORIGIN, direction, change=change)


def write_texture(write_dicom, folder, places, seed):
    """Noise in every slice, which is returned: (slices, rows, columns) HU."""
    texture = np.random.default_rng(seed).integers(-900, 300, SHAPE)
    lookup = {round(float(p[2]), 3): t for p, t in zip(places, texture, strict=True)}
    write_at(
        write_dicom,
        folder,
        places,
        values=lambda points: lookup[round(float(points[0, 0, 2] - ORIGIN[2]), 3)],
    )
    return texture


def tilted(degrees=15.0, along=None):
    along = np.arange(SHAPE[0]) * SPACING[2] if along is None else along
    return np.stack([0 * along, -np.tan(np.radians(degrees)) * along, along], -1)


def uneven():
    steps = np.array([2.0, 2.5, 1.5, 2.0, 3.0, 2.0, 2.0, 1.0, 2.0, 4.0, 2.0])
    along = np.concatenate([[0], np.cumsum(steps)])
    return np.stack([0 * along, 0 * along, along], -1)


@pytest.mark.parametrize("places", [tilted(), tilted(-22.0), uneven(), tilted(8.0, uneven()[:, 2])])
@pytest.mark.parametrize("oblique", [False, True])
def test_a_ramp_in_millimetres_comes_out_right(
    tmp_path, write_dicom, oblique_direction, places, oblique
):
    direction = oblique_direction if oblique else np.eye(3)
    write_at(write_dicom, tmp_path, places, direction)
    with pytest.raises(GeometryError, match=r"--irregular resample"):
        open_ct(tmp_path)
    volume = open_ct(tmp_path, irregular="resample")
    assert "resampled onto a regular grid, as asked" in volume.warnings[0]
    np.testing.assert_allclose(volume.direction, direction, atol=1e-9)
    hu = volume.array()
    k, j, i = np.indices(volume.shape)
    points = volume.points_of(np.stack([i, j, k], -1).reshape(-1, 3))
    expected = ramp(points).reshape(volume.shape)
    covered = hu > -1024
    assert covered.mean() > 0.6
    # Half a HU of rounding when stored, and another when resampled. Not at the border, where half
    # a pixel continues with the border's value.
    inner = covered & np.roll(covered, 1, 1) & np.roll(covered, -1, 1)
    inner &= np.roll(covered, 1, 2) & np.roll(covered, -1, 2)
    inner[:, [0, -1]] = inner[:, :, [0, -1]] = False
    assert np.abs(hu - expected)[inner].max() <= 1.01
    # Both ends of the series are there.
    ends = np.add([places[0], places[-1]], (14, 13, 0)) @ direction.T + ORIGIN
    assert volume.contains(ends).all()
    piece = pickle.loads(pickle.dumps(volume)).window((3, 5, 2), (7, 15, 20))
    np.testing.assert_array_equal(piece, hu[3:7, 5:15, 2:20])


def test_texture_agrees_with_interpolation_between_true_slice_positions(tmp_path, write_dicom):
    """Uneven spacing against SciPy's interpolator over the uneven coordinates."""
    places = uneven()
    texture = write_texture(write_dicom, tmp_path, places, seed=5)
    volume = open_ct(tmp_path, irregular="resample")
    along = np.arange(volume.shape[0]) * volume.spacing_mm[2]
    assert along[-1] == pytest.approx(places[-1, 2])
    rows, columns = np.arange(SHAPE[1]), np.arange(SHAPE[2])
    oracle = RegularGridInterpolator((places[:, 2], rows, columns), texture)
    grid = np.stack(np.meshgrid(along.clip(0, places[-1, 2]), rows, columns, indexing="ij"), -1)
    assert np.abs(volume.array() - oracle(grid)).max() <= 0.501


def test_tilt_agrees_with_simpleitk_slice_by_slice(tmp_path, write_dicom):
    """Each slice resampled in its own plane by SimpleITK, at the height of a slice."""
    places = tilted()
    texture = write_texture(write_dicom, tmp_path, places, seed=6)
    volume = open_ct(tmp_path, irregular="resample")
    assert volume.shape[0] == SHAPE[0]
    for k, place in enumerate(places):
        image = sitk.GetImageFromArray(texture[k].astype(np.float64))
        image.SetSpacing(SPACING[:2])
        image.SetOrigin((ORIGIN[:2] + place[:2]).tolist())
        grid = sitk.ResampleImageFilter()
        grid.SetSize(volume.shape[:0:-1])
        grid.SetOutputSpacing(SPACING[:2])
        grid.SetOutputOrigin(volume.origin_lps_mm[:2])
        grid.SetDefaultPixelValue(-1024)
        expected = sitk.GetArrayFromImage(grid.Execute(image))
        found = volume.window((k, 0, 0), (k + 1, *volume.shape[1:]))[0]
        assert np.abs(found - expected).max() <= 0.501


def test_patches_cross_the_seams_of_tilted_slices(tmp_path, write_dicom):
    write_at(write_dicom, tmp_path, tilted())
    volume = open_ct(tmp_path, irregular="resample")
    point = np.add(ORIGIN, (14.0, 8.0, 11.0))
    patch = extract_patch(volume, point, (5, 5, 5), (1.0, 1.0, 1.0))
    z, y, x = np.meshgrid(*[np.arange(5) - 2.0] * 3, indexing="ij")
    expected = ramp(point + np.stack([x, y, z], -1))
    assert np.abs(patch - expected).max() <= 1.01


def test_what_is_not_safe_stays_refused(tmp_path, write_dicom):
    gap = uneven()
    gap[6:, 2] += 4.0  # 6 mm without a slice
    write_at(write_dicom, tmp_path / "gap", gap)
    with pytest.raises(GeometryError, match="no gap above 5 mm is interpolated over"):
        open_ct(tmp_path / "gap", irregular="resample")
    moved = tilted(0.0)
    moved[5:, 0] += 3.0  # the table moved: no tilt
    write_at(write_dicom, tmp_path / "moved", moved)
    with pytest.raises(GeometryError, match="separate the acquisitions"):
        open_ct(tmp_path / "moved", irregular="resample")
    with pytest.raises(UsageError, match="'refuse' or 'resample'"):
        open_ct(tmp_path / "moved", irregular="ignore")


def test_exact_copies_are_left_out_and_others_refused(tmp_path, write_dicom, markers):
    def copied(change_one):
        folder = tmp_path / str(change_one)
        files = write_dicom(folder, markers, SPACING, ORIGIN)
        content = bytearray(files[4].read_bytes())
        if change_one:
            content[-2] ^= 1
        (folder / "copy.dcm").write_bytes(content)
        return folder

    with pytest.raises(GeometryError, match="same place"):
        open_ct(copied(False))
    volume = open_ct(copied(False), irregular="resample")
    np.testing.assert_array_equal(volume.array(), markers)
    assert any("1 exact copies of slices were left out" in w for w in volume.warnings)
    with pytest.raises(GeometryError, match="same place"):
        open_ct(copied(True), irregular="resample")


def test_a_regular_series_is_untouched_by_the_option(tmp_path, write_dicom, markers):
    write_dicom(tmp_path, markers, SPACING, ORIGIN)
    volume = open_ct(tmp_path, irregular="resample")
    np.testing.assert_array_equal(volume.array(), markers)
    assert volume.warnings == ()
