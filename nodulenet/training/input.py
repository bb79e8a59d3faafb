"""From stored patches to the model's batches: margin crop, augmentation, windows.

Both directions are MONAI ``Compose`` objects over the stored values; nothing here looks outside
the stored margin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.seeds import child_seed, generator
from nodulenet.training.backend import keras
from nodulenet.transforms import RandPosePlanesd, ToKerasd, WindowHUd, import_monai

if TYPE_CHECKING:
    from monai.transforms import Compose, Transform

KEY = "patch"


@contextmanager
def untracked_meta() -> Iterator[None]:
    """Without MONAI's record of every transform, which halves its speed and which we do not read.

    The switch is global to MONAI, so it is put back.
    """
    data = import_monai().data
    before = data.get_track_meta()
    data.set_track_meta(False)
    try:
        yield
    finally:
        data.set_track_meta(before)


def scoring_transform(spec: PatchSpec) -> Compose:
    """Stored patch -> model input without chance: centre crop and windows."""
    mt = import_monai().transforms
    return mt.Compose([mt.CenterSpatialCropd(KEY, roi_size=spec.size), *_to_input(spec)])


def training_transform(spec: PatchSpec, augment: Augmentation) -> Compose:
    """Stored patch -> model input with the configured augmentation."""
    mt = import_monai().transforms
    steps: list[Transform] = (
        [_pose_of_planes(spec, augment)] if spec.orthogonal_planes else _pose(spec, augment)
    )
    if augment.hu_offset:
        steps.append(mt.RandShiftIntensityd(KEY, offsets=augment.hu_offset, prob=1.0))
    if augment.noise:
        steps.append(mt.RandGaussianNoised(KEY, std=augment.noise, prob=1.0, sample_std=False))
    return mt.Compose([*steps, *_to_input(spec)])


def _pose(spec: PatchSpec, augment: Augmentation) -> list[Transform]:
    """Shift, mirrors and turns of a cube or a plane by MONAI's own transforms."""
    mt = import_monai().transforms
    axes = len(spec.size)
    # Leave just the margin that the largest shift may use.
    room = [n + 2 * int(augment.shift_voxels) for n in spec.size]
    steps: list[Transform] = [mt.CenterSpatialCropd(KEY, roi_size=room)]
    if augment.shift_voxels:
        steps.append(mt.RandSpatialCropd(KEY, roi_size=spec.size, random_size=False))
    if augment.flips:
        steps.extend(mt.RandFlipd(KEY, prob=0.5, spatial_axis=axis) for axis in range(axes))
    if augment.rotations == "quarter_turns":
        # y and x are the last two axes.
        turn = mt.RandRotate90d(KEY, prob=0.75, max_k=3, spatial_axes=(axes - 2, axes - 1))
        steps.append(turn)
    return steps


def _pose_of_planes(spec: PatchSpec, augment: Augmentation) -> Transform:
    return RandPosePlanesd(
        KEY,
        spec.size,
        flips=augment.flips,
        rotations=augment.rotations == "quarter_turns",
        max_shift=int(augment.shift_voxels),
    )


def _to_input(spec: PatchSpec) -> list[Transform]:
    mt = import_monai().transforms
    # Neighbouring slices are posed as the cube (1, z, y, x) that they are; then z is the channel.
    flat = [mt.SqueezeDimd(KEY, dim=0)] if spec.neighbouring_slices else []
    return [*flat, WindowHUd(KEY, windows=spec.windows), ToKerasd(KEY)]


def to_inputs(
    stored: npt.NDArray[np.int16], transform: Compose, spec: PatchSpec, values: Values
) -> npt.NDArray[np.float32]:
    """Stored patches (n, *spec.stored_shape) as model input (n, *spec.input_shape), float32."""
    floats = values.from_stored(stored)
    if not spec.orthogonal_planes:
        floats = floats[:, np.newaxis]  # MONAI wants channels first
    result = np.empty((len(stored), *spec.input_shape), dtype=np.float32)
    for i, patch in enumerate(floats):
        result[i] = transform({KEY: patch})[KEY]
    return result


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled, augmented batches of one unit.

    A batch depends on the seed, the epoch and its position alone, so it is the same whether it
    is made ahead, twice, or after a restart.
    """

    def __init__(
        self,
        store: PatchStore,
        positions: npt.NDArray[np.int64],
        targets: npt.NDArray[np.float32],
        spec: PatchSpec,
        augment: Augmentation,
        *,
        batch_size: int,
        seed: int,
        positive: npt.NDArray[np.bool_],
        weights: npt.NDArray[np.float32] | None = None,
        negatives_per_positive: float | None = None,
        balanced_batches: bool = False,
        hard: Any = None,
    ) -> None:
        super().__init__(workers=1)
        self._store, self._spec = store, spec
        self._positions, self._targets = positions, targets
        self._batch_size, self._seed = batch_size, seed
        self.weights = weights
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None
        self._positives, self._negatives = np.flatnonzero(positive), np.flatnonzero(~positive)
        if negatives_per_positive is None:
            self._drawn = len(self._negatives)
        else:
            wanted = round(negatives_per_positive * len(self._positives))
            self._drawn = min(max(1, wanted), len(self._negatives))
        self._transform = training_transform(spec, augment)
        self.epoch = 0

    @property
    def counts(self) -> tuple[int, int]:
        """Negatives and positives in one epoch."""
        return self._drawn, len(self._positives)

    def __len__(self) -> int:
        return -(-sum(self.counts) // self._batch_size)

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The rows of an epoch in the order in which they are used."""
        if self._order is None or self._order[0] != epoch:
            random = generator(self._seed, "shuffle", epoch)
            drawn = random.permutation(self._negatives)[: self._drawn]
            rows = random.permutation(np.concatenate([self._positives, drawn]))
            self._order = (epoch, rows)
        return self._order[1]

    def rows(self, epoch: int, index: int) -> npt.NDArray[np.int64]:
        return self.order(epoch)[index * self._batch_size : (index + 1) * self._batch_size]

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], ...]:
        rows = self.rows(self.epoch, index)
        self._transform.set_random_state(seed=child_seed(self._seed, "augment", self.epoch, index))
        inputs = to_inputs(
            self._store.patches(self._positions[rows]),
            self._transform,
            self._spec,
            self._store.values,
        )
        if self.weights is None:
            return inputs, self._targets[rows]
        return inputs, self._targets[rows], self.weights[rows]


def model_inputs(stored: Any, spec: PatchSpec, values: Values) -> npt.NDArray[np.float32]:
    return to_inputs(stored, scoring_transform(spec), spec, values)


def predict(
    model: Any, inputs: npt.NDArray[np.float32], batch_size: int = 64
) -> npt.NDArray[np.float32]:
    """Probability of the positive class for model inputs (n, ...): float32 (n,)."""
    # predict_on_batch is about twice as fast as predict on patches of this size.
    outputs = [
        np.asarray(model.predict_on_batch(inputs[i : i + batch_size]))
        for i in range(0, len(inputs), batch_size)
    ]
    return np.concatenate(outputs).astype(np.float32)


def score(
    model: Any,
    store: PatchStore,
    positions: npt.NDArray[np.int64],
    spec: PatchSpec,
    *,
    poses: int = 1,
    chunk: int = 256,
) -> npt.NDArray[np.float32]:
    """Probabilities of stored patches, in pieces so that memory stays flat: float32 (n,)."""
    transform = scoring_transform(spec)
    pieces = [
        predict(
            model,
            to_inputs(store.patches(positions[i : i + chunk]), transform, spec, store.values),
        )
        for i in range(0, len(positions), chunk)
    ]
    return np.concatenate(pieces) if pieces else np.empty((0, 2), dtype=np.float32)
