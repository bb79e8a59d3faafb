"""Random poses of patches: rotation in millimetres, mirrors, zoom and shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from nodulenet.errors import UsageError

Rotations = Literal["none", "quarter_turns", "in_plane", "any"]


@dataclass(frozen=True)
class PoseRange:
    """Which poses a patch may take, and how they are drawn.

    A pose maps the voxel ``o`` of the result, counted from its middle, to the voxel
    ``matrix @ o + shift`` of the stored patch, counted from its middle. Rotations turn
    millimetres, not voxels, so a body keeps its form where the spacings differ.

    Attributes:
        spacing_mm: of the array's axes, (z, y, x) or (y, x).
        rotations: "none", "quarter_turns" or "in_plane" about the z axis, "any" evenly over all
            rotations of space (3 axes only).
        flips: whether to mirror each axis with probability 0.5.
        zoom: the size changes by a factor from 1 / (1 + zoom) to 1 + zoom, evenly in its logarithm.
        shift_voxels: largest shift along each axis, drawn evenly.

    Raises:
        UsageError: rotations of space for a plane.
    """

    spacing_mm: tuple[float, ...]
    rotations: Rotations = "any"
    flips: bool = True
    zoom: float = 0.0
    shift_voxels: float = 0.0

    def __post_init__(self) -> None:
        if self.rotations == "any" and len(self.spacing_mm) != 3:
            raise UsageError(
                f"rotations={self.rotations!r} of {len(self.spacing_mm)} axes; expected 3, or "
                f"'in_plane'"
            )

    def draw(
        self, random: np.random.Generator | np.random.RandomState, count: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """``count`` matrices (count, axes, axes) and shifts in voxels (count, axes)."""
        axes = len(self.spacing_mm)
        turns = self._rotations(random, count)
        mirrors = np.ones((count, axes))
        if self.flips:
            mirrors[random.uniform(size=(count, axes)) < 0.5] = -1
        reach = math.log1p(self.zoom)
        size = np.exp(random.uniform(-reach, reach, size=count))
        spacing = np.asarray(self.spacing_mm)
        matrices = turns * mirrors[:, None, :] * size[:, None, None]
        matrices *= spacing / spacing[:, None]
        largest = self.shift_voxels
        return matrices, random.uniform(-largest, largest, size=(count, axes))

    def _rotations(
        self, random: np.random.Generator | np.random.RandomState, count: int
    ) -> npt.NDArray[np.float64]:
        axes = len(self.spacing_mm)
        if self.rotations == "any":
            # A normal vector in four dimensions has no direction of its own, so the quaternions
            # are evenly spread (Shoemake 1992).
            quaternions = random.standard_normal(size=(count, 4))
            return np.asarray(Rotation.from_quat(quaternions).as_matrix())
        turns = np.tile(np.eye(axes), (count, 1, 1))
        if self.rotations == "none":
            return turns
        angles = random.uniform(0, 2 * math.pi, size=count)
        cosine, sine = np.cos(angles), np.sin(angles)
        if self.rotations == "quarter_turns":
            quarters = np.floor(angles / (math.pi / 2)).astype(int)
            cosine, sine = np.array([1, 0, -1, 0])[quarters], np.array([0, 1, 0, -1])[quarters]
        # y and x are the last two axes.
        turns[:, -2, -2], turns[:, -2, -1] = cosine, -sine
        turns[:, -1, -2], turns[:, -1, -1] = sine, cosine
        return turns
