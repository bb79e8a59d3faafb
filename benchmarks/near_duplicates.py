"""How fast and how surely the audit finds near-identical patches, and what a large store takes.

    python benchmarks/near_duplicates.py                 2D, 10,000 and 50,000 patches
    python benchmarks/near_duplicates.py --form 3d       3D, 40 voxels a side; needs 7 GB of disk
    python benchmarks/near_duplicates.py --counts 2000   another number

Each store holds synthetic lung (correlated noise, vessels, nodules, pleura) and 200 planted twins:
a random symmetry, a shift of up to a voxel along each axis, noise of sd 10 HU. Beside it, in the
same run, stands the search without an index: a patch compared with all others over all symmetries
and shifts, timed on a few patches. Reading and describing patches grows with their number, the
search in the tree a little faster; the extrapolation to 750,000 takes the measured growth.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.patches.near_duplicates import near_identical
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult, content_hash
from nodulenet.patches.symmetry import symmetries
from nodulenet.patches.values import Values

PLANTED = 200
GOAL = 750_000
SPECS = {
    "2d": PatchSpec(form="2d", size=(64, 64), spacing_mm=(0.7, 0.7), margin_voxels=4),
    "3d": PatchSpec(form="3d", size=(32, 32, 32), margin_voxels=4),
}
SHARD = 500  # patches


def lung(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """HU of a piece of lung: noise, a few round or long bodies, sometimes the chest wall."""
    grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    hu = np.full(shape, rng.uniform(-900, -750), dtype=np.float32)
    hu += (
        rng.uniform(20, 60)
        * ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.8)
        * np.float32(3)
    )
    for _ in range(rng.integers(1, 6)):
        centre, radius = rng.uniform(0, shape), rng.uniform(2, 9)
        along = rng.normal(size=len(shape))
        along /= np.linalg.norm(along)
        offset = [g - c for g, c in zip(grid, centre, strict=True)]
        square = sum(o * o for o in offset)
        if rng.random() < 0.6:  # a vessel: the distance to a line
            square = square - sum(o * a for o, a in zip(offset, along, strict=True)) ** 2
            radius /= 2
        hu += np.float32(rng.uniform(300, 900)) / (1 + np.exp(np.sqrt(abs(square)) - radius))
    if rng.random() < 0.3:
        normal = rng.normal(size=len(shape))
        depth = sum(g * n for g, n in zip(grid, normal / np.linalg.norm(normal), strict=True))
        hu += np.float32(850) / (1 + np.exp(rng.uniform(0, max(shape)) - depth))
    return np.clip(hu, -1024, 1500)


def make_store(
    folder: Path, spec: PatchSpec, count: int
) -> tuple[PatchStore, set[tuple[int, int]]]:
    """A store of ``count`` patches, the last of them twins; and which pairs are planted."""
    rng = np.random.default_rng(count)
    shape = spec.stored_shape
    wide = tuple(n + 2 for n in shape)
    group = symmetries(shape, spec.spacing_xyz_mm[::-1][3 - len(shape) :])
    sources = np.sort(rng.choice(count - PLANTED, PLANTED, replace=False))
    twins: list[npt.NDArray[np.int16]] = []
    writer = StoreWriter(folder, spec, Values(), {"kind": "benchmark"})
    results = []
    middle = tuple(slice(1, n + 1) for n in shape)
    for start in range(0, count, SHARD):
        patches = []
        for number in range(start, min(start + SHARD, count)):
            if number >= count - PLANTED:
                patches.append(twins[number - (count - PLANTED)])
                continue
            volume = lung(wide, rng)
            patches.append(np.rint(volume[middle]).astype(np.int16))
            if number in sources:
                shift = rng.integers(0, 3, len(shape))
                cut = tuple(slice(s, s + n) for s, n in zip(shift, shape, strict=True))
                twin = group[rng.integers(len(group))].apply(volume[cut])
                noise = rng.normal(0, 10, shape)
                twins.append(np.rint(twin + noise).astype(np.int16))
        ids = tuple(f"f{start + i}" for i in range(len(patches)))
        result = UnitResult(f"{start:07d}", ids, tuple(content_hash(p) for p in patches))
        writer.write(result, np.stack(patches))
        results.append(result)
    ids_ = [f"f{i}" for i in range(count)]
    table = pd.DataFrame({"finding_id": ids_, "patient_id": ids_, "scan_id": ids_})
    planted = {(int(s), count - PLANTED + k) for k, s in enumerate(sources)}
    return writer.finish(table, results), planted


def seconds_without_index(store: PatchStore, tried: int = 4) -> float:
    """Comparing one patch with one other over all symmetries and shifts, NumPy at its best."""
    shape = store.spec.stored_shape
    group = symmetries(shape, store.spec.spacing_xyz_mm[::-1][3 - len(shape) :])
    patches = store.patches(np.arange(tried + 1)).astype(np.float32)
    inner = tuple(slice(1, n - 1) for n in shape)
    started = time.perf_counter()
    for other in patches[1:]:
        for symmetry in group:
            turned = symmetry.apply(patches[0])
            for shift in product((-1, 0, 1), repeat=len(shape)):
                cut = tuple(slice(1 + s, n - 1 + s) for s, n in zip(shift, shape, strict=True))
                difference = (turned[cut] - other[inner]).ravel()
                difference @ difference
    return (time.perf_counter() - started) / tried


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--form", choices=sorted(SPECS), default="2d")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 50_000])
    arguments = parser.parse_args()
    spec = SPECS[arguments.form]
    print(f"{arguments.form} {'x'.join(map(str, spec.stored_shape))}, planted {PLANTED}")
    print(f"{'patches':>8} {'seconds':>8} {'per s':>7} {'found':>7} {'others':>7} {'no index':>9}")
    measured = []
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            store, planted = make_store(Path(folder), spec, count)
            # The best of two: a busy machine measures its neighbours otherwise.
            found = min(
                (near_identical(store, cache=False) for _ in range(2)), key=lambda f: f.seconds
            )
            # (first, second) may stand in either order.
            pairs = {(min(p), max(p)) for p in found.pairs[["first", "second"]].to_numpy().tolist()}
            # A twin of a patch without content is none.
            planted = {p for p in planted if not found.without_content[list(p)].all()}
            slow = seconds_without_index(store) * count * (count - 1) / 2
        measured.append((count, found.seconds))
        print(
            f"{count:>8} {found.seconds:>8.1f} {count / found.seconds:>7.0f} "
            f"{len(planted & pairs)}/{len(planted)} {len(pairs - planted):>7} "
            f"{slow / found.seconds:>8.0f}x"
        )
    if len(measured) > 1:
        (n0, t0), (n1, t1) = measured[0], measured[-1]
        power = float(np.log(t1 / t0) / np.log(n1 / n0))
        minutes = t1 * (GOAL / n1) ** max(1.0, power) / 60
        print(f"growth: patches^{power:.2f}; {GOAL} patches: about {minutes:.0f} min")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"largest memory of this process: {peak:.1f} GB, the mapped shards among it")


if __name__ == "__main__":
    main()
