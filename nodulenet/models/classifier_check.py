"""Whether a built model is what training, evaluation and bundles take it for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from nodulenet.errors import UsageError
from nodulenet.models.entry import one_line

# A softmax in half precision sums to 1 within its last bits.
_TOLERANCE = 1e-2


def check_classifier(model: Any, input_shape: Sequence[int], num_classes: int) -> None:
    """Refuse a model whose output is no table of probabilities, or that cannot be saved.

    It is called once on two patches of noise in [0, 1]; its weights do not change.

    Args:
        model: a freshly built model.
        input_shape: of one patch, (height, width, channels) or (depth, height, width, channels).
        num_classes: outputs; 1 is one sigmoid, more are rows that sum to 1.

    Raises:
        UsageError: it is no Keras model, does not take such patches, its output has another shape
            or is no probability, or a ``.keras`` file of it could not be loaded again without
            executing code.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise UsageError(
            f"Expected a keras.Model. Received a {type(model).__module__}.{type(model).__name__}: "
            "a model's function returns the built model."
        )
    name = f"Model {model.name!r}"
    patches = np.random.default_rng(0).random((2, *input_shape), dtype=np.float32)
    try:
        output = model(patches, training=False)
    except Exception as error:
        raise UsageError(
            f"{name} does not take patches of {tuple(input_shape)}: {one_line(error)}"
        ) from error
    _check_output(name, output, num_classes)
    _check_saving(name, model)


def _check_output(name: str, output: Any, num_classes: int) -> None:
    import keras

    wanted = f"{name}: expected an output of shape (n, {num_classes})"
    if not keras.ops.is_tensor(output):
        raise UsageError(f"{wanted}. Received a {type(output).__name__} of outputs; return one.")
    if tuple(output.shape) != (2, num_classes):
        raise UsageError(
            f"{wanted}. Received the shape {tuple(output.shape)} for 2 patches; end the model with "
            f"Dense({num_classes}) and a softmax."
        )
    values = keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
    if not np.isfinite(values).all():
        raise UsageError(f"{name}: its outputs are not all finite for patches of values in [0, 1].")
    sums = values.sum(axis=1)
    in_range = values.min() >= 0 and values.max() <= 1 + _TOLERANCE
    if not in_range or (num_classes > 1 and np.abs(sums - 1).max() > _TOLERANCE):
        first = ", ".join(f"{value:.4g}" for value in values[0][:5])
        activation = "softmax" if num_classes > 1 else "sigmoid"
        raise UsageError(
            f"{name}: expected probabilities (each row in [0, 1]"
            f"{' and summing to 1' if num_classes > 1 else ''}). Received a row of "
            f"({first}{', ...' if num_classes > 5 else ''}) with the sum {sums[0]:.4g}; end the "
            f"model with a {activation}."
        )


def _check_saving(name: str, model: Any) -> None:
    import keras

    try:
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
        keras.saving.deserialize_keras_object(config, safe_mode=True)
    except Exception as error:
        raise UsageError(
            f"{name} could not be saved and loaded again: {one_line(error)}. Register own "
            "layers with keras.saving.register_keras_serializable, give them get_config, and use "
            "no Lambda layers."
        ) from error
