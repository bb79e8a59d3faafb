"""Stored patches as what a network is given, without chance; no framework is needed for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.patches.symmetry import Symmetry
from nodulenet.patches.values import Values
from nodulenet.training.channels import Channels
from nodulenet.training.exact_pose import cropped_body, cropped_planes, posed_planes
from nodulenet.training.resampling import PIECE_VOXELS

Floats = npt.NDArray[np.float32]


def model_inputs(
    stored: npt.NDArray[np.int16],
    spec: PatchSpec,
    values: Values,
    *,
    symmetry: Symmetry | None = None,
) -> Floats:
    """Stored patches as model input without chance: centre crop, pose, windows.

    Args:
        stored: (n, *spec.stored_shape).
        spec: what patches are.
        values: the scale between stored and source values.
        symmetry: one of :func:`nodulenet.training.exact_pose.spec_symmetries`. Defaults to None.

    Returns:
        float32 (n, *spec.input_shape).
    """
    inputs = np.empty((len(stored), *spec.input_shape), dtype=np.float32)
    channels = Channels(spec)
    group = max(1, PIECE_VOXELS // int(np.prod(spec.size)))
    for start in range(0, len(stored), group):
        piece = slice(start, start + group)
        patches = values.from_stored(_middle(stored[piece], spec, symmetry))
        channels.write(patches, inputs[piece], np.empty_like(patches))
    return inputs


def _middle(
    stored: npt.NDArray[np.int16], spec: PatchSpec, symmetry: Symmetry | None
) -> npt.NDArray[np.int16]:
    if spec.orthogonal_planes:
        planes = cropped_planes(stored, spec.size)
        return np.stack(planes if symmetry is None else posed_planes(planes, symmetry), axis=1)
    body = cropped_body(stored, spec.size)
    return body if symmetry is None else symmetry.apply(body)
