"""Where the cells of a feature map lie in the input.

Stretching a map over the input puts it wrong wherever a layer pads on no side or on one side: of 32
voxels, the six cells of SqueezeNodule-Net's ``pool1`` lie at 5, 9, ..., 25, not at 2, 8, ..., 29.
So the middle of each cell's receptive field is followed through the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.inference.explain.feature_layers import FeatureLayer, graph_nodes, map_sizes
from nodulenet.models.blocks import CeilMaxPooling
from nodulenet.models.variants import POOL_SIZE, POOL_STRIDE
from nodulenet.training.backend import keras


@dataclass(frozen=True)
class CellGrid:
    """Cell i of an axis has the middle of its receptive field at voxel ``first + i * step``.

    Attributes:
        first: of each spatial axis of the input, counted from 0 at the first voxel's centre.
        step: voxels from cell to cell.
        exact: False where a layer of unknown kind changed the size: there the map is stretched.
    """

    first: tuple[float, ...]
    step: tuple[float, ...]
    exact: bool = True

    def spread(
        self, cells: npt.NDArray[np.floating], voxels: Sequence[int]
    ) -> npt.NDArray[np.float32]:
        """A map of cells as one of voxels: linear between the cells, constant beyond the outer.

        Args:
            cells: one number a cell.
            voxels: size of the input's spatial axes.
        """
        spread = np.asarray(cells, dtype=np.float64)
        for axis, (first, step, count) in enumerate(
            zip(self.first, self.step, voxels, strict=True)
        ):
            places = np.clip((np.arange(count) - first) / step, 0, spread.shape[axis] - 1)
            lower = np.floor(places).astype(int)
            upper = np.minimum(lower + 1, spread.shape[axis] - 1)
            shape = [-1 if a == axis else 1 for a in range(spread.ndim)]
            share = (places - lower).reshape(shape)
            spread = (
                np.take(spread, lower, axis) * (1 - share) + np.take(spread, upper, axis) * share
            )
        return spread.astype(np.float32)


def cell_grid(model: Any, layer: FeatureLayer, voxels: Sequence[int]) -> CellGrid:
    """The places of a feature layer's cells.

    Args:
        model: the layer's.
        layer: of :func:`nodulenet.inference.explain.feature_layers.feature_layers`.
        voxels: size of the input's spatial axes.
    """
    rank = len(voxels)
    source = model.inputs[0]
    nodes = [node for node in graph_nodes(model) if len(node.outputs[0].shape) == rank + 2]
    made = map_sizes(model, [n.outputs[0] for n in nodes], (*voxels, source.shape[-1]))
    sizes = {id(source): tuple(voxels)}
    sizes |= {id(node.outputs[0]): size for node, size in zip(nodes, made, strict=True)}
    grids = {id(source): CellGrid((0.0,) * rank, (1.0,) * rank)}
    for node in nodes:
        parent = next((id(t) for t in node.input_tensors if id(t) in grids), None)
        if parent is None:
            continue
        output = id(node.outputs[0])
        grids[output] = _through(node.operation, sizes[parent], sizes[output], grids[parent])
        if node.outputs[0] is layer.tensor:
            break
    return grids[id(layer.tensor)]


def _through(
    operation: Any, size: tuple[int, ...], made: tuple[int, ...], grid: CellGrid
) -> CellGrid:
    rank = len(grid.first)
    layers = keras.layers
    windowed = None
    if isinstance(operation, (*_of_rank("MaxPooling"), *_of_rank("AveragePooling"))):
        windowed = operation.pool_size
    # A transposed convolution is a kind of convolution to Keras's classes, not to geometry.
    elif type(operation) in (*_of_rank("Conv"), layers.DepthwiseConv2D, layers.SeparableConv2D):
        windowed = operation.kernel_size
    if isinstance(operation, CeilMaxPooling):
        return _moved(grid, [(POOL_SIZE - 1) / 2] * rank, [POOL_STRIDE] * rank)
    if windowed is not None:
        strides = _tuple(operation.strides, rank)
        dilation = _tuple(getattr(operation, "dilation_rate", 1), rank)
        reach = [d * (k - 1) for k, d in zip(windowed, dilation, strict=True)]
        before = [0] * rank
        if operation.padding == "same":
            before = [
                max((m - 1) * s + r + 1 - n, 0) // 2
                for n, m, s, r in zip(size, made, strides, reach, strict=True)
            ]
        return _moved(grid, [r / 2 - b for r, b in zip(reach, before, strict=True)], strides)
    if isinstance(operation, _of_rank("ZeroPadding")):
        return _moved(grid, [-float(first) for first, _ in operation.padding], [1] * rank)
    if isinstance(operation, _of_rank("Cropping")):
        return _moved(grid, [float(first) for first, _ in operation.cropping], [1] * rank)
    if made == size:
        return grid
    ratios = [n / m for n, m in zip(size, made, strict=True)]
    moved = _moved(grid, [(ratio - 1) / 2 for ratio in ratios], ratios)
    return CellGrid(moved.first, moved.step, exact=False)


def _moved(grid: CellGrid, first: Sequence[float], step: Sequence[float]) -> CellGrid:
    """The grid of a layer whose cell i looks at the cells round ``first + i * step`` before it."""
    return CellGrid(
        tuple(f + s * more for f, s, more in zip(grid.first, grid.step, first, strict=True)),
        tuple(s * factor for s, factor in zip(grid.step, step, strict=True)),
        grid.exact,
    )


def _of_rank(kind: str) -> tuple[Any, Any]:
    return getattr(keras.layers, f"{kind}2D"), getattr(keras.layers, f"{kind}3D")


def _tuple(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)
