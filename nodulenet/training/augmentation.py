"""Augmentation of whole batches: what :mod:`nodulenet.training.transform` describes, made fast.

A test shows the two equal: voxel by voxel for the same drawn numbers, and in the distributions
that they draw from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.patches.values import Values
from nodulenet.training.channels import Channels
from nodulenet.training.draws import AIR_HU, Draws, Turns, draw, refuse_small_margin
from nodulenet.training.exact_pose import cropped_body, cropped_planes, posed_planes
from nodulenet.training.resampling import PIECE_VOXELS, LinearResampler
from nodulenet.training.smoothing import Blur

_LEVELS = 2**16

Floats = npt.NDArray[np.float32]
# An array (n, *stored_shape), or the views of a store, which are not copied.
StoredPatches = Sequence[npt.NDArray[np.int16]] | npt.NDArray[np.int16]


class BatchAugmentation:
    """Stored patches to augmented model inputs, many at a time, on one thread.

    Equal results for equal states of the generator, however many threads there are. May be called
    from several threads at once.

    Args:
        spec: what patches are.
        augment: what is changed, and how far.
        values: the scale between stored and source values; changes of contrast are about air
            (-1000) in HU, about 0 in plain intensities.

    Raises:
        ConfigError: poses would reach beyond the stored margin.
    """

    def __init__(self, spec: PatchSpec, augment: Augmentation, values: Values) -> None:
        refuse_small_margin(spec, augment)
        self._spec, self._augment, self._values = spec, augment, values
        self._channels = Channels(spec)
        self._shape = (3, *spec.size) if spec.orthogonal_planes else spec.size
        self._noise = _normal_levels() * np.float32(augment.noise)
        # Of small patches with a wide margin fewer: all that they come from is read at a time.
        self._group = max(
            1,
            min(
                PIECE_VOXELS // int(np.prod(self._shape)),
                64 * PIECE_VOXELS // int(np.prod(spec.stored_shape)),
            ),
        )

    def __call__(self, stored: StoredPatches, random: np.random.Generator) -> Floats:
        """Model inputs (n, *spec.input_shape) of stored patches (n, *spec.stored_shape)."""
        return self.apply(stored, self.draw(random, len(stored)), random)

    def draw(self, random: np.random.Generator, count: int) -> Draws:
        """The random numbers of ``count`` patches."""
        return draw(self._spec, self._augment, random, count)

    def apply(self, stored: StoredPatches, draws: Draws, random: np.random.Generator) -> Floats:
        """Model inputs with given numbers; the noise is still drawn from ``random``."""
        count = len(stored)
        inputs = np.empty((count, *self._spec.input_shape), dtype=np.float32)
        resampler = LinearResampler(self._spec.stored_size, self._spec.size)
        changes = self._augment.blur or self._augment.sharpen
        # Neighbouring slices are channels: a kernel softens within them.
        blur = Blur(draws.sigma, self._spec.input_shape[:-1]) if changes else None
        room = _Room((min(self._group, count), *self._shape))
        for start in range(0, count, self._group):
            group = slice(start, min(start + self._group, count))
            patches, spare, third = room.arrays(group.stop - group.start)
            self._pose(stored[group], draws, group, resampler, patches)
            patches, spare = self._change_values(draws, group, blur, patches, spare, third)
            if self._augment.noise:
                self._add_noise(random, patches, spare, room)
            self._channels.write(patches, inputs[group], spare)
        return inputs

    def _pose(
        self,
        stored: StoredPatches,
        draws: Draws,
        group: slice,
        resampler: LinearResampler,
        patches: Floats,
    ) -> None:
        poses = draws.poses
        if isinstance(poses, Turns):
            resampler(stored, poses.matrices[group], poses.shifts[group], patches)
            return
        moves = zip(stored, poses.shifts[group], poses.symmetries[group], patches, strict=True)
        for patch, move, symmetry, out in moves:
            if self._spec.orthogonal_planes:
                planes = cropped_planes(patch, self._spec.size, move)
                for plane, posed in zip(out, posed_planes(planes, symmetry), strict=True):
                    plane[...] = posed
            else:
                out[...] = symmetry.apply(cropped_body(patch, self._spec.size, move))

    def _change_values(
        self,
        draws: Draws,
        group: slice,
        blur: Blur | None,
        patches: Floats,
        spare: Floats,
        third: Floats,
    ) -> tuple[Floats, Floats]:
        """Stored values to source values with another offset, contrast and sharpness.

        Returns:
            The result, in ``patches`` or in ``spare``, and the other one.
        """
        values = self._values
        fixed = AIR_HU if values.kind == "hu" else 0.0
        offset, scale = draws.offset[group], draws.scale[group]
        factor, gain = scale * values.scale, draws.gain[group]
        if blur:
            blur(patches, group, spare, third)
        # v + g (v - blurred), of which g = -1 leaves the blurred. All of it is linear, so that the
        # contrast is a factor of both.
        if blur and (gain == -1).all():
            patches, spare = spare, patches
            patches *= _each(factor, patches)
        elif blur:
            patches *= _each(factor * (1 + gain), patches)
            spare *= _each(factor * gain, patches)
            patches -= spare
        else:
            patches *= _each(factor, patches)
        patches += _each((values.offset + offset - fixed) * scale + fixed, patches)
        return patches, spare

    def _add_noise(
        self, random: np.random.Generator, patches: Floats, spare: Floats, room: _Room
    ) -> None:
        """Normal noise by the inverse of its distribution, from 16 random bits a voxel.

        Five times as fast as ``standard_normal``, and as good: the levels are 65,536 of equal
        probability, the largest at 4.3 standard deviations.
        """
        bits = random.integers(2**64, size=-(-patches.size // 4), dtype=np.uint64)
        level = room.levels[: len(patches)]
        np.copyto(level, bits.view(np.uint16)[: patches.size].reshape(patches.shape))
        self._noise.take(level, mode="clip", out=spare)
        patches += spare


class _Room:
    """What a group of patches is worked out in, used again for the next: new memory is slow."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._floats = np.empty((3, *shape), dtype=np.float32)
        self.levels = np.empty(shape, dtype=np.intp)

    def arrays(self, count: int) -> tuple[Floats, Floats, Floats]:
        """Three arrays for so many patches."""
        first, second, third = self._floats[:, :count]
        return first, second, third


def _each(numbers: npt.NDArray[np.float64], patches: Floats) -> Floats:
    """One number a patch, to be combined with patches (n, ...)."""
    return numbers.astype(np.float32).reshape(-1, *(1,) * (patches.ndim - 1))


@lru_cache(maxsize=1)
def _normal_levels() -> Floats:
    """Values of the standard normal distribution at 65,536 equally probable levels."""
    from scipy.special import ndtri

    levels = ndtri((np.arange(_LEVELS) + 0.5) / _LEVELS)
    # The middle of each level misses a little of the tails' spread.
    return (levels / levels.std()).astype(np.float32)
