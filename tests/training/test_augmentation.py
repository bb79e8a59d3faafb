"""Augmentation against float64 oracles, and the batched form against the MONAI ``Compose``."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.ct.pose import PoseRange
from nodulenet.errors import ConfigError, UsageError
from nodulenet.patches.values import Values
from nodulenet.training.augmentation import BatchAugmentation
from nodulenet.training.draws import AIR_HU, Moves, Turns, draw

Array = npt.NDArray[Any]
KEY = "patch"
STILL = {"flips": False, "rotations": "none", "shift_voxels": 0}
WINDOWS = [(-1000.0, 400.0), (-160.0, 240.0)]
RICH = {"zoom": 0.1, "shift_voxels": 1.5, "hu_offset": 30, "hu_scale": 0.1}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Values]] = {
    "3d": ({"size": [7, 8, 9]}, {"rotations": "any", "blur": 1, "sharpen": 1}, Values()),
    "3d of flat voxels": (
        {"size": [5, 8, 8], "spacing_mm": [0.7, 0.9, 2.0]},
        {"rotations": "any", "blur": 0.8},
        Values(),
    ),
    "3d about z": ({"size": [6, 7, 7]}, {"rotations": "in_plane"}, Values()),
    "3d zoomed": ({"size": [6, 7, 7]}, {"rotations": "quarter_turns", "sharpen": 2}, Values()),
    "2d": (
        {"form": "2d", "size": [9, 12], "spacing_mm": [0.6, 0.8]},
        {"rotations": "in_plane", "blur": 2},
        Values(),
    ),
    "neighbouring slices": (
        {"form": "2.5d", "size": [3, 8, 8], "spacing_mm": [1, 1, 2.5]},
        {"rotations": "in_plane", "blur": 1, "sharpen": 1},
        Values(),
    ),
    "intensities": (
        {"form": "2d", "size": [8, 8], "spacing_mm": 1, "windows": [(0.0, 255.0)]},
        {"rotations": "in_plane"},
        Values("intensity", 0.01, 20.0),
    ),
}


@pytest.fixture
def compose_of() -> Iterator[Callable[..., Any]]:
    """``training_transform``, made fast.

    Without MONAI's record of what was done; and on one thread, because torch's threads wait for
    one another where cores are busy: 45 ms instead of 2 a patch.
    """
    import torch

    from nodulenet.training.transform import training_transform
    from nodulenet.transforms import import_monai

    monai = import_monai()
    before = monai.data.get_track_meta()
    threads = torch.get_num_threads()
    monai.data.set_track_meta(False)
    torch.set_num_threads(1)
    yield training_transform
    monai.data.set_track_meta(before)
    torch.set_num_threads(threads)


def make_spec(fields: dict[str, Any], augment: Augmentation) -> PatchSpec:
    bare = PatchSpec.model_validate({"windows": WINDOWS, "margin_voxels": 0} | fields)
    return bare.model_copy(update={"margin_voxels": augment.needed_margin_voxels(bare)})


def make_case(name: str) -> tuple[PatchSpec, Augmentation, Values, Array]:
    fields, options, values = CASES[name]
    augment = Augmentation.model_validate(RICH | options)
    spec = make_spec(fields, augment)
    stored = np.random.default_rng(1).integers(-1000, 1000, (24, *spec.stored_shape))
    return spec, augment, values, stored.astype(np.int16)


def windowed(values: Array, spec: PatchSpec) -> Array:
    """Body (z, y, x) or (y, x) of source values as model input, channels last."""
    channels = [np.clip((values - low) / (high - low), 0, 1) for low, high in spec.windows]  # type: ignore[operator]
    if spec.neighbouring_slices:  # all windows of the first slice, then of the second
        return np.stack([c[z] for z in range(len(values)) for c in channels], axis=-1)
    return np.stack(channels, axis=-1)


def oracle(
    stored: Array,
    spec: PatchSpec,
    values: Values,
    *,
    matrix: Array,
    shift: Array,
    offset: float,
    scale: float,
    sigma: float | None,
    gain: float | None,
) -> Array:
    """The same by scipy.ndimage in float64; beyond the stored voxels there is nothing but NaN."""
    source = stored.astype(np.float64) * values.scale + values.offset
    out_middle, middle = (np.asarray(spec.size) - 1) / 2, (np.asarray(spec.stored_size) - 1) / 2
    start = middle + shift - matrix @ out_middle
    # The corner may touch the last stored voxel but for rounding.
    posed = ndimage.affine_transform(
        source, matrix, start, output_shape=spec.size, order=1, mode="nearest"
    )
    inside = ndimage.affine_transform(
        np.ones_like(source), matrix, start, output_shape=spec.size, order=1, cval=np.nan
    )
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in spec.size]), -1).reshape(-1, len(shift))
    places = corners @ matrix.T + start
    assert places.min() > -1e-6
    assert (places - np.asarray(spec.stored_size) + 1).max() < 1e-6
    assert np.isfinite(inside[tuple(slice(1, -1) for _ in spec.size)]).all()
    posed = posed + offset
    fixed = AIR_HU if values.kind == "hu" else 0
    posed = (posed - fixed) * scale + fixed
    axes = (-2, -1) if spec.form != "3d" else (-3, -2, -1)
    if gain is not None:
        posed = posed + gain * (
            posed - ndimage.gaussian_filter(posed, 1, mode="nearest", axes=axes)
        )
    elif sigma:
        posed = ndimage.gaussian_filter(posed, sigma, mode="nearest", axes=axes)
    return windowed(posed, spec)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_is_what_its_numbers_say(name: str) -> None:
    spec, augment, values, stored = make_case(name)
    random = np.random.default_rng(0)
    draws = draw(spec, augment, random, len(stored))
    found = BatchAugmentation(spec, augment, values).apply(stored, draws, random)
    assert found.shape == (len(stored), *spec.input_shape)
    assert found.dtype == np.float32
    assert isinstance(draws.poses, Turns)
    for i, patch in enumerate(stored):
        sharpened = draws.gain[i] != -1
        expected = oracle(
            patch,
            spec,
            values,
            matrix=draws.poses.matrices[i],
            shift=draws.poses.shifts[i],
            offset=draws.offset[i],
            scale=draws.scale[i],
            sigma=None if sharpened else draws.sigma[i],
            gain=draws.gain[i] if sharpened else None,
        )
        np.testing.assert_allclose(found[i], expected, atol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_compose_is_what_its_numbers_say(name: str, compose_of: Callable[..., Any]) -> None:
    from nodulenet.transforms import RandAffinePosed, RandSharpnessd

    spec, augment, values, stored = make_case(name)
    compose = compose_of(spec, augment, values)
    compose.set_random_state(seed=0)
    by_type = {type(step): step for step in compose.transforms}
    by_name = {type(step).__name__: step for step in compose.transforms}
    for patch in stored[:8]:
        found = compose({KEY: values.from_stored(patch)[None]})[KEY]
        pose, sharpness = by_type[RandAffinePosed], by_type.get(RandSharpnessd)
        expected = oracle(
            patch,
            spec,
            values,
            matrix=pose.matrix,
            shift=pose.shift,
            offset=by_name["RandShiftIntensityd"].shifter._offset,
            scale=1 + by_name["RandScaleIntensityd"].scaler.factor,
            sigma=sharpness.sigma if sharpness else None,
            gain=sharpness.gain if sharpness else None,
        )
        np.testing.assert_allclose(found, expected, atol=1e-3)


def moves(spec: PatchSpec, flips: bool, turns: bool, shift: int) -> Augmentation:
    rotations = "quarter_turns" if turns else "none"
    return Augmentation.model_validate(
        {"flips": flips, "rotations": rotations, "shift_voxels": shift}
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"size": [4, 6, 6]},
        {"form": "2d", "size": [6, 6], "spacing_mm": 1},
        {"form": "2.5d", "size": [5, 5]},
        {"form": "2.5d", "size": [3, 6, 6]},
    ],
)
def test_exact_poses_of_batches_are_those_of_the_compose(
    fields: dict[str, Any], compose_of: Callable[..., Any]
) -> None:
    """Both reach the very same set of poses, and each of them about equally often."""
    spec = make_spec(fields | {"margin_voxels": 1, "windows": [(-1000.0, 400.0)]}, Augmentation())
    augment = moves(spec, True, True, 1)
    stored = np.random.default_rng(0).integers(-1000, 400, spec.stored_shape).astype(np.int16)
    count = 6000
    batch = BatchAugmentation(spec, augment, Values())([stored] * count, np.random.default_rng(0))
    found = [np.rint(p * 1400).astype(np.int16).tobytes() for p in batch]
    compose = compose_of(spec, augment)
    compose.set_random_state(seed=0)
    entry = Values().from_stored(stored)
    entry = entry if spec.orthogonal_planes else entry[None]
    described = [
        np.rint(compose({KEY: entry})[KEY] * 1400).astype(np.int16).tobytes() for _ in range(500)
    ]
    poses = (8 if spec.form == "2d" else 16) * 3 ** (2 if spec.form == "2d" else 3)
    assert len(set(found)) == poses
    assert set(described) <= set(found)
    names, counts = np.unique(found, return_counts=True)
    assert stats.chisquare(counts).pvalue > 1e-4
    if spec.form == "2d":
        _, counts = np.unique([d for d in described if d in names], return_counts=True)
        assert stats.chisquare(counts).pvalue > 1e-4


RAMP_SPEC = {"size": [6, 6, 6], "windows": [(-50_000.0, 50_000.0)]}


def _ramp_samples(
    spec: PatchSpec, augment: Augmentation, compose_of: Callable[..., Any] | None, count: int
) -> Array:
    """What was drawn, read from pictures of a ramp: its gradient (3), its mean, its spread."""
    z = np.arange(spec.stored_size[0]) - (spec.stored_size[0] - 1) / 2
    ramp = np.broadcast_to((z * 500)[:, None, None], spec.stored_size).astype(np.int16)
    if compose_of is None:
        inputs = BatchAugmentation(spec, augment, Values())(
            [ramp] * count, np.random.default_rng(2)
        )
    else:
        compose = compose_of(spec, augment)
        compose.set_random_state(seed=3)
        entry = Values().from_stored(ramp)[None]
        inputs = np.stack([compose({KEY: entry})[KEY] for _ in range(count)])
    hu = inputs[..., 0].astype(np.float64) * 100_000 - 50_000
    inner = hu[:, 1:-1, 1:-1, 1:-1]
    gradients = [np.diff(inner, axis=axis).mean(axis=(1, 2, 3)) for axis in (1, 2, 3)]
    residual = inner.std(axis=(1, 2, 3))
    return np.stack([*gradients, inner.mean(axis=(1, 2, 3)), residual], axis=1)


def test_batches_and_compose_draw_from_the_same_distributions(
    compose_of: Callable[..., Any],
) -> None:
    augment = Augmentation(
        rotations="any", zoom=0.2, shift_voxels=2, hu_offset=300, hu_scale=0.2, noise=40
    )
    spec = make_spec(RAMP_SPEC, augment)
    batched = _ramp_samples(spec, augment, None, 3000)
    described = _ramp_samples(spec, augment, compose_of, 700)
    for column in range(batched.shape[1]):
        assert stats.ks_2samp(batched[:, column], described[:, column]).pvalue > 1e-3, column
    size = [np.linalg.norm(s[:, :3], axis=1) for s in (batched, described)]
    assert stats.ks_2samp(*size).pvalue > 1e-3
    # The test sees a difference that is there.
    other = _ramp_samples(spec, augment.model_copy(update={"hu_scale": 0.3}), None, 3000)
    assert stats.ks_2samp(np.linalg.norm(other[:, :3], axis=1), size[0]).pvalue < 1e-3


def test_poses_are_spread_as_they_should_be() -> None:
    poses = PoseRange((1.0, 1.0, 1.0), rotations="any", flips=False, zoom=0.25, shift_voxels=3)
    matrices, shifts = poses.draw(np.random.default_rng(0), 4000)
    size = np.cbrt(np.linalg.det(matrices))
    reach = np.log(1.25)
    assert stats.kstest(np.log(size), stats.uniform(-reach, 2 * reach).cdf).pvalue > 1e-3
    assert stats.kstest(shifts.ravel(), stats.uniform(-3, 6).cdf).pvalue > 1e-3
    turns = matrices / size[:, None, None]
    np.testing.assert_allclose(
        turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-9
    )
    # Even over all rotations: the angle has the density (1 - cos) / pi, and where an axis goes is
    # even over the sphere, so that each coordinate is even from -1 to 1.
    angle = np.arccos(np.clip((np.trace(turns, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert stats.kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3
    for entry in turns.reshape(-1, 9).T:
        assert stats.kstest(entry, stats.uniform(-1, 2).cdf).pvalue > 1e-4


def test_rotations_turn_millimetres() -> None:
    """Lengths in mm between any two voxels stay what they are, whatever the spacing."""
    spacing = np.array([2.5, 0.8, 0.7])
    poses = PoseRange(tuple(spacing), rotations="any", flips=True)
    steps = np.random.default_rng(1).normal(size=(50, 3))
    for matrix in poses.draw(np.random.default_rng(0), 20)[0]:
        before = np.linalg.norm(steps * spacing, axis=1)
        np.testing.assert_allclose(np.linalg.norm(steps @ matrix.T * spacing, axis=1), before)
    with pytest.raises(UsageError, match="'any' of 2 axes"):
        PoseRange((1.0, 1.0), rotations="any")


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(*[st.integers(1, 9)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 3)] * 3),
    rotations=st.sampled_from(["none", "in_plane", "any"]),
    zoom=st.sampled_from([0.0, 0.1, 0.5]),
    shift=st.floats(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_pose_looks_beyond_the_margin(
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    rotations: Any,
    zoom: float,
    shift: float,
    seed: int,
) -> None:
    augment = Augmentation(rotations=rotations, zoom=zoom, shift_voxels=shift)
    spec = make_spec({"size": size, "spacing_mm": spacing}, augment)
    poses = draw(spec, augment, np.random.default_rng(seed), 50).poses
    half, stored_half = (np.asarray(spec.size) - 1) / 2, (np.asarray(spec.stored_size) - 1) / 2
    if isinstance(poses, Moves):
        assert (np.abs(poses.shifts) <= spec.margin_voxels).all()
        return
    corners = np.stack(np.meshgrid(*[(-h, h) for h in half]), -1).reshape(-1, 3)
    places = np.einsum("nij,kj->nki", poses.matrices, corners) + poses.shifts[:, None]
    assert (np.abs(places) <= stored_half + 1e-9).all()


def test_too_small_a_margin_is_refused(compose_of: Callable[..., Any]) -> None:
    augment = Augmentation(rotations="any", shift_voxels=1)
    spec = make_spec({"size": [8, 8, 8]}, augment)
    short = spec.model_copy(update={"margin_voxels": spec.margin_voxels - 1})
    message = f"needs patch.margin_voxels={spec.margin_voxels}, got"
    with pytest.raises(ConfigError, match=message):
        BatchAugmentation(short, augment, Values())
    with pytest.raises(ConfigError, match=message):
        compose_of(short, augment)


@pytest.mark.parametrize("kind", ["hu", "intensity"])
def test_contrast_changes_about_what_stays(kind: Any) -> None:
    fixed = -1000 if kind == "hu" else 0
    augment = Augmentation.model_validate(STILL | {"hu_scale": 0.3})
    spec = make_spec(
        {"form": "2d", "size": [4, 4], "spacing_mm": 1, "windows": [(-2000.0, 2000.0)]}, augment
    )
    stored = np.full((500, 4, 4), fixed, dtype=np.int16)
    batch = BatchAugmentation(spec, augment, Values(kind))
    found = batch(stored, np.random.default_rng(0)) * 4000 - 2000
    np.testing.assert_allclose(found, fixed, atol=1e-2)
    above = batch(stored + 500, np.random.default_rng(0))[:, 0, 0, 0] * 4000 - 2000
    assert stats.kstest((above - fixed) / 500, stats.uniform(0.7, 0.6).cdf).pvalue > 1e-3


def test_noise_is_normal_and_independent() -> None:
    augment = Augmentation.model_validate(STILL | {"noise": 25})
    spec = make_spec({"size": [16, 16, 16], "windows": [(-1000.0, 1000.0)]}, augment)
    stored = np.zeros((10, 16, 16, 16), dtype=np.int16)
    noise = BatchAugmentation(spec, augment, Values())(stored, np.random.default_rng(0))
    noise = (noise[..., 0] * 2000 - 1000).astype(np.float64)
    assert stats.kstest(noise.ravel(), stats.norm(0, 25).cdf).pvalue > 1e-3
    assert noise.std() == pytest.approx(25, rel=0.01)
    assert stats.kurtosis(noise.ravel()) == pytest.approx(0, abs=0.08)
    for axis in range(4):
        moved = np.roll(noise, 1, axis=axis)
        assert abs(np.corrcoef(noise.ravel(), moved.ravel())[0, 1]) < 0.02


def test_blur_or_sharpening_is_tossed_for() -> None:
    augment = Augmentation.model_validate(STILL | {"blur": 2, "sharpen": 1.5})
    draws = draw(make_spec({}, augment), augment, np.random.default_rng(0), 4000)
    blurred = draws.gain == -1
    assert stats.binomtest(int(blurred.sum()), 4000).pvalue > 1e-3
    assert stats.kstest(draws.sigma[blurred], stats.uniform(0, 2).cdf).pvalue > 1e-3
    assert stats.kstest(draws.gain[~blurred], stats.uniform(0, 1.5).cdf).pvalue > 1e-3
    from nodulenet.transforms import RandSharpnessd

    described = RandSharpnessd("p", 2, 1.5).set_random_state(seed=0)
    seen = []
    for _ in range(2000):
        described.randomize()
        seen.append((described.sigma, described.gain))
    sigmas = [s for s, _ in seen if s is not None]
    assert stats.binomtest(len(sigmas), 2000).pvalue > 1e-3
    assert stats.ks_2samp(sigmas, draws.sigma[blurred]).pvalue > 1e-3
    assert stats.ks_2samp([g for _, g in seen if g is not None], draws.gain[~blurred]).pvalue > 1e-3


def digest() -> str:
    """Of batches whose products and places are of sizes at which libraries take more threads."""
    found = hashlib.sha256()
    for fields, rotations in (
        ({"form": "2d", "size": [150, 150], "spacing_mm": 1}, "in_plane"),
        ({"size": [40, 72, 72]}, "any"),
    ):
        augment = Augmentation.model_validate(
            RICH | {"rotations": rotations, "blur": 2, "sharpen": 1, "noise": 20}
        )
        spec = make_spec(fields, augment)
        stored = np.random.default_rng(0).integers(-1000, 400, (3, *spec.stored_shape))
        batch = BatchAugmentation(spec, augment, Values())
        found.update(batch(stored.astype(np.int16), np.random.default_rng(1)).tobytes())
    return found.hexdigest()


def test_batches_are_the_same_bits_with_any_number_of_threads() -> None:
    code = (
        "import importlib.util as u; s = u.spec_from_file_location('t', r'" + __file__ + "');"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.digest())"
    )
    seen = {digest()}  # of the threads that this process has
    for threads in ("1", "4"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        seen.add(done.stdout.strip())
    assert len(seen) == 1
