"""Fitting one model: the first round, and the second one with hard negatives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.atomic import write_json
from nodulenet.config.schema import Config, TrainConfig
from nodulenet.errors import FoldsError
from nodulenet.patches.folds import Parts
from nodulenet.patches.store import PatchStore
from nodulenet.training import checkpoint
from nodulenet.training.backend import keras
from nodulenet.training.checkpoint import Progression
from nodulenet.training.data import TrainingData
from nodulenet.training.epoch import EpochOrder
from nodulenet.training.epoch_keeper import (
    EpochKeeper,
    Judged,
    Place,
    is_over,
    write_history,
)
from nodulenet.training.input import TrainingBatches, fit_input, score
from nodulenet.training.recipe import balancing_weights, make_loss, make_optimizer
from nodulenet.training.targets import positive_probability

Judge = tuple[Callable[[Any], npt.NDArray[np.float64]], npt.NDArray[np.int64]]
# Of so many times the hard negatives of an epoch each epoch draws its own.
_HARD_POOL = 2


def fit(
    model: Any,
    store: PatchStore,
    data: TrainingData,
    parts: Parts,
    config: Config,
    *,
    seed: int,
    folder: Path,
    identity: str,
    judge: Judge,
) -> Progression:
    """Train ``model`` in place, from where ``folder`` has its state, if it is of this identity.

    It ends with the weights that are kept: those of the best epoch by ``train.monitor``, else of
    the last one.

    Raises:
        RunError: the loss or an answer is not finite, or the answers do not vary.
    """
    train = config.train
    rows = trainable_rows(data, parts)
    place = Place(folder, identity)
    progression, optimizer_state = Progression(), None
    if (found := checkpoint.load(place.checkpoint, identity)) is not None:
        progression, model_state, optimizer_state = found
        checkpoint.assign(model.variables, model_state)
    judged = Judged(*judge, chooses=train.monitor is not None)
    ids = data.findings["finding_id"].to_numpy()[rows]
    for number, epochs in enumerate(rounds_of(train)):
        if number == len(progression.begins):
            progression.begins.append(progression.epochs)
            optimizer_state = None  # each round has its own warm-up
        begin = progression.begins[number]
        is_last_begun = number + 1 == len(progression.begins)
        if not is_last_begun or is_over(progression, train, begin + epochs):
            continue
        if number and progression.hard is None:
            # The second round goes on from what the first one would keep.
            checkpoint.assign(model.weights, progression.best_weights)
            progression.hard = _hardest(model, store, data, rows, config)
        batches = unit_batches(store, data, rows, config, seed, hard=progression.hard)
        compile_model(model, batches, config, epochs)
        if optimizer_state is not None:
            checkpoint.assign(model.optimizer.variables, optimizer_state)
        _tell_start(folder, sum(rounds_of(train)), sum(batches.counts))
        write_history(place, progression)
        keeper = EpochKeeper(batches, judged, train, place, progression, ids, end=begin + epochs)
        batches.epoch = progression.epochs
        try:
            model.fit(
                fit_input(batches),
                initial_epoch=progression.epochs,
                epochs=begin + epochs,
                shuffle=False,
                verbose=0,
                callbacks=[keeper],
            )
        except Exception:
            if batches.failure is not None:  # which TensorFlow hides in an error of its own
                raise batches.failure from None
            raise
    checkpoint.assign(model.weights, progression.best_weights)
    return progression


def trainable_rows(data: TrainingData, parts: Parts) -> npt.NDArray[np.int64]:
    """Findings of the training part that have a target and a patch in the store.

    Raises:
        FoldsError: there are none.
    """
    rows = parts.train[data.targets.known[parts.train] & data.stored[parts.train]]
    if not len(rows):
        raise FoldsError("the training part has no finding with a patch and a target")
    return rows


def rounds_of(train: TrainConfig) -> list[int]:
    """Epochs of each round."""
    return [train.epochs, *([train.hard_negatives.epochs] if train.hard_negatives else [])]


def unit_batches(
    store: PatchStore,
    data: TrainingData,
    rows: npt.NDArray[np.int64],
    config: Config,
    seed: int,
    *,
    hard: npt.NDArray[np.int64] | None = None,
) -> TrainingBatches:
    """The batches of a unit; ``hard`` are those of its ``rows`` that are hard negatives."""
    train, targets = config.train, data.targets
    values, positive = targets.values[rows], targets.positive[rows]
    drawing: dict[str, Any] = {
        "batch_size": train.batch_size,
        "seed": seed,
        "negatives_per_positive": train.negatives_per_positive,
        "balanced_batches": train.balanced_batches,
    }
    if hard is not None and train.hard_negatives is not None:
        drawing["hard"] = (hard, train.hard_negatives.share)
    weights = None
    if train.class_weight is not None and not train.balanced_batches:
        weights = balancing_weights(values, positive, EpochOrder(positive, **drawing).counts)
    return TrainingBatches(
        store,
        data.findings["position"].to_numpy()[rows],
        values,
        config.patch,
        train.augment,
        positive=positive,
        weights=weights,
        **drawing,
    )


def compile_model(model: Any, batches: TrainingBatches, config: Config, epochs: int) -> None:
    """Give a model the optimizer and the loss of a round of ``epochs``."""
    optimizer = make_optimizer(config.train, len(batches), epochs)
    if config.train.precision == "mixed_float16":
        # Keras wraps by the model's own policy, which is float32 here: only its layers are mixed.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # With its variables there beforehand, TensorFlow traces the step once instead of twice.
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer=optimizer,
        loss=make_loss(config.train),
        # XLA makes the 3D models 5 to 10 times slower on TensorFlow's CPU; JAX is nothing without.
        jit_compile=keras.backend.backend() == "jax",
    )


def _hardest(
    model: Any,
    store: PatchStore,
    data: TrainingData,
    rows: npt.NDArray[np.int64],
    config: Config,
) -> npt.NDArray[np.int64]:
    """Which of the training rows are the negatives that the model takes most for positives.

    They are those of the training pool: negatives of the inner part would serve twice.
    """
    train, positive = config.train, data.targets.positive[rows]
    assert train.hard_negatives is not None
    assert train.negatives_per_positive is not None
    negatives = np.flatnonzero(~positive)
    positions = data.findings["position"].to_numpy()[rows[negatives]]
    outputs = score(model, store, positions, config.patch)
    probability = positive_probability(outputs, config.target)
    drawn = train.negatives_per_positive * positive.sum() * train.hard_negatives.share
    count = min(len(negatives), max(1, round(_HARD_POOL * drawn)))
    return np.sort(negatives[np.argsort(-probability, kind="stable")[:count]])


def _tell_start(folder: Path, epochs: int, patches: int) -> None:
    write_json(
        folder / "started.json",
        {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "epochs": epochs,
            "patches_an_epoch": patches,
        },
    )
