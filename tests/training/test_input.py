"""Batches: augmentation stays within the margin, order and chance depend on names alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult, content_hash
from nodulenet.patches.values import Values
from nodulenet.training.input import (
    TrainingBatches,
    scoring_transform,
    to_inputs,
    training_transform,
    untracked_meta,
)

STILL = Augmentation(flips=False, rotations=False, shift_voxels=0)
WINDOW = (-1000.0, 400.0)


def make_spec(**more: Any) -> PatchSpec:
    return PatchSpec.model_validate(
        {"size": [4, 6, 6], "margin_voxels": 2, "windows": [WINDOW]} | more
    )


def make_store(folder: Path, spec: PatchSpec, count: int = 20) -> PatchStore:
    rng = np.random.default_rng(0)
    patches = rng.integers(-1000, 400, (count, *spec.stored_shape)).astype(np.int16)
    ids = tuple(f"f{i}" for i in range(count))
    writer = StoreWriter(folder, spec, Values(), {"kind": "test"})
    result = UnitResult("u", ids, tuple(content_hash(p) for p in patches))
    writer.write(result, patches)
    return writer.finish(pd.DataFrame({"finding_id": ids}), [result])


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"form": "2d", "size": [6, 6], "spacing_mm": 1},
        {"form": "2.5d", "size": [6, 6]},
        {"form": "2.5d", "size": [3, 6, 6]},
    ],
)
def test_scoring_is_the_window_of_the_middle(tmp_path: Path, form: dict[str, Any]) -> None:
    spec = make_spec(**form, windows=[WINDOW, (-160, 240)])
    store = make_store(tmp_path, spec, 3)
    stored = store.patches([0, 1, 2])
    found = to_inputs(stored, scoring_transform(spec), spec, store.values)
    middle = stored[(..., *[slice(2, -2)] * len(spec.size))].astype(np.float64)
    if spec.form != "2.5d":  # else the planes are channels already
        middle = middle[:, None]
    channels = [
        np.clip((middle[:, c] - low) / (high - low), 0, 1)
        for c in range(middle.shape[1])
        for low, high in (WINDOW, (-160, 240))
    ]
    np.testing.assert_allclose(found, np.stack(channels, axis=-1), atol=1e-6)


def test_neighbouring_slices_are_posed_as_one_body(tmp_path: Path) -> None:
    """Every augmented stack of slices is a pose of the cube it was stored as, z as channels."""
    spec = make_spec(form="2.5d", size=[4, 6, 6])
    cube = make_spec()
    stored = make_store(tmp_path, spec, 1).patches([0])
    augment = Augmentation(shift_voxels=1)
    slices, body = training_transform(spec, augment), training_transform(cube, augment)
    for seed in range(20):
        for transform in (slices, body):
            transform.set_random_state(seed=seed)
        found = to_inputs(stored, slices, spec, Values())[0]
        expected = to_inputs(stored, body, cube, Values())[0, ..., 0]
        np.testing.assert_array_equal(found, np.moveaxis(expected, 0, -1))


def test_augmentation_only_moves_voxels_of_the_patch_itself(tmp_path: Path) -> None:
    """Every augmented patch is a flip, turn and shift of the stored one, none looks outside."""
    spec = make_spec()
    store = make_store(tmp_path, spec, 1)
    stored = store.patches([0])
    allowed = set()
    for shift in np.ndindex(3, 3, 3):
        z, y, x = (s + 1 for s in shift)  # the margin of 2 and shifts of -1, 0, 1
        view = stored[0, z : z + 4, y : y + 6, x : x + 6]
        for flip_z in (False, True):
            for turns in range(4):
                for mirror in (False, True):
                    pose = view[::-1] if flip_z else view
                    pose = np.rot90(pose, turns, axes=(1, 2))
                    pose = pose[:, :, ::-1] if mirror else pose
                    allowed.add(np.ascontiguousarray(pose).tobytes())
    transform = training_transform(spec, Augmentation(shift_voxels=1))
    transform.set_random_state(seed=0)
    seen = set()
    with untracked_meta():
        for _ in range(300):
            found = to_inputs(stored, transform, spec, store.values)[0, ..., 0]
            hu = np.rint(found * 1400 - 1000).astype(np.int16)
            assert hu.tobytes() in allowed
            seen.add(hu.tobytes())
    assert len(seen) > 150  # of 432, so chance is at work on every axis


def test_batches_depend_on_seed_epoch_and_position_alone(tmp_path: Path) -> None:
    spec = make_spec()
    store = make_store(tmp_path, spec)
    labels = np.arange(20) % 2

    def batches(seed: int = 1) -> TrainingBatches:
        return TrainingBatches(
            store, np.arange(20), labels, spec, Augmentation(), batch_size=8, seed=seed
        )

    first, again, other = batches(), batches(), batches(2)
    ahead = [first[i] for i in (2, 0, 1)]
    for (inputs, targets), index in zip(ahead, (2, 0, 1), strict=True):
        np.testing.assert_array_equal(inputs, again[index][0])
        np.testing.assert_array_equal(targets, again[index][1])
        assert not np.array_equal(inputs, other[index][0])
    assert [len(first[i][0]) for i in range(len(first))] == [8, 8, 4]
    again.epoch = 1
    assert not np.array_equal(first[0][0], again[0][0])


def test_every_finding_is_used_once_an_epoch_with_its_own_label(tmp_path: Path) -> None:
    spec = make_spec()
    store = make_store(tmp_path, spec)
    labels = (np.arange(20) % 3 == 0).astype(np.int64)
    batches = TrainingBatches(store, np.arange(20), labels, spec, STILL, batch_size=6, seed=0)
    plain = to_inputs(store.patches(np.arange(20)), scoring_transform(spec), spec, store.values)
    seen = []
    for index in range(len(batches)):
        for patch, target in zip(*batches[index], strict=True):
            row = int(np.abs(plain - patch).reshape(20, -1).max(axis=1).argmin())
            np.testing.assert_allclose(patch, plain[row], atol=1e-6)
            assert int(target[1]) == labels[row]
            seen.append(row)
    assert sorted(seen) == list(range(20))


def test_negatives_are_drawn_anew_every_epoch(tmp_path: Path) -> None:
    spec = make_spec()
    store = make_store(tmp_path, spec)
    labels = (np.arange(20) < 4).astype(np.int64)
    batches = TrainingBatches(
        store, np.arange(20), labels, spec, STILL, batch_size=4, seed=0, negatives_per_positive=2
    )
    assert batches.counts == (8, 4)
    epochs = [set(batches.order(e).tolist()) for e in range(12)]
    assert all(set(range(4)) <= e and len(e) == 12 for e in epochs)
    assert set().union(*epochs) == set(range(20))
    batches.class_weight = {0: 0.75, 1: 1.5}
    _, targets, weights = batches[0]
    np.testing.assert_allclose(weights, np.where(targets[:, 1] == 1, 1.5, 0.75))
