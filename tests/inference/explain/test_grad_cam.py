"""Grad-CAM against other implementations, where its cells lie, and what it must depend on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from nodulenet.config.schema import ClassTarget
from nodulenet.errors import UsageError
from nodulenet.inference.explain.cells import cell_grid
from nodulenet.inference.explain.explanation import rank_correlation
from nodulenet.inference.explain.feature_layers import choose_layer, feature_layers
from nodulenet.inference.explain.grad_cam import class_activation_map
from nodulenet.inference.explain.randomised import randomised
from nodulenet.models.registry import build_model

layers = keras.layers


def small_net(rank: int, classes: int, seed: int = 0) -> Any:
    """Somebody's classifier without strides: its cells are the voxels."""
    conv = layers.Conv3D if rank == 3 else layers.Conv2D
    pool = layers.GlobalAveragePooling3D if rank == 3 else layers.GlobalAveragePooling2D
    source = keras.Input((*(9, 8, 7)[:rank], 2))
    x = conv(4, 3, padding="same", activation="relu", name="first")(source)
    x = conv(5, 3, padding="same", activation="relu", name="second")(x)
    x = layers.Dense(6, activation="tanh", name="inner")(pool()(x))
    model = keras.Model(source, layers.Dense(classes, activation="softmax")(x))
    random = np.random.default_rng(seed)
    model.set_weights([random.normal(0, 0.4, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("rank", [2, 3])
def test_it_is_what_torch_computes(rank: int) -> None:
    """The whole of it by hand, with torch's autograd: features, log-odds, weights, sum."""
    model = small_net(rank, 3)
    x = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype("float32")
    target = ClassTarget(
        kind="classes", column="c", classes=[[1], [2], [3]], negative=[0], positive=[1, 2]
    )
    weights = [torch.tensor(w) for w in model.get_weights()]
    conv = torch.nn.functional.conv3d if rank == 3 else torch.nn.functional.conv2d
    feature = torch.tensor(np.moveaxis(x, -1, 1))
    for kernel, bias in (weights[0:2], weights[2:4]):
        turned = kernel.permute(rank + 1, rank, *range(rank))
        feature = torch.relu(conv(feature, turned, bias, padding=1))
    feature = feature.detach().requires_grad_()
    pooled = feature.flatten(2).mean(2)
    logits = torch.tanh(pooled @ weights[4] + weights[5]) @ weights[6] + weights[7]
    share = torch.softmax(logits, 1)
    score = torch.log(share[:, 1:].sum(1) / share[:, 0])
    (slope,) = torch.autograd.grad(score.sum(), feature)
    expected = (slope.flatten(2).mean(2)[(...,) + (None,) * rank] * feature).sum(1)
    found = class_activation_map(model, x, target=target)
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-4, atol=1e-7)
    assert np.abs(found).max() > 1e-4
    # Of two classes, one score against the other: exchanged, every value changes its sign.
    back = target.model_copy(update={"negative": [1, 2], "positive": [0]})
    np.testing.assert_allclose(class_activation_map(model, x, target=back), -found, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "layer"),
    [("squeezenodule_v2", (32, 32, 3), "simpfire4"), ("squeezenet_1.1_3d", (32,) * 3 + (1,), None)],
)
def test_our_models_in_one_tape(name: str, shape: tuple[int, ...], layer: str | None) -> None:
    """Not split at the layer and from the softmax's outputs, the cells are the same."""
    model = build_model(name, shape, 2, head_activation="linear", kernel_initializer="he_normal")
    x = np.random.default_rng(1).random((1, *shape), dtype=np.float32)
    at = choose_layer(model)
    assert layer in (None, at.name)
    both = keras.Model(model.inputs[0], [model.get_layer(at.name).output, model.output])
    with tf.GradientTape() as tape:
        features, outputs = both(x)
        score = tf.math.log(outputs[:, 1]) - tf.math.log(outputs[:, 0])
    slope = tape.gradient(score, features)
    axes = list(range(1, len(shape)))
    weights = tf.reduce_mean(slope, axis=axes, keepdims=True)
    expected = tf.reduce_sum(features * weights, axis=-1).numpy()[0]
    found = class_activation_map(model, x)[0]
    grid = cell_grid(model, at, shape[:-1])
    middles = [
        (f + s * np.arange(n)).astype(int)
        for f, s, n in zip(grid.first, grid.step, at.cells, strict=True)
    ]
    np.testing.assert_allclose(found[np.ix_(*middles)], expected, rtol=2e-3, atol=1e-6)
    assert np.abs(expected).max() > 1e-5


def test_a_sure_model_still_has_a_map() -> None:
    """At a probability that float32 rounds to 1 the probability's own gradient is nothing."""
    model = small_net(2, 2)
    *rest, _ = model.get_weights()
    x = np.random.default_rng(1).random((1, *model.input_shape[1:]))
    before = class_activation_map(model, x)
    model.set_weights([*rest, np.array([0.0, 60.0])])
    assert float(model.predict_on_batch(x)[0, 1]) == 1.0
    np.testing.assert_allclose(class_activation_map(model, x), before, rtol=1e-4, atol=1e-7)


def test_the_layer_is_the_deepest_with_enough_cells() -> None:
    model = build_model("squeezenodule_v2", (64, 64, 1), 2)
    assert choose_layer(model).name == "simpfire8"  # 7 cells; the stage behind has 3
    assert choose_layer(model, least_cells=8).name == "simpfire4"
    # 24 voxels: 9 cells, then 4; nothing has 10, so it is the one with the most.
    small = build_model("squeezenodule_v2", (24, 24, 1), 2)
    assert (choose_layer(small).name, choose_layer(small).cells) == ("conv1", (9, 9))
    assert choose_layer(small, least_cells=10).name == "conv1"
    assert choose_layer(small, "simpfire9").cells == (1, 1)
    resnet = build_model("resnet_18", (32, 32, 1), 2)
    names = [layer.name for layer in feature_layers(resnet)]
    # Inside a block a shortcut goes past.
    assert "layer1_0" in names
    assert "layer1_0_conv1" not in names
    with pytest.raises(UsageError, match="no feature layer 'layer1_0_conv1'; expected one of conv"):
        choose_layer(resnet, "layer1_0_conv1")


def test_other_models_than_graphs_are_refused() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(UsageError, match=r"subclassed model.*use occlusion"):
        class_activation_map(Own(), np.zeros((1, 8, 8, 1)))
    flat = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(UsageError, match="no layer with spatial axes"):
        class_activation_map(flat, np.zeros((1, 8, 8, 1)))


def ones(*stages: Any, size: int | None = 37) -> Any:
    """A linear network that only sums: a cell's gradient is its receptive field."""
    model = keras.Sequential([keras.Input((size, 40 if size else None, 1)), *stages])
    model.set_weights([np.ones_like(w) for w in model.get_weights()])
    return model


def conv(size: int, stride: int, padding: str, dilation: int = 1) -> Any:
    return layers.Conv2D(
        1, size, stride, padding=padding, use_bias=False, dilation_rate=dilation, name=None
    )


@pytest.mark.parametrize(
    "stages",
    [
        [(7, 2, "valid"), (3, 2, "valid")],
        [(3, 2, "same"), (3, 2, "same"), (5, 1, "same")],
        [(3, 1, "valid", 2), "average", (2, 2, "same")],
        ["pad", (3, 2, "valid"), "crop"],
    ],
)
@pytest.mark.parametrize("size", [37, None])
def test_cells_lie_in_the_middle_of_what_they_see(stages: list[Any], size: int | None) -> None:
    made = {
        "average": lambda: layers.AveragePooling2D(3, 2, padding="same"),
        "pad": lambda: layers.ZeroPadding2D(((3, 1), (0, 2))),
        "crop": lambda: layers.Cropping2D(((1, 0), (2, 1))),
    }
    model = ones(*(made[s]() if isinstance(s, str) else conv(*s) for s in stages), size=size)
    x = tf.zeros((1, 37, 40, 1))
    at = next(
        layer
        for layer in reversed(feature_layers(model, (37, 40, 1)))
        if not layer.name.startswith("cropping")
    )
    grid = cell_grid(model, at, (37, 40))
    assert grid.exact
    trunk = keras.Model(model.inputs[0], at.tensor)
    for cell in ((3, 4), (4, 3)):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = trunk(x)[0, cell[0], cell[1], 0]
        seen = tape.gradient(value, x).numpy()[0, ..., 0]
        assert seen[[0, -1]].sum() == 0, "the border cuts this field: no test of its middle"
        middle = [
            (seen.sum(axis=1 - a) * np.arange(seen.shape[a])).sum() / seen.sum() for a in (0, 1)
        ]
        expected = [f + s * c for f, s, c in zip(grid.first, grid.step, cell, strict=True)]
        # Average pooling weighs what it sees unevenly only at the border.
        np.testing.assert_allclose(middle, expected, atol=1e-4)


def blob_patches(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise, half of it with a bright blob somewhere; and the blobs' centres."""
    random = np.random.default_rng(seed)
    x = random.normal(0.3, 0.1, (count, 32, 32, 1)).astype("float32")
    centres = random.uniform(6, 26, (count, 2))
    labels = np.arange(count) % 2
    away = np.linalg.norm(np.indices((32, 32)).T[None] - centres[:, None, None], axis=-1)
    x[..., 0] += labels[:, None, None] * 0.7 * np.exp(-((away.transpose(0, 2, 1) / 2.5) ** 2))
    return x, labels, centres


def blob_net() -> Any:
    """Somebody's small classifier; at its last convolution Grad-CAM has 8 cells a side."""
    x = source = keras.Input((32, 32, 1))
    for filters, stride in ((16, 2), (32, 2), (32, 1)):
        x = layers.Conv2D(filters, 3, stride, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(2, activation="softmax")(x))


def hits(maps: np.ndarray, centres: np.ndarray) -> float:
    """Share of the maps whose highest value lies within 5 voxels of the blob."""
    peaks = np.array([np.unravel_index(m.argmax(), m.shape) for m in maps])
    return float((np.linalg.norm(peaks - centres, axis=1) < 5).mean())


def test_a_planted_blob_lights_up_in_a_network_made_for_blobs() -> None:
    """A sum over 5 x 5 voxels that only a blob lifts over its threshold, known to the voxel."""
    source = keras.Input((32, 32, 1))
    x = layers.Conv2D(1, 5, 2, activation="relu", name="blob")(source)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(source, layers.Dense(2, activation="softmax")(x))
    weight = np.array([[-3.0, 5.0]])
    model.set_weights([np.ones((5, 5, 1, 1)), np.array([-20.0]), weight, np.zeros(2)])
    patch = np.zeros((1, 32, 32, 1), np.float32)
    patch[0, 8:13, 20:25] = 1.0  # its middle is voxel (10, 22), that of cell (4, 10)
    found = class_activation_map(model, patch)[0]
    assert np.unravel_index(found.argmax(), found.shape) == (10, 22)
    # Log-odds are 8 times the mean over 14 x 14 cells; the cell's own value is 25 - 20.
    assert found.max() == pytest.approx(8 / 14**2 * 5, rel=1e-5)
    rows, columns = np.nonzero(found)
    assert 8 < rows.min() <= rows.max() < 12
    assert 20 < columns.min() <= columns.max() < 24


@pytest.mark.slow
def test_a_blob_lights_up_in_a_trained_model_and_not_in_a_random_one() -> None:
    keras.utils.set_random_seed(0)
    model = blob_net()
    x, labels, _ = blob_patches(512, 0)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(x, labels, batch_size=32, epochs=12, verbose=0)
    x, labels, centres = blob_patches(40, 1)
    assert ((model.predict_on_batch(x)[:, 1] > 0.5) == labels).mean() > 0.95
    x, centres = x[labels == 1], centres[labels == 1]
    maps, random = class_activation_map(model, x), class_activation_map(randomised(model), x)
    assert hits(maps, centres) >= 0.8
    assert hits(random, centres) <= 0.5
    alike = np.mean([abs(rank_correlation(a, b)) for a, b in zip(maps, random, strict=True)])
    assert alike < 0.7


def test_random_weights_are_others_and_always_the_same() -> None:
    model = build_model("squeezenodule_v1", (24, 24, 1), 2, normalization="batch")
    first, second, third = randomised(model, 1), randomised(model, 1), randomised(model, 2)
    for old, a, b, c in zip(*(m.get_weights() for m in (model, first, second, third)), strict=True):
        np.testing.assert_array_equal(a, b)
        if a.ndim > 1:
            assert min(np.abs(a - old).max(), np.abs(a - c).max()) > 0.01
            assert a.std() == pytest.approx((2 / np.prod(a.shape[:-1])) ** 0.5, rel=0.3)


SCRIPT = """
import sys, numpy as np, keras
from nodulenet.inference.explain.grad_cam import class_activation_map
assert keras.backend.backend() == sys.argv[3]
given = np.load(sys.argv[1])
from nodulenet.models.registry import build_model
model = build_model(
    "squeezenodule_v1", (32, 32, 1), 2, normalization="batch", head_activation="linear"
)
model.set_weights([given[str(i)] for i in range(len(model.weights))])
np.save(sys.argv[2], class_activation_map(model, given["x"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", pytest.param("jax", marks=pytest.mark.long)])
def test_other_backends_give_the_same_map(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    model = build_model(
        "squeezenodule_v1", (32, 32, 1), 2, normalization="batch", head_activation="linear"
    )
    x = np.random.default_rng(0).random((2, 32, 32, 1), dtype=np.float32)
    weights = {str(i): w for i, w in enumerate(model.get_weights())}
    np.savez(tmp_path / "job.npz", x=x, **weights)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "job.npz"), str(tmp_path / "a.npy"), backend],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = class_activation_map(model, x)
    found = np.load(tmp_path / "a.npy")
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
