"""ResNet-18 as plain data, and what follows from it by arithmetic. Nothing here needs Keras.

Source: He et al. 2015, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, table 1:
four stages of two basic blocks, shortcuts of option B (a 1x1 convolution where the shape changes).
The 3D form has the same kernels in three dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from nodulenet.errors import UsageError
from nodulenet.models.cost import ConvolutionCost

WIDTHS = (64, 128, 256, 512)
BLOCKS = 2
# Kernel and padding of the two convolutions that may halve their input: 7x7 stem, 3x3 of a block.
STEM_KERNEL, STEM_PADDING = 7, 3
BLOCK_KERNEL, BLOCK_PADDING = 3, 1

# The stages halve five times; below 17 voxels the last halving has a single element left, and
# all but the middle weight of the last stage's kernels would only ever meet padding.
MINIMUM_EXTENT = 17
NORMALIZATIONS = ("batch", "group")
HEAD_ACTIVATIONS = (None, "linear")


def check_resnet_options(
    normalization: str | None = "batch", head_activation: str | None = None
) -> None:
    """Refuse what would not be a plain ResNet-18.

    Raises:
        UsageError: no normalization (the published network has batch normalization after every
            convolution and does not train well without), or an activation on the last layer.
    """
    if normalization not in NORMALIZATIONS:
        raise UsageError(
            f"normalization={normalization!r}: a plain ResNet-18 normalizes after every "
            "convolution; expected 'batch' (as published) or 'group'. Write `normalization: batch`"
            " for this model."
        )
    if head_activation not in HEAD_ACTIVATIONS:
        raise UsageError(
            f"head_activation={head_activation!r}: the last layer of a ResNet-18 is linear; leave "
            "head_activation out or write `head_activation: linear` for this model."
        )


def halved_extent(size: int, kernel: int = BLOCK_KERNEL, padding: int = BLOCK_PADDING) -> int:
    """Length of an axis after a step of stride 2 with the padding on both sides."""
    return (size + 2 * padding - kernel) // 2 + 1


def resnet_costs(input_shape: Sequence[int], num_classes: int) -> Iterator[ConvolutionCost]:
    """The cost of each convolution with its normalization, and of the dense layer, in order.

    Args:
        input_shape: (height, width, channels) or (depth, height, width, channels).
        num_classes: outputs of the dense layer.

    Yields:
        Parameters are those that are trained (the normalization's moving averages are not);
        multiply-accumulates are those of convolutions and the dense layer.
    """
    *spatial, channels = input_shape
    rank = len(spatial)

    def cost(name: str, inputs: int, filters: int, kernel: int) -> ConvolutionCost:
        weights = inputs * filters * kernel**rank
        return ConvolutionCost(name, weights + 2 * filters, weights * math.prod(spatial))

    spatial = [halved_extent(size, STEM_KERNEL, STEM_PADDING) for size in spatial]
    width = WIDTHS[0]
    yield cost("conv1", channels, width, STEM_KERNEL)
    spatial = [halved_extent(size) for size in spatial]
    for stage, filters in enumerate(WIDTHS, start=1):
        for block in range(BLOCKS):
            name = f"layer{stage}_{block}"
            if stage > 1 and block == 0:
                spatial = [halved_extent(size) for size in spatial]
                yield cost(f"{name}_downsample", width, filters, 1)
            yield cost(f"{name}_conv1", width, filters, BLOCK_KERNEL)
            yield cost(f"{name}_conv2", filters, filters, BLOCK_KERNEL)
            width = filters
    weights = width * num_classes
    yield ConvolutionCost("fc", weights + num_classes, weights)
