"""Near-identical patches of a store: equal up to a symmetry, a shift by one voxel and small noise.

How no pair is missed. A patch of n voxels along an axis holds two windows of n - 1. When two
patches are one image, shifted by at most a voxel along each axis and posed by a symmetry of the
grid, then some window of the one equals some window of the other, posed. So every window gets a
descriptor that no symmetry changes: means over a coarse grid of cells, and their standard
deviations, sorted within each orbit of cells. Means over weights that sum to one, deviations and
sorting all bring vectors closer and never apart, and so does the projection on a few directions
that a KD-tree needs; small noise therefore moves a descriptor by less than a known radius. What
the tree finds is compared voxel by voxel over all symmetries.

Orthogonal planes ("2.5d") are three planes of one body. A shift along an axis leaves the plane
across that axis behind, so patches of one place need not share all three: every plane is compared
with every plane of the same spacing, and one in common is enough. Neighbouring slices are one thin
body.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

from nodulenet.atomic import write_json
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.patches.store import PatchStore
from nodulenet.patches.symmetry import Symmetry, symmetries
from nodulenet.progress import Progress, Silent, Task

NOISE_RMS_HU = 12.0
"""Largest root mean square difference of a pair: noise of sd 10 HU in the one, or 8 in both.

Unrelated patches of soft tissue differ by 13 HU and more."""

SLOW_RMS_HU = 5.0
"""Part of the noise that may be even over a cell (a quarter of a patch's side or less)."""

CONTENT_SD_HU = 36.0
"""A patch or plane has content when it spreads this much, or one of its cells twice that; else any
two look alike. Two that differ this much (RMS) within one cell are two nodules on one background.
"""

INTENSITY_TOLERANCE = 0.01
"""For plain intensities: the part of their range that stands for :data:`NOISE_RMS_HU`."""

MAX_PAIRS = 100_000
"""The search ends there; a store with more is told apart from a good one by then."""

CACHE = "near_identical.json"
_VERSION = 1  # of the method: results of another are not taken from the cache
_COLUMNS = ("first", "second", "rms", "symmetry", "shift_voxels", "plane")
_DIRECTIONS = 10  # kept for the KD-tree
_CELLS = {2: 6, 3: 4}  # a side, by the number of axes
_SAMPLE = 1024  # patches that the directions are taken from
_BLOCK_BYTES = 32 * 2**20  # patches read at once
_QUERY_POINTS = 65_536
_QUERY_NEIGHBOURS = 1_000_000  # of them in memory at once
_CANDIDATES = 16_384  # examined at once
_PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class NearIdentical:
    """What the search over a store found.

    Attributes:
        pairs: positions ``first < second`` in the store's index, ``rms`` of their difference in
            stored values (HU), ``symmetry`` and ``shift_voxels`` that lead from the first to the
            second, ``plane`` (2.5d). Patches equal in every voxel are among them.
        without_content: whether a patch is almost constant, (patches,); two such are no pair.
        complete: False when the search ended at :data:`MAX_PAIRS`.
        seconds: what the search took.
    """

    pairs: pd.DataFrame
    without_content: npt.NDArray[np.bool_]
    complete: bool
    seconds: float


def near_identical(
    store: PatchStore, *, progress: Progress | None = None, cache: bool = True
) -> NearIdentical:
    """All near-identical pairs of a store, of one patient or of two.

    Memory is bounded by the descriptors (about 50 bytes a window, 4 windows a plane and 8 a
    volume, and three times that in the tree); patches are read in blocks.

    Args:
        store: a finished store.
        progress: who is told how far it is. Defaults to nobody.
        cache: whether the result is kept in the store's folder, and taken from there while the
            patches' contents are the same. Defaults to True.

    Raises:
        StoreError: a shard cannot be read.
    """
    key = _key(store)
    if cache and (found := _cached(store, key)) is not None:
        return found
    started = time.perf_counter()
    search = _Search(store, progress or Silent())
    pairs, complete = search.run()
    result = NearIdentical(
        pairs, search.without_content, complete, round(time.perf_counter() - started, 3)
    )
    if cache:
        _keep(store, key, result)
    return result


@dataclass(frozen=True)
class _View:
    """Images of one shape and spacing that a patch holds: itself, or planes of a 2.5d patch."""

    planes: tuple[int, ...]  # empty: the patch itself
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]

    @property
    def per_patch(self) -> int:
        return max(1, len(self.planes))

    def images(self, patches: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """(patches * per_patch, *shape)."""
        chosen = patches[:, self.planes] if self.planes else patches
        return chosen.reshape(-1, *self.shape).astype(np.float32)


def _views(spec: PatchSpec) -> list[_View]:
    x, y, z = spec.spacing_xyz_mm
    if spec.form == "2d":
        return [_View((), spec.stored_shape, (y, x))]
    if len(spec.size) == 3:  # a cube, or axial slices above each other: one body either way
        return [_View((), spec.stored_shape, (z, y, x))]
    by_spacing: dict[tuple[float, float], list[int]] = {}
    for plane, spacing in enumerate(((y, x), (z, x), (z, y))):
        by_spacing.setdefault(spacing, []).append(plane)
    return [_View(tuple(p), spec.stored_size, s) for s, p in by_spacing.items()]


class _Descriptor:
    """From images to descriptors of their windows.

    Attributes:
        windows: first voxel of each window, (windows, axes).
        cells: cells of a window.
        symmetries: of the grid.
        cell_orders: (symmetries, cells): cell k of a posed image is cell ``cell_orders[g, k]``.
    """

    def __init__(self, view: _View, noise: float) -> None:
        self.shape = view.shape
        self._floor = 2 * noise
        self.symmetries = symmetries(view.shape, view.spacing_mm)
        sides = [_cells_along(n, len(view.shape)) for n in view.shape]
        # A window of a very short axis would lose too much.
        free = [n >= 4 for n in view.shape]
        self.windows = np.array(list(product(*((0, 1) if f else (0,) for f in free))))
        self.window_shape = tuple(n - f for n, f in zip(view.shape, free, strict=True))
        self._weights = [
            _window_weights(n, cells, 2 if f else 1)
            for n, cells, f in zip(view.shape, sides, free, strict=True)
        ]
        self._sides = sides
        self._starts = [2 if f else 1 for f in free]
        self.cells = int(np.prod(sides))
        numbers = np.arange(self.cells).reshape(sides)
        self.cell_orders = np.stack([g.apply(numbers).ravel() for g in self.symmetries])
        # Symmetries are a group, so the smallest cell that a cell is mapped to names its orbit.
        orbit = self.cell_orders.min(axis=0)
        self._orbits = [np.flatnonzero(orbit == o) for o in np.unique(orbit)]

    def cells_of(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(images, windows, 2, cells): means and deviations, scaled so that norms are RMS."""
        first = self._reduced(images)
        second = self._reduced(images * images)
        variance = np.maximum(second - first * first, 0.0)
        # The floor keeps noise small where a cell is even: sqrt(0 + sd^2) would be all of it.
        deviation = np.sqrt(variance + np.float32(self._floor**2))
        scaled = np.stack([first, deviation], axis=2) / np.sqrt(self.cells)
        return scaled.astype(np.float32)

    def invariants(self, cells: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(..., 2 * cells): the cells sorted within each orbit, which no symmetry changes."""
        parts = [np.sort(cells[..., orbit], axis=-1) for orbit in self._orbits]
        return np.concatenate(parts, axis=-1).reshape(*cells.shape[:-2], 2 * self.cells)

    def largest_deviation(self, cells: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(images,): standard deviation of the cell that spreads most."""
        floored = cells[:, :, 1].max(axis=(1, 2)) * np.sqrt(self.cells)
        return np.sqrt(np.maximum(floored**2 - self._floor**2, 0.0))

    def largest_mean(self, window: npt.NDArray[np.float32]) -> float:
        """Of the cells of one window."""
        values = window
        for axis, (length, side) in enumerate(zip(self.window_shape, self._sides, strict=True)):
            weights = self._weights[axis][:length, :side]
            values = np.moveaxis(np.moveaxis(values, axis, -1) @ weights, -1, axis)
        return float(values.max())

    def window(self, image: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.float32]:
        start = self.windows[number]
        return image[tuple(slice(a, a + n) for a, n in zip(start, self.window_shape, strict=True))]

    def shift(self, symmetry: Symmetry, first: int, second: int) -> tuple[int, ...]:
        """s with ``second[i] = posed first[i + s]`` when these windows are equal."""
        free = [n - w for n, w in zip(self.shape, self.window_shape, strict=True)]
        a, b = self.windows[first], self.windows[second]
        posed = [
            free[axis] - a[axis] if back else a[axis]
            for axis, back in zip(symmetry.order, symmetry.flip, strict=True)
        ]
        return tuple(int(p - q) for p, q in zip(posed, b, strict=True))

    def _reduced(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Means over cells, one axis after the other for all windows at once."""
        values = images
        for axis in range(len(self.shape), 0, -1):
            values = np.moveaxis(np.moveaxis(values, axis, -1) @ self._weights[axis - 1], -1, axis)
        pairs = [k for s, c in zip(self._starts, self._sides, strict=True) for k in (s, c)]
        axes = len(self.shape)
        split = values.reshape(len(images), *pairs)
        order = (0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2))
        return split.transpose(order).reshape(len(images), -1, self.cells)


def _spread(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Standard deviation of each image."""
    flat = images.reshape(len(images), -1)
    square = np.einsum("ij,ij->i", flat, flat) / flat.shape[1]
    return np.sqrt(np.maximum(square - flat.mean(axis=1) ** 2, 0.0))


def _cells_along(voxels: int, axes: int) -> int:
    """Cells along an axis: at least two voxels in each."""
    most = _CELLS.get(axes, 4)
    return next((c for c in range(most, 1, -1) if voxels - 1 >= 2 * c), 1)


def _window_weights(voxels: int, cells: int, starts: int) -> npt.NDArray[np.float32]:
    """(voxels, starts * cells): cells of equal width, border voxels shared, weights sum to one."""
    length = voxels - starts + 1
    edges = np.linspace(0, length, cells + 1)
    voxel = np.arange(length)[:, None]
    covered = np.minimum(voxel + 1, edges[1:]) - np.maximum(voxel, edges[:-1])
    weights = np.clip(covered, 0, None) * cells / length
    result = np.zeros((voxels, starts * cells), dtype=np.float32)
    for start in range(starts):
        result[start : start + length, start * cells : (start + 1) * cells] = weights
    return result


class _Search:
    """One search over a store."""

    def __init__(self, store: PatchStore, progress: Progress) -> None:
        self._store = store
        self._progress = progress
        # Equal patches are compared once; their pairs are told without a search.
        hashes = store.index["content_hash"]
        groups = store.index.groupby(hashes, sort=False).indices.values()
        self._groups = [np.asarray(group, dtype=np.int64) for group in groups]
        leaders = np.array([group[0] for group in self._groups])
        order = np.lexsort(
            (
                store.index["shard_row"].to_numpy()[leaders],
                store.index["shard"].astype(str).to_numpy()[leaders],
            )
        )
        self._groups = [self._groups[i] for i in order]
        self._leaders = leaders[order]
        self._noise = self._tolerance()
        self.without_content = np.ones(len(store), dtype=np.bool_)

    def run(self) -> tuple[pd.DataFrame, bool]:
        views = _views(self._store.spec)
        found: list[dict[str, Any]] = []
        complete = True
        blocks = len(views) * len(self._leaders)
        with self._progress.task("audit", blocks, "patches") as task:
            for view in views:
                for row in _Matches(self, view, task).find():
                    found.append(row)
                    if len(found) >= MAX_PAIRS:
                        complete = False
                        break
        pairs = self._expanded(found)
        return pairs, complete and len(pairs) < MAX_PAIRS

    @property
    def noise(self) -> float:
        """:data:`NOISE_RMS_HU` in stored values."""
        return self._noise

    @property
    def contrast(self) -> float:
        """:data:`CONTENT_SD_HU` in stored values."""
        return CONTENT_SD_HU / NOISE_RMS_HU * self._noise

    @property
    def leaders(self) -> int:
        return len(self._leaders)

    def read(self, leaders: npt.NDArray[np.int64]) -> npt.NDArray[np.int16]:
        return self._store.patches(self._leaders[leaders])

    def blocks(self) -> Iterator[npt.NDArray[np.int64]]:
        """Numbers of all leaders, as many at once as may be read."""
        size = max(1, _BLOCK_BYTES // (4 * int(np.prod(self._store.spec.stored_shape))))
        for start in range(0, self.leaders, size):
            yield np.arange(start, min(start + size, self.leaders))

    def sample(self) -> npt.NDArray[np.int64]:
        return np.unique(np.linspace(0, self.leaders - 1, _SAMPLE).astype(np.int64))

    def has_content(self, leaders: npt.NDArray[np.int64]) -> None:
        for leader in leaders:
            self.without_content[self._groups[leader]] = False

    def _tolerance(self) -> float:
        values = self._store.values
        if values.kind == "hu":
            return NOISE_RMS_HU
        chosen = self.read(self.sample())
        return max(1.0, INTENSITY_TOLERANCE * float(int(chosen.max()) - int(chosen.min())))

    def _expanded(self, found: list[dict[str, Any]]) -> pd.DataFrame:
        """Pairs of patches from pairs of leaders, and those of equal patches."""
        rows: dict[tuple[int, int], tuple[Any, ...]] = {}
        for a, b, *rest in chain(self._equal(), self._alike(found)):
            rows.setdefault((min(a, b), max(a, b)), (a, b, *rest))
            if len(rows) >= MAX_PAIRS:
                break
        return pd.DataFrame([rows[k] for k in sorted(rows)], columns=list(_COLUMNS))

    def _equal(self) -> Iterator[tuple[Any, ...]]:
        axes = len(self._store.spec.stored_size)
        still = " ".join(["0"] * axes)
        identity = str(Symmetry(tuple(range(axes)), (False,) * axes))
        for group in self._groups:
            if not self.without_content[group[0]]:
                for a, b in combinations(group.tolist(), 2):
                    yield a, b, 0.0, identity, still, ""

    def _alike(self, found: list[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
        for row in found:
            first, second = (self._groups[row[k]].tolist() for k in ("first", "second"))
            for a, b in product(first, second):
                yield a, b, *(row[c] for c in _COLUMNS[2:])


class _Matches:
    """Pairs of leaders whose images of one view are near-identical."""

    def __init__(self, search: _Search, view: _View, task: Task) -> None:
        self._search = search
        self._view = view
        self._task = task
        self._of = _Descriptor(view, search.noise)
        self._content: set[int] = set()
        scale = search.noise / NOISE_RMS_HU
        # White noise in n voxels leaves sqrt(cells / n) of it in the means, and as much again in
        # the deviations; what it adds to an even cell's deviation the floor keeps below a tenth.
        voxels = int(np.prod(self._of.window_shape))
        white = NOISE_RMS_HU * np.sqrt(2 * self._of.cells / voxels)
        self._radius = float(scale * (SLOW_RMS_HU + white))

    def find(self) -> Iterator[dict[str, Any]]:
        points, items, windows = self._points()
        if len(points) < 2:
            return
        tree = cKDTree(points, balanced_tree=False)
        seen: set[tuple[int, int]] = set()
        waiting: list[npt.NDArray[np.int64]] = []
        count = 0
        for a, b in self._neighbours(tree):
            per = self._view.per_patch
            apart = items[a] // per < items[b] // per
            rows = np.column_stack([items[a], windows[a], items[b], windows[b]])[apart]
            waiting.append(rows)
            count += len(rows)
            if count >= _CANDIDATES:
                yield from self._verified(np.concatenate(waiting), seen)
                waiting, count = [], 0
        if count:
            yield from self._verified(np.concatenate(waiting), seen)

    def _neighbours(
        self, tree: cKDTree
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """All ordered pairs of points within the radius, a bounded number at once."""
        # In the tree's own order neighbours lie together, which the cache of the processor likes.
        order = tree.indices
        for start in range(0, len(order), _QUERY_POINTS):
            chunk = order[start : start + _QUERY_POINTS]
            found = partial(tree.query_ball_point, r=self._radius, workers=-1)
            counts = found(tree.data[chunk], return_length=True)
            parts = np.cumsum(counts) // _QUERY_NEIGHBOURS
            for part in np.split(np.arange(len(chunk)), np.flatnonzero(np.diff(parts)) + 1):
                lists = found(tree.data[chunk[part]], return_sorted=False)
                total = int(counts[part].sum())
                near = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=total)
                yield np.repeat(chunk[part], counts[part]), near

    def _points(
        self,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Projected descriptors of all windows with content; their images and windows."""
        search, of, view = self._search, self._of, self._view
        basis = self._directions()
        points, items = [], []
        for leaders in search.blocks():
            images = view.images(search.read(leaders))
            cells = of.cells_of(images)
            contrast = np.maximum(_spread(images), of.largest_deviation(cells) / 2)
            numbers = leaders[0] * view.per_patch + np.arange(len(images))
            # A shift moves the contrast a little: one of a pair may fall just short of it.
            kept = np.flatnonzero(contrast >= 0.75 * search.contrast)
            content = numbers[contrast >= search.contrast]
            self._content.update(content.tolist())
            search.has_content(np.unique(content // view.per_patch))
            numbers = numbers[kept]
            projected = of.invariants(cells[kept]) @ basis
            points.append(projected.reshape(-1, basis.shape[1]))
            items.append(numbers)
            self._task.advance(len(leaders))
        item = np.concatenate(items)
        count = len(of.windows)
        return (
            np.concatenate(points),
            np.repeat(item, count),
            np.tile(np.arange(count), len(item)),
        )

    def _directions(self) -> npt.NDArray[np.float32]:
        """Orthonormal columns along which the descriptors of a sample differ most."""
        search, of = self._search, self._of
        sample = []
        numbers = search.sample()
        for start in range(0, len(numbers), 64):
            images = self._view.images(search.read(numbers[start : start + 64]))
            described = of.invariants(of.cells_of(images)[:, :1])
            sample.append(described.reshape(-1, described.shape[-1]))
        described = np.concatenate(sample)
        spread = np.cov(described, rowvar=False) if len(described) > 1 else np.eye(2 * of.cells)
        _, vectors = np.linalg.eigh(spread)
        return np.ascontiguousarray(vectors[:, ::-1][:, :_DIRECTIONS], dtype=np.float32)

    def _verified(
        self, candidates: npt.NDArray[np.int64], seen: set[tuple[int, int]]
    ) -> Iterator[dict[str, Any]]:
        """Those of (first item, window, second item, window) that are near-identical, once."""
        per = self._view.per_patch
        for start in range(0, len(candidates), _CANDIDATES):
            rows = candidates[start : start + _CANDIDATES]
            for row, symmetry in self._coarse(rows):
                first, window_a, second, window_b = (int(v) for v in rows[row])
                pair = first // per, second // per
                if pair in seen or self._content.isdisjoint((first, second)):
                    continue
                rms, in_a_cell = self._difference(rows[row], symmetry)
                if rms > self._search.noise or in_a_cell > self._search.contrast:
                    continue
                seen.add(pair)
                pose = self._of.symmetries[symmetry]
                yield {
                    "first": pair[0],
                    "second": pair[1],
                    "rms": round(rms, 2),
                    "symmetry": str(pose),
                    "shift_voxels": " ".join(map(str, self._of.shift(pose, window_a, window_b))),
                    "plane": self._plane(first, second),
                }

    def _coarse(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """(row, symmetry) whose cells are near enough, nearest first."""
        of = self._of
        images, place = np.unique(rows[:, [0, 2]], return_inverse=True)
        cells = np.concatenate(
            [
                of.cells_of(self._images(images[start : start + 64]))
                for start in range(0, len(images), 64)
            ]
        )
        place = place.reshape(-1, 2)
        found: list[tuple[float, int, int]] = []
        step = max(1, 2**24 // (len(of.symmetries) * 2 * of.cells))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            a = cells[place[part, 0], rows[part, 1]]
            b = cells[place[part, 1], rows[part, 3]]
            # Sorted descriptors in full are cheaper than all symmetries, and sort most out.
            apart = np.linalg.norm(of.invariants(a) - of.invariants(b), axis=-1)
            near = np.flatnonzero(apart <= self._radius)
            for group in np.array_split(near, max(1, len(near) // 256)):
                posed = a[group][:, :, of.cell_orders]  # (rows, 2, symmetries, cells)
                apart = np.sqrt(((posed - b[group][:, :, None]) ** 2).sum(axis=(1, 3)))
                for i, g in zip(*np.nonzero(apart <= self._radius), strict=True):
                    found.append((float(apart[i, g]), start + int(group[i]), int(g)))
        for _, row, symmetry in sorted(found):
            yield row, symmetry

    def _difference(self, row: npt.NDArray[np.int64], symmetry: int) -> tuple[float, float]:
        """RMS of two windows, the first one posed: over all voxels, and in the worst cell."""
        of = self._of
        first, second = self._images(row[[0]])[0], self._images(row[[2]])[0]
        posed = of.symmetries[symmetry].apply(of.window(first, int(row[1])))
        square = (posed - of.window(second, int(row[3]))) ** 2
        return float(np.sqrt(square.mean())), float(np.sqrt(of.largest_mean(square)))

    def _images(self, items: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        per = self._view.per_patch
        patches = self._search.read(items // per)
        if not self._view.planes:
            return patches.astype(np.float32)
        planes = np.asarray(self._view.planes)[items % per]
        return patches[np.arange(len(items)), planes].astype(np.float32)

    def _plane(self, first: int, second: int) -> str:
        planes = self._view.planes
        if not planes:
            return ""
        a, b = (_PLANES[planes[item % len(planes)]] for item in (first, second))
        return a if a == b else f"{a} as {b}"


def _key(store: PatchStore) -> str:
    """Of everything that the result depends on: the patches in their order, and the method."""
    digest = hashlib.blake2b(digest_size=16)
    spec = store.spec
    constants = (NOISE_RMS_HU, SLOW_RMS_HU, CONTENT_SD_HU, INTENSITY_TOLERANCE, MAX_PAIRS)
    digest.update(repr((_VERSION, constants, spec.form, spec.spacing_mm)).encode())
    digest.update(repr((store.values, spec.stored_shape)).encode())
    digest.update("\n".join(store.index["content_hash"].astype(str)).encode())
    return digest.hexdigest()


def _cached(store: PatchStore, key: str) -> NearIdentical | None:
    try:
        kept = json.loads((store.path / CACHE).read_text(encoding="utf-8"))
        if kept["key"] != key:
            return None
        without = np.zeros(len(store), dtype=np.bool_)
        without[np.asarray(kept["without_content"], dtype=np.int64)] = True
        return NearIdentical(
            pd.DataFrame(kept["pairs"], columns=list(_COLUMNS)),
            without,
            bool(kept["complete"]),
            float(kept["seconds"]),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # absent or damaged: it is made again


def _keep(store: PatchStore, key: str, result: NearIdentical) -> None:
    try:
        write_json(
            store.path / CACHE,
            {
                "key": key,
                "complete": result.complete,
                "seconds": result.seconds,
                "without_content": np.flatnonzero(result.without_content).tolist(),
                "pairs": result.pairs.to_numpy(dtype=object).tolist(),
            },
        )
    except OSError:
        return  # a store that may only be read is searched again the next time
