"""Speed of V2 on every backend that is installed, on the devices that it finds, in one run.

    python benchmarks/backends.py           each backend in a process of its own
    python benchmarks/backends.py --quick   fewer patches

Needs Keras and the backend alone: no TensorFlow where TensorFlow is not the backend. Printed are
patches a second of training (batches of 32) and of prediction (batches of 256), 64^2 and 32^3, and
each backend's training as a ratio to the first one's. Random patches: nothing is learned.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

BACKENDS = ("tensorflow", "torch", "jax")
SHAPES = {"squeezenodule_v2": (64, 64, 1), "squeezenodule_v2_3d": (32, 32, 32, 1)}


def measure(patches: int) -> dict[str, Any]:
    """In this process, with the backend of ``KERAS_BACKEND``: patches a second by model."""
    import keras
    import numpy as np

    from nodulenet.doctor.backends import probe
    from nodulenet.models.registry import build_model

    random = np.random.default_rng(0)
    found: dict[str, Any] = {"keras": keras.__version__}
    found |= probe(keras.backend.backend(), keras=False)
    for name, shape in SHAPES.items():
        options = {"normalization": "batch", "head_activation": None}
        model = build_model(name, shape, 2, kernel_initializer="he_normal", **options)
        x = random.random((patches, *shape), dtype=np.float32)
        y = random.integers(0, 2, patches)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x[:256], y[:256], batch_size=32, verbose=0)  # tracing, compiling
        model.predict(x[:256], batch_size=256, verbose=0)
        begin = time.perf_counter()
        model.fit(x, y, batch_size=32, verbose=0)
        trained = time.perf_counter()
        answers = model.predict(x, batch_size=256, verbose=0)
        end = time.perf_counter()
        if not np.isfinite(answers).all():
            raise SystemExit(f"{name}: answers that are not finite")
        found[name] = {"train": patches / (trained - begin), "predict": patches / (end - trained)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="512 patches instead of 4,096")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    patches = 512 if arguments.quick else 4096
    if arguments.one:
        print("\n" + json.dumps(measure(patches)))
        return
    first: dict[str, Any] = {}
    for backend in BACKENDS:
        if find_spec(backend) is None:
            print(f"{backend}: not installed")
            continue
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, __file__, "--one", *(["--quick"] * arguments.quick)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{backend}: {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        first = first or found
        devices = ", ".join(found["gpus"]) or "CPU"
        print(f"{backend} {found['version']}, Keras {found['keras']}, {devices}")
        for name in SHAPES:
            speed, ratio = found[name], found[name]["train"] / first[name]["train"]
            print(
                f"  {name:20} train {speed['train']:8,.0f} patches/s ({ratio:.2f} of the first), "
                f"predict {speed['predict']:8,.0f} patches/s"
            )


if __name__ == "__main__":
    main()
