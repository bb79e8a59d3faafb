"""Size and speed of the SqueezeNet family, beside plain PyTorch (channels last) in the same run.

    python benchmarks/models.py           all of them, a few minutes on two cores
    python benchmarks/models.py --quick   three models, few repetitions

Rounds of the two frameworks alternate and each figure is the best call, because on a busy machine
the median measures the neighbours (torch's threads wait for one another and suffer most). A ratio
above 1 means that the Keras model is faster.

Why inference is 1 to 14 % behind: a call of ``predict_on_batch`` costs about 0.6 ms more than the
bare TensorFlow graph (Python, and copying the batch in and out), and these batches take 9 to 25 ms.
That is all of it for the larger networks and about half for the smallest, ``squeezenet_1.1``; the
rest is in the frameworks' own kernels.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import torch
from torch_networks import SqueezeNetwork

from nodulenet.models.registry import SqueezeNetEntry, get_model, list_models

# Those that the plain PyTorch networks beside this file are peers of.
NAMES = [name for name in list_models() if isinstance(get_model(name), SqueezeNetEntry)]
QUICK = ("squeezenodule_v2", "squeezenet_1.1", "squeezenodule_v2_3d")
# Patches as nodules are cut, and the batch of training.
SHAPES = {2: (64, 64, 1), 3: (32, 32, 32, 1)}
BATCHES = {2: 32, 3: 16}


def alternate(calls: dict[str, Callable[[], Any]], rounds: int, seconds: float) -> dict[str, float]:
    """Best seconds of one call each, the calls taking turns for about ``seconds`` a turn."""
    for call in calls.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            until = time.perf_counter() + seconds
            while True:
                begin = time.perf_counter()
                call()
                end = time.perf_counter()
                times[name].append(end - begin)
                if end > until:
                    break
    return {name: min(values) for name, values in times.items()}


def torch_peer(entry: SqueezeNetEntry, model: Any) -> SqueezeNetwork:
    """A PyTorch network of the same size with the same weights; their outputs are compared."""
    net = SqueezeNetwork(entry.config, channels=1, classes=2)
    modules = [net.stem]
    for fire in net.fires:
        modules += [m for m in (fire.squeeze, fire.expand1x1, fire.expand3x3) if m is not None]
    values = iter(model.get_weights())
    with torch.no_grad():
        for module in [*modules, net.head]:
            kernel = np.moveaxis(next(values), (-1, -2), (0, 1))
            module.weight.copy_(torch.from_numpy(kernel.copy()))
            module.bias.copy_(torch.from_numpy(next(values)))
    return net


def layout(x: np.ndarray) -> torch.Tensor:
    memory = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy()).to(memory_format=memory)


def training_steps(model: Any, net: SqueezeNetwork, x: np.ndarray, y: np.ndarray) -> Any:
    """One optimizer step of each: cross-entropy of logits, Adam."""
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    criterion = torch.nn.CrossEntropyLoss()
    tensors = keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)
    inputs, labels = layout(x), torch.from_numpy(y)

    def torch_step() -> float:
        net.train()
        optimizer.zero_grad()
        loss = criterion(net(inputs), labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return {"keras": lambda: model.train_on_batch(*tensors), "torch": torch_step}


def measure(entry: SqueezeNetEntry, rounds: int, seconds: float) -> str:
    shape, batch = SHAPES[entry.rank], BATCHES[entry.rank]
    model = entry.build(shape, 2, classifier_activation=None, head_activation=None)
    net = torch_peer(entry, model).eval()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, *shape)).astype("float32")
    y = rng.integers(0, 2, batch)

    def torch_predict(inputs: torch.Tensor) -> Callable[[], np.ndarray]:
        def predict() -> np.ndarray:
            net.eval()
            with torch.inference_mode():
                return net(inputs).numpy()

        return predict

    results = {}
    for name, n in (("one", 1), ("many", batch)):
        calls = {
            "keras": lambda n=n: model.predict_on_batch(x[:n]),
            "torch": torch_predict(layout(x[:n])),
        }
        ours, theirs = (call() for call in calls.values())
        if np.abs(ours - theirs).max() > 1e-3 * np.abs(theirs).max():
            raise SystemExit(f"{entry.name}: the two networks differ; no comparison is possible")
        results[name] = alternate(calls, rounds, seconds)
    results["train"] = alternate(training_steps(model, net, x, y), rounds, seconds)
    one, many, train = (results[key] for key in ("one", "many", "train"))
    return (
        f"| {entry.name} | {entry.parameter_count(shape):,} "
        f"| {entry.multiply_accumulates(shape) / 1e6:,.0f} "
        f"| {1e3 * one['keras']:.1f} | {1e3 * one['torch']:.1f} "
        f"| {batch / many['keras']:.0f} | {batch / many['torch']:.0f} "
        f"| **{many['torch'] / many['keras']:.2f}** "
        f"| {batch / train['keras']:.0f} | {batch / train['torch']:.0f} "
        f"| **{train['torch'] / train['keras']:.2f}** |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three models, few repetitions")
    parser.add_argument("--models", nargs="+", choices=NAMES, help="only these models")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    names = arguments.models or (QUICK if arguments.quick else NAMES)
    rounds, seconds = (2, 0.3) if arguments.quick else (5, 0.8)
    print(
        f"Keras {keras.__version__} on {keras.config.backend()}, torch {torch.__version__}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads; "
        f"1 channel, 2 classes; 2D {SHAPES[2][:-1]} in batches of {BATCHES[2]}, "
        f"3D {SHAPES[3][:-1]} in batches of {BATCHES[3]}\n"
    )
    print(
        "| model | parameters | M mult-acc | one patch, ms: Keras | torch "
        "| predict, patches/s: Keras | torch | ratio "
        "| train, patches/s: Keras | torch | ratio |"
    )
    print("|---|" + "---:|" * 10)
    for name in names:
        print(measure(get_model(name), rounds, seconds), flush=True)


if __name__ == "__main__":
    main()
