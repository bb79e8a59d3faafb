"""Parameters and multiply-accumulates of a variant by arithmetic, without building it.

Counted are the convolutions of the published forms: weights and biases; multiply-accumulates
without biases, activations, pooling and the head's average.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nodulenet.models.variants import VariantConfig, pooled_extent


class ConvolutionCost(NamedTuple):
    """One convolution: its parameters (with bias) and multiply-accumulates for one input."""

    name: str
    parameters: int
    multiply_accumulates: int


def convolution_costs(
    config: VariantConfig, input_shape: Sequence[int], num_classes: int
) -> Iterator[ConvolutionCost]:
    """The cost of each convolution of a variant, in the order of the network.

    Args:
        config: a variant's configuration (simple or no bypass: neither has weights).
        input_shape: (height, width, channels) or (depth, height, width, channels).
        num_classes: outputs of the head's 1x1 convolution.
    """
    *spatial, channels = input_shape
    rank = len(spatial)

    def cost(name: str, inputs: int, filters: int, kernel: int) -> ConvolutionCost:
        weights = inputs * filters * kernel**rank
        return ConvolutionCost(name, weights + filters, weights * math.prod(spatial))

    kernel, stride = config["conv1_kernel"], config["conv1_stride"]
    spatial = [(size - kernel) // stride + 1 for size in spatial]
    yield cost("conv1", channels, config["conv1_filters"], kernel)
    channels = config["conv1_filters"]
    for number, fire in enumerate(config["fire_configs"], start=2):
        if number - 1 in config["pool_indices"]:
            spatial = [pooled_extent(size) for size in spatial]
        yield cost(f"fire{number}/squeeze", channels, fire["s1x1"], 1)
        if "e1x1" in fire:
            yield cost(f"fire{number}/expand_1x1", fire["s1x1"], fire["e1x1"], 1)
        yield cost(f"fire{number}/expand_3x3", fire["s1x1"], fire["e3x3"], 3)
        channels = fire.get("e1x1", 0) + fire["e3x3"]
    last = len(config["fire_configs"]) + 1
    if last in config["pool_indices"]:
        spatial = [pooled_extent(size) for size in spatial]
    yield cost(f"conv{last + 1}", channels, num_classes, 1)


def count_parameters(config: VariantConfig, input_shape: Sequence[int], num_classes: int) -> int:
    """Parameters of a variant in its published form."""
    return sum(cost.parameters for cost in convolution_costs(config, input_shape, num_classes))


def count_multiply_accumulates(
    config: VariantConfig, input_shape: Sequence[int], num_classes: int
) -> int:
    """Multiply-accumulates of a variant for one input of the given shape."""
    return sum(
        cost.multiply_accumulates for cost in convolution_costs(config, input_shape, num_classes)
    )
