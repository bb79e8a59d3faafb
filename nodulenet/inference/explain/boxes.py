"""Boxes that are slid over a patch, in all forms that patches have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.errors import UsageError

BOXES_A_SIDE = 5
"""A box is by default so many times smaller than the patch, along every axis."""
MOST_BOXES = 20_000

# Body axes (z, y, x) of the rows and columns of the axial, coronal and sagittal plane, and across.
_PLANE_AXES = ((1, 2, 0), (0, 2, 1), (0, 1, 2))

Where = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]
"""Voxels that a box covers, and those that its answer is noted at; both of the patch's shape."""


@dataclass(frozen=True)
class Boxes:
    """The boxes of a patch.

    A box of orthogonal planes is a box of the body about a place on one of the planes: it covers
    that plane and the strips where it crosses the other two. Its answer is noted on its own plane.

    Attributes:
        spec: what the patch is.
        size: of a box in voxels, (z, y, x), (y, x), or of planes (z, y, x).
        stride: largest step from box to box in voxels, alike.
    """

    spec: PatchSpec
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @classmethod
    def of(
        cls, spec: PatchSpec, box_mm: float | None = None, stride_mm: float | None = None
    ) -> Boxes:
        """Boxes of a size in mm.

        Args:
            spec: what the patch is.
            box_mm: side of a box, to whole voxels, at least one. Defaults to a fifth of the patch.
            stride_mm: step from box to box. Defaults to half a box.

        Raises:
            UsageError: not above 0, a box that is larger than the patch, steps that leave gaps,
                or too many boxes.
        """
        for name, value in (("box_mm", box_mm), ("stride_mm", stride_mm)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"occlusion: {name} is {value}; expected a length above 0 in mm")
        body = _body_size(spec)
        spacing = spec.spacing_xyz_mm[::-1][-len(body) :]
        if box_mm is None:
            size = [max(1, round(n / BOXES_A_SIDE)) for n in body]
        else:
            size = [max(1, round(box_mm / s)) for s in spacing]
        if any(k > n for k, n in zip(size, body, strict=True)):
            extent = " x ".join(f"{n * s:g}" for n, s in zip(body, spacing, strict=True))
            raise UsageError(
                f"occlusion: box_mm is {box_mm}, more than the patch of {extent} mm; give a "
                f"smaller one, or leave it out for a fifth"
            )
        if stride_mm is None:
            stride = [max(1, k // 2) for k in size]
        else:
            stride = [max(1, round(stride_mm / s)) for s in spacing]
        if any(step > k for step, k in zip(stride, size, strict=True)):
            raise UsageError(
                f"occlusion: a stride of {tuple(stride)} voxels with boxes of {tuple(size)} leaves "
                f"gaps; give stride_mm at most as large as box_mm"
            )
        boxes = cls(spec, tuple(size), tuple(stride))
        if len(boxes) > MOST_BOXES:
            raise UsageError(
                f"occlusion: {len(boxes)} boxes, and an answer for each; expected at most "
                f"{MOST_BOXES}; give a larger stride_mm or box_mm"
            )
        return boxes

    def __len__(self) -> int:
        if not self.spec.orthogonal_planes:
            return math.prod(len(starts) for starts in self._starts(self.spec.size, range(3)))
        return sum(
            math.prod(len(starts) for starts in self._starts(self.spec.size, axes[:2]))
            for axes in _PLANE_AXES
        )

    def __iter__(self) -> Iterator[Where]:
        return self._of_planes() if self.spec.orthogonal_planes else self._of_body()

    def _starts(self, size: tuple[int, ...], axes: tuple[int, ...] | range) -> list[list[int]]:
        """First voxels of the boxes along each axis: even steps, from border to border."""
        found = []
        for n, axis in zip(size, axes, strict=False):
            room = n - self.size[axis]
            count = math.ceil(room / self.stride[axis]) + 1
            found.append([round(start) for start in np.linspace(0, room, count)])
        return found

    def _of_body(self) -> Iterator[Where]:
        for starts in product(*self._starts(self.spec.size, range(3))):
            covered = np.zeros(self.spec.size, dtype=bool)
            covered[tuple(slice(s, s + k) for s, k in zip(starts, self.size, strict=True))] = True
            yield covered, covered

    def _of_planes(self) -> Iterator[Where]:
        for plane, (rows, columns, across) in enumerate(_PLANE_AXES):
            for starts in product(*self._starts(self.spec.size, (rows, columns))):
                # In voxels from the middle of the body, which is where the planes cross.
                low = np.zeros(3)
                for axis, start, n in zip((rows, columns), starts, self.spec.size, strict=True):
                    low[axis] = start - n / 2
                low[across] = -self.size[across] / 2
                covered = self._on_planes(low, low + np.array(self.size))
                noted = np.zeros_like(covered)
                noted[plane] = covered[plane]
                yield covered, noted

    def _on_planes(
        self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        covered = np.zeros((3, *self.spec.size), dtype=bool)
        for plane, (rows, columns, across) in enumerate(_PLANE_AXES):
            if low[across] < 0 < high[across]:
                inside = [
                    (low[axis] < middles) & (middles < high[axis])
                    for axis, n in ((rows, self.spec.size[0]), (columns, self.spec.size[1]))
                    for middles in [np.arange(n) - (n - 1) / 2]
                ]
                covered[plane] = np.logical_and.outer(*inside)
        return covered


def _body_size(spec: PatchSpec) -> tuple[int, ...]:
    """Voxels along (z, y, x) or (y, x); of planes the shortest of what they have along an axis."""
    if not spec.orthogonal_planes:
        return spec.size
    rows, columns = spec.size
    return rows, min(rows, columns), columns
