"""Occlusion: how far the answer falls when a part of the patch is covered.

Zeiler M. D., Fergus R., Visualizing and Understanding Convolutional Networks, ECCV 2014,
arXiv:1311.2901. It only asks for answers, so it works with every engine and every kind of model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Target
from nodulenet.errors import UsageError
from nodulenet.inference.explain.boxes import Boxes
from nodulenet.inference.explain.explanation import Explanation
from nodulenet.patches.values import Values
from nodulenet.progress import Progress, Silent

Answer = Callable[[npt.NDArray[np.int16]], npt.NDArray[np.float64]]
"""Stored patches (n, *spec.stored_shape) in, probabilities (models, n) out."""

Fill = Literal["median", "outside"]
_CHUNK = 128


def occlusion(
    answer: Answer,
    stored: npt.NDArray[np.int16],
    spec: PatchSpec,
    values: Values,
    *,
    box_mm: float | None = None,
    stride_mm: float | None = None,
    fill: Fill | float = "median",
    progress: Progress | None = None,
) -> Explanation:
    """How far the probability falls when a box is covered, the mean over all boxes on a voxel.

    Args:
        answer: what gives probabilities for stored patches, e.g. ``bundle.predict`` or
            :func:`answers_of` of Keras models.
        stored: int16 of ``spec.stored_shape``.
        spec: what the patch is.
        values: the scale between stored and source values.
        box_mm: side of a box. Defaults to a fifth of the patch along every axis.
        stride_mm: step from box to box. Defaults to half a box.
        fill: what covers: the patch's own median, the value outside the scan, or a value in HU
            (source units). Defaults to "median".
        progress: who is told. Defaults to nobody.

    Raises:
        UsageError: a box or stride that does not fit the patch, or an unknown fill.
    """
    boxes = Boxes.of(spec, box_mm, stride_mm)
    inner = _without_margin(spec)
    cover = _cover(fill, stored[inner], spec, values)
    whole = np.atleast_2d(answer(stored[np.newaxis]))[:, 0]
    shape = stored[inner].shape
    falls = np.zeros((len(whole), *shape))
    times = np.zeros(shape)
    source = iter(boxes)
    with (progress or Silent()).task("occlusion", len(boxes), "boxes") as task:
        while chunk := list(islice(source, _CHUNK)):
            patches = np.repeat(stored[np.newaxis], len(chunk), axis=0)
            for patch, (covered, _) in zip(patches, chunk, strict=True):
                patch[inner][covered] = cover
            found = whole[:, np.newaxis] - np.atleast_2d(answer(patches))
            for fall, (_, noted) in zip(found.T, chunk, strict=True):
                falls[:, noted] += fall[:, np.newaxis]
                times[noted] += 1
            task.advance(len(chunk))
    maps = (falls / times).astype(np.float32)
    sides = " x ".join(f"{mm:g}" for mm in _in_mm(boxes.size, spec))
    unit = " HU" if values.kind == "hu" else ""
    median = "the patch's median of " if fill == "median" else ""
    covered_by = f"{median}{_value(cover, values):g}{unit}"
    how_many = f", mean of {len(maps)} models" if len(maps) > 1 else ""
    return Explanation(
        values=maps.mean(axis=0, dtype=np.float32),
        by_model=maps,
        method="occlusion",
        what=f"Occlusion by boxes of {sides} mm with {covered_by}{how_many}",
        unit="fall of the probability (not calibrated) when covered, mean over the boxes",
        facts={
            "box_voxels": list(boxes.size),
            "box_mm": _in_mm(boxes.size, spec),
            "stride_voxels": list(boxes.stride),
            "axes": "z, y, x" if len(boxes.size) == 3 else "y, x",
            "boxes": len(boxes),
            "fill": fill,
            "fill_value": _value(cover, values),
            "models": len(maps),
        },
        notes=(
            "a covered patch is one that no scan shows; part of a fall may be the model's answer "
            "to the box, not to what it hides",
        ),
    )


def answers_of(
    models: Sequence[Any], spec: PatchSpec, values: Values, target: Target | None = None
) -> Answer:
    """What :func:`occlusion` asks, for Keras models.

    Args:
        models: Keras models that take the spec's inputs.
        spec: what patches are.
        values: the scale between stored and source values.
        target: what the models learned. Defaults to None, two classes.
    """
    # Imported here: they bring Keras, and occlusion itself does without.
    from nodulenet.training.input import predict
    from nodulenet.training.model_inputs import model_inputs
    from nodulenet.training.targets import positive_probability

    def answer(stored: npt.NDArray[np.int16]) -> npt.NDArray[np.float64]:
        inputs = model_inputs(stored, spec, values)
        return np.stack([positive_probability(predict(m, inputs), target) for m in models])

    return answer


def _cover(
    fill: Fill | float, patch: npt.NDArray[np.int16], spec: PatchSpec, values: Values
) -> np.int16:
    if fill == "median":
        return np.int16(np.rint(np.median(patch)))
    if fill == "outside":
        return np.int16(values.to_stored(spec.outside_hu))
    if isinstance(fill, str) or not np.isfinite(fill):
        raise UsageError(
            f"occlusion: fill is {fill!r}; expected 'median', 'outside' or a number in HU"
        )
    return np.int16(values.to_stored(fill))


def _value(stored: np.int16, values: Values) -> float:
    return round(float(values.from_stored(np.array([stored]))[0]), 6)


def _in_mm(voxels: tuple[int, ...], spec: PatchSpec) -> list[float]:
    spacing = spec.spacing_xyz_mm[::-1][-len(voxels) :]
    return [round(n * s, 6) for n, s in zip(voxels, spacing, strict=True)]


def _without_margin(spec: PatchSpec) -> tuple[slice, ...]:
    """The part of a stored patch that the models see."""
    m = spec.margin_voxels
    inner = tuple(slice(m, m + n) for n in spec.size)
    return (slice(None), *inner) if spec.orthogonal_planes else inner
