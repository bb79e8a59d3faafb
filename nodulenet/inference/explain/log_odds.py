"""The number that Grad-CAM differentiates: the log-odds of a model's probability.

Not the probability: its gradient is the same but for the factor p (1 - p), which is nothing where
a model is sure. So the softmax or sigmoid at the end is left out.
"""

from __future__ import annotations

from typing import Any

from nodulenet.config.schema import ClassTarget, Target
from nodulenet.training.backend import keras

_LEAST = 1e-7  # Of a probability whose logarithm is taken.


def log_odds(model: Any, target: Target | None) -> Any:
    """The symbolic log-odds, (batch,), of what ``positive_probability`` makes of the outputs.

    The last layer is a softmax or sigmoid, alone or as the activation of a dense or convolution
    layer, whose weights are then copied; of any other the logarithms of the outputs are taken.

    Args:
        model: a functional or sequential Keras model whose outputs (batch, classes) are
            probabilities.
        target: what it learned, which says which outputs are positive and which negative.
    """
    outputs = model.outputs[0]
    last = outputs._keras_history.operation
    classes = int(outputs.shape[-1])
    activation = _activation(last)
    if activation is None:
        clipped = keras.ops.clip(outputs, _LEAST, 1 - _LEAST)
        scores = keras.ops.log(clipped)
        if classes == 1:
            return (scores - keras.ops.log(1 - clipped))[:, 0]
    else:
        scores = _before_activation(last, outputs)
        if activation == "sigmoid" and not isinstance(target, ClassTarget):
            return scores[:, -1]
        if activation == "sigmoid":  # each output is a probability of its own
            scores = keras.ops.log_sigmoid(scores)
    positive, negative = [classes - 1], list(range(classes - 1))
    if isinstance(target, ClassTarget):
        positive, negative = list(target.positive), list(target.negative)
    return _total(scores, positive) - _total(scores, negative)


def _activation(layer: Any) -> str | None:
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    found = getattr(layer, "activation", None)
    for name in ("softmax", "sigmoid"):
        if found is getattr(keras.activations, name):
            return name
    return None


def _before_activation(layer: Any, outputs: Any) -> Any:
    history = outputs._keras_history
    (inputs,) = layer._inbound_nodes[history.node_index].input_tensors
    if isinstance(layer, keras.layers.Softmax | keras.layers.Activation):
        return keras.ops.cast(inputs, "float32")
    twin = type(layer).from_config(
        {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_log_odds"}
    )
    scores = twin(inputs)
    twin.set_weights(layer.get_weights())
    return keras.ops.cast(scores, "float32")


def _total(scores: Any, classes: list[int]) -> Any:
    return keras.ops.logsumexp(keras.ops.take(scores, classes, axis=1), axis=1)
