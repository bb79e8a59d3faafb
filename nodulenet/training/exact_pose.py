"""Poses that only move voxels: whole-voxel shifts, mirrors and quarter turns about the z axis.

A body is a cube or a plane whose last axes are (z, y, x) or (y, x). The three planes of a "2.5d"
patch, axial (y, x), coronal (z, x) and sagittal (z, y), are posed as the body they cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError
from nodulenet.patches.symmetry import Symmetry, symmetries

# Result axes (y, x) of 0 to 3 quarter turns as numpy.rot90 makes them: where each comes from, and
# whether it runs backwards.
_TURNS = (
    ((0, 1), (False, False)),
    ((1, 0), (True, False)),
    ((0, 1), (True, True)),
    ((1, 0), (False, True)),
)


def spec_axes(spec: PatchSpec) -> int:
    """Axes of the body that is posed: 2 of a plane, else 3."""
    return 2 if spec.form == "2d" else 3


def spec_symmetries(spec: PatchSpec) -> tuple[Symmetry, ...]:
    """The symmetries of a patch that keep the z axis, in a fixed order, the identity first.

    8 of a square, 16 of a square cut or stacked along z; mirrors only, 4 or 8, where y and x differ
    in size or spacing.
    """
    x, y, z = spec.spacing_xyz_mm
    size = spec.size
    if spec.form == "2d":
        return symmetries(size, (y, x))
    # A plane tells nothing of the extent along z, which no symmetry here mixes with the others.
    rows, columns = size[-2:]
    return tuple(s for s in symmetries((0, rows, columns), (z, y, x)) if s.order[0] == 0)


def mirrored_and_turned(flips: Sequence[bool], quarter_turns: int) -> Symmetry:
    """Mirrors along each axis, then turns of (y, x) as ``numpy.rot90`` makes them."""
    leading = len(flips) - 2
    order, back = _TURNS[quarter_turns]
    sources = (*range(leading), *(leading + axis for axis in order))
    turned = (*[False] * leading, *back)
    return Symmetry(sources, tuple(t != flips[s] for t, s in zip(turned, sources, strict=True)))


def cropped_body(
    patch: npt.NDArray[Any], size: Sequence[int], shift: Sequence[int] | None = None
) -> npt.NDArray[Any]:
    """The middle of a body, moved by whole voxels; leading axes stay. A view."""
    stored = patch.shape[-len(size) :]
    moved = shift if shift is not None else (0,) * len(size)
    first = [(n - wanted) // 2 + int(s) for n, wanted, s in zip(stored, size, moved, strict=True)]
    inside: list[Any] = [slice(f, f + n) for f, n in zip(first, size, strict=True)]
    return patch[(..., *inside)]


def cropped_planes(
    planes: npt.NDArray[Any], size: Sequence[int], shift_zyx: Sequence[int] = (0, 0, 0)
) -> list[npt.NDArray[Any]]:
    """The middles of the planes (..., 3, rows, columns), moved as one body. Views."""
    z, y, x = shift_zyx
    return [
        cropped_body(planes[..., plane, :, :], size, shift)
        for plane, shift in enumerate(((y, x), (z, x), (z, y)))
    ]


def posed_planes(
    planes: Sequence[npt.NDArray[Any]], symmetry: Symmetry
) -> tuple[npt.NDArray[Any], ...]:
    """Axial, coronal and sagittal plane of the posed body. Views."""
    axial, coronal, sagittal = planes
    swapped = symmetry.order == (0, 2, 1)
    back_z, back_y, back_x = symmetry.flip
    if swapped:
        # What ran along y now runs along x, so the plane across it is the other one.
        axial, coronal, sagittal = np.swapaxes(axial, -2, -1), sagittal, coronal
    return (
        _flipped(axial, back_y, back_x),
        _flipped(coronal, back_z, back_x),
        _flipped(sagittal, back_z, back_y),
    )


def _flipped(plane: npt.NDArray[Any], rows: bool, columns: bool) -> npt.NDArray[Any]:
    return plane[..., :: -1 if rows else 1, :: -1 if columns else 1]


def check_poses(config: Config) -> None:
    """Refuse more test-time poses than a patch has, before anything is trained.

    Raises:
        ConfigError: of ``models.N.test_poses``.
    """
    known = len(spec_symmetries(config.patch))
    for number, model in enumerate(config.models):
        if model.test_poses > known:
            spec = config.patch
            raise ConfigError(
                f"models.{number}.test_poses={model.test_poses}: a {spec.form} patch of size "
                f"{list(spec.size)} and spacing {list(spec.spacing_mm)} mm has {known} poses that "
                f"need no interpolation; expected at most so many"
            )
