"""The flips and rotations by 90 degrees that map a patch grid onto itself, mirror images too.

Voxels count as points of a grid in space, so axes are exchanged only where they have the same
number of voxels and the same spacing: 48 symmetries of a cube, 16 of a square prism, 8 of a box
or of a square, 4 of a rectangle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt

_AXES = {2: ("y", "x"), 3: ("z", "y", "x")}


@dataclass(frozen=True)
class Symmetry:
    """Axis i of the result is axis ``order[i]`` of the patch, run backwards where ``flip[i]``."""

    order: tuple[int, ...]
    flip: tuple[bool, ...]

    def apply(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A view of ``array`` with its last axes posed; leading axes stay."""
        leading = array.ndim - len(self.order)
        turned = array.transpose(*range(leading), *(leading + axis for axis in self.order))
        return np.flip(turned, tuple(leading + i for i, on in enumerate(self.flip) if on))

    def __str__(self) -> str:
        """For each axis of the result the axis it comes from: ``+z -x +y``."""
        names = _AXES.get(len(self.order), tuple(map(str, range(len(self.order)))))
        pairs = zip(self.order, self.flip, strict=True)
        return " ".join(("-" if back else "+") + names[axis] for axis, back in pairs)


def symmetries(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[Symmetry, ...]:
    """All symmetries of a grid, the identity first.

    Args:
        shape: voxels along each axis of the array.
        spacing_mm: of the same axes, in the order of ``shape``.
    """
    axes = range(len(shape))
    kinds = [(shape[i], spacing_mm[i]) for i in axes]
    return tuple(
        Symmetry(order, flip)
        for order in permutations(axes)
        if all(kinds[order[i]] == kinds[i] for i in axes)
        for flip in product((False, True), repeat=len(shape))
    )
