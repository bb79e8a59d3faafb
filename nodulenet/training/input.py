"""From stored patches to the model's batches, and from the model's outputs to one row a patch.

Nothing here looks outside the stored margin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.cpus import usable_cpus
from nodulenet.errors import ConfigError
from nodulenet.models.precision import has_gpu
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.seeds import generator
from nodulenet.training.augmentation import BatchAugmentation
from nodulenet.training.backend import keras
from nodulenet.training.epoch import EpochOrder, Rows
from nodulenet.training.exact_pose import (
    spec_symmetries,
)
from nodulenet.training.model_inputs import model_inputs
from nodulenet.training.prefetch import Prefetch

Floats = npt.NDArray[np.float32]


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, augmented batches of one unit, made in the background while a step is computed.

    A batch depends on the seed, the epoch and its position alone, so it is the same whether it
    is made ahead, twice, after a restart, or by however many threads. Set ``epoch`` before an epoch
    begins (a callback's ``on_epoch_begin`` is in time), and before ``fit`` when it goes on later.

    Args:
        store: the patches.
        positions: (n,) of the findings in the store.
        targets: (n, outputs) float32, what is learned.
        spec: what patches are.
        augment: what is changed, and how far.
        batch_size: patches a step at most; batches differ by one at most (see
            :class:`nodulenet.training.epoch.EpochOrder`).
        seed: of order and augmentation.
        positive: (n,) bool, who counts as positive where patches are drawn or balanced.
        weights: (n,) of each finding in the loss, returned as the third element. Defaults to None.
        negatives_per_positive: negatives drawn anew every epoch. Defaults to None, all.
        balanced_batches: half of every batch positive. Defaults to False.
        hard: rows (0..n-1) of hard negatives and their share of the drawn ones. Defaults to None.
        threads: that make batches. Defaults to one where the CPU trains, whose cores the step
            needs: the work is a tenth of the step's, and threads of one batch would wait for
            each other on busy cores. Beside a GPU it is one a free core, 8 at most.

    Attributes:
        epoch: whose batches are handed out; starts at 0.
        failure: the error that ended the making of a batch, which TensorFlow hides in one of its
            own; else None.

    Raises:
        ConfigError: poses would reach beyond the stored margin.
        UsageError: options that contradict each other.
    """

    def __init__(
        self,
        store: PatchStore,
        positions: npt.NDArray[np.int64],
        targets: Floats,
        spec: PatchSpec,
        augment: Augmentation,
        *,
        batch_size: int,
        seed: int,
        positive: npt.NDArray[np.bool_],
        weights: Floats | None = None,
        negatives_per_positive: float | None = None,
        balanced_batches: bool = False,
        hard: tuple[Rows, float] | None = None,
        threads: int | None = None,
    ) -> None:
        # One worker: Keras takes batches one after the other, in a thread of its own.
        super().__init__(workers=1)
        self._store, self._positions = store, positions
        self._targets = np.asarray(targets, dtype=np.float32)
        self._weights = None if weights is None else np.asarray(weights, dtype=np.float32)
        self._seed = seed
        self._order = EpochOrder(
            positive,
            batch_size=batch_size,
            seed=seed,
            negatives_per_positive=negatives_per_positive,
            balanced_batches=balanced_batches,
            hard=hard,
        )
        self._augmented = BatchAugmentation(spec, augment, store.values)
        self._ahead = Prefetch(self._make, len(self), threads or _threads_beside_the_step())
        self.epoch = 0
        self.failure: Exception | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """Negatives and positives in one epoch."""
        return self._order.counts

    def __len__(self) -> int:
        return len(self._order)

    def order(self, epoch: int) -> Rows:
        """The rows of an epoch in the order in which they are used."""
        return self._order.rows(epoch)

    def rows(self, epoch: int, index: int) -> Rows:
        """The rows of one batch."""
        return self._order.batch(epoch, index)

    def __getitem__(self, index: int) -> tuple[Floats, ...]:
        try:
            return self._ahead.get(self.epoch, index)
        except Exception as error:
            self.failure = error
            raise

    def _make(self, epoch: int, index: int) -> tuple[Floats, ...]:
        rows = self.rows(epoch, index)
        random = generator(self._seed, "augment", epoch, index)
        inputs = self._augmented(self._store.views(self._positions[rows]), random)
        if self._weights is None:
            return inputs, self._targets[rows]
        return inputs, self._targets[rows], self._weights[rows]


def fit_input(batches: TrainingBatches) -> Any:
    """What ``fit`` is given: the batches themselves, on TensorFlow a dataset of them.

    Keras would make the same dataset with autotuning. Its thread sleeps for longer and longer, and
    when an epoch ends TensorFlow waits until it wakes: 9 s were seen after epochs of 10 s.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    signature = tuple(
        tf.TensorSpec((None, *part.shape[1:]), tf.as_dtype(part.dtype)) for part in batches[0]
    )
    dataset = tf.data.Dataset.from_generator(
        lambda: (batches[i] for i in range(len(batches))), output_signature=signature
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    # Batches are made ahead by threads of our own: one is enough to hand over.
    counted = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return counted.prefetch(1).with_options(options)


def _threads_beside_the_step() -> int:
    if not has_gpu():
        return 1
    return max(1, min(8, usable_cpus() - 1))


def predict(model: Any, inputs: Floats, batch_size: int = 64) -> Floats:
    """All outputs of a model for its inputs (n, ...): float32 (n, outputs)."""
    # predict_on_batch is about twice as fast as predict on patches of this size.
    outputs = [
        np.asarray(model.predict_on_batch(inputs[i : i + batch_size]))
        for i in range(0, len(inputs), batch_size)
    ]
    return np.concatenate(outputs).astype(np.float32)


def available_poses(spec: PatchSpec) -> int:
    """How many poses :func:`score` can take the mean of."""
    return len(spec_symmetries(spec))


def score(
    model: Any,
    store: PatchStore,
    positions: npt.NDArray[np.int64],
    spec: PatchSpec,
    *,
    poses: int = 1,
    chunk: int = 256,
) -> Floats:
    """Outputs for stored patches, in pieces so that memory stays flat: float32 (n, outputs).

    Args:
        model: a Keras model.
        store: the patches.
        positions: (n,) in the store.
        spec: what patches are.
        poses: the outputs are the mean over so many exact symmetries of each patch, the patch as
            it is first (:func:`nodulenet.training.exact_pose.spec_symmetries`). Defaults to 1.
        chunk: patches at a time. Defaults to 256.

    Raises:
        ConfigError: the patch has fewer symmetries.
    """
    pieces = [
        posed_outputs(
            model, store.patches(positions[i : i + chunk]), spec, store.values, poses=poses
        )
        for i in range(0, len(positions), chunk)
    ]
    outputs = int(model.output_shape[-1])
    return np.concatenate(pieces) if pieces else np.empty((0, outputs), dtype=np.float32)


def posed_outputs(
    model: Any, stored: npt.NDArray[np.int16], spec: PatchSpec, values: Values, *, poses: int = 1
) -> Floats:
    """Outputs for stored patches (n, *spec.stored_shape), see :func:`score`: (n, outputs)."""
    known = spec_symmetries(spec)
    if poses > len(known):
        raise ConfigError(
            f"models.N.test_poses={poses}: a {spec.form} patch of size {spec.size} and spacing "
            f"{spec.spacing_mm} mm has {len(known)} poses that need no interpolation; expected at "
            f"most so many"
        )
    posed = [
        predict(model, model_inputs(stored, spec, values, symmetry=symmetry))
        for symmetry in known[:poses]
    ]
    return np.mean(posed, axis=0, dtype=np.float32)
