"""The recipe against formulas: the schedule step by step, the loss, the weights of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from nodulenet.config.load import validated
from nodulenet.config.schema import TrainConfig
from nodulenet.errors import ConfigError
from nodulenet.training.recipe import balancing_weights, make_loss, make_optimizer

STEPS, EPOCHS = 10, 8


def rates(**fields: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The learning rate of every step."""
    train = validated(TrainConfig, {"learning_rate": 0.5, "epochs": EPOCHS} | fields)
    optimizer = make_optimizer(train, STEPS, EPOCHS)
    found = []
    for step in range(STEPS * EPOCHS):
        optimizer.iterations.assign(step)
        found.append(float(optimizer.learning_rate))
    return np.array(found)


def test_cosine_after_a_linear_warm_up() -> None:
    total, warm = STEPS * EPOCHS, 8
    step = np.arange(total)
    cosine = 0.25 * (1 + np.cos(np.pi * (step - warm) / (total - warm)))
    expected = np.where(step < warm, 0.5 * step / warm, cosine)
    found = rates(schedule="cosine", warmup_fraction=0.1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_steps_fall_at_their_epochs(warmup: float) -> None:
    step = np.arange(STEPS * EPOCHS)
    expected = 0.5 * 0.2 ** (step // (3 * STEPS))
    warm = round(STEPS * EPOCHS * warmup)
    expected = np.where(step < warm, 0.5 * (step + 1) / max(1, warm), expected)
    found = rates(schedule="step", step_epochs=3, step_factor=0.2, warmup_fraction=warmup)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_constant_rate_is_constant() -> None:
    np.testing.assert_allclose(rates(schedule="constant", warmup_fraction=0.0), 0.5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_are_those_of_their_papers(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    answers = rng.dirichlet([1, 1], 50)
    soft = rng.uniform(size=50)
    targets = np.stack([1 - soft, soft], axis=1)
    smoothed = targets * (1 - smoothing) + smoothing / 2
    for name, factor in (("crossentropy", 1.0), ("focal", (1 - answers) ** 3)):
        more = {"focal_gamma": 3} if name == "focal" else {}
        fields = {"loss": name, "label_smoothing": smoothing} | more
        loss = make_loss(validated(TrainConfig, fields))
        expected = -(factor * smoothed * np.log(answers)).sum(axis=1).mean()
        assert float(loss(targets, answers)) == pytest.approx(expected, rel=1e-4)


def test_classes_weigh_the_same_over_an_epoch() -> None:
    labels = np.array([0] * 30 + [1] * 6)
    found = balancing_weights(np.eye(2, dtype=np.float32)[labels], labels == 1, (30, 6))
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert found is not None
    np.testing.assert_allclose(found, expected[labels], rtol=1e-6)
    # Only 12 of the 30 negatives are drawn.
    found = balancing_weights(np.eye(2, dtype=np.float32)[labels], labels == 1, (12, 6))
    assert found is not None
    np.testing.assert_allclose([found[0], found[-1]], [0.75, 1.5])
    classes = np.array([0] * 10 + [1] * 5 + [2] * 5)
    found = balancing_weights(np.eye(3, dtype=np.float32)[classes], classes == 2, (15, 5))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=classes)
    assert found is not None
    np.testing.assert_allclose(found, expected[classes], rtol=1e-6)
    assert balancing_weights(np.array([[0.5, 0.5]], np.float32), np.array([True]), (0, 1)) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"optimizer": "lion"}, "optimizer: Input should be 'adamw', 'adam' or 'sgd'"),
        ({"patience": 3}, "patience needs a monitor"),
        ({"balanced_batches": True, "negatives_per_positive": 2}, "contradict each other"),
        ({"hard_negatives": {}}, "hard_negatives needs negatives_per_positive"),
        ({"optimizer": "sgd", "weight_decay": 0.1}, "weight_decay is only for optimizer: adamw"),
        ({"focal_gamma": 3}, "focal_gamma is only for loss: focal"),
        ({"step_epochs": 3}, "step_epochs is only for schedule: step"),
    ],
)
def test_options_that_nobody_would_use_are_refused(fields: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        validated(TrainConfig, fields)
