"""Gradients by Keras's backend: TensorFlow, torch or JAX."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.errors import UsageError
from nodulenet.training.backend import keras


def gradient(model: Any, inputs: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """The gradient of a model's single output at its inputs, without dropout and the like.

    Args:
        model: a Keras model with the output (batch,).
        inputs: (batch, ...).

    Returns:
        float32 of the shape of ``inputs``.

    Raises:
        UsageError: the backend has no gradients.
    """
    values = np.asarray(inputs, dtype=np.float32)
    backend = keras.backend.backend()
    if backend == "tensorflow":
        found = _of_tensorflow(model, values)
    elif backend == "torch":
        found = _of_torch(model, values)
    elif backend == "jax":
        found = _of_jax(model, values)
    else:
        raise UsageError(
            f"Grad-CAM: Keras runs on {backend!r}, which has no gradients; expected tensorflow, "
            f"torch or jax (KERAS_BACKEND); use occlusion, which needs none"
        )
    return np.asarray(found, dtype=np.float32)


def _of_tensorflow(model: Any, values: npt.NDArray[np.float32]) -> Any:
    import tensorflow as tf

    watched = tf.convert_to_tensor(values)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(watched)
        output = model(watched, training=False)
    return tape.gradient(output, watched, unconnected_gradients="zero").numpy()


def _of_torch(model: Any, values: npt.NDArray[np.float32]) -> Any:
    import torch

    watched = keras.ops.convert_to_tensor(values).detach().requires_grad_(True)
    with torch.enable_grad():
        output = model(watched, training=False)
    (found,) = torch.autograd.grad(output.sum(), watched)
    return found.cpu().numpy()


def _of_jax(model: Any, values: npt.NDArray[np.float32]) -> Any:
    import jax

    fixed = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]

    def total(watched: Any) -> Any:
        output, _ = model.stateless_call(fixed, others, watched, training=False)
        return output.sum()

    # One compiled step: op by op, JAX would compile each of them.
    return jax.jit(jax.grad(total))(values)
