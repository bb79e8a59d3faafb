"""A mask as labelled regions that are read one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Region:
    """One label, whose voxels are read when they are needed.

    Attributes:
        label: its number.
        read: gives the first voxel (z, y, x) of a box that holds the whole label, and the box,
            (z, y, x) bool, True where the label is.
        columns: what else the file says of the label, as columns of its findings.
    """

    label: int
    read: Callable[[], tuple[Shape, npt.NDArray[np.bool_]]]
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mask:
    """An opened mask.

    Attributes:
        path: the file.
        shape: voxels along z, y, x.
        affine_zyx: (4, 4) from index z, y, x to LPS mm x, y, z.
        regions: one for each label, by rising label.
        notes: what was assumed.
    """

    path: Path
    shape: Shape
    affine_zyx: npt.NDArray[np.float64]
    regions: list[Region]
    notes: tuple[str, ...] = ()
