"""Parameters and multiply-accumulates of any Keras model, counted on the built model.

The arithmetic of `nodulenet.models.cost` does without building, but knows our networks only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    *_TRANSPOSED,
)


class ModelCost(NamedTuple):
    """What a model holds and computes for one input."""

    parameters: int
    multiply_accumulates: int


def built_cost(model: keras.Model, input_shape: Sequence[int]) -> ModelCost:
    """Count a built model; it is called once on zeros.

    Args:
        model: any Keras model with one input; nested models and layers within layers are counted,
            a layer that is used twice computes twice.
        input_shape: of one input without the batch axis; all sizes known.

    Returns:
        Parameters without the moving averages of batch normalization (torchvision counts so), and
        the multiply-accumulates of convolutions (plain, depthwise, separable, transposed) and
        ``Dense`` layers. Biases, activations, normalization, pooling and products of two features
        (attention) are not counted.
    """
    counted: list[int] = []
    with ExitStack() as stack:
        for layer in _leaves(model):
            stack.enter_context(_noting(layer, counted))
        model(np.zeros((1, *input_shape), dtype="float32"), training=False)
    moving = sum(
        math.prod(weight.shape)
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in (layer.moving_mean, layer.moving_variance)
    )
    return ModelCost(int(model.count_params() - moving), sum(counted))


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model._flatten_layers():
        if isinstance(layer, (*_CONVOLUTIONS, keras.layers.Dense)):
            yield layer


@contextmanager
def _noting(layer: keras.layers.Layer, counted: list[int]) -> Iterator[None]:
    """While it lasts, each call of the layer appends its multiply-accumulates.

    Not by the graph: layers inside our fire modules and in foreign subclassed models have none.
    """
    call: Callable[..., Any] = layer.call

    def noted(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = call(inputs, *args, **kwargs)
        counted.append(_multiply_accumulates(layer, tuple(inputs.shape), tuple(outputs.shape)))
        return outputs

    # Past Keras' tracking of attributes.
    object.__setattr__(layer, "call", noted)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")


def _multiply_accumulates(
    layer: keras.layers.Layer, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> int:
    if isinstance(layer, keras.layers.Dense):
        return math.prod(layer.kernel.shape) * math.prod(outputs[1:-1])
    # A transposed convolution reads each input position once, the others write each output's.
    shape = inputs if isinstance(layer, _TRANSPOSED) else outputs
    spatial = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
    kernels = [
        getattr(layer, name)
        for name in ("kernel", "depthwise_kernel", "pointwise_kernel")
        if getattr(layer, name, None) is not None
    ]
    return sum(math.prod(kernel.shape) for kernel in kernels) * math.prod(spatial)
