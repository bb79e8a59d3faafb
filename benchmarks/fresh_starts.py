"""Does every fresh model learn? Many seeds of each model on a task that none should fail.

    python benchmarks/fresh_starts.py             30 seeds of V2 in 2D, 10 in 3D, 3 of the others
    python benchmarks/fresh_starts.py --models squeezenodule_v2 --seeds 30 --head-activation relu

The task: noise in [0, 1], and in the positives a bright ball in the middle; half of the negatives
have a smaller one at the border, the others none. 256 patches (2D) or 128 (3D) to train on, as
many others to count. A model learns if it reaches an AUC of 0.9 on the others within --epochs
epochs of AdamW at a rate of 0.001; it stops there. Models start as our configurations start them:
He-normal, dropout 0.5, no normalization (ResNet-18: batch), linear head.

With `--head-activation relu` (as published for SqueezeNet V1) 6 of 60 seeds of V2 in 2D never
learned: where the ReLU before a two-class softmax is 0 for both classes and all patches, no
gradient passes it.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from nodulenet.models.registry import get_model, list_models

SHAPES = {2: (50, 50), 3: (48, 48, 48)}
PATCHES = {2: 256, 3: 128}
BATCH = 32
REACHED = 0.9
SEEDS = {"squeezenodule_v2": 30, "squeezenodule_v2_3d": 10}
OTHER_SEEDS = 3


def patches(rank: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches (n, [z,] y, x, 1) in [0, 1] and their labels, alternating."""
    rng = np.random.default_rng([seed, rank])
    shape = np.array(SHAPES[rank])
    grid = np.stack(np.indices(shape), axis=-1)
    x = rng.normal(0.3, 0.1, size=(count, *shape))
    y = np.arange(count) % 2
    for i in range(count):
        centre = shape / 2 + rng.uniform(-3, 3, rank)
        radius = rng.uniform(5, 9)
        if y[i] == 0:
            if i % 4 == 0:
                continue
            centre[rng.integers(rank)] = rng.choice([0, shape[0] - 1])
            radius = rng.uniform(3, 4)
        inside = ((grid - centre) ** 2).sum(axis=-1) < radius**2
        x[i][inside] += 0.4
    return np.clip(x, 0, 1).astype("float32")[..., np.newaxis], y


def epochs_until_learned(
    name: str,
    seed: int,
    data: dict[str, tuple[np.ndarray, np.ndarray]],
    limit: int,
    head_activation: str,
) -> tuple[int | None, float]:
    """Epochs until the AUC is reached (None: never within the limit), and the last AUC."""
    entry = get_model(name)
    keras.utils.set_random_seed(seed)
    keras.backend.clear_session()
    options = {"normalization": "batch"} if name.startswith("resnet") else {}
    model = entry.build(
        (*SHAPES[entry.rank], 1),
        2,
        dropout_rate=0.5,
        kernel_initializer="he_normal",
        head_activation=head_activation,
        **options,
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3, weight_decay=1e-4, clipnorm=1.0),
        loss="sparse_categorical_crossentropy",
    )
    auc = 0.5
    for epoch in range(1, limit + 1):
        model.fit(*data["train"], batch_size=BATCH, verbose=0)
        x, y = data["test"]
        scores = [model.predict_on_batch(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
        auc = float(roc_auc_score(y, np.concatenate(scores)[:, 1]))
        if auc >= REACHED:
            return epoch, auc
    return None, auc


def measure(name: str, seeds: range, limit: int, head_activation: str) -> bool:
    """Print one row; whether all seeds learned."""
    rank = get_model(name).rank
    data = {part: patches(rank, PATCHES[rank], seed) for part, seed in (("train", 1), ("test", 2))}
    begin = time.perf_counter()
    needed, failed = [], []
    for seed in seeds:
        epochs, auc = epochs_until_learned(name, seed, data, limit, head_activation)
        if epochs is None:
            failed.append(f"{seed} ({auc:.2f})")
        else:
            needed.append(epochs)
    took = f"{np.median(needed):.0f}, {max(needed)}" if needed else "-"
    print(
        f"| {name} | {' x '.join(map(str, SHAPES[rank]))} | {head_activation} "
        f"| {seeds.start}-{seeds.stop - 1} | **{len(needed)} of {len(seeds)}** | {took} "
        f"| {', '.join(failed) or 'none'} | {(time.perf_counter() - begin) / 60:.1f} |",
        flush=True,
    )
    return not failed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=list_models(), default=list_models())
    parser.add_argument("--seeds", type=int, help="seeds of each model")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20, help="after which a model has failed")
    parser.add_argument("--head-activation", choices=("linear", "relu"), default="linear")
    arguments = parser.parse_args()
    print(
        "| model | patch | head | seeds | reach AUC 0.9 | epochs: median, most | never | minutes |"
    )
    print("|---|---|---|---|---:|---:|---|---:|")
    all_learned = True
    for name in arguments.models:
        count = arguments.seeds or SEEDS.get(name, OTHER_SEEDS)
        seeds = range(arguments.first_seed, arguments.first_seed + count)
        all_learned &= measure(name, seeds, arguments.epochs, arguments.head_activation)
    if not all_learned and arguments.head_activation == "linear":
        raise SystemExit("some models never learned")


if __name__ == "__main__":
    main()
