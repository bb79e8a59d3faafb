"""The layers of a Keras graph at which Grad-CAM can look, and which of them it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nodulenet.errors import UsageError
from nodulenet.training.backend import keras

LEAST_CELLS = 5
"""With fewer cells along an axis a map cannot tell the centre of a patch from its rim."""


@dataclass(frozen=True)
class FeatureLayer:
    """A layer whose output all of the graph's later layers depend on, and on nothing before it.

    Attributes:
        name: of the layer.
        tensor: its symbolic output.
        cells: length of its output's spatial axes, (z, y, x) or (y, x).
    """

    name: str
    tensor: Any
    cells: tuple[int, ...]


def graph_nodes(model: Any) -> list[Any]:
    """The calls of layers between a model's input and its output, inputs before outputs.

    Raises:
        UsageError: the model is not a graph of layers with one input and one output.
    """
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs or len(inputs) != 1 or len(outputs) != 1:
        found = (
            f"{len(inputs)} inputs and {len(outputs)} outputs"
            if inputs and outputs
            else "no graph of layers (a subclassed model)"
        )
        raise UsageError(
            f"Grad-CAM: model {getattr(model, 'name', model)!r} has {found}; expected a functional "
            f"or sequential Keras model with one of each; use occlusion, which only needs answers"
        )
    ordered: list[Any] = []
    seen = {id(_node_of(inputs[0]))}
    # By hand, not by recursion: a network may be deeper than Python's stack.
    waiting = [(_node_of(outputs[0]), False)]
    while waiting:
        node, parents_done = waiting.pop()
        if parents_done:
            ordered.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting += [(_node_of(tensor), False) for tensor in reversed(node.input_tensors)]
    return ordered


def feature_layers(model: Any, input_shape: Sequence[int] | None = None) -> list[FeatureLayer]:
    """The layers that Grad-CAM can look at, from the input to the output.

    That is where the whole graph passes through one feature map with the input's spatial axes:
    the gradient there misses no way round it. Padding and cropping are left out.

    Args:
        model: a functional or sequential Keras model, channels last.
        input_shape: of one input, where the model leaves a spatial size open. Defaults to the
            model's own.

    Raises:
        UsageError: it is no such graph, or a size is open and was not given.
    """
    nodes = graph_nodes(model)
    (source,) = model.inputs
    last_use = {
        id(tensor): index for index, node in enumerate(nodes) for tensor in node.input_tensors
    }
    cuts, open_until = [], last_use.get(id(source), -1)
    for index, node in enumerate(nodes):
        if open_until <= index and len(node.outputs) == 1 and _is_map(node, source):
            cuts.append(node)
        open_until = max(open_until, *(last_use.get(id(tensor), -1) for tensor in node.outputs))
    cells = map_sizes(model, [node.outputs[0] for node in cuts], input_shape)
    return [
        FeatureLayer(node.operation.name, node.outputs[0], size)
        for node, size in zip(cuts, cells, strict=True)
    ]


def choose_layer(
    model: Any,
    name: str | None = None,
    *,
    least_cells: int = LEAST_CELLS,
    input_shape: Sequence[int] | None = None,
) -> FeatureLayer:
    """The deepest feature layer with at least ``least_cells`` cells along every axis.

    Deep layers know most, but at the size of nodule patches the last of them are 1 to 3 cells
    wide. Where no layer has so many cells, it is the deepest of those with the most along their
    shortest axis.

    Args:
        model: as for :func:`feature_layers`.
        name: a layer to take instead. Defaults to the rule.
        least_cells: see above. Defaults to 5.
        input_shape: as for :func:`feature_layers`.

    Raises:
        UsageError: there is no such layer, or none at all.
    """
    layers = feature_layers(model, input_shape)
    if name is not None:
        for layer in reversed(layers):
            if layer.name == name:
                return layer
        raise UsageError(
            f"Grad-CAM: model {model.name!r} has no feature layer {name!r}; expected one of "
            f"{', '.join(layer.name for layer in layers)}"
        )
    if not layers:
        raise UsageError(
            f"Grad-CAM: model {model.name!r} has no layer with spatial axes through which all of "
            f"it passes; use occlusion"
        )
    wanted = min(least_cells, max(min(layer.cells) for layer in layers))
    return [layer for layer in layers if min(layer.cells) >= wanted][-1]


def map_sizes(
    model: Any, tensors: list[Any], input_shape: Sequence[int] | None
) -> list[tuple[int, ...]]:
    """Spatial axes of symbolic feature maps of a model, for an input of a shape.

    Raises:
        UsageError: a size is open and the shape was not given.
    """
    shapes = [tuple(tensor.shape)[1:-1] for tensor in tensors]
    if not any(None in shape for shape in shapes):
        return shapes
    shape = tuple(model.inputs[0].shape[1:]) if input_shape is None else tuple(input_shape)
    if None in shape:
        raise UsageError(
            f"Grad-CAM: model {model.name!r} takes inputs of {shape}; give input_shape, the size "
            f"of the patches"
        )
    outputs = keras.Model(model.inputs[0], tensors)(np.zeros((1, *shape), dtype=np.float32))
    return [tuple(output.shape)[1:-1] for output in keras.tree.flatten(outputs)]


def _node_of(tensor: Any) -> Any:
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def _is_map(node: Any, source: Any) -> bool:
    moved = ("ZeroPadding", "Cropping")
    return len(node.outputs[0].shape) == len(source.shape) and not type(
        node.operation
    ).__name__.startswith(moved)
