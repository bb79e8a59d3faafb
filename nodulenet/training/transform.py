"""Augmentation as a MONAI ``Compose`` of one patch: what is done, step by step.

Training itself runs :class:`nodulenet.training.augmentation.BatchAugmentation`, which does the same
to whole batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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
    from monai.transforms import Compose

KEY = "patch"

# A dictionary transform and its arguments but for the key.
_Step = tuple[type, dict[str, Any]]


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
    steps = _steps(spec, augment, values or Values())
    compose: Compose = import_monai().transforms.Compose([kind(KEY, **a) for kind, a in steps])
    return compose


def transform_text(spec: PatchSpec, augment: Augmentation, values: Values | None = None) -> str:
    """The same as text: one transform with its arguments a line."""
    lines = ["Compose(["]
    for kind, arguments in _steps(spec, augment, values or Values()):
        named = "".join(f", {name}={value!r}" for name, value in arguments.items())
        lines.append(f"    {kind.__name__}({KEY!r}{named}),")
    return "\n".join([*lines, "])"])


def _steps(spec: PatchSpec, augment: Augmentation, values: Values) -> list[_Step]:
    refuse_small_margin(spec, augment)
    return [
        *_pose(spec, augment),
        *_contrast(augment, values),
        *_sharpness(spec, augment),
        *_to_input(spec),
    ]


def _pose(spec: PatchSpec, augment: Augmentation) -> Iterator[_Step]:
    if spec.orthogonal_planes:
        turns = augment.rotations == "quarter_turns"
        shift = int(augment.shift_voxels)
        chance = {"flips": augment.flips, "rotations": turns, "max_shift": shift}
        yield RandPosePlanesd, {"size": spec.size, **chance}
    elif augment.resamples:
        yield RandAffinePosed, {"size": spec.size, "poses": pose_range(spec, augment)}
    else:
        yield from _moves(spec, augment)


def _moves(spec: PatchSpec, augment: Augmentation) -> Iterator[_Step]:
    """Whole-voxel shift, mirrors and quarter turns by MONAI's own transforms."""
    mt = import_monai().transforms
    axes = spec_axes(spec)
    # Leave just the margin that the largest shift may use.
    room = tuple(n + 2 * int(augment.shift_voxels) for n in spec.size)
    yield mt.CenterSpatialCropd, {"roi_size": room}
    if augment.shift_voxels >= 1:
        yield mt.RandSpatialCropd, {"roi_size": spec.size, "random_size": False}
    if augment.flips:
        for axis in range(axes):
            yield mt.RandFlipd, {"prob": 0.5, "spatial_axis": axis}
    if augment.rotations == "quarter_turns":
        # y and x are the last two axes.
        plane = (axes - 2, axes - 1)
        yield mt.RandRotate90d, {"prob": 0.75, "max_k": 3, "spatial_axes": plane}


def _contrast(augment: Augmentation, values: Values) -> Iterator[_Step]:
    """An offset, then another contrast to air, or to 0 of plain intensities."""
    mt = import_monai().transforms
    if augment.hu_offset:
        yield mt.RandShiftIntensityd, {"offsets": augment.hu_offset, "prob": 1.0}
    if augment.hu_scale:
        about_air = values.kind == "hu"
        if about_air:
            yield mt.ShiftIntensityd, {"offset": -AIR_HU}
        yield mt.RandScaleIntensityd, {"factors": augment.hu_scale, "prob": 1.0}
        if about_air:
            yield mt.ShiftIntensityd, {"offset": AIR_HU}


def _sharpness(spec: PatchSpec, augment: Augmentation) -> Iterator[_Step]:
    """A softer or a sharper kernel, and noise."""
    if augment.blur or augment.sharpen:
        # Neighbouring slices are channels: a kernel softens within them.
        axes = {"axes": (2, 3)} if spec.neighbouring_slices else {}
        most = {"blur": augment.blur, "sharpen": augment.sharpen}
        yield RandSharpnessd, {**most, "unsharp_sigma": UNSHARP_SIGMA_VOXELS, **axes}
    if augment.noise:
        chance = {"prob": 1.0, "std": augment.noise, "sample_std": False}
        yield import_monai().transforms.RandGaussianNoised, chance


def _to_input(spec: PatchSpec) -> Iterator[_Step]:
    if spec.neighbouring_slices:
        yield import_monai().transforms.SqueezeDimd, {"dim": 0}
    yield WindowHUd, {"windows": spec.windows}
    yield ToKerasd, {}
