"""A Keras model as a frozen TensorFlow graph: constants instead of variables, inference only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nodulenet.errors import UsageError

INPUT = "patches"
# The second output of `nodulenet.training.familiarity.with_features` tells how strange a patch is.
OUTPUTS = ("probabilities", "features")


@dataclass(frozen=True)
class FrozenGraph:
    """A graph with one input, named ``patches``, and an unknown number of them.

    Attributes:
        definition: the TensorFlow ``GraphDef``.
        outputs: names of its outputs: ``probabilities``, then ``features``, then ``output_2``, ...
    """

    definition: Any
    outputs: tuple[str, ...]


def freeze(model: Any, input_shape: Sequence[int]) -> FrozenGraph:
    """The graph of a model in inference (no dropout, moving averages of batch normalization).

    Args:
        model: a Keras model of one input; its first output is the probabilities.
        input_shape: ([z,] y, x, channels) of a patch, all of them known: the way that pooling
            keeps its last window depends on them.

    Raises:
        UsageError: Keras does not run on TensorFlow, the shape does not fit the model, or the
            model computes in less than float32.
    """
    from nodulenet.training.backend import keras

    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"export: Keras runs on {keras.backend.backend()} here, and a model is exported from "
            f"its TensorFlow graph; run it with KERAS_BACKEND=tensorflow"
        )
    shape = tuple(input_shape)
    expected = tuple(model.input_shape[1:])
    if len(shape) != len(expected) or any(
        not isinstance(n, int) or n < 1 or m not in (None, n)
        for n, m in zip(shape, expected, strict=True)
    ):
        raise UsageError(
            f"export: input_shape is {shape}, but model {model.name!r} takes patches of {expected} "
            f"(None: any length); give the lengths of its patches"
        )
    reduced = {
        layer.compute_dtype
        for layer in model._flatten_layers()
        if str(layer.compute_dtype) in ("float16", "bfloat16")
    }
    if reduced:
        raise UsageError(
            f"export: model {model.name!r} computes in {', '.join(sorted(reduced))}; expected a "
            f"model trained with `precision: float32`; answer with the keras engine"
        )
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    count = len(model.outputs)
    outputs = (*OUTPUTS, *(f"output_{number}" for number in range(len(OUTPUTS), count)))[:count]

    @tf.function(autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def inference(patches: Any) -> list[Any]:
        found = keras.tree.flatten(model(patches, training=False))
        return [
            tf.identity(tf.cast(part, tf.float32), name=name)
            for part, name in zip(found, outputs, strict=True)
        ]

    concrete = inference.get_concrete_function(
        tf.TensorSpec((None, *shape), tf.float32, name=INPUT)
    )
    return FrozenGraph(convert_variables_to_constants_v2(concrete).graph.as_graph_def(), outputs)
