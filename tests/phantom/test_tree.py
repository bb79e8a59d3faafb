"""Trees: connected, tapering by Murray's law, reaching their targets."""

from __future__ import annotations

import numpy as np

from nodulenet.phantom.tree import Tree, grow_tree


def _tree(leaves: int = 200, root_radius: float = 50.0) -> tuple[Tree, np.ndarray]:
    rng = np.random.default_rng(3)
    targets = rng.uniform(-40, 40, size=(leaves, 3))
    tree = grow_tree(
        rng, targets, np.array([60.0, 0, 0]), leaf_radius_mm=0.4, root_radius_mm=root_radius
    )
    return tree, targets


def test_every_target_is_the_end_of_a_thinnest_branch() -> None:
    tree, targets = _tree()
    gaps = np.linalg.norm(tree.ends_mm[:, None] - targets[None], axis=2).min(axis=0)
    assert gaps.max() < 1e-9
    assert tree.start_radii_mm.min() == np.float64(0.4 * (1 + 0.85) / 2) or np.isclose(
        tree.start_radii_mm.min(), 0.37
    )


def test_every_piece_starts_at_the_root_or_where_another_ends() -> None:
    tree, _ = _tree()
    at_root = np.linalg.norm(tree.starts_mm - [60.0, 0, 0], axis=1) < 1e-9
    gaps = np.linalg.norm(tree.starts_mm[:, None] - tree.ends_mm[None], axis=2).min(axis=1)
    assert at_root.sum() == 2
    assert gaps[~at_root].max() < 1e-9


def test_radii_at_a_fork_follow_murray() -> None:
    tree, _ = _tree()
    checked = 0
    for fork in np.flatnonzero(tree.forks):
        place = tree.ends_mm[fork]
        children = np.linalg.norm(tree.starts_mm - place, axis=1) < 1e-9
        assert children.sum() == 2
        cubes = (tree.start_radii_mm[children] ** 3).sum()
        # A branch narrows to 0.85 of its first radius before it forks.
        np.testing.assert_allclose((tree.end_radii_mm[fork] / 0.85) ** 3, cubes, rtol=1e-6)
        checked += 1
    assert checked == 198


def test_the_stem_is_never_thicker_than_asked() -> None:
    tree, _ = _tree(leaves=500, root_radius=1.5)
    assert tree.start_radii_mm.max() <= 1.5
    assert tree.start_radii_mm.max() > 1.1
