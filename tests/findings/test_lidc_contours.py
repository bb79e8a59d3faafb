from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.findings.lidc_contours import (
    cluster_marks,
    max_diameter_mm,
    sphere_diameter_mm,
    volume_mm3,
)
from nodulenet.findings.lidc_xml import Contour


def brute_force(marks: list[np.ndarray], tolerance: float) -> tuple[set[frozenset[int]], float]:
    """The published algorithm on the full matrix of distances, joined by hand."""

    def near(a: int, b: int, limit: float) -> bool:
        return min(math.dist(p, q) for p in marks[a].tolist() for q in marks[b].tolist()) <= limit

    def join(limit: float) -> list[set[int]]:
        groups: list[set[int]] = []
        for a in range(len(marks)):
            touched = [g for g in groups if any(near(a, b, limit) for b in g)]
            groups = [g for g in groups if g not in touched] + [{a}.union(*touched)]
        return groups

    groups = join(tolerance)
    while any(len(g) > 4 for g in groups):
        if tolerance * 0.9 < 0.1:
            break
        tolerance *= 0.9
        groups = join(tolerance)
    return {frozenset(g) for g in groups}, tolerance


marks_strategy = st.lists(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=5
    ),
    max_size=9,
)


@settings(max_examples=200, deadline=None)
@given(marks_strategy, st.sampled_from([0.6, 1.0, 1.25, 2.0, 2.5, 5.0]))
def test_clusters_are_those_of_the_full_matrix(
    marks: list[list[tuple[int, int, int]]], tolerance: float
) -> None:
    vertices = [np.array(mark, dtype=float) for mark in marks]
    clusters = cluster_marks(vertices, tolerance)
    expected, at = brute_force(vertices, tolerance)
    assert {frozenset(c) for c in clusters.members} == expected
    assert clusters.tolerance == pytest.approx(at)
    assert clusters.resolved == all(len(c) <= 4 for c in expected)
    assert [c[0] for c in clusters.members] == sorted(c[0] for c in clusters.members)
    assert sorted(m for c in clusters.members for m in c) == list(range(len(marks)))


def test_a_distance_equal_to_the_tolerance_joins() -> None:
    apart = [np.array([[0.0, 0.0, 0.0]]), np.array([[0.0, 2.0, 0.0]])]
    assert cluster_marks(apart, 2.0).members == ((0, 1),)
    assert cluster_marks(apart, 1.999).members == ((0,), (1,))


def test_the_tolerance_shrinks_for_the_whole_scan() -> None:
    """Five marks in a chain come apart at 1.8; so does the pair at 1.85, far away."""
    chain = [np.array([[1.9 * n, 0.0, 0.0]]) for n in range(4)] + [np.array([[7.4, 0.0, 0.0]])]
    pair = [np.array([[0.0, 100.0, 0.0]]), np.array([[1.85, 100.0, 0.0]])]
    clusters = cluster_marks([*chain, *pair], 2.0)
    assert clusters.tolerance == pytest.approx(1.8)
    assert clusters.resolved
    assert clusters.members == ((0,), (1,), (2,), (3, 4), (5,), (6,))
    touching = cluster_marks([np.zeros((1, 3))] * 5, 2.0)
    assert (touching.members, touching.resolved) == (((0, 1, 2, 3, 4),), False)
    assert 0.1 <= touching.tolerance < 0.1 / 0.9


def box(z_mm: float, height: float, width: float, *, inclusion: bool = True) -> Contour:
    corners = np.array([[7.0, 5.0], [7, 5 + width], [7 + height, 5 + width], [7 + height, 5]])
    return Contour(z_mm, inclusion, corners, 1)


def test_volume_and_diameter_of_boxes() -> None:
    spacing = (0.5, 0.8)
    stack = [box(z, 6, 10) for z in (-5.0, -7.5, -2.5)]
    area = 6 * 0.5 * 10 * 0.8
    assert volume_mm3(stack, spacing, 99.0) == pytest.approx(area * 7.5)
    assert max_diameter_mm(stack, spacing) == pytest.approx(math.hypot(3.0, 8.0))
    hole = box(-5.0, 2, 3, inclusion=False)
    assert volume_mm3([*stack, hole], spacing, 99.0) == pytest.approx(
        area * 7.5 - 2 * 0.5 * 3 * 0.8 * 2.5
    )
    # One slice: its thickness is the height; two regions in it as well.
    assert volume_mm3(stack[:1], spacing, 1.25) == pytest.approx(area * 1.25)
    assert volume_mm3([stack[0], stack[0]], spacing, 1.25) == pytest.approx(2 * area * 1.25)
    # A slice left out: its neighbours reach half way.
    gap = [box(z, 6, 10) for z in (0.0, 1.0, 3.0)]
    assert volume_mm3(gap, spacing, 99.0) == pytest.approx(area * (1.0 + 1.5 + 2.0))


def test_sphere_of_a_volume() -> None:
    assert sphere_diameter_mm(4 / 3 * math.pi * 2.5**3) == pytest.approx(5.0)
    assert math.isnan(sphere_diameter_mm(0.0))
    assert math.isnan(sphere_diameter_mm(-1.0))


@settings(max_examples=30, deadline=None)
@given(st.floats(3, 30), st.floats(0.4, 1.0), st.integers(0, 7))
def test_a_drawn_sphere_has_the_volume_of_a_sphere(
    radius_mm: float, spacing: float, turned: int
) -> None:
    """Circles of many vertices in slices of a thirtieth of the radius."""
    step = radius_mm / 30
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False) + turned
    contours = []
    for z in np.arange(-29.5, 30) * step:
        r = math.sqrt(radius_mm**2 - z**2) / spacing
        ij = np.column_stack([np.sin(angles), np.cos(angles)]) * r + 100
        contours.append(Contour(float(z), True, ij, 1))
    volume = volume_mm3(contours[:: 1 if turned % 2 else -1], (spacing, spacing), 1.0)
    assert sphere_diameter_mm(volume) == pytest.approx(2 * radius_mm, rel=2e-3)
    assert max_diameter_mm(contours, (spacing, spacing)) == pytest.approx(2 * radius_mm, rel=2e-3)
