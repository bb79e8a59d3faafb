"""How one model is trained: optimizer, schedule, and the epoch that is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import TrainConfig
from nodulenet.errors import RunError
from nodulenet.training.backend import keras
from nodulenet.training.input import TrainingBatches

# A probability that is exactly 0 would make an infinite loss of one mistake.
_EPSILON = 1e-7


def make_optimizer(train: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """The configured optimizer over ``steps`` steps in all."""
    warmup = round(steps * train.warmup_fraction)
    rate: Any = train.learning_rate
    if train.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else train.learning_rate,
            decay_steps=max(1, steps - warmup),
            warmup_target=train.learning_rate if warmup else None,
            warmup_steps=warmup,
        )
    options: dict[str, Any] = {"learning_rate": rate, "global_clipnorm": train.clip_norm}
    if train.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(weight_decay=train.weight_decay, **options)
        # Biases and normalization scales are no weights to be shrunk.
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer
    if train.optimizer == "adam":
        return keras.optimizers.Adam(**options)
    return keras.optimizers.SGD(momentum=0.9, nesterov=True, **options)


def balanced_weights(negatives: int, positives: int) -> dict[int, float]:
    """Loss weights that give both labels the same total over an epoch, with mean 1."""
    total = negatives + positives
    return {0: total / (2 * negatives), 1: total / (2 * positives)}


class InnerValidation(keras.callbacks.Callback):
    """Scores the inner part after every epoch, keeps the best weights, stops when patience ends.

    The figures are exact (scikit-learn over all inner findings), not a running estimate.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        probabilities: Callable[[Any], npt.NDArray[np.float32]],
        labels: npt.NDArray[np.int64],
        train: TrainConfig,
        on_epoch: Callable[[dict[str, float]], None],
    ) -> None:
        super().__init__()
        self._batches, self._probabilities = batches, probabilities
        self._labels, self._train, self._on_epoch = labels, train, on_epoch
        self.history: list[dict[str, float]] = []
        self.best_epoch = -1
        self._best_figure: tuple[float, float] = (-math.inf, -math.inf)
        self._best_weights: list[npt.NDArray[Any]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self._batches.epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        from sklearn.metrics import roc_auc_score

        loss = float((logs or {})["loss"])
        probability = self._probabilities(self.model)
        if not math.isfinite(loss) or not np.isfinite(probability).all():
            raise RunError(
                f"epoch {epoch + 1}: the loss is {loss}; lower train.learning_rate or set "
                f"train.clip_norm"
            )
        if epoch == 0 and np.ptp(probability) == 0:
            raise RunError(
                f"epoch 1: the model answers {probability[0]:.3g} for every inner finding, so it "
                f"does not learn; use head_activation=linear, he_normal or another seed"
            )
        clipped = np.clip(probability.astype(np.float64), _EPSILON, 1 - _EPSILON)
        right = np.where(self._labels == 1, clipped, 1 - clipped)
        row = {
            "epoch": epoch + 1,
            "loss": loss,
            "val_loss": float(-np.log(right).mean()),
            "val_auc": float(roc_auc_score(self._labels, probability)),
        }
        self.history.append(row)
        # Equal AUCs, frequent on small inner parts, are decided by the loss.
        by_loss = -row["val_loss"]
        figure = (row["val_auc"] if self._train.monitor == "val_auc" else by_loss, by_loss)
        if figure > self._best_figure:
            self._best_figure, self.best_epoch = figure, epoch + 1
            self._best_weights = self.model.get_weights()
        self._on_epoch(row)
        patience = self._train.patience
        if patience is not None and epoch + 1 - self.best_epoch >= patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        del logs
        if self._best_weights:
            self.model.set_weights(self._best_weights)


def fit(
    model: keras.Model,
    batches: TrainingBatches,
    validation: InnerValidation,
    train: TrainConfig,
) -> pd.DataFrame:
    """Train ``model`` in place; it ends with the weights of its best inner epoch.

    Returns:
        The history: ``epoch, loss, val_loss, val_auc, best`` one row an epoch.

    Raises:
        RunError: the loss or an output is not finite.
    """
    optimizer = make_optimizer(train, steps=len(batches) * train.epochs)
    # With its variables there beforehand, TensorFlow traces the step once instead of twice.
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=train.label_smoothing),
        # XLA makes the 3D models 5 to 10 times slower on CPU.
        jit_compile=False,
    )
    model.fit(batches, epochs=train.epochs, shuffle=False, verbose=0, callbacks=[validation])
    history = pd.DataFrame(validation.history)
    history["best"] = history["epoch"] == validation.best_epoch
    return history
