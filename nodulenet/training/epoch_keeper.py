"""What happens after each epoch: judging, keeping the best weights, stopping, saving."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.atomic import atomic_path
from nodulenet.config.schema import TrainConfig
from nodulenet.errors import RunError
from nodulenet.training import checkpoint
from nodulenet.training.backend import keras
from nodulenet.training.checkpoint import Progression
from nodulenet.training.input import TrainingBatches
from nodulenet.training.tensorboard import EventLog

# A probability that is exactly 0 would make an infinite loss of one mistake.
_EPSILON = 1e-7
# Finding ids of a batch that an error names.
_NAMED = 8

HISTORY_COLUMNS = (
    "epoch",
    "loss",
    "val_loss",
    "val_auc",
    "learning_rate",
    "seconds",
    "patches_per_s",
    "best",
)


@dataclass(frozen=True)
class Judged:
    """The part by which epochs are judged: a function from a model to probabilities, and labels.

    ``chooses``: whether it is the stopping part; else it is only looked at for the history.
    """

    probabilities: Callable[[Any], npt.NDArray[np.float64]]
    labels: npt.NDArray[np.int64]
    chooses: bool


@dataclass(frozen=True)
class Place:
    """Where a unit keeps its state, and what it is."""

    folder: Path
    identity: str

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.npz"

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"


def history_table(progression: Progression) -> pd.DataFrame:
    """The history: one row an epoch, ``best`` for the one that is kept."""
    table = pd.DataFrame(progression.history, columns=list(HISTORY_COLUMNS))
    return table.assign(best=table["epoch"] == progression.best_epoch)


def is_over(progression: Progression, train: TrainConfig, end: int) -> bool:
    """Whether a round that lasts to epoch ``end`` at most has ended."""
    since = max(progression.best_epoch, progression.begins[-1])
    tired = train.patience is not None and progression.epochs - since >= train.patience
    return progression.epochs >= end or tired


class EpochKeeper(keras.callbacks.Callback):
    """Judges every epoch, keeps the best weights, stops when patience ends, saves the state.

    Figures are exact (scikit-learn over all judged findings), not a running estimate. With a
    moving average of the weights, the average is what is judged and kept. ``end`` is the last
    epoch of the round.
    """

    def __init__(
        self,
        batches: TrainingBatches,
        judged: Judged,
        train: TrainConfig,
        place: Place,
        progression: Progression,
        finding_ids: npt.NDArray[Any],
        *,
        end: int,
    ) -> None:
        super().__init__()
        self._batches, self._judged, self._train = batches, judged, train
        self._place, self._progression = place, progression
        self._finding_ids, self._end = finding_ids, end
        self._started = 0.0
        self._log: EventLog | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        del logs
        self._log = EventLog(self._place.folder, self._progression.history)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self._batches.epoch = epoch
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # The running mean of the epoch: not finite from the batch on that was not.
        if math.isfinite(float((logs or {})["loss"])):
            return
        rows = self._batches.rows(self._batches.epoch, batch)
        ids = [str(i) for i in self._finding_ids[rows]]
        listed = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
        done = self._progression.epochs
        kept = f"the weights of epoch {done} are kept in {self._place.checkpoint.name}"
        raise RunError(
            f"epoch {self._batches.epoch + 1}, batch {batch + 1}: the loss is not finite (findings "
            f"{listed}); {kept if done else 'no epoch was finished'}; lower train.learning_rate, "
            f"set train.clip_norm, or look at these patches"
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # Tuning metrics are no part of the time that patches take.
        seconds = time.perf_counter() - self._started
        rate = _current_rate(self.model.optimizer)
        with averaged_weights(self.model, self._train):
            figures = self._judge(epoch)
            row = {
                "epoch": epoch + 1,
                "loss": float((logs or {})["loss"]),
                **figures,
                "learning_rate": rate,
                "seconds": round(seconds, 3),
                "patches_per_s": round(sum(self._batches.counts) / seconds, 1),
                "best": False,
            }
            self._progression.history.append(row)
            self._keep(epoch, row)
        checkpoint.save(self._place.checkpoint, self._place.identity, self.model, self._progression)
        write_history(self._place, self._progression)
        if self._log is not None:
            self._log.add(row)
        if is_over(self._progression, self._train, self._end):
            self.model.stop_training = True

    def _judge(self, epoch: int) -> dict[str, float]:
        from sklearn.metrics import roc_auc_score

        probability = self._judged.probabilities(self.model)
        labels = self._judged.labels
        if not np.isfinite(probability).all():
            raise RunError(
                f"epoch {epoch + 1}: the model answers with values that are not finite; lower "
                f"train.learning_rate, set train.clip_norm, or use train.precision=float32"
            )
        if epoch == 0 and np.ptp(probability) == 0:
            raise RunError(
                f"epoch 1: the model answers {probability[0]:.3g} for every finding, so it does "
                f"not learn; use head_activation=linear, he_normal or another seed"
            )
        clipped = np.clip(probability, _EPSILON, 1 - _EPSILON)
        right = np.where(labels == 1, clipped, 1 - clipped)
        return {
            "val_loss": float(-np.log(right).mean()),
            "val_auc": float(roc_auc_score(labels, probability)),
        }

    def _keep(self, epoch: int, row: dict[str, Any]) -> None:
        figure: tuple[float, ...] = (float(epoch),)  # the last one
        if self._judged.chooses:
            # Equal AUCs, frequent on small parts, are decided by the loss.
            by_loss = -row["val_loss"]
            first = row["val_auc"] if self._train.monitor == "val_auc" else by_loss
            figure = (first, by_loss)
        if not self._progression.best_figure or figure > self._progression.best_figure:
            self._progression.best_figure = figure
            self._progression.best_epoch = epoch + 1
            self._progression.best_weights = checkpoint.values_of(self.model.weights)


@contextmanager
def averaged_weights(model: Any, train: TrainConfig) -> Any:
    """With the moving average in place of the weights, where one is kept; put back afterwards."""
    if train.weight_average is None:
        yield
        return
    # Keras 3.15 offers the averages only by overwriting the weights for good.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    averages = optimizer._model_variables_moving_average
    raw = checkpoint.values_of(model.trainable_variables)
    checkpoint.assign(model.trainable_variables, checkpoint.values_of(averages))
    try:
        yield
    finally:
        checkpoint.assign(model.trainable_variables, raw)


def write_history(place: Place, progression: Progression) -> None:
    """``history.csv``, anew after every epoch."""
    with atomic_path(place.history) as temporary:
        history_table(progression).to_csv(temporary, index=False)


def _current_rate(optimizer: Any) -> float:
    rate = getattr(optimizer, "inner_optimizer", optimizer).learning_rate
    return float(np.asarray(keras.ops.convert_to_numpy(rate)))
