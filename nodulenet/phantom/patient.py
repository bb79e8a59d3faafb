"""A patient: everything that two scans of the same person have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nodulenet.phantom import identity
from nodulenet.phantom.anatomy import LEFT, RIGHT, Anatomy, plan_anatomy
from nodulenet.phantom.distractors import (
    Bump,
    ExcludedFinding,
    Scar,
    plan_bumps,
    plan_excluded,
    plan_scars,
)
from nodulenet.phantom.nodules import LARGEST_MM, Nodule, place_nodules
from nodulenet.phantom.raster import Grid
from nodulenet.phantom.tree import Tree, airways_beside, grow_tree, join

_LEAF_RADIUS_MM, _ROOT_RADIUS_MM = 0.42, 4.0
_LEAVES_MOST = 4000
_SLICE_SPACINGS_MM = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5)


@dataclass(frozen=True)
class Patient:
    """A patient's chest and findings, in mm from the centre of the field of view."""

    grid: Grid
    anatomy: Anatomy
    vessels: Tree
    airways: Tree
    nodules: list[Nodule]
    bumps: list[Bump]
    scars: list[Scar]
    excluded: list[ExcludedFinding]
    lung_points: NDArray[np.float64]


def plan_patient(
    seed: int,
    index: int,
    *,
    shape: tuple[int, int, int],
    nodules: tuple[int, int],
    negatives: int,
) -> Patient:
    """Plans one patient; arguments as in `make_scan`, `index` counts patients."""

    def stream(name: str) -> np.random.Generator:
        return identity.random_stream(seed, name, index)

    rng = stream("geometry")
    # A reconstruction field of view of 308..452 mm over 512 pixels, exact in binary.
    pixel = float(rng.integers(308, 453)) / 512
    grid = Grid(shape, (pixel, pixel, float(rng.choice(_SLICE_SPACINGS_MM))))
    anatomy = plan_anatomy(stream("anatomy"), grid.half_extent_mm)
    lung_points = _lung_points(stream("lungs"), anatomy, grid)
    rng = stream("vessels")
    trees, airways = [], []
    for side in (RIGHT, LEFT):
        points, volume_mm3 = lung_points[side]
        leaves = int(np.clip(volume_mm3 / 8.5**3, 8, min(_LEAVES_MOST, len(points) // 2)))
        hilum = anatomy.hilum(side)
        for artery in (True, False):
            targets = points[:leaves] if artery else points[leaves : 2 * leaves]
            root = hilum if artery else hilum - np.array([0.0, 3.0, 6.0])
            tree = grow_tree(
                rng,
                targets,
                root,
                leaf_radius_mm=_LEAF_RADIUS_MM,
                root_radius_mm=_ROOT_RADIUS_MM,
            )
            trees.append(tree)
            if artery:
                beside = np.array([0.3 * side, 0.8, 0.4])
                airways.append(airways_beside(tree, shift=beside, smallest_radius_mm=1.15))
    vessels = join(trees)
    in_lung = np.concatenate([lung_points[RIGHT][0], lung_points[LEFT][0]])
    in_lung = stream("places").permutation(in_lung)[:6000]
    rng = stream("nodules")
    count = int(rng.integers(nodules[0], nodules[1] + 1))
    found = place_nodules(rng, anatomy, vessels, in_lung, count)
    rng = stream("distractors")
    taken = keep_away(found, 6.0)
    bumps = plan_bumps(rng, anatomy, in_lung, taken, round(0.14 * negatives))
    scars = plan_scars(rng, anatomy, in_lung, taken, round(0.12 * negatives))
    excluded = plan_excluded(rng, in_lung, -anatomy.lung_distance(in_lung), taken, bumps)
    return Patient(grid, anatomy, vessels, join(airways), found, bumps, scars, excluded, in_lung)


def keep_away(nodules: list[Nodule], margin_mm: float) -> NDArray[np.float64]:
    """Returns (n, 4): the centres of nodules and their radius plus a margin, in mm."""
    rows = [[*nodule.centre_mm, nodule.radius_mm + margin_mm] for nodule in nodules]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def follow_up(patient: Patient, rng: np.random.Generator) -> Patient:
    """Returns the patient at a later scan: another grid, and nodules that may have grown."""
    pixel, _, slices = patient.grid.spacing_mm
    pixel = min(pixel + float(rng.integers(2, 8)) / 512, 460 / 512)
    place = _SLICE_SPACINGS_MM.index(slices) + int(rng.integers(0, 2))
    slices = _SLICE_SPACINGS_MM[min(place, len(_SLICE_SPACINGS_MM) - 1)]
    grown = []
    for nodule in patient.nodules:
        factor = 1.0 + float(rng.uniform(0.0, 0.05)) * (nodule.malignancy - 1)
        diameter = min(LARGEST_MM, round(nodule.diameter_mm * factor, 3))
        grown.append(replace(nodule, diameter_mm=diameter))
    grid = Grid(patient.grid.shape, (pixel, pixel, slices))
    return replace(patient, grid=grid, nodules=grown)


def _lung_points(
    rng: np.random.Generator, anatomy: Anatomy, grid: Grid
) -> dict[int, tuple[NDArray[np.float64], float]]:
    """Returns for each lung random points at least 2 mm inside, and the volume (mm3) they fill."""
    low = np.array(
        [-anatomy.body[0], -anatomy.body[1], anatomy.lung_base_mm - 0.1 * anatomy.lung_height_mm]
    )
    high = np.array(
        [anatomy.body[0], anatomy.body[1], anatomy.lung_base_mm + anatomy.lung_height_mm]
    )
    half = grid.half_extent_mm - 2.0
    low, high = np.maximum(low, -half), np.minimum(high, half)
    drawn = int(np.clip(np.prod(high - low) / 60.0, 20_000, 80_000))
    points = rng.uniform(low, high, size=(drawn, 3))
    points = points[anatomy.lung_distance(points) < -2.0]
    sides = {}
    for side in (RIGHT, LEFT):
        mine = points[points[:, 0] * side > 0]
        sides[side] = (mine, float(np.prod(high - low)) * len(mine) / drawn)
    return sides
