"""Augmentation as a MONAI ``Compose`` of one patch: what is done, step by step.

Training itself runs :class:`nodulenet.training.augmentation.BatchAugmentation`, which does the same
to whole batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.patches.values import Values
from nodulenet.training.draws import (
    AIR_HU,
    UNSHARP_SIGMA_VOXELS,
    pose_range,
    refuse_small_margin,
)
from nodulenet.training.exact_pose import spec_axes
from nodulenet.transforms import (
    RandAffinePosed,
    RandPosePlanesd,
    RandSharpnessd,
    ToKerasd,
    WindowHUd,
    import_monai,
)

if TYPE_CHECKING:
    from monai.transforms import Compose, Transform

KEY = "patch"


def training_transform(
    spec: PatchSpec, augment: Augmentation, values: Values | None = None
) -> Compose:
    """Source values of a stored patch, channel first, to the model's input, with chance.

    It takes ``{"patch": array}``: (1, *spec.stored_size), or the three orthogonal planes
    (3, rows, columns); neighbouring slices are the cube (1, z, y, x) that they are.

    Args:
        spec: what patches are.
        augment: what is changed, and how far.
        values: HU or plain intensities. Defaults to HU.

    Raises:
        ConfigError: poses would reach beyond the stored margin.
    """
    refuse_small_margin(spec, augment)
    mt = import_monai().transforms
    steps = [*_pose(spec, augment), *_values(spec, augment, values or Values())]
    if augment.noise:
        steps.append(mt.RandGaussianNoised(KEY, std=augment.noise, prob=1.0, sample_std=False))
    return mt.Compose([*steps, *_to_input(spec)])


def _pose(spec: PatchSpec, augment: Augmentation) -> list[Transform]:
    if spec.orthogonal_planes:
        return [
            RandPosePlanesd(
                KEY,
                spec.size,
                flips=augment.flips,
                rotations=augment.rotations == "quarter_turns",
                max_shift=int(augment.shift_voxels),
            )
        ]
    if augment.resamples:
        return [RandAffinePosed(KEY, spec.size, pose_range(spec, augment))]
    return _moves(spec, augment)


def _moves(spec: PatchSpec, augment: Augmentation) -> list[Transform]:
    """Whole-voxel shift, mirrors and quarter turns by MONAI's own transforms."""
    mt = import_monai().transforms
    axes = spec_axes(spec)
    # Leave just the margin that the largest shift may use.
    room = [n + 2 * int(augment.shift_voxels) for n in spec.size]
    steps: list[Transform] = [mt.CenterSpatialCropd(KEY, roi_size=room)]
    if augment.shift_voxels >= 1:
        steps.append(mt.RandSpatialCropd(KEY, roi_size=spec.size, random_size=False))
    if augment.flips:
        steps.extend(mt.RandFlipd(KEY, prob=0.5, spatial_axis=axis) for axis in range(axes))
    if augment.rotations == "quarter_turns":
        # y and x are the last two axes.
        turn = mt.RandRotate90d(KEY, prob=0.75, max_k=3, spatial_axes=(axes - 2, axes - 1))
        steps.append(turn)
    return steps


def _values(spec: PatchSpec, augment: Augmentation, values: Values) -> list[Transform]:
    """Offset, contrast about what stays, then a softer or a sharper kernel."""
    mt = import_monai().transforms
    steps: list[Transform] = []
    if augment.hu_offset:
        steps.append(mt.RandShiftIntensityd(KEY, offsets=augment.hu_offset, prob=1.0))
    if augment.hu_scale:
        scale = mt.RandScaleIntensityd(KEY, factors=augment.hu_scale, prob=1.0)
        about_air = values.kind == "hu"
        steps += (
            [mt.ShiftIntensityd(KEY, offset=-AIR_HU), scale, mt.ShiftIntensityd(KEY, offset=AIR_HU)]
            if about_air
            else [scale]
        )
    if augment.blur or augment.sharpen:
        steps.append(
            RandSharpnessd(
                KEY,
                augment.blur,
                augment.sharpen,
                unsharp_sigma=UNSHARP_SIGMA_VOXELS,
                # Neighbouring slices are channels: a kernel softens within them.
                axes=(2, 3) if spec.neighbouring_slices else None,
            )
        )
    return steps


def _to_input(spec: PatchSpec) -> list[Transform]:
    mt = import_monai().transforms
    flat = [mt.SqueezeDimd(KEY, dim=0)] if spec.neighbouring_slices else []
    return [*flat, WindowHUd(KEY, windows=spec.windows), ToKerasd(KEY)]
