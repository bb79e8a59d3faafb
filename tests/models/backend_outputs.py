"""Run by test_backends.py in a process of another backend: weights in, logits and features out.

Usage: KERAS_BACKEND=jax python backend_outputs.py JOB.npz RESULT.npz NAME [NAME ...]
"""

from __future__ import annotations

import sys

import keras
import numpy as np

from nodulenet.models.registry import get_model


def main(job: str, result: str, *names: str) -> None:
    given = np.load(job)
    found = {"backend": np.array(keras.config.backend())}
    for name in names:
        x = given[f"{name}/x"]
        model = get_model(name).build(x.shape[1:], 10, classifier_activation=None)
        model.set_weights([given[f"{name}/{index}"] for index in range(len(model.weights))])
        # One compiled step: JAX op by op would compile each of them.
        outputs = {"logits": model.output, **model.feature_model().output}
        for key, value in keras.Model(model.inputs[0], outputs).predict_on_batch(x).items():
            found[f"{name}/{key}"] = value
    np.savez(result, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
