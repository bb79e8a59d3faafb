"""Grad-CAM: which cells of a feature map move a model's answer, and which way.

Selvaraju R. R. et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization, ICCV 2017, arXiv:1610.02391. Two things differ: the score is the log-odds of the
positive class (of two classes the logit of one against the other), and the ReLU at the end is left
out. What is above 0 is what the paper draws for the positive class, what is below 0 what it draws
for the negative one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Target
from nodulenet.errors import UsageError
from nodulenet.inference.explain.cells import cell_grid
from nodulenet.inference.explain.explanation import Explanation
from nodulenet.inference.explain.feature_layers import LEAST_CELLS, FeatureLayer, choose_layer
from nodulenet.inference.explain.gradients import gradient
from nodulenet.inference.explain.log_odds import log_odds
from nodulenet.patches.values import Values
from nodulenet.training.backend import keras
from nodulenet.training.model_inputs import model_inputs

Floats = npt.NDArray[np.float32]


def grad_cam(
    models: Sequence[Any],
    stored: npt.NDArray[np.int16],
    spec: PatchSpec,
    values: Values,
    *,
    target: Target | None = None,
    layer: str | None = None,
    least_cells: int = LEAST_CELLS,
) -> Explanation:
    """Grad-CAM of a stored patch, the mean over the models.

    Args:
        models: Keras models, such as the fold models of a bundle.
        stored: int16 of ``spec.stored_shape``.
        spec: what the patch is.
        values: the scale between stored and source values.
        target: what the models learned. Defaults to None, two classes.
        layer: name of the layer to look at. Defaults to that of
            :func:`nodulenet.inference.explain.feature_layers.choose_layer`.
        least_cells: for its rule. Defaults to 5.

    Raises:
        UsageError: no models, a model without such a layer, or no graph of layers.
    """
    if not models:
        raise UsageError("Grad-CAM: no models; give at least one Keras model")
    inputs = model_inputs(stored[np.newaxis], spec, values)
    found, chosen, exact = [], [], True
    for model in models:
        cam, at, in_place = _cam(model, inputs, target, layer, least_cells)
        found.append(cam[0])
        chosen.append(at)
        exact = exact and in_place
    maps = np.stack([_in_patch_geometry(m, spec) for m in found])
    names = list(dict.fromkeys(at.name for at in chosen))
    cells = chosen[0].cells
    notes = []
    if spec.form == "2.5d":
        kind = "orthogonal planes" if spec.orthogonal_planes else "neighbouring slices"
        notes.append(
            f"the model takes the {kind} as channels, so Grad-CAM has one map for all of them, "
            f"shown on each; occlusion tells them apart"
        )
    if min(cells) < least_cells:
        notes.append(
            f"the map has {' x '.join(map(str, cells))} cells; with fewer than {least_cells} along "
            f"an axis it hardly tells one place from another"
        )
    if not exact:
        notes.append("a layer of unknown kind changes the size, so places are approximate")
    how_many = f", mean of {len(models)} models" if len(models) > 1 else ""
    return Explanation(
        values=maps.mean(axis=0, dtype=np.float32),
        by_model=maps,
        method="grad-cam",
        what=f"Grad-CAM at {', '.join(names)} ({' x '.join(map(str, cells))} cells){how_many}",
        unit="log-odds of the model's probability, gradient times activation, a cell",
        facts={
            "layer": names[0] if len(names) == 1 else names,
            "layer_rule": "by name"
            if layer
            else f"deepest with at least {least_cells} cells along every axis",
            "cells": list(cells),
            "models": len(models),
        },
        notes=tuple(notes),
    )


def class_activation_map(
    model: Any,
    inputs: npt.NDArray[np.floating],
    *,
    target: Target | None = None,
    layer: str | None = None,
    least_cells: int = LEAST_CELLS,
) -> Floats:
    """Grad-CAM of model inputs, for any functional or sequential Keras classifier.

    Args:
        model: channels last, one input, outputs (batch, classes) that are probabilities.
        inputs: (n, [z,] y, x, channels), as the model takes them.
        target: which outputs count as positive. Defaults to the last one.
        layer: name of the layer to look at. Defaults to the rule of
            :func:`nodulenet.inference.explain.feature_layers.choose_layer`.
        least_cells: for that rule. Defaults to 5.

    Returns:
        float32 (n, [z,] y, x), the cells spread over the input's voxels.

    Raises:
        UsageError: the model is no graph of layers, or has no such layer.
    """
    return _cam(model, inputs, target, layer, least_cells)[0]


def _cam(
    model: Any,
    inputs: npt.NDArray[np.floating],
    target: Target | None,
    name: str | None,
    least_cells: int,
) -> tuple[Floats, FeatureLayer, bool]:
    """The maps, the layer, and whether its cells' places are known exactly."""
    values = np.asarray(inputs, dtype=np.float32)
    layer = choose_layer(model, name, least_cells=least_cells, input_shape=values.shape[1:])
    trunk = keras.Model(model.inputs[0], layer.tensor)
    head = keras.Model(layer.tensor, log_odds(model, target))
    features = keras.ops.convert_to_numpy(keras.ops.cast(trunk(values, training=False), "float32"))
    spatial = tuple(range(1, features.ndim - 1))
    weights = gradient(head, features).mean(axis=spatial, keepdims=True)
    cells = (weights * features).sum(axis=-1)
    grid = cell_grid(model, layer, values.shape[1:-1])
    spread = [grid.spread(one, values.shape[1:-1]) for one in cells]
    return np.stack(spread), layer, grid.exact


def _in_patch_geometry(cam: Floats, spec: PatchSpec) -> Floats:
    if spec.form == "2.5d":
        return np.repeat(cam[np.newaxis], 3 if spec.orthogonal_planes else spec.size[0], axis=0)
    return cam
