"""The recipe in Keras's terms: optimizer, schedule, loss, weights of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.config.schema import TrainConfig
from nodulenet.training.backend import keras


def make_optimizer(train: TrainConfig, steps_per_epoch: int, epochs: int) -> Any:
    """The configured ``keras.optimizers.Optimizer`` for one round of ``epochs``."""
    options: dict[str, Any] = {
        "learning_rate": _schedule(train, steps_per_epoch, epochs),
        "global_clipnorm": train.clip_norm,
        "use_ema": train.weight_average is not None,
    }
    if train.weight_average is not None:
        options["ema_momentum"] = train.weight_average
    if train.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(weight_decay=train.weight_decay, **options)
        # Biases and normalization scales are no weights to be shrunk.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer
    if train.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    return keras.optimizers.SGD(momentum=train.momentum, nesterov=train.momentum > 0, **options)


def _schedule(train: TrainConfig, steps_per_epoch: int, epochs: int) -> Any:
    steps = steps_per_epoch * epochs
    warmup = round(steps * train.warmup_fraction)
    schedules = keras.optimizers.schedules
    if train.schedule == "cosine":
        return schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else train.learning_rate,
            decay_steps=max(1, steps - warmup),
            warmup_target=train.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    # A ramp of equal steps, then constant pieces; Keras warms up a cosine alone.
    rates = {step: train.learning_rate * (step + 1) / warmup for step in range(warmup)}
    rates[warmup] = train.learning_rate
    if train.schedule == "step":
        for fall, epoch in enumerate(range(train.step_epochs, epochs, train.step_epochs), start=1):
            # A fall within the warm-up is reached when that ends.
            step = max(warmup, epoch * steps_per_epoch)
            rates[step] = train.learning_rate * train.step_factor**fall
    first, *later = sorted(rates)
    if not later:
        return rates[first]
    # Keras keeps a rate up to and including its boundary.
    return schedules.PiecewiseConstantDecay(
        [s - 1 for s in later], [rates[s] for s in sorted(rates)]
    )


def make_loss(train: TrainConfig) -> Any:
    """The configured loss over probabilities, for hard and soft targets."""
    if train.loss == "focal":
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=train.focal_gamma, label_smoothing=train.label_smoothing
        )
    return keras.losses.CategoricalCrossentropy(label_smoothing=train.label_smoothing)


def balancing_weights(
    targets: npt.NDArray[np.float32], positive: npt.NDArray[np.bool_], drawn: tuple[int, int]
) -> npt.NDArray[np.float32] | None:
    """Loss weights by which every class has the same total over an epoch, with mean 1: (n,).

    Args:
        targets: (n, classes), one-hot; soft ones have no classes and get None.
        positive: (n,) who is positive.
        drawn: negatives and positives of one epoch, which with two classes may be fewer than n.
    """
    if not np.isin(targets, (0, 1)).all():
        return None
    classes = targets.argmax(axis=1)
    # How often an epoch uses a finding of either side.
    negatives, positives = drawn[0] / max(1, (~positive).sum()), drawn[1] / max(1, positive.sum())
    used = np.where(positive, positives, negatives)
    counts = np.bincount(classes, weights=used, minlength=targets.shape[1])
    present = counts > 0
    weights = np.zeros_like(counts)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights[classes].astype(np.float32)
