"""Geometry of LIDC readers' contours, and which of them mean the same physical nodule.

Definitions are those of pylidc 0.2.3 (Hancock & Magnan, "Lung nodule malignancy classification
using only radiologist-quantified image features as inputs to statistical learning algorithms",
J Med Imaging 3:044504, 2016; github.com/notmatthancock/pylidc), so that figures can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from nodulenet.findings.lidc_xml import Contour

MAX_READERS = 4
"""Marks of one nodule: four readers took part in LIDC-IDRI."""

TOLERANCE_FACTOR = 0.9
"""By which the tolerance shrinks while a cluster has more marks than readers."""

MIN_TOLERANCE = 0.1
"""Tolerance, in the unit of the metric, below which shrinking ends."""


@dataclass(frozen=True)
class Clusters:
    """Marks that mean the same nodule.

    Attributes:
        members: for each nodule the indices of its marks, rising; nodules in the order of their
            first mark.
        tolerance: the distance at which they were joined.
        resolved: False where a cluster kept more than four marks although the tolerance shrank to
            the least (pylidc's "must be grouped manually").
    """

    members: tuple[tuple[int, ...], ...]
    tolerance: float
    resolved: bool


def cluster_marks(vertices: Sequence[NDArray[np.float64]], tolerance: float) -> Clusters:
    """Joins marks whose contours come within ``tolerance`` of each other, in chains.

    As pylidc's ``Scan.cluster_annotations()``: while a cluster has more than four marks, the
    tolerance *of the whole scan* is taken times 0.9 and marks are joined anew, until it would fall
    below 0.1. Distances are found by k-d trees, and only between marks whose boxes are near.

    Args:
        vertices: for each mark (n, d) vertices, in the unit of ``tolerance``.
        tolerance: largest distance between the nearest vertices of two marks of one nodule.
    """
    pairs, distances = _near_pairs(vertices, tolerance)
    members = _joined(len(vertices), pairs[distances <= tolerance])
    resolved = True
    while any(len(cluster) > MAX_READERS for cluster in members):
        smaller = tolerance * TOLERANCE_FACTOR
        if smaller < MIN_TOLERANCE:
            resolved = False
            break
        tolerance = smaller
        members = _joined(len(vertices), pairs[distances <= tolerance])
    return Clusters(members, tolerance, resolved)


def _near_pairs(
    vertices: Sequence[NDArray[np.float64]], tolerance: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """(m, 2) pairs of marks that may be within ``tolerance``, and (m,) their distances."""
    if len(vertices) < 2:
        return np.empty((0, 2), dtype=np.intp), np.empty(0)
    low = np.array([points.min(axis=0) for points in vertices])
    high = np.array([points.max(axis=0) for points in vertices])
    trees = [cKDTree(points) for points in vertices]
    pairs: list[tuple[int, int]] = []
    distances: list[float] = []
    for a in range(len(vertices) - 1):
        gaps = np.maximum(0, np.maximum(low[a] - high[a + 1 :], low[a + 1 :] - high[a]))
        # The small excess guards against rounding; the exact distance decides.
        near = np.sqrt((gaps**2).sum(axis=1)) <= tolerance * (1 + 1e-9)
        for b in (np.flatnonzero(near) + a + 1).tolist():
            few, many = sorted((a, b), key=lambda mark: len(vertices[mark]))
            pairs.append((a, b))
            distances.append(float(trees[many].query(vertices[few])[0].min()))
    return np.array(pairs, dtype=np.intp).reshape(-1, 2), np.array(distances)


def _joined(count: int, pairs: NDArray[np.intp]) -> tuple[tuple[int, ...], ...]:
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    clusters: dict[int, list[int]] = {}
    for mark, label in enumerate(labels.tolist()):
        clusters.setdefault(label, []).append(mark)
    return tuple(tuple(cluster) for cluster in clusters.values())


def max_diameter_mm(contours: Sequence[Contour], spacing_ij_mm: tuple[float, float]) -> float:
    """Largest distance between two vertices of one contour (``Annotation.diameter``), in mm.

    It spans vertex centres of the largest slice, across concavities too.

    Args:
        contours: of one mark, each of two vertices or more.
        spacing_ij_mm: distance of rows and of columns.
    """
    return max(float(pdist(contour.ij * spacing_ij_mm).max()) for contour in contours)


def volume_mm3(
    contours: Sequence[Contour], spacing_ij_mm: tuple[float, float], slice_thickness_mm: float
) -> float:
    """Volume inside the contours of one mark (``Annotation.volume``), in cubic millimetres.

    The area of each contour (shoelace formula) counts over half the way to the next contour above
    and below; at the ends the way inwards is mirrored. Excluded regions are subtracted. Where all
    contours lie in one slice, that slice's thickness is their height.
    """
    levels = np.unique([contour.z_mm for contour in contours])
    if len(levels) == 1:
        heights = np.array([slice_thickness_mm])
    else:
        padded = np.concatenate(
            [[2 * levels[0] - levels[1]], levels, [2 * levels[-1] - levels[-2]]]
        )
        heights = (padded[2:] - padded[:-2]) / 2
    volume = 0.0
    for contour in contours:
        height = heights[np.searchsorted(levels, contour.z_mm)]
        volume += (1 if contour.inclusion else -1) * _area_mm2(contour, spacing_ij_mm) * height
    return float(volume)


def _area_mm2(contour: Contour, spacing_ij_mm: tuple[float, float]) -> float:
    i, j = (contour.ij * spacing_ij_mm).T
    return float(abs(i @ np.roll(j, 1) - j @ np.roll(i, 1)) / 2)


def sphere_diameter_mm(volume: float) -> float:
    """Diameter of the sphere of this volume; NaN where there is no volume."""
    return float(np.cbrt(6 * volume / np.pi)) if volume > 0 else float("nan")
