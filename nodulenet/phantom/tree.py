"""Branching trees that fill a lung: vessels and the airways beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nodulenet.phantom.raster import FloatArray, Grid, carve, lift, tube_box, tube_coverage

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """Straight pieces of tube.

    Args:
        starts_mm, ends_mm: (n, 3) points x, y, z in mm.
        start_radii_mm, end_radii_mm: (n,) radii in mm.
        forks: (n,) bool, whether the tube forks at the piece's end.
    """

    starts_mm: Points
    ends_mm: Points
    start_radii_mm: NDArray[np.float64]
    end_radii_mm: NDArray[np.float64]
    forks: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.starts_mm)


def join(trees: list[Tree]) -> Tree:
    """Returns all pieces of several trees."""
    return Tree(
        np.concatenate([tree.starts_mm for tree in trees]),
        np.concatenate([tree.ends_mm for tree in trees]),
        np.concatenate([tree.start_radii_mm for tree in trees]),
        np.concatenate([tree.end_radii_mm for tree in trees]),
        np.concatenate([tree.forks for tree in trees]),
    )


def grow_tree(
    rng: np.random.Generator,
    targets_mm: Points,
    root_mm: Points,
    *,
    leaf_radius_mm: float,
    root_radius_mm: float,
) -> Tree:
    """Grows a tree from a root to many targets, a generation at a time.

    The targets of a branch are cut in two across their longest direction, and each half gets a
    branch that goes part of the way to its centre. Radii follow Murray's law: the cube of the
    parent's is the sum of the cubes of the children's.

    Args:
        rng: Source of the tree's irregularity.
        targets_mm: (n, 3) end points, x, y, z in mm.
        root_mm: (3,) where the tree begins.
        leaf_radius_mm: Radius of the last branches, mm.
        root_radius_mm: Largest radius, mm.

    Source: the volume filling of Tawhai, Pullan and Hunter, Ann Biomed Eng 28:793-802, 2000;
    Murray, Proc Natl Acad Sci USA 12:207-214, 1926.
    """
    targets = targets_mm
    label = np.zeros(len(targets), dtype=np.int64)
    position = root_mm[None, :].copy()
    # Murray's 1/3, or less where so many branches would make too thick a stem.
    steps = float(np.log(max(2, len(targets))))
    exponent = min(1 / 3, float(np.log(root_radius_mm / leaf_radius_mm)) / steps)
    pieces: list[Tree] = []
    while len(position):
        count = np.bincount(label, minlength=len(position))
        order = np.lexsort((_along_longest(rng, targets, label, count), label))
        targets, label = targets[order], label[order]
        first = np.cumsum(count) - count
        share = rng.uniform(0.35, 0.65, len(count))
        in_first = np.clip(np.rint(count * share), 1, count - 1).astype(np.int64)
        second = (np.arange(len(label)) - first[label]) >= in_first[label]
        child = 2 * label + second
        size = np.bincount(child, minlength=2 * len(position))
        centre = _group_sum(targets, child, len(size)) / np.maximum(size, 1)[:, None]
        start = np.repeat(position, 2, axis=0)
        part = np.where(size == 1, 1.0, rng.uniform(0.34, 0.52, len(size)))
        end = start + part[:, None] * (centre - start)
        radius = leaf_radius_mm * np.maximum(size, 1).astype(float) ** exponent
        drawn = size > 0
        pieces.append(
            Tree(start[drawn], end[drawn], radius[drawn], 0.85 * radius[drawn], size[drawn] > 1)
        )
        goes_on = size > 1
        renamed = np.cumsum(goes_on) - 1
        keep = goes_on[child]
        targets, label = targets[keep], renamed[child[keep]]
        position = end[goes_on]
    return _bend(rng, join(pieces))


def _group_sum(values: Points, group: NDArray[np.int64], groups: int) -> Points:
    columns = [np.bincount(group, weights=column, minlength=groups) for column in values.T]
    return np.stack(columns, axis=1)


def _along_longest(
    rng: np.random.Generator, points: Points, label: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns each point's coordinate along the longest direction of its group."""
    groups = len(count)
    centred = points - (_group_sum(points, label, groups) / count[:, None])[label]
    axis = rng.normal(size=(groups, 3))
    for _ in range(4):  # power iteration: the axis of largest variance, sign fixed by the start
        projected = (centred * axis[label]).sum(axis=1)
        axis = _group_sum(centred * projected[:, None], label, groups) + 1e-9
        axis /= np.sqrt((axis * axis).sum(axis=1))[:, None]
    return (centred * axis[label]).sum(axis=1)


def _bend(rng: np.random.Generator, tree: Tree) -> Tree:
    """Gives the longer pieces a bend in the middle."""
    along = tree.ends_mm - tree.starts_mm
    length = np.sqrt((along * along).sum(axis=1))
    long = length > 7.0
    jitter = rng.normal(scale=0.06, size=along.shape) * length[:, None]
    middle = 0.5 * (tree.starts_mm + tree.ends_mm) + jitter
    middle_radius = 0.5 * (tree.start_radii_mm + tree.end_radii_mm)
    first = Tree(
        tree.starts_mm,
        np.where(long[:, None], middle, tree.ends_mm),
        tree.start_radii_mm,
        np.where(long, middle_radius, tree.end_radii_mm),
        tree.forks & ~long,
    )
    rest = Tree(
        middle[long],
        tree.ends_mm[long],
        middle_radius[long],
        tree.end_radii_mm[long],
        tree.forks[long],
    )
    return join([first, rest])


def airways_beside(tree: Tree, *, shift: Points, smallest_radius_mm: float) -> Tree:
    """Returns the airways that run beside the thicker vessels of a tree.

    Args:
        tree: The arteries.
        shift: (3,) direction to which the airway lies, any length.
        smallest_radius_mm: Vessels thinner than this, in mm, have no visible airway.
    """
    thick = tree.start_radii_mm >= smallest_radius_mm
    unit = shift / np.sqrt(shift @ shift)
    # One shift a point, not a piece, keeps the pieces connected.
    start_shift = (1.9 * tree.start_radii_mm[thick] + 0.4)[:, None] * unit
    end_shift = (1.9 * tree.end_radii_mm[thick] + 0.4)[:, None] * unit
    return Tree(
        tree.starts_mm[thick] + start_shift,
        tree.ends_mm[thick] + end_shift,
        0.8 * tree.start_radii_mm[thick],
        0.8 * tree.end_radii_mm[thick],
        tree.forks[thick],
    )


def draw_vessels(
    volume: FloatArray, grid: Grid, tree: Tree, *, hu: float, background: NDArray[np.float64]
) -> None:
    """Draws a tree of filled tubes.

    Args:
        volume: HU, float32 (z, y, x), changed in place.
        grid: The volume's grid.
        tree: The tubes.
        hu: Value of the tubes.
        background: (n,) HU around each piece.
    """
    for piece in range(len(tree)):
        start, end = tree.starts_mm[piece], tree.ends_mm[piece]
        radii = float(tree.start_radii_mm[piece]), float(tree.end_radii_mm[piece])
        box = tube_box(grid, start, end, max(radii))
        if box is None:
            continue
        covered = tube_coverage(box, start, end, radii, grid.edge_mm)
        lift(volume, box, covered, hu, float(background[piece]))


def wall_mm(radius_mm: float) -> float:
    """Returns the thickness of an airway's wall for the radius of its lumen, both in mm."""
    return max(0.5, 0.22 * radius_mm)


def draw_airways(volume: FloatArray, grid: Grid, tree: Tree, *, background: float) -> None:
    """Draws tubes with a soft-tissue wall (10 HU) around air; arguments as in `draw_vessels`."""
    pieces = []
    for piece in range(len(tree)):
        start, end = tree.starts_mm[piece], tree.ends_mm[piece]
        inner = float(tree.start_radii_mm[piece]), float(tree.end_radii_mm[piece])
        outer = inner[0] + wall_mm(inner[0]), inner[1] + wall_mm(inner[1])
        box = tube_box(grid, start, end, max(outer))
        if box is None:
            continue
        pieces.append((box, start, end, inner))
        lift(volume, box, tube_coverage(box, start, end, outer, grid.edge_mm), 10.0, background)
    # Air last, so that no piece's wall closes the next one's lumen.
    for box, start, end, inner in pieces:
        carve(volume, box, tube_coverage(box, start, end, inner, grid.edge_mm), -985.0, 10.0)
