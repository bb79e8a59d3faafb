"""One harness for every model of the registry. Some run by default, all with ``-m ''``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nodulenet.models.blocks import FireBase
from nodulenet.models.registry import build_model, get_model, list_models

QUICK = ("squeezenodule_v2", "squeezenodule_v2_3d", "squeezenet_1.0_bypass")
# In no shipped configuration, or with a file of tests of its own; `make test-all` runs them here.
LONG = (
    "resnet_18",
    "resnet_18_3d",
    "squeezenet_1.0_bypass_3d",
    "squeezenodule_v1",
    "squeezenodule_v1_3d",
)
EVERY = [
    pytest.param(
        name,
        marks=() if name in QUICK else pytest.mark.long if name in LONG else pytest.mark.slow,
    )
    for name in list_models()
]
# A linear head: the published ReLU of V1 may be dead for a class, which is no fault of wiring.
LINEAR = {"head_activation": None}


def out(model: Any, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(x))


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def assert_finite_weights(model: Any) -> None:
    for weight in model.weights:
        assert np.isfinite(keras.ops.convert_to_numpy(weight)).all(), weight.path


@pytest.mark.parametrize("name", EVERY)
def test_unknown_sizes_give_what_known_sizes_give(
    name: str, he_initialise: Callable[..., Any]
) -> None:
    entry = get_model(name)
    unknown = he_initialise(entry.build((*[None] * entry.rank, 1), 3, **LINEAR))
    assert unknown.output_shape == (None, 3)
    smallest = entry.minimum_extent
    for sizes in ((28, 28, 28), (32, 32, 32), (smallest, smallest + 1, smallest + 2)):
        shape = (*sizes[: entry.rank], 1)
        known = he_initialise(entry.build(shape, 3, **LINEAR))
        assert known.output_shape == (None, 3)
        x = noise((2, *shape))
        expected = out(known, x)
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(out(unknown, x), expected, rtol=1e-4, atol=1e-5)
        # And as a graph in which the sizes stay unknown.
        graph = tf.function(unknown, input_signature=[tf.TensorSpec(unknown.inputs[0].shape)])
        np.testing.assert_allclose(graph(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_the_smallest_input_is_finite_and_one_below_is_refused(
    name: str, he_initialise: Callable[..., Any]
) -> None:
    entry = get_model(name)
    smallest = entry.minimum_extent
    model = he_initialise(entry.build((smallest,) * entry.rank + (1,), 2, **LINEAR))
    stages = model.feature_model()(noise((2, *(smallest,) * entry.rank, 1)))
    assert all(min(value.shape) >= 1 for value in stages.values())
    probability = out(model, noise((2, *(smallest,) * entry.rank, 1)))
    assert np.isfinite(probability).all()
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    unknown = entry.build((*[None] * entry.rank, 1), 2)
    for axis in range(entry.rank):
        shape = [smallest] * entry.rank
        shape[axis] -= 1
        message = rf"axis {axis} \(\w+\).* length {smallest - 1}, .* minimum .* is {smallest}"
        with pytest.raises(ValueError, match=message):
            entry.build((*shape, 1), 2)
        with pytest.raises(ValueError, match=message):
            unknown(noise((1, *shape, 1)))


@pytest.mark.parametrize("normalization", [None, "batch", "group"])
@pytest.mark.parametrize("name", EVERY)
def test_gradients_reach_every_weight(
    name: str, normalization: str | None, he_initialise: Callable[..., Any]
) -> None:
    entry = get_model(name)
    if normalization is None and name.startswith("resnet"):
        pytest.skip("a ResNet without normalization is refused; test_resnet.py")
    # Two voxels a side in the last stage: over a single one, group normalization of a channel
    # that is its own mean would have no gradient.
    shape = (32,) * entry.rank + (1,)
    options = {"normalization": normalization, "classifier_activation": None, **LINEAR}
    model = he_initialise(entry.build(shape, 3, **options))
    with tf.GradientTape() as tape:
        # From logits: a probability may underflow to zero, and its logarithm has no gradient.
        logits = model(noise((6, *shape)), training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 0, 1, 2], logits)
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [w.value for w in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient.numpy()).all(), weight.path
        assert np.abs(gradient.numpy()).max() > 0, f"no gradient reaches {weight.path}"


@pytest.mark.parametrize("name", EVERY)
def test_a_saved_model_is_equal(
    name: str, tmp_path: Path, he_initialise: Callable[..., Any]
) -> None:
    entry = get_model(name)
    shape = (24,) * entry.rank + (1,)
    model = he_initialise(entry.build(shape, 2, **LINEAR))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    x = noise((2, *shape))
    np.testing.assert_array_equal(out(model, x), out(again, x))
    again.weights[-1].assign_add([1.0, 0.0])
    assert (out(model, x) != out(again, x)).any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", EVERY)
def test_mixed_precision_has_a_float32_output_near_the_exact_one(
    name: str, policy: str, he_initialise: Callable[..., Any]
) -> None:
    entry = get_model(name)
    shape = (32,) * entry.rank + (1,)
    model = he_initialise(entry.build(shape, 2, dtype=policy, **LINEAR))
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.output.dtype == "float32"
    half = policy.removeprefix("mixed_")
    kinds = (keras.layers.Conv2D, keras.layers.Conv3D, FireBase)
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, kinds)]
    assert len(layers) >= 20
    assert {layer.compute_dtype for layer in layers} == {half}
    if policy == "mixed_float16" and entry.rank == 3 and not tf.config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow has no half-precision MaxPool3D on CPU")
    exact = he_initialise(entry.build(shape, 2, **LINEAR))
    x = noise((4, *shape))
    got, expected = out(model, x), out(exact, x)
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < (0.01 if policy == "mixed_float16" else 0.1)
    assert (got != expected).any(), "the policy changed nothing"


def test_the_global_policy_is_followed_and_saved(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model("squeezenodule_v2", (24, 24, 1))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.get_layer("conv1").compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    "name",
    # Compiling the training step takes seconds for each; ResNet-18 is the same code in 3D.
    [
        pytest.param(name, marks=() if name in QUICK[:2] else [pytest.mark.slow, pytest.mark.long])
        for name in list_models()
        if name != "resnet_18_3d"
    ],
)
def test_a_few_steps_overfit_a_tiny_batch(name: str) -> None:
    entry = get_model(name)
    keras.utils.set_random_seed(2)
    shape = (28,) * entry.rank + (1,)
    model = entry.build(shape, 2, dropout_rate=0.0, kernel_initializer="he_normal", **LINEAR)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
    x, y = noise((6, *shape), seed=1), np.array([0, 1, 0, 1, 1, 0])
    first = float(model.test_on_batch(x, y))
    model.fit(x, y, batch_size=6, epochs=40, verbose=0)
    assert_finite_weights(model)
    assert float(model.test_on_batch(x, y)) < 0.1 < first
    assert (out(model, x).argmax(axis=1) == y).all()


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
def test_mixed_precision_training_of_images_leaves_finite_weights(policy: str) -> None:
    keras.utils.set_random_seed(2)
    model = build_model(
        "squeezenodule_v2", (32, 32, 1), 2, dtype=policy, kernel_initializer="he_normal"
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
    model.fit(noise((8, 32, 32, 1)), np.arange(8) % 2, epochs=4, verbose=0)
    assert_finite_weights(model)


def test_the_harness_sees_weights_that_are_not_finite() -> None:
    model = build_model("squeezenodule_v2", (24, 24, 1))
    kernel = model.get_layer("simpfire4").squeeze.kernel
    values = keras.ops.convert_to_numpy(kernel).copy()
    values.flat[0] = np.nan
    kernel.assign(values)
    with pytest.raises(AssertionError, match="simpfire4/squeeze/kernel"):
        assert_finite_weights(model)
