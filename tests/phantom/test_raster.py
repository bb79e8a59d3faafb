"""Shapes drawn into voxels keep the volume and place that their millimetres say."""

from __future__ import annotations

import numpy as np
import pytest

from nodulenet.phantom.nodules import Nodule, draw_nodule
from nodulenet.phantom.raster import Grid, draw_ellipsoid, tube_box, tube_coverage

LUNG, TISSUE = -850.0, 50.0


def _volume_mm3(hu: np.ndarray, grid: Grid) -> float:
    return float(((hu - LUNG) / (TISSUE - LUNG)).sum() * np.prod(grid.spacing_mm))


def _centre_mm(hu: np.ndarray, grid: Grid) -> np.ndarray:
    weight = hu - LUNG
    z, y, x = (weight.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3))
    total = weight.sum()
    return np.array([x @ grid.x_mm, y @ grid.y_mm, z @ grid.z_mm]) / total


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 1.0), (0.6, 0.6, 2.5), (0.9, 0.9, 1.5)])
def test_ball_has_its_volume_and_sub_voxel_centre(spacing: tuple[float, float, float]) -> None:
    grid = Grid((24, 40, 48), spacing)
    hu = np.full(grid.shape, LUNG, dtype=np.float32)
    centre = np.array([3.3, -2.2, 1.7])
    draw_ellipsoid(hu, grid, centre, np.full(3, 5.0), np.eye(3), hu=TISSUE, background=LUNG)
    assert _volume_mm3(hu, grid) == pytest.approx(4 / 3 * np.pi * 5.0**3, rel=0.02)
    np.testing.assert_allclose(_centre_mm(hu, grid), centre, atol=0.05)


def test_tilted_ellipsoid_lies_along_its_axes() -> None:
    grid = Grid((40, 60, 60), (0.7, 0.7, 1.0))
    hu = np.full(grid.shape, LUNG, dtype=np.float32)
    turn = np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    draw_ellipsoid(hu, grid, np.zeros(3), np.array([9.0, 4, 5]), turn, hu=TISSUE, background=LUNG)
    assert _volume_mm3(hu, grid) == pytest.approx(4 / 3 * np.pi * 9 * 4 * 5, rel=0.03)
    weight = (hu - LUNG).astype(float)
    z, y, x = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
    points = np.stack([x, y, z])
    spread = np.einsum("aijk,bijk,ijk->ab", points, points, weight) / weight.sum()
    _, vectors = np.linalg.eigh(spread)
    assert abs(vectors[:, 2] @ turn[0]) > 0.99


@pytest.mark.parametrize("radius", [0.25, 0.4, 0.8, 2.0, 4.0])
def test_tube_keeps_its_cross_section_even_below_a_voxel(radius: float) -> None:
    grid = Grid((30, 60, 60), (0.7, 0.7, 1.25))
    start, end = np.array([-12.0, -3.0, -9.0]), np.array([10.0, 6.0, 8.0])
    box = tube_box(grid, start, end, radius)
    assert box is not None
    covered = tube_coverage(box, start, end, (radius, radius), grid.edge_mm)
    volume = float(covered.sum() * np.prod(grid.spacing_mm))
    expected = np.pi * radius**2 * np.linalg.norm(end - start) + 4 / 3 * np.pi * radius**3
    assert volume == pytest.approx(expected, rel=0.12)


def test_tube_tapers_from_start_to_end() -> None:
    grid = Grid((20, 40, 60), (0.7, 0.7, 1.0))
    start, end = np.array([-15.0, 0.0, 0.0]), np.array([15.0, 0.0, 0.0])
    box = tube_box(grid, start, end, 4.0)
    assert box is not None
    area = tube_coverage(box, start, end, (4.0, 1.0), grid.edge_mm).sum(axis=(0, 1)) * 0.7
    x = box.x_mm
    for place in (-10.0, 0.0, 10.0):
        radius = 4.0 - 3.0 * (place + 15.0) / 30.0
        measured = float(np.interp(place, x, area))
        assert measured == pytest.approx(np.pi * radius**2, rel=0.15)


def test_a_box_outside_the_grid_is_none() -> None:
    grid = Grid((10, 10, 10), (1.0, 1.0, 1.0))
    assert grid.box(np.array([50.0, 0, 0]), np.array([60.0, 1, 1])) is None
    whole = grid.box(np.full(3, -50.0), np.full(3, 50.0))
    assert whole is not None
    assert whole.where == (slice(0, 10),) * 3


@pytest.mark.parametrize("margin", ["smooth", "lobulated"])
@pytest.mark.parametrize("diameter", [5.0, 9.0, 18.0])
def test_nodule_has_the_volume_of_its_diameter(margin: str, diameter: float) -> None:
    grid = Grid((40, 70, 70), (0.65, 0.65, 1.0))
    for shape_seed in range(3):
        hu = np.full(grid.shape, LUNG, dtype=np.float32)
        nodule = Nodule(
            (1.2, -0.7, 0.4), diameter, "solid", margin, "isolated", 3, TISSUE, -600.0, shape_seed
        )
        draw_nodule(hu, grid, nodule, background=LUNG)
        assert _volume_mm3(hu, grid) == pytest.approx(np.pi / 6 * diameter**3, rel=0.10)


def test_spicules_reach_beyond_the_body() -> None:
    grid = Grid((50, 80, 80), (0.6, 0.6, 1.0))
    z, y, x = np.meshgrid(grid.z_mm, grid.y_mm, grid.x_mm, indexing="ij")
    shell = np.abs(np.sqrt(x * x + y * y + z * z) - 8.5) < 0.5
    share = {}
    for margin in ("smooth", "spiculated"):
        hu = np.full(grid.shape, LUNG, dtype=np.float32)
        nodule = Nodule((0.0, 0.0, 0.0), 11.0, "solid", margin, "isolated", 3, 40.0, -600.0, 5)
        draw_nodule(hu, grid, nodule, background=LUNG)
        share[margin] = float((hu[shell] > -600).mean())
    assert share["smooth"] < 0.01
    # Spikes, not a ball: some directions and only some.
    assert 0.02 < share["spiculated"] < 0.4


def test_part_solid_nodule_has_a_core_within_a_halo() -> None:
    grid = Grid((40, 70, 70), (0.65, 0.65, 1.0))
    hu = np.full(grid.shape, LUNG, dtype=np.float32)
    nodule = Nodule((0.0, 0.0, 0.0), 16.0, "part-solid", "smooth", "isolated", 4, 40.0, -560.0, 2)
    draw_nodule(hu, grid, nodule, background=LUNG)
    core = (hu > 30).sum() * np.prod(grid.spacing_mm)
    halo = ((hu > -580) & (hu < -540)).sum() * np.prod(grid.spacing_mm)
    whole = np.pi / 6 * 16.0**3
    assert 0.02 * whole < core < 0.35 * whole
    assert halo > 0.35 * whole
