"""The random numbers of an augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.ct.pose import PoseRange
from nodulenet.errors import ConfigError
from nodulenet.patches.symmetry import Symmetry
from nodulenet.training.exact_pose import mirrored_and_turned, spec_axes

AIR_HU = -1000.0
UNSHARP_SIGMA_VOXELS = 1.0


@dataclass(frozen=True)
class Turns:
    """Poses that are resampled, one row a patch, as :class:`PoseRange` draws them."""

    matrices: npt.NDArray[np.float64]
    shifts: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moves:
    """Poses that only move voxels: shifts (n, axes), then mirrors and quarter turns."""

    shifts: npt.NDArray[np.int64]
    symmetries: tuple[Symmetry, ...]


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch but for its noise: one row a patch.

    Attributes:
        poses: how the patches lie.
        offset, scale: added to the values; times the contrast to what stays.
        sigma: of the blur, that of the blurred copy where a patch is sharpened.
        gain: of unsharp masking; -1 where the blurred copy takes the patch's place.
    """

    poses: Turns | Moves
    offset: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    sigma: npt.NDArray[np.float64]
    gain: npt.NDArray[np.float64]


def refuse_small_margin(spec: PatchSpec, augment: Augmentation) -> None:
    """Augmentation may not look beyond the stored margin.

    Raises:
        ConfigError: it would.
    """
    needed = augment.needed_margin_voxels(spec)
    if needed > spec.margin_voxels:
        raise ConfigError(
            f"train.augment needs patch.margin_voxels={needed}, got {spec.margin_voxels}; enlarge "
            f"the margin or turn, zoom and shift less"
        )


def pose_range(spec: PatchSpec, augment: Augmentation) -> PoseRange:
    """The poses of an augmentation that resamples."""
    x, y, z = spec.spacing_xyz_mm
    return PoseRange(
        (y, x) if spec_axes(spec) == 2 else (z, y, x),
        rotations=augment.rotations,
        flips=augment.flips,
        zoom=augment.zoom,
        shift_voxels=augment.shift_voxels,
    )


def draw(spec: PatchSpec, augment: Augmentation, random: np.random.Generator, count: int) -> Draws:
    """The random numbers of ``count`` patches."""
    axes = spec_axes(spec)
    poses: Turns | Moves
    if augment.resamples:
        poses = Turns(*pose_range(spec, augment).draw(random, count))
    else:
        most = int(augment.shift_voxels)
        moves = random.integers(-most, most + 1, size=(count, axes))
        flips = random.uniform(size=(count, axes)) < (0.5 if augment.flips else 0)
        turns = random.integers(4 if augment.rotations == "quarter_turns" else 1, size=count)
        both = zip(flips.tolist(), turns, strict=True)
        poses = Moves(moves, tuple(mirrored_and_turned(f, t) for f, t in both))
    offset = random.uniform(-augment.hu_offset, augment.hu_offset, size=count)
    scale = 1 + random.uniform(-augment.hu_scale, augment.hu_scale, size=count)
    sigma = random.uniform(0, augment.blur, size=count)
    gain = random.uniform(0, augment.sharpen, size=count)
    # As of RandSharpnessd: one of the two, by a coin where both are there.
    coin = random.uniform(size=count) < 0.5
    blurs = coin if augment.blur and augment.sharpen else np.full(count, not augment.sharpen)
    return Draws(
        poses,
        offset,
        scale,
        np.where(blurs, sigma, UNSHARP_SIGMA_VOXELS),
        np.where(blurs, -1.0, gain),
    )
