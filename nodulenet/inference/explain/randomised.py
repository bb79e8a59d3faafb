"""The sanity check of saliency: a model that learned nothing must give another map.

Adebayo J. et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv:1810.03292.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nodulenet.seeds import generator


def randomised(model: Any, seed: int = 0) -> Any:
    """The same network with fresh weights: He-normal kernels, all else as before training.

    Args:
        model: a Keras model; it stays as it is.
        seed: of the kernels. Defaults to 0.

    Returns:
        Another model.
    """
    fresh = type(model).from_config(model.get_config())
    if not fresh.built:
        fresh.build(model.input_shape)
    random = generator(seed, "explain", "randomised")
    for weight in fresh.trainable_weights:
        shape = tuple(weight.shape)
        if len(shape) > 1:
            scale = np.sqrt(2.0 / np.prod(shape[:-1]))
            weight.assign(random.normal(0.0, scale, shape).astype(np.float32))
    return fresh
