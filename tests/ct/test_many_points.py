"""Many points at once, neighbouring slices, whole scans: the same values by every way."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import SimpleITK as sitk

from nodulenet.ct import CTVolume, extract_patch, extract_patches, open_ct
from nodulenet.ct.patch import prefetched, resample_scan
from nodulenet.ct.sources import ArraySource
from nodulenet.errors import PointOutsideScanError, UsageError

SPACING, ORIGIN = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)


class CountingSource:
    """Voxels of an array; remembers which windows were read."""

    def __init__(self, hu):
        self.hu, self.shape, self.warnings, self.reads = hu, hu.shape, (), []

    def for_many_windows(self):
        return ArraySource(self.read((0, 0, 0), self.shape))

    def read(self, start, stop):
        self.reads.append((start, stop))
        return self.hu[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]].copy()


@pytest.fixture
def scan(oblique_direction):
    def make(oblique=False, shape=(30, 40, 50)):
        hu = np.random.default_rng(2).integers(-1000, 500, shape).astype(np.int16)
        source = CountingSource(hu)
        direction = oblique_direction if oblique else np.eye(3)
        return CTVolume(source, SPACING, ORIGIN, direction, series_uid="1.2"), source

    return make


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"interpolation": "bspline"},
        {"antialias": True},
        {"form": "2d", "size": (7, 8)},
        {"form": "2.5d", "size": (7, 7)},
        {"form": "2.5d", "size": (3, 7, 8)},
    ],
    ids=str,
)
def test_many_points_are_one_by_one(scan, oblique, options):
    volume, _ = scan(oblique)
    points = volume.points_of(np.random.default_rng(0).uniform((5, 5, 5), (44, 34, 24), (9, 3)))
    arguments = {"size": (5, 6, 7), "spacing_mm": (0.9, 0.8, 1.2)} | options
    found = extract_patches(volume, points, **arguments)
    for patch, point in zip(found, points, strict=True):
        np.testing.assert_array_equal(patch, extract_patch(volume, point, **arguments))


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_points_of_one_grid_are_sliced_from_one_resampling(scan, interpolation):
    volume, source = scan()
    spacing = np.array((0.9, 0.8, 1.2))
    steps = np.stack(np.meshgrid([0, 1, 3], [0, 2], [0, 1, 2, 3]), -1).reshape(-1, 3)
    points = volume.points_of([20.3, 18.7, 14.1]) + steps * spacing
    found = extract_patches(volume, points, (5, 6, 7), spacing, interpolation=interpolation)
    assert len(source.reads) == 1
    for patch, point in zip(found, points, strict=True):
        one = extract_patch(volume, point, (5, 6, 7), spacing, interpolation=interpolation)
        np.testing.assert_allclose(patch, one, atol=1e-3 if interpolation == "linear" else 2e-2)


def test_windows_or_the_whole_scan_by_what_reads_less(scan):
    volume, source = scan()
    few = volume.points_of([[20.1, 20.2, 15.3], [30.1, 10.2, 9.4]])
    extract_patches(volume, few, (4, 4, 4), (0.7, 0.7, 0.7), threads=1)
    assert len(source.reads) == 2
    assert all(np.prod(np.subtract(stop, start)) < 1000 for start, stop in source.reads)
    source.reads.clear()
    many = volume.points_of(np.random.default_rng(1).uniform((5, 5, 5), (44, 34, 24), (400, 3)))
    extract_patches(volume, many, (9, 9, 9), (0.9, 0.8, 1.2))
    assert source.reads == [((0, 0, 0), volume.shape)]
    in_memory = prefetched(volume, many, (9, 9, 9), (0.9, 0.8, 1.2))
    again = prefetched(in_memory, many, (9, 9, 9), (0.9, 0.8, 1.2))
    assert again._voxels is in_memory._voxels
    assert prefetched(volume, few, (4, 4, 4), (0.7, 0.7, 0.7)) is volume


def test_a_point_outside_is_named_by_its_number(scan):
    volume, _ = scan()
    points = np.stack([volume.points_of([20, 20, 15])] * 3)
    points[1, 0] += 500
    with pytest.raises(PointOutsideScanError, match=r"^point 1 \(4.*lies outside the scan 1\.2"):
        extract_patches(volume, points, (4, 4, 4), (1, 1, 1))
    for wrong in (np.zeros((0, 3)), np.zeros(3), points * np.nan):
        with pytest.raises(UsageError, match=r"expected \(n, 3\) finite numbers"):
            extract_patches(volume, wrong, (4, 4, 4), (1, 1, 1))


def test_neighbouring_slices_are_the_cube_with_z_last(scan):
    volume, _ = scan()
    point = volume.points_of([20.3, 18.7, 14.1])
    slices = extract_patch(volume, point, (5, 8, 9), (1, 1, 2.5), form="2.5d")
    cube = extract_patch(volume, point, (5, 8, 9), (1, 1, 2.5))
    np.testing.assert_array_equal(slices, np.moveaxis(cube, 0, -1))
    assert slices.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_a_whole_scan_is_simpleitks_resampling(itk_image, flip):
    hu = np.random.default_rng(2).integers(-1000, 500, (70, 40, 50)).astype(np.int16)
    direction = np.diag([flip, 1.0, 1.0])
    volume = CTVolume.from_array(hu, SPACING, ORIGIN, direction)
    found, first = resample_scan(volume, (1.0, 0.8, 1.3))
    grid = sitk.ResampleImageFilter()
    grid.SetSize(found.shape[::-1])
    grid.SetOutputSpacing((1.0, 0.8, 1.3))
    grid.SetOutputOrigin(first.tolist())
    grid.SetOutputPixelType(sitk.sitkFloat32)
    grid.SetDefaultPixelValue(-1024)
    expected = sitk.GetArrayFromImage(grid.Execute(itk_image(hu, SPACING, ORIGIN, direction)))
    assert np.abs(found - expected).max() < 0.05
    reach = np.array(found.shape[::-1]) * (1.0, 0.8, 1.3)
    low, high = volume.extent_lps_mm()
    assert (first >= low).all()
    assert (first + reach > np.array(high) - (2.0, 1.6, 2.6)).all()


def test_a_window_of_a_long_scan_needs_its_own_memory_only(tmp_path):
    """Memory-mapped scans: one patch needs a window, many points at most the int16 scan."""
    hu = np.full((200, 128, 128), -800, np.int16)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((1, 1, 1))
    sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
    del image
    volume = open_ct(tmp_path / "scan.mhd")
    tracemalloc.start()
    extract_patch(volume, (60, 60, 100), (32, 32, 32), (1, 1, 1))
    one = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    points = np.random.default_rng(0).uniform(20, 100, (300, 3))
    patches = extract_patches(volume, points, (24, 24, 24), (1, 1, 1))
    many = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert one < 8 * 32**3 * 4
    assert many < hu.nbytes + patches.nbytes + 8 * 24**3 * 4 * 4


def test_a_packed_scan_is_decoded_once_however_many_threads_ask(tmp_path, monkeypatch):
    image = sitk.GetImageFromArray(np.full((20, 30, 30), -800, np.int16))
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    volume = open_ct(tmp_path / "scan.nii.gz")
    decoded, load = [], volume._voxels.load
    monkeypatch.setattr(volume._voxels, "load", lambda: (decoded.append(1), load())[1])
    points = np.random.default_rng(0).uniform((5, 5, 5), (20, 20, 15), (40, 3))
    extract_patches(volume, points, (5, 5, 5), (1, 1, 1), threads=8)
    assert len(decoded) == 1


def test_impossible_sizes_are_refused_before_memory_is_asked_for():
    volume = CTVolume.from_array(np.full((9, 9, 9), -900), (1, 1, 1))
    with pytest.raises(UsageError, match="expected at most 268435456"):
        extract_patch(volume, (4, 4, 4), (20000, 20000, 20000), (1, 1, 1))
    with pytest.raises(UsageError, match="take coarser spacing"):
        resample_scan(volume, (0.001, 0.001, 0.001))
