"""Near-identical patches: every planted one is found, nothing else is."""

from __future__ import annotations

import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.patches import near_duplicates
from nodulenet.patches.near_duplicates import CACHE, CONTENT_SD_HU, near_identical
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult, content_hash
from nodulenet.patches.symmetry import symmetries
from nodulenet.patches.values import Values

Patches = npt.NDArray[np.int16]
CUBE = PatchSpec(form="3d", size=(16, 16, 16), margin_voxels=2)
SQUARE = PatchSpec(form="2d", size=(28, 28), spacing_mm=(0.7, 0.7), margin_voxels=2)
# Which axes may be exchanged, and how many symmetries there are.
SPECS = {
    "cube": (CUBE, ((0, 1), (1, 2), (0, 2)), 48),
    "thick slices": (CUBE.model_copy(update={"spacing_mm": (1.0, 1.0, 2.5)}), ((1, 2),), 16),
    "box": (PatchSpec(form="3d", size=(12, 20, 20), margin_voxels=1), ((1, 2),), 16),
    "brick": (PatchSpec(form="3d", size=(12, 16, 20), margin_voxels=0), (), 8),
    "square": (SQUARE, ((0, 1),), 8),
    "unequal spacing": (SQUARE.model_copy(update={"spacing_mm": (0.7, 0.8)}), (), 4),
    "rectangle": (PatchSpec(form="2d", size=(24, 32), spacing_mm=(1.0, 1.0)), (), 4),
}


def fill(folder: Path, spec: PatchSpec, patches: Patches, values: Values | None = None) -> Any:
    """A store of these patches, each of a patient of its own."""
    ids = [f"f{i}" for i in range(len(patches))]
    writer = StoreWriter(folder, spec, values or Values(), {"kind": "test"})
    result = UnitResult("unit", tuple(ids), tuple(content_hash(p) for p in patches))
    writer.write(result, patches)
    findings = pd.DataFrame({"finding_id": ids, "patient_id": ids, "scan_id": ids})
    return writer.finish(findings, [result])


def field(shape: tuple[int, ...], rng: np.random.Generator, kind: str) -> npt.NDArray[Any]:
    """HU like lung with soft tissue in it: textured as CT noise makes it, or smooth."""
    coarse = ndimage.gaussian_filter(rng.normal(size=shape), max(shape) / 10, mode="wrap")
    hu = -850 + 800 / (1 + np.exp(-4 * coarse / coarse.std() + 3))
    if kind == "smooth":
        return np.asarray(hu)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 0.7)
    return np.asarray(hu + 40 * noise / noise.std())


def crop(volume: npt.NDArray[Any], shape: tuple[int, ...], shift: tuple[int, ...]) -> Any:
    """The part of ``volume`` that lies ``shift`` voxels off its middle."""
    starts = [(n - m) // 2 + s for n, m, s in zip(volume.shape, shape, shift, strict=True)]
    return volume[tuple(slice(a, a + m) for a, m in zip(starts, shape, strict=True))]


def posed(
    patch: npt.NDArray[Any], planes: tuple[tuple[int, int], ...], rng: np.random.Generator
) -> npt.NDArray[Any]:
    """A patch after flips and turns by 90 degrees, by NumPy's own."""
    for axis in np.flatnonzero(rng.random(patch.ndim) < 0.5):
        patch = np.flip(patch, axis)
    for _ in range(3 if planes else 0):
        patch = np.rot90(patch, rng.integers(4), planes[rng.integers(len(planes))])
    return patch


def noisy(patch: npt.NDArray[Any], sd: float, rng: np.random.Generator) -> Patches:
    return np.asarray(np.rint(patch + rng.normal(0, sd, patch.shape)), dtype=np.int16)


@pytest.mark.parametrize("name", SPECS)
def test_symmetries_are_those_that_flips_and_turns_make(name: str) -> None:
    spec, planes, count = SPECS[name]
    spacing = spec.spacing_xyz_mm[::-1][3 - len(spec.size) :]
    found = symmetries(spec.stored_shape, spacing)
    assert len(found) == count
    assert found[0].flip == (False,) * len(spec.size)
    assert found[0].order == tuple(range(len(spec.size)))
    patch = np.random.default_rng(0).normal(size=spec.stored_shape)
    made = {np.ascontiguousarray(g.apply(patch)).tobytes() for g in found}
    assert len(made) == count
    reached, new = {patch.tobytes()}, [patch]
    while new:
        one = new.pop()
        moves = [np.flip(one, axis) for axis in range(patch.ndim)]
        moves += [np.rot90(one, 1, plane) for plane in planes]
        for moved in map(np.ascontiguousarray, moves):
            if moved.tobytes() not in reached:
                reached.add(moved.tobytes())
                new.append(moved)
    assert made == reached


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SPECS)),
    st.sampled_from(["textured", "smooth"]),
    st.floats(0, 10),
    st.integers(0, 2**32 - 1),
)
def test_every_planted_near_duplicate_is_found_and_nothing_else(
    name: str, kind: str, sd: float, seed: int
) -> None:
    spec, planes, _ = SPECS[name]
    rng = np.random.default_rng(seed)
    shape = spec.stored_shape
    wide = tuple(n + 2 for n in shape)
    volumes = [field(wide, rng, kind) for _ in range(6)]
    patches = [noisy(crop(v, shape, (0,) * len(shape)), 0, rng) for v in volumes]
    # A smooth field can be flat where it is cut, and flat patches are compared with nothing.
    assume(min(patch.std() for patch in patches) >= CONTENT_SD_HU)
    shift = tuple(int(s) for s in rng.integers(-1, 2, len(shape)))
    twin = noisy(posed(crop(volumes[2], shape, shift), planes, rng), sd, rng)
    with tempfile.TemporaryDirectory() as folder:
        store = fill(Path(folder), spec, np.stack([*patches, twin]))
        found = near_identical(store)
    assert not found.without_content.any()
    assert [tuple(sorted(p)) for p in found.pairs[["first", "second"]].to_numpy()] == [(2, 6)]
    assert found.pairs["rms"].iloc[0] <= sd + 1


def test_symmetry_and_shift_are_told_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    volume = field((22, 22, 22), rng, "textured")
    first = crop(volume, (20, 20, 20), (0, 0, 0))
    second = crop(volume, (20, 20, 20), (1, 0, -1)).transpose(2, 0, 1)[:, ::-1]
    store = fill(tmp_path, CUBE, np.stack([noisy(first, 0, rng), noisy(second, 5, rng)]))
    row = near_identical(store).pairs.iloc[0]
    assert row["symmetry"] == "+x -z +y"
    s = [int(v) for v in row["shift_voxels"].split()]
    a, b = store.patches([row["first"], row["second"]]).astype(float)
    turned = a.transpose(2, 0, 1)[:, ::-1]
    overlap_a = tuple(slice(max(0, k), 20 + min(0, k)) for k in s)
    overlap_b = tuple(slice(max(0, -k), 20 + min(0, -k)) for k in s)
    assert np.abs(s).tolist() == [1, 1, 0]
    assert np.sqrt(np.mean((turned[overlap_a] - b[overlap_b]) ** 2)) == pytest.approx(5, abs=0.3)
    assert row["rms"] == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cube", lambda p: np.roll(p, 3, axis=0)),
        ("square", lambda p: np.roll(p, (3, 3), axis=(0, 1))),
        ("thick slices", lambda p: np.rot90(p, 1, (0, 1))),
        ("unequal spacing", lambda p: np.rot90(p)),
        ("cube", lambda p: p + np.random.default_rng(0).normal(0, 25, p.shape)),
        ("square", lambda p: np.random.default_rng(0).permutation(p)),
    ],
    ids=["shift", "shift 2d", "turn across", "turn 2d", "much noise", "rows"],
)
def test_what_is_not_near_identical_is_not_found(tmp_path: Path, name: str, change: Any) -> None:
    spec = SPECS[name][0]
    rng = np.random.default_rng(1)
    patch = field(spec.stored_shape, rng, "textured")
    store = fill(tmp_path, spec, np.stack([noisy(patch, 0, rng), noisy(change(patch), 0, rng)]))
    assert near_identical(store).pairs.empty


def test_patches_without_content_are_counted_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    air = np.full((1, *SQUARE.stored_shape), -1024)
    hum = -870 + rng.normal(0, 12, (40, *SQUARE.stored_shape))
    lung = np.stack([field(SQUARE.stored_shape, rng, "textured") for _ in range(3)])
    patches = np.concatenate([air, air, hum, lung]).astype(np.int16)
    found = near_identical(fill(tmp_path, SQUARE, patches))
    assert found.without_content.tolist() == [True] * 42 + [False] * 3
    assert found.pairs.empty


def test_small_nodules_on_one_even_background_are_told_apart(tmp_path: Path) -> None:
    """A 4 mm nodule hardly moves the patch's spread: it has content, and another is another."""
    rng = np.random.default_rng(11)
    spec = PatchSpec(form="3d", size=(32, 32, 32), margin_voxels=4)
    place = np.indices(spec.stored_shape).astype(float)
    patches = []
    for centre, radius in (((19, 19, 19), 2.0), ((20, 19, 19), 2.9), ((19, 21, 25), 2.0)):
        away = np.sqrt(sum((p - c) ** 2 for p, c in zip(place, centre, strict=True)))
        patches.append(-860 + 850 / (1 + np.exp(2 * (away - radius))))
    patches.append(np.flip(patches[0], 1))
    stored = np.stack([noisy(p, 3, rng) for p in patches])
    assert stored[0].std() < near_duplicates.CONTENT_SD_HU
    found = near_identical(fill(tmp_path, spec, stored))
    assert not found.without_content.any()
    assert [sorted(p) for p in found.pairs[["first", "second"]].to_numpy().tolist()] == [[0, 3]]


def planes_of(volume: npt.NDArray[Any], centre: tuple[int, int, int], n: int) -> Patches:
    z, y, x = centre
    cut = [slice(c - n // 2, c - n // 2 + n) for c in centre]
    return np.stack(
        [volume[z, cut[1], cut[2]], volume[cut[0], y, cut[2]], volume[cut[0], cut[1], x]]
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("isotropic", [True, False])
def test_three_planes_are_found_though_a_shift_leaves_one_behind(
    tmp_path: Path, axis: int, isotropic: bool
) -> None:
    """A body turned as a whole; its patch is cut a voxel off along one axis."""
    spacing = (1.0, 1.0, 1.0) if isotropic else (1.0, 1.0, 2.5)
    spec = PatchSpec(form="2.5d", size=(27, 27), spacing_mm=spacing, margin_voxels=2)
    rng = np.random.default_rng(axis)
    bodies = [field((41, 41, 41), rng, "textured") for _ in range(4)]
    centre = [20, 20, 20]
    centre[axis] += 1
    turned = np.rot90(bodies[1], 1, (0, 2) if isotropic else (1, 2))[:, ::-1]
    patches = [planes_of(b, (20, 20, 20), 31) for b in bodies]
    patches.append(planes_of(turned, tuple(centre), 31))  # type: ignore[arg-type]
    store = fill(tmp_path, spec, noisy(np.stack(patches), 6, rng))
    found = near_identical(store)
    assert [tuple(sorted(p)) for p in found.pairs[["first", "second"]].to_numpy()] == [(1, 4)]
    assert found.pairs["plane"].iloc[0]


def test_intensities_have_a_tolerance_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    hu = np.stack([field((32, 32), rng, "textured") for _ in range(5)])
    values = Values.of_intensities(hu / 1000)
    twin = values.to_stored((hu[3][::-1] + rng.normal(0, 3, (32, 32))) / 1000)
    patches = np.concatenate([values.to_stored(hu / 1000), twin[None]])
    found = near_identical(fill(tmp_path, SQUARE, patches, values)).pairs
    assert found[["first", "second"]].to_numpy().tolist() in ([[3, 5]], [[5, 3]])


def test_equal_patches_are_pairs_too_and_the_search_ends_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(4)
    one, other = (noisy(field(SQUARE.stored_shape, rng, "textured"), 0, rng) for _ in range(2))
    near = noisy(one[:, ::-1], 4, rng)
    store = fill(tmp_path, SQUARE, np.stack([one, other, one, near, one]))
    found = near_identical(store)
    pairs = {tuple(sorted(p)) for p in found.pairs[["first", "second"]].to_numpy().tolist()}
    assert pairs == {(0, 2), (0, 4), (2, 4), (0, 3), (2, 3), (3, 4)}
    assert found.complete
    monkeypatch.setattr(near_duplicates, "MAX_PAIRS", 4)
    found = near_identical(store)
    assert len(found.pairs) == 4
    assert not found.complete


def test_blocks_and_bounds_do_not_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    volumes = [field((34, 34), rng, "textured") for _ in range(30)]
    patches = [crop(v, (32, 32), s) for v in volumes for s in ((0, 0), (1, -1))]
    store = fill(tmp_path, SQUARE, noisy(np.stack(patches), 2, rng))
    whole = near_identical(store, cache=False).pairs
    assert {tuple(sorted(p)) for p in whole[["first", "second"]].to_numpy().tolist()} == {
        (2 * i, 2 * i + 1) for i in range(30)
    }
    for name in ("_BLOCK_BYTES", "_QUERY_POINTS", "_QUERY_NEIGHBOURS", "_CANDIDATES"):
        monkeypatch.setattr(near_duplicates, name, 7)
    small = near_identical(store, cache=False).pairs
    pd.testing.assert_frame_equal(
        small.drop(columns=["rms", "shift_voxels"]), whole.drop(columns=["rms", "shift_voxels"])
    )


def test_the_result_is_kept_while_the_contents_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    patch = field(SQUARE.stored_shape, rng, "textured")
    patches = np.stack([noisy(patch, 0, rng), noisy(patch.T, 3, rng), np.zeros_like(patch)])
    store = fill(tmp_path / "a", SQUARE, patches.astype(np.int16))
    made = near_identical(store)
    assert len(made.pairs) == 1

    def unread(*_: Any) -> None:
        raise AssertionError("patches are read again")

    with monkeypatch.context() as patched:
        patched.setattr(PatchStore, "patches", unread)
        again = near_identical(PatchStore(store.path))
        pd.testing.assert_frame_equal(again.pairs, made.pairs, check_dtype=False)
        assert again.without_content.tolist() == [False, False, True]
    # Another content under the same names, and a damaged file, are searched anew.
    kept = (store.path / CACHE).read_text(encoding="utf-8")
    other = fill(tmp_path / "b", SQUARE, patches[[0, 2]].astype(np.int16))
    (other.path / CACHE).write_text(kept, encoding="utf-8")
    assert near_identical(other).pairs.empty
    content = json.loads(kept)
    for damaged in (kept[:40], "[]", json.dumps(content | {"without_content": [99]})):
        (store.path / CACHE).write_text(damaged, encoding="utf-8")
        assert len(near_identical(store).pairs) == 1


@pytest.mark.parametrize("shape", [(5, 5, 5), (3, 20, 20), (1, 9, 9), (5, 40, 7)])
def test_small_and_flat_patches_are_compared(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    spec = PatchSpec(form="3d", size=shape, margin_voxels=0)
    rng = np.random.default_rng(8)
    patches = [rng.normal(-500, 300, shape) for _ in range(4)]
    patches.append(patches[1][:, ::-1] + rng.normal(0, 5, shape))
    store = fill(tmp_path, spec, np.stack(patches).astype(np.int16))
    found = near_identical(store).pairs
    assert sorted(found[["first", "second"]].iloc[0]) == [1, 4]
    assert len(found) == 1


@pytest.mark.data
def test_real_patches_of_different_nodules_are_not_called_near_identical(
    shared_data: Any, tmp_path: Path
) -> None:
    """Every pair found in the LIDC-IDRI patches is one physical nodule that stands there twice."""
    folder = shared_data("lidc_2d")
    with np.load(folder / "patches.npz") as archive:
        hu = archive["hu"]
    table = pd.read_csv(folder / "table.csv")
    spec = PatchSpec(form="2d", size=(71, 71), spacing_mm=(0.7, 0.7), margin_voxels=0)
    rng = np.random.default_rng(9)
    chosen = rng.choice(len(hu), 100, replace=False)
    twins = [noisy(posed(hu[i].astype(float), ((0, 1),), rng), 10, rng) for i in chosen]
    store = fill(tmp_path, spec, np.concatenate([hu, np.stack(twins)]))
    pairs = near_identical(store).pairs[["first", "second"]].to_numpy().tolist()
    found = {tuple(sorted(p)) for p in pairs}
    assert {(i, len(hu) + k) for k, i in enumerate(chosen.tolist())} <= found
    real = {p for p in found if p[1] < len(hu)}
    group = table["overlap_group"]
    assert all(group[a] == group[b] for a, b in real)
    equal = {
        (a, b)
        for a, b in product(range(len(hu)), repeat=2)
        if 0 < b - a <= 5 and (hu[a] == hu[b]).all()
    }
    assert equal
    assert equal <= real
    offset = table["patch_x0"].astype(int), table["patch_y0"].astype(int)
    for a, b in real:
        assert max(abs(o[a] - o[b]) for o in offset) <= 1
