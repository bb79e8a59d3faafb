"""TensorFlow, JAX and torch give the same logits and stage features for the same weights."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from nodulenet.models.registry import get_model, list_models

TOLERANCE = 1e-4
QUICK = ("squeezenodule_v2_3d",)
SCRIPT = Path(__file__).with_name("backend_outputs.py")


def run_backend(backend: str, folder: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    result = folder / f"{backend}.npz"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "job.npz"), str(result), *names],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    with np.load(result) as arrays:
        return dict(arrays)


def expected_outputs(
    folder: Path, names: tuple[str, ...], he_initialise: Callable[..., Any]
) -> dict[str, np.ndarray]:
    """TensorFlow's own, in this process; writes the weights and inputs for the others."""
    job, expected = {}, {}
    for name in names:
        entry = get_model(name)
        # Odd, even and mixed sizes through the stages.
        x = np.random.default_rng(3).normal(size=(2, *(33, 30, 37)[: entry.rank], 1))
        x = x.astype("float32")
        model = he_initialise(entry.build(x.shape[1:], 10, classifier_activation=None), seed=5)
        job[f"{name}/x"] = x
        job.update({f"{name}/{i}": weight for i, weight in enumerate(model.get_weights())})
        outputs = {"logits": model(x), **model.feature_model()(x)}
        expected.update(
            {f"{name}/{key}": keras.ops.convert_to_numpy(v) for key, v in outputs.items()}
        )
    np.savez(folder / "job.npz", **job)
    return expected


def differences(expected: dict[str, np.ndarray], got: dict[str, np.ndarray]) -> dict[str, float]:
    result = {}
    for key, value in expected.items():
        assert got[key].shape == value.shape, key
        assert np.abs(value).max() > 0, f"{key} is zero everywhere and would prove nothing"
        result[key] = float(np.abs(got[key] - value).max() / np.abs(value).max())
    return result


def require(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: pip install {backend}")


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        pytest.param("torch", QUICK, id="torch-one"),
        pytest.param(
            "torch",
            tuple(list_models()),
            marks=[pytest.mark.slow, pytest.mark.long],
            id="torch-all",
        ),
        pytest.param("jax", QUICK, marks=pytest.mark.slow, id="jax-one"),
        pytest.param(
            "jax", tuple(list_models()), marks=[pytest.mark.slow, pytest.mark.long], id="jax-all"
        ),
    ],
)
def test_backends_agree(
    backend: str, names: tuple[str, ...], tmp_path: Path, he_initialise: Callable[..., Any]
) -> None:
    require(backend)
    assert keras.config.backend() == "tensorflow"
    expected = expected_outputs(tmp_path, names, he_initialise)
    got = run_backend(backend, tmp_path, names)
    assert str(got["backend"]) == backend
    worst = differences(expected, got)
    # Ten stages of ResNet-18, twelve of the others, and the logits.
    assert len(worst) == sum(11 if "resnet" in name else 13 for name in names)
    assert max(worst.values()) <= TOLERANCE, {k: v for k, v in worst.items() if v > TOLERANCE}


def test_one_perturbed_weight_is_noticed(tmp_path: Path, he_initialise: Callable[..., Any]) -> None:
    (name,) = QUICK
    expected = expected_outputs(tmp_path, QUICK, he_initialise)

    def perturbed(model: Any, seed: int) -> Any:
        he_initialise(model, seed)
        # An input channel that is alive, and a rise: the change cannot hide behind a ReLU.
        alive = int(expected[f"{name}/pool4"].max(axis=(0, 1, 2, 3)).argmax())
        kernel = model.get_layer("simpfire5").squeeze.kernel
        values = keras.ops.convert_to_numpy(kernel).copy()
        values[..., alive, 0] += 0.5
        kernel.assign(values)
        return model

    worst = differences(expected, expected_outputs(tmp_path, QUICK, perturbed))
    assert worst[f"{name}/simpfire4"] == 0
    assert worst[f"{name}/simpfire5"] > TOLERANCE
    assert worst[f"{name}/logits"] > TOLERANCE
