"""Whether the input keeps up with training, beside MONAI's loader, and what a larger store costs.

    python benchmarks/input.py            all three parts, about six minutes on two cores
    python benchmarks/input.py --quick    fewer rounds
    python benchmarks/input.py --part fit | loader | growth

fit: patches/s of ``fit`` with full augmentation against the same step on one constant batch in
memory, epochs of both in turns; beside it the ratio of their CPU time, which others on the machine
disturb less and which is what remains when not a core is ever idle. loader: the input side alone
against a MONAI ``Dataset`` of the same patches, in memory, with ``RandAffined``, ``RandFlipd`` and
``RandGaussianNoised`` in a ``DataLoader``. growth: time and memory of an epoch for stores of 1, 10
and 100 times as many patches, the better of two epochs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation
from nodulenet.models.registry import build_model
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult
from nodulenet.patches.values import Values
from nodulenet.training.backend import keras
from nodulenet.training.input import TrainingBatches, fit_input

BATCH = 32
FULL = {
    "flips": True,
    "shift_voxels": 2,
    "hu_offset": 20,
    "hu_scale": 0.05,
    "blur": 1.0,
    "sharpen": 1.0,
    "noise": 20,
}
CASES = {
    "squeezenodule_v2_3d": ({"form": "3d", "size": [32, 32, 32]}, "any"),
    "squeezenodule_v2": ({"form": "2d", "size": [64, 64], "spacing_mm": 1.0}, "in_plane"),
}


class Constant(keras.utils.PyDataset):
    """One batch again and again."""

    def __init__(self, batch: tuple[Any, ...], count: int) -> None:
        super().__init__(workers=1)
        self._batch, self._count = batch, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return self._batch


def case(name: str) -> tuple[PatchSpec, Augmentation]:
    fields, rotations = CASES[name]
    augment = Augmentation.model_validate(FULL | {"rotations": rotations})
    bare = PatchSpec.model_validate(fields | {"margin_voxels": 0})
    margin = augment.needed_margin_voxels(bare)
    return bare.model_copy(update={"margin_voxels": margin}), augment


def random_store(folder: Path, spec: PatchSpec, count: int, unit: int = 100) -> PatchStore:
    """Random voxels in shards of ``unit`` patches; the hashes stand in for real ones."""
    random = np.random.default_rng(0)
    writer = StoreWriter(folder, spec, Values(), {"kind": "benchmark"})
    results = []
    for start in range(0, count, unit):
        ids = tuple(f"f{i}" for i in range(start, min(start + unit, count)))
        patches = random.integers(-1000, 400, (len(ids), *spec.stored_shape), dtype=np.int16)
        results.append(UnitResult(f"u{start}", ids, ids))
        writer.write(results[-1], patches)
    every = [i for r in results for i in r.finding_ids]
    return writer.finish(pd.DataFrame({"finding_id": every}), results)


def training_batches(store: PatchStore, spec: PatchSpec, augment: Augmentation) -> TrainingBatches:
    positive = np.arange(len(store)) % 2 == 1
    targets = np.eye(2, dtype=np.float32)[positive.astype(int)]
    return TrainingBatches(
        store,
        np.arange(len(store)),
        targets,
        spec,
        augment,
        batch_size=BATCH,
        seed=0,
        positive=positive,
    )


def part_fit(folder: Path, quick: bool) -> None:
    print("\nfit with full augmentation against the same step on a constant batch (target 0.90)")
    for name in CASES:
        spec, augment = case(name)
        steps = 8 if spec.form == "3d" else 40
        store = random_store(folder / f"fit-{name}", spec, BATCH * steps)
        batches = training_batches(store, spec, augment)
        model = build_model(
            name,
            input_shape=spec.input_shape,
            num_classes=2,
            normalization="batch",
            head_activation="linear",
        )
        model.compile("adamw", loss="categorical_crossentropy", jit_compile=False)
        feeds = {"constant": Constant(batches[0], steps), "augmented": batches}
        seconds: dict[str, list[float]] = {feed: [] for feed in feeds}
        work: dict[str, list[float]] = {feed: [] for feed in feeds}
        rounds = 5 if quick else 16
        for turn in range(rounds + 1):
            batches.epoch = turn
            for feed, data in feeds.items():
                begin, used = time.perf_counter(), time.process_time()
                model.fit(fit_input(data), epochs=1, shuffle=False, verbose=0)
                if turn:  # the first one traces
                    seconds[feed].append(time.perf_counter() - begin)
                    work[feed].append(time.process_time() - used)
        rate = {f: BATCH * steps / statistics.median(s) for f, s in seconds.items()}
        cpu = {f: 1e3 * statistics.median(s) / (BATCH * steps) for f, s in work.items()}
        ratios = sorted(c / a for c, a in zip(*seconds.values(), strict=True))
        print(
            f"{name:22s} constant {rate['constant']:6.0f}/s, augmented {rate['augmented']:6.0f}/s; "
            f"ratio {statistics.median(ratios):.3f} (pairs {ratios[0]:.2f} to {ratios[-1]:.2f}, "
            f"of the best {min(seconds['constant']) / min(seconds['augmented']):.3f}); CPU "
            f"{cpu['constant']:.2f} and {cpu['augmented']:.2f} ms a patch, ratio "
            f"{cpu['constant'] / cpu['augmented']:.3f}",
            flush=True,
        )


def rate_of(feed: Callable[[], Iterator[int]], seconds: float) -> float:
    """Patches/s of passes over a feed for about so long, after one that is not counted."""
    sum(feed())
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        count += sum(feed())
    return count / (time.perf_counter() - begin)


def part_loader(folder: Path, quick: bool) -> None:
    from nodulenet.transforms import import_monai

    monai = import_monai()
    print("\ninput alone against a MONAI Dataset and DataLoader (target 3 times)")
    for name in CASES:
        spec, augment = case(name)
        store = random_store(folder / f"loader-{name}", spec, BATCH * 8)
        batches = training_batches(store, spec, augment)
        size = spec.size
        turn = np.pi if len(size) == 3 else [np.pi]
        mt = monai.transforms
        steps = mt.Compose(
            [
                mt.EnsureChannelFirstd("patch", channel_dim="no_channel"),
                mt.RandAffined(
                    "patch",
                    prob=1.0,
                    rotate_range=turn if len(size) == 2 else (turn,) * 3,
                    translate_range=(augment.shift_voxels,) * len(size),
                    spatial_size=size,
                    mode="bilinear",
                    padding_mode="border",
                ),
                *(mt.RandFlipd("patch", prob=0.5, spatial_axis=a) for a in range(len(size))),
                mt.RandGaussianNoised("patch", prob=1.0, std=augment.noise, sample_std=False),
                mt.ScaleIntensityRanged("patch", -1000, 400, 0, 1, clip=True),
            ]
        )
        patches = store.patches(np.arange(len(store))).astype(np.float32)
        data = monai.data.Dataset([{"patch": p} for p in patches], steps)

        def ours(batches: TrainingBatches = batches) -> Iterator[int]:
            batches.epoch += 1
            return (len(batches[i][0]) for i in range(len(batches)))

        seconds = 3.0 if quick else 10.0
        rates = {"ours": rate_of(ours, seconds)}
        for workers in (0, 2):
            loader = monai.data.DataLoader(
                data,
                batch_size=BATCH,
                shuffle=True,
                num_workers=workers,
                persistent_workers=workers > 0,
            )
            rates[f"MONAI, {workers} workers"] = rate_of(
                lambda loader=loader: (len(batch["patch"]) for batch in loader), seconds
            )
            del loader
        # Once more at the end: whoever else computes here disturbs both.
        again = rate_of(ours, seconds)
        texts = [f"{who} {rate:.0f}/s" for who, rate in rates.items()]
        worse = min(rates.pop("ours"), again)
        times = " and ".join(f"{worse / rate:.1f}" for rate in rates.values())
        print(f"{name:22s} {', '.join(texts)}, ours again {again:.0f}/s; times {times}", flush=True)


def anonymous_mib() -> float:
    """Memory of this process without file pages, which the system takes back when it likes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def part_growth(folder: Path, quick: bool) -> None:
    print("\nan epoch as the store grows (memory flat, time linear)")
    fields = {"form": "3d", "size": [12, 12, 12], "margin_voxels": 0}
    augment = Augmentation.model_validate(FULL | {"rotations": "any"})
    spec = PatchSpec.model_validate(fields)
    spec = spec.model_copy(update={"margin_voxels": augment.needed_margin_voxels(spec)})
    base = 200 if quick else 640
    for factor in (1, 10, 100):
        store = random_store(folder / f"growth-{factor}", spec, base * factor, unit=200)
        batches = training_batches(store, spec, augment)
        # What has just been written is not written back while an epoch is timed.
        os.sync()
        sum(len(batches[i][0]) for i in range(min(4, len(batches))))
        before = highest = anonymous_mib()
        seconds = float("inf")
        for _ in range(2):
            begin = time.perf_counter()
            for index in range(len(batches)):
                batches[index]
                if index % 16 == 0:
                    highest = max(highest, anonymous_mib())
            seconds = min(seconds, time.perf_counter() - begin)
        print(
            f"{len(store):7d} patches: {seconds:7.2f} s, {len(store) / seconds:6.0f}/s; memory "
            f"{before:.0f} MiB before, {highest:.0f} MiB at most"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parts = {"fit": part_fit, "loader": part_loader, "growth": part_growth}
    parser.add_argument("--part", choices=list(parts), help="only this one")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f} before")
    for name, part in parts.items():
        if arguments.part in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder), arguments.quick)
    print(f"load {os.getloadavg()[0]:.2f} after")


if __name__ == "__main__":
    main()
