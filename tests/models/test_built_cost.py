"""Counted by hand here; against the arithmetic of all our models in test_registry.py."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from nodulenet.models.built_cost import built_cost


class Twice(keras.layers.Layer):
    """A foreign layer that hides a convolution and uses it twice; it has no graph to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.Conv2D(4, 3, padding="same")

    def call(self, x: Any) -> Any:
        return self.inner(self.inner(x))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def test_every_kind_of_layer_nested_and_shared() -> None:
    part = keras.Input((None, None, 4))
    nested = keras.Model(part, keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(part))
    inputs = keras.Input((12, 10, 2))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(inputs)  # 6 x 5 x 4
    x = keras.layers.BatchNormalization()(x)
    x = Twice()(x)
    x = nested(x)  # 4 x 3 x 8
    x = keras.layers.Conv2D(6, 1, groups=2)(x)
    x = keras.layers.SeparableConv2D(5, 3, padding="same")(x)
    x = keras.layers.Conv2DTranspose(3, 2, strides=2)(x)  # 8 x 6 x 3
    x = keras.layers.Dense(7)(x)
    x = keras.layers.Dense(2, use_bias=False)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.layers[1].trainable = False
    weights = {
        "conv": 2 * 4 * 9,
        "twice": 4 * 4 * 9,
        "depthwise": 4 * 2 * 9,
        "groups": 4 * 6,
        "separable": 6 * 9 + 6 * 5,
        "transposed": 5 * 3 * 4,
        "dense": 3 * 7,
        "last": 8 * 6 * 7 * 2,
    }
    positions = (30, 2 * 30, 12, 12, 12, 12, 48, 1)
    biases = 4 + 4 + 8 + 6 + 5 + 3 + 7
    before = model.get_weights()
    cost = built_cost(model, (12, 10, 2))
    assert cost.parameters == sum(weights.values()) + biases + 2 * 4
    assert cost.multiply_accumulates == sum(
        n * times for n, times in zip(weights.values(), positions, strict=True)
    )
    assert built_cost(model, (12, 10, 2)) == cost, "the layers are left as they were"
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_channels_first_and_one_dimension() -> None:
    inputs = keras.Input((3, 20))
    layer = keras.layers.Conv1D(5, 3, data_format="channels_first")
    # TensorFlow on a CPU has no channels-first kernel for images, but pads and transposes here.
    model = keras.Model(inputs, layer(inputs))
    assert built_cost(model, (3, 20)).multiply_accumulates == 3 * 5 * 3 * 18
