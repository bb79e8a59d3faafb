"""The published networks against an independent torch implementation with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch

from nodulenet.models.registry import build_model

# Of the largest value of each tensor.
TOLERANCE = 1e-4


def with_features(model: Any) -> Any:
    """Logits and every stage's features in one model on the same weights."""
    outputs = {**model.feature_model().output, "logits": model.output}
    return keras.Model(model.inputs[0], outputs)


def differences(net: Any, features: Any, x: np.ndarray) -> dict[str, float]:
    """The largest difference of the logits and of each stage, relative to the largest value."""
    with torch.no_grad():
        logits, stages = net(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    ours = {k.removeprefix("simp"): v for k, v in features(x).items()}
    assert [*stages, "logits"] == list(ours)
    pairs = {k: (np.moveaxis(v.numpy(), 1, -1), ours[k]) for k, v in stages.items()}
    pairs["logits"] = (logits.numpy(), ours["logits"])
    result = {}
    for name, (expected, got) in pairs.items():
        got = keras.ops.convert_to_numpy(got)
        assert got.shape == expected.shape, name
        assert np.abs(expected).max() > 0, f"{name} is zero everywhere and would prove nothing"
        result[name] = float(np.abs(got - expected).max() / np.abs(expected).max())
    return result


@pytest.fixture(scope="module", params=["1.0", "1.1"])
def pair(
    request: pytest.FixtureRequest, he_torch: Callable[..., Any], copy_to_keras: Callable[..., None]
) -> tuple[Any, Any, Any]:
    net = he_torch(seed=7, stem=request.param)
    model = build_model(
        f"squeezenet_{request.param}", (None, None, 3), 1000, classifier_activation=None
    )
    copy_to_keras(net, model)
    return net, model, with_features(model)


@pytest.mark.parametrize("size", [224, 227, 64, 37])
def test_logits_and_all_stages_agree(pair: tuple[Any, Any, Any], size: int) -> None:
    x = np.random.default_rng(size).normal(size=(2, size, size, 3)).astype("float32")
    net, _, features = pair
    worst = differences(net, features, x)
    assert len(worst) == 13
    assert max(worst.values()) <= TOLERANCE, worst


@pytest.mark.parametrize(
    ("layer", "weight"),
    [
        ("conv1", "kernel"),
        ("fire4/expand_3x3", "kernel"),
        ("fire9/squeeze", "bias"),
        ("conv10", "bias"),
    ],
)
def test_one_perturbed_weight_is_noticed(
    pair: tuple[Any, Any, Any], layer: str, weight: str
) -> None:
    net, model, features = pair
    x = np.random.default_rng(5).normal(size=(2, 64, 64, 3)).astype("float32")
    owner, _, part = layer.partition("/")
    target = model.get_layer(owner)
    variable = getattr(getattr(target, part) if part else target, weight)
    original = keras.ops.convert_to_numpy(variable).copy()
    changed = original.copy()
    changed.flat[np.abs(original).argmax()] *= -1.0
    variable.assign(changed)
    try:
        worst = differences(net, features, x)
    finally:
        variable.assign(original)
    assert worst["logits"] > TOLERANCE
    stages = list(worst)
    at = stages.index("logits" if owner == "conv10" else owner)
    assert all(worst[stage] <= TOLERANCE for stage in stages[:at]), "stages before it are untouched"
    assert worst[stages[at]] > TOLERANCE


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("squeezenodule_v1", {"family": "squeezenodule_v1", "head_relu": False}),
        ("squeezenodule_v2", {"family": "squeezenodule_v2", "head_relu": False}),
        ("squeezenet_1.0_bypass", {"bypass": True}),
        ("squeezenodule_v1_3d", {"family": "squeezenodule_v1", "head_relu": False, "rank": 3}),
        ("squeezenodule_v2_3d", {"family": "squeezenodule_v2", "head_relu": False, "rank": 3}),
        ("squeezenet_1.0_3d", {"rank": 3}),
        ("squeezenet_1.1_3d", {"rank": 3, "stem": "1.1"}),
        ("squeezenet_1.0_bypass_3d", {"rank": 3, "bypass": True}),
    ],
)
def test_all_other_variants_agree_too(
    name: str,
    options: dict[str, Any],
    he_torch: Callable[..., Any],
    copy_to_keras: Callable[..., None],
) -> None:
    net = he_torch(seed=3, channels=1, classes=10, **options)
    # Axes of different length and parity: a swapped axis or a wrong window shows.
    shape = (36, 33, 30)[: options.get("rank", 2)]
    model = build_model(name, (*shape, 1), 10, classifier_activation=None)
    copy_to_keras(net, model)
    x = np.random.default_rng(11).normal(size=(2, *shape, 1)).astype("float32")
    worst = differences(net, with_features(model), x)
    assert max(worst.values()) <= TOLERANCE, worst
