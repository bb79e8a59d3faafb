"""Batches: order and chance depend on names alone, nothing is mixed, nothing is left out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.errors import ConfigError, StoreError, UsageError
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult, content_hash, shard_path
from nodulenet.patches.values import Values
from nodulenet.training.backend import keras
from nodulenet.training.epoch import EpochOrder
from nodulenet.training.input import (
    TrainingBatches,
    available_poses,
    fit_input,
    predict,
    score,
)
from nodulenet.training.model_inputs import model_inputs

STILL = Augmentation(flips=False, rotations="none", shift_voxels=0)
WINDOW = (-1000.0, 400.0)
FORMS: dict[str, dict[str, Any]] = {
    "3d": {},
    "2d": {"form": "2d", "size": [6, 6], "spacing_mm": 1},
    "planes": {"form": "2.5d", "size": [6, 6]},
    "slices": {"form": "2.5d", "size": [3, 6, 6]},
}


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


def make_batches(
    store: PatchStore,
    spec: PatchSpec,
    positive: npt.NDArray[np.bool_] | None = None,
    augment: Augmentation | None = None,
    **options: Any,
) -> TrainingBatches:
    count = len(store)
    positive = np.arange(count) % 2 == 1 if positive is None else positive
    return TrainingBatches(
        store,
        np.arange(count),
        np.eye(2, dtype=np.float32)[positive.astype(int)],
        spec,
        augment or Augmentation(),
        positive=positive,
        **{"batch_size": 8, "seed": 1} | options,
    )


@pytest.mark.parametrize("form", FORMS)
def test_model_inputs_are_the_compose_without_chance(tmp_path: Path, form: str) -> None:
    from monai.transforms import CenterSpatialCropd, Compose, SqueezeDimd

    from nodulenet.transforms import ToKerasd, WindowHUd

    spec = make_spec(**FORMS[form], windows=[WINDOW, (-160, 240)])
    stored = make_store(tmp_path, spec, 9).patches(np.arange(9))
    found = model_inputs(stored, spec, Values())
    flat = [SqueezeDimd("p", dim=0)] if spec.neighbouring_slices else []
    steps = [WindowHUd("p", windows=spec.windows), ToKerasd("p")]
    described = Compose([CenterSpatialCropd("p", roi_size=spec.size), *flat, *steps])
    entries = stored.astype(np.float32)
    entries = entries if spec.orthogonal_planes else entries[:, np.newaxis]
    expected = np.stack([described({"p": entry})["p"] for entry in entries])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_batches_depend_on_seed_epoch_and_position_alone(tmp_path: Path) -> None:
    spec = make_spec()
    store = make_store(tmp_path, spec)
    full = Augmentation(hu_offset=20, hu_scale=0.1, blur=1, sharpen=1, noise=20)
    first, again, other = (
        make_batches(store, spec, augment=full, seed=seed, threads=threads)
        for seed, threads in ((1, 1), (1, 3), (2, 1))
    )
    ahead = [first[i] for i in (2, 0, 1)]
    for (inputs, targets), index in zip(ahead, (2, 0, 1), strict=True):
        np.testing.assert_array_equal(inputs, again[index][0])
        np.testing.assert_array_equal(targets, again[index][1])
        assert not np.array_equal(inputs, other[index][0])
    again.epoch = 1
    second_epoch = [again[i] for i in range(3)]
    assert not np.array_equal(first[0][0], second_epoch[0][0])
    restarted = make_batches(store, spec, augment=full)
    restarted.epoch = 1
    for index in (1, 2):
        np.testing.assert_array_equal(restarted[index][0], second_epoch[index][0])


def test_every_finding_is_used_once_an_epoch_with_its_own_target(tmp_path: Path) -> None:
    spec = make_spec()
    store = make_store(tmp_path, spec)
    targets = np.random.default_rng(0).uniform(size=(20, 3)).astype(np.float32)
    weights = np.arange(20, dtype=np.float32)
    batches = TrainingBatches(
        store,
        np.arange(20)[::-1].copy(),
        targets,
        spec,
        STILL,
        batch_size=6,
        seed=0,
        positive=np.arange(20) % 3 == 0,
        weights=weights,
    )
    plain = model_inputs(store.patches(np.arange(20)[::-1]), spec, store.values)
    seen = []
    for index in range(len(batches)):
        inputs, wanted, weight = batches[index]
        rows = batches.rows(0, index)
        np.testing.assert_allclose(inputs, plain[rows], atol=1e-6)
        np.testing.assert_array_equal(wanted, targets[rows])
        np.testing.assert_array_equal(weight, weights[rows])
        seen += rows.tolist()
    assert sorted(seen) == list(range(20))
    np.testing.assert_array_equal(batches.order(0), seen)


@settings(max_examples=80, deadline=None)
@given(
    positives=st.integers(1, 40),
    negatives=st.integers(1, 60),
    batch_size=st.integers(2, 33),
    mode=st.sampled_from(["all", "drawn", "balanced", "hard"]),
    epoch=st.integers(0, 5),
)
def test_epochs_are_cut_into_batches_without_rest(
    positives: int, negatives: int, batch_size: int, mode: str, epoch: int
) -> None:
    positive = np.random.default_rng(0).permutation(np.arange(positives + negatives) < positives)
    of_negatives = np.flatnonzero(~positive)
    options: dict[str, dict[str, Any]] = {
        "all": {},
        "drawn": {"negatives_per_positive": 1.5},
        "balanced": {"balanced_batches": True},
        "hard": {"negatives_per_positive": 1.0, "hard": (of_negatives[:5], 0.5)},
    }
    order = EpochOrder(positive, batch_size=batch_size, seed=3, **options[mode])
    batches = [order.batch(epoch, i) for i in range(len(order))]
    rows = np.concatenate(batches)
    np.testing.assert_array_equal(rows, order.rows(epoch))
    sizes = {len(b) for b in batches}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= (2 if mode == "balanced" else 1)
    assert order.counts == (int((~positive[rows]).sum()), int(positive[rows].sum()))
    times = np.bincount(rows, minlength=len(positive))
    if mode == "balanced":
        assert all(2 * positive[b].sum() == len(b) for b in batches)
        many = positive if positives >= negatives else ~positive
        assert (times[many] == 1).all()
        assert np.ptp(times[~many]) <= 1
    else:
        assert (times[positive] == 1).all()
        assert times.max() <= 1
        drawn = {"all": negatives, "drawn": min(max(1, round(1.5 * positives)), negatives)}
        drawn["hard"] = min(positives, negatives)
        assert times[~positive].sum() == drawn[mode]


def test_negatives_are_drawn_anew_every_epoch_and_hard_ones_preferred() -> None:
    positive = np.arange(200) < 10
    plain = EpochOrder(positive, batch_size=16, seed=0, negatives_per_positive=4)
    epochs = [set(plain.rows(e).tolist()) for e in range(80)]
    assert all(set(range(10)) <= e and len(e) == 50 for e in epochs)
    assert set().union(*epochs) == set(range(200))
    hard = np.arange(150, 180)
    order = EpochOrder(positive, batch_size=16, seed=0, negatives_per_positive=4, hard=(hard, 0.5))
    for epoch in range(5):
        assert np.isin(order.rows(epoch), hard).sum() == 20
    few = EpochOrder(
        positive, batch_size=16, seed=0, negatives_per_positive=4, hard=(hard[:3], 1.0)
    )
    assert np.isin(few.rows(0), hard[:3]).sum() == 3
    assert few.counts == (40, 10)
    every = EpochOrder(positive, batch_size=16, seed=0, negatives_per_positive=19, hard=(hard, 0.0))
    assert every.counts == (190, 10)
    assert len(set(every.rows(0).tolist())) == 200


def test_orders_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="0 positives and 5 negatives"):
        EpochOrder(np.zeros(5, bool), batch_size=4, seed=0, balanced_batches=True)
    with pytest.raises(UsageError, match="without negatives_per_positive"):
        EpochOrder(np.ones(5, bool), batch_size=4, seed=0, hard=(np.arange(2), 0.5))


class Recorder(keras.Model):
    """A model of one weight that keeps the first voxel of each patch that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = self.add_weight(shape=(1,), initializer="zeros")
        self.seen: list[tuple[int, npt.NDArray[np.float32]]] = []
        self.during: Callable[[], Any] = lambda: None
        self.during_step: list[Any] = []

    def call(self, inputs: Any) -> Any:
        return inputs[:, 0, 0, :1] * self.weight

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs = np.asarray(data[0])
        self.seen.append((self.batches.epoch, inputs[:, 0, 0, 0]))
        self.during_step.append(self.during())
        return {"loss": 0.0}


def recorded(
    batches: TrainingBatches,
    epochs: int,
    first: int = 0,
    during: Callable[[], Any] = lambda: None,
) -> Recorder:
    model = Recorder()
    model.batches, model.during = batches, during
    model.compile(loss="mse", run_eagerly=True)

    class SetEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            del logs
            batches.epoch = epoch

    batches.epoch = first
    model.fit(
        fit_input(batches),
        epochs=epochs,
        initial_epoch=first,
        shuffle=False,
        verbose=0,
        callbacks=[SetEpoch()],
    )
    return model


def test_fit_gets_every_batch_of_each_epoch_and_of_no_other(tmp_path: Path) -> None:
    spec = make_spec(**FORMS["2d"])
    store = make_store(tmp_path, spec, 50)
    seen = recorded(make_batches(store, spec, threads=2), 3).seen
    expected = make_batches(store, spec)
    assert len(seen) == 3 * len(expected)
    for number, (epoch, voxels) in enumerate(seen):
        expected.epoch = number // len(expected)
        assert epoch == expected.epoch
        np.testing.assert_array_equal(voxels, expected[number % len(expected)][0][:, 0, 0, 0])
    later = recorded(make_batches(store, spec), 3, first=2).seen
    assert len(later) == len(expected)
    for (_, voxels), (_, before) in zip(later, seen[-len(expected) :], strict=True):
        np.testing.assert_array_equal(voxels, before)


def test_no_autotuning_thread_is_waited_for_when_an_epoch_ends(tmp_path: Path) -> None:
    spec = make_spec(**FORMS["2d"])
    batches = make_batches(make_store(tmp_path, spec, 50), spec)
    dataset = fit_input(batches)
    assert dataset.options().autotune.enabled is False
    assert int(dataset.cardinality()) == len(batches)
    for epoch in range(2):
        batches.epoch = epoch
        found = [[np.asarray(part) for part in batch] for batch in dataset]
        assert len(found) == len(batches)
        for index, parts in enumerate(found):
            for part, expected in zip(parts, batches[index], strict=True):
                np.testing.assert_array_equal(part, expected)


def test_batches_are_made_while_a_step_is_computed(tmp_path: Path) -> None:
    """Each step waits for the next batch, which only others than itself can make meanwhile."""
    spec = make_spec(**FORMS["2d"])
    store = make_store(tmp_path, spec, 40)
    batches = make_batches(store, spec)
    made, makers = {(e, i): threading.Event() for e in range(2) for i in range(5)}, set()
    plain = batches._order.batch

    def noted(epoch: int, index: int) -> Any:
        makers.add(threading.current_thread().name)
        made[epoch, index].set()
        return plain(epoch, index)

    batches._order.batch = noted  # type: ignore[method-assign]
    waits = (made[e, min(i + 1, 4)].wait(timeout=20) for e in range(2) for i in range(5))
    model = recorded(batches, 2, during=lambda: next(waits))
    assert model.during_step == [True] * 10
    assert threading.current_thread().name not in makers


def test_what_stops_a_batch_is_kept(tmp_path: Path) -> None:
    spec = make_spec()
    store = make_store(tmp_path, spec)
    batches = make_batches(store, spec)
    shard_path(store.path, "u").write_bytes(b"no shard")
    with pytest.raises(StoreError, match="shard cannot be read"):
        batches[0]
    assert isinstance(batches.failure, StoreError)


class Means:
    """Outputs that tell where voxels lie: (n, 2), the corner and the mean."""

    output_shape = (None, 2)

    def predict_on_batch(self, inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        flat = inputs.reshape(len(inputs), -1)
        return np.stack([flat[:, 0], flat.mean(axis=1)], axis=1)


@pytest.mark.parametrize(("form", "poses"), [("3d", 16), ("2d", 8), ("planes", 16), ("slices", 16)])
def test_scores_over_poses_are_means_over_the_symmetries(
    tmp_path: Path, form: str, poses: int
) -> None:
    spec = make_spec(**FORMS[form])
    store = make_store(tmp_path, spec, 7)
    assert available_poses(spec) == poses
    one = score(Means(), store, np.arange(7), spec)
    plain = model_inputs(store.patches(np.arange(7)), spec, store.values)
    np.testing.assert_array_equal(one, predict(Means(), plain))
    every = score(Means(), store, np.arange(7), spec, poses=poses, chunk=3)
    np.testing.assert_allclose(every[:, 1], one[:, 1], atol=1e-6)
    # What comes to the corner: each corner of the body as often as any other.
    if form == "planes":
        corner = plain[:, [0, 0, -1, -1], [0, -1, 0, -1], 0]
    elif form == "slices":
        corner = plain[:, ::5, ::5][..., [0, -1]].reshape(7, -1)
    else:
        corners = (slice(None), *[slice(None, None, n - 1) for n in spec.size], 0)
        corner = plain[corners].reshape(7, -1)
    np.testing.assert_allclose(every[:, 0], corner.mean(axis=1), atol=1e-6)
    with pytest.raises(ConfigError, match=f"models.N.test_poses={poses + 1}: .* has {poses} poses"):
        score(Means(), store, np.arange(7), spec, poses=poses + 1)
    assert score(Means(), store, np.arange(0), spec).shape == (0, 2)


def test_posed_planes_are_the_planes_of_the_posed_body() -> None:
    from nodulenet.training.exact_pose import spec_symmetries

    spec = make_spec(form="2.5d", size=[5, 5], margin_voxels=0)
    body = np.random.default_rng(0).integers(-1000, 400, (5, 5, 5)).astype(np.int16)

    def planes(volume: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
        return np.stack([volume[2], volume[:, 2], volume[:, :, 2]])

    known = spec_symmetries(spec)
    assert str(known[0]) == "+z +y +x"
    for symmetry in known:
        posed = model_inputs(planes(body)[None], spec, Values(), symmetry=symmetry)
        expected = model_inputs(planes(symmetry.apply(body))[None], spec, Values())
        np.testing.assert_array_equal(posed, expected)


def test_mirrors_alone_where_y_and_x_differ() -> None:
    assert available_poses(make_spec(size=[4, 6, 8])) == 8
    assert available_poses(make_spec(spacing_mm=[1, 2, 1])) == 8
    assert available_poses(make_spec(form="2d", size=[6, 8], spacing_mm=1)) == 4
    # A cube has more symmetries, but they would mix z with the plane.
    assert available_poses(make_spec(size=[6, 6, 6])) == 16
