"""Our engines beside ONNX Runtime and OpenVINO used by hand on the same model, in one run.

    python benchmarks/engines.py            all cases, a few minutes on two quiet cores
    python benchmarks/engines.py --quick    one batch size, few repetitions

Warm, two threads (``--threads``). All take turns and the best call of each counts, because on a
busy machine the median measures the neighbours. By hand means:

- ``ort``: an InferenceSession with the same number of threads, the file as tf2onnx gives it;
- ``ov``: compiled for latency in float32, any number of patches;
- ``ov static``: the same, compiled for just this batch;
- ``ov streams``: for throughput, a request a patch, several at a time.

Each engine's ratio is against the best of these, above 1 meaning that ours is faster; the last
column is the engine that parity and speed would choose. All in float32.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from nodulenet.inference.engines import KERAS, ONNX, OPENVINO, Engine, KerasEngine, open_engine
from nodulenet.inference.export.files import export_onnx, export_openvino
from nodulenet.inference.export.parity import ParityReport, check_parity, choose_engine
from nodulenet.inference.openvino_import import import_openvino
from nodulenet.models.registry import build_model
from nodulenet.training.backend import keras
from nodulenet.training.unit import set_threads

CASES = {
    "v2_3d 32^3": ("squeezenodule_v2_3d", (32, 32, 32, 1)),
    "v2_3d 64^3": ("squeezenodule_v2_3d", (64, 64, 64, 1)),
    "v2 64^2": ("squeezenodule_v2", (64, 64, 1)),
}
Call = Callable[[], np.ndarray]


def alternate(calls: dict[str, Call], rounds: int, seconds: float) -> dict[str, float]:
    """Best seconds of one call each, the calls taking turns for about ``seconds`` a turn."""
    for call in calls.values():
        for _ in range(3):
            call()
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            until = time.perf_counter() + seconds
            while True:
                begin = time.perf_counter()
                call()
                end = time.perf_counter()
                best[name] = min(best[name], end - begin)
                if end > until:
                    break
    return best


def by_hand(onnx: Path, xml: Path, x: np.ndarray, threads: int) -> dict[str, Call]:
    """The peers, as someone who knows both libraries would use them."""
    import onnxruntime

    openvino = import_openvino()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    latency = {**settings, "PERFORMANCE_HINT": "LATENCY"}
    dynamic = core.compile_model(core.read_model(xml), "CPU", latency)
    fixed = core.read_model(xml)
    fixed.reshape(list(x.shape))
    static = core.compile_model(fixed, "CPU", latency)
    single = core.read_model(xml)
    single.reshape([1, *x.shape[1:]])
    throughput = {**settings, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads}
    streams = core.compile_model(single, "CPU", throughput)
    queue = openvino.AsyncInferQueue(streams, threads)
    answers: Any = np.empty((len(x), 2), dtype=np.float32)

    def note(request: Any, row: int) -> None:
        answers[row] = request.get_output_tensor(0).data[0]

    queue.set_callback(note)

    def in_streams() -> np.ndarray:
        for row in range(len(x)):
            queue.start_async([x[row : row + 1]], row, share_inputs=True)
        queue.wait_all()
        return answers.copy()

    return {
        "ort": lambda: session.run(None, {feed: x})[0],
        "ov": lambda: dynamic([x], share_inputs=True)[0],
        "ov static": lambda: static([x], share_inputs=True)[0],
        "ov streams": in_streams,
    }


def measure(case: str, batch: int, threads: int, rounds: int, seconds: float) -> str:
    name, shape = CASES[case]
    keras.utils.set_random_seed(0)
    model = build_model(name, shape, 2)
    x = np.random.default_rng(0).uniform(size=(batch, *shape)).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        onnx = export_onnx(model, Path(folder) / "a.onnx", shape)
        xml = export_openvino(model, Path(folder) / "a.xml", shape)
        engines: dict[str, Engine] = {
            KERAS: KerasEngine(model),
            ONNX: open_engine(ONNX, onnx, threads=threads),
            OPENVINO: open_engine(OPENVINO, xml, threads=threads),
        }
        ours: dict[str, Call] = {
            n: (lambda engine=engine: engine.predict(x))  # type: ignore[misc]
            for n, engine in engines.items()
        }
        peers = by_hand(onnx, xml, x, threads)
        answers = {n: call() for n, call in {**ours, **peers}.items()}
        took = alternate({**ours, **peers}, rounds, seconds)
    for n, answer in answers.items():
        if np.abs(answer - answers[KERAS]).max() > 1e-4:
            raise SystemExit(f"{case}: {n} answers otherwise; no comparison is possible")
    best = min(peers, key=lambda n: took[n])
    rows = tuple(
        check_parity(
            [answers[KERAS][None]], [answers[n][None]], engine=n, patches_per_s=batch / took[n]
        )
        for n in engines
    )
    chosen = choose_engine(engines, ParityReport("generated patches", "this machine", rows))
    speeds = " | ".join(f"{batch / took[n]:.0f}" for n in (*ours, *peers))
    ratios = " | ".join(f"{took[best] / took[n]:.2f}" for n in ours)
    ratio = took[best] / took[chosen]
    return f"| {case} | {batch} | {speeds} | {ratios} | {best} | **{chosen} {ratio:.2f}** |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one batch size, few repetitions")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    batches = (16,) if arguments.quick else (1, 16, 64)
    rounds, seconds = (2, 0.2) if arguments.quick else (6, 0.6)
    import onnxruntime

    version = import_openvino().__version__
    print(
        f"Keras {keras.__version__} on {keras.backend.backend()}, onnxruntime "
        f"{onnxruntime.__version__}, openvino {version.split('-')[0]}; {os.cpu_count()} cores, "
        f"{arguments.threads} threads; float32\n"
    )
    names = ("keras", "onnx", "openvino", "ort", "ov", "ov static", "ov streams")
    print(
        "| case | batch | " + " | ".join(f"{n}, patches/s" for n in names) + " | keras / best by "
        "hand | onnx / best | openvino / best | best by hand | chosen |"
    )
    print("|---|" + "---:|" * 11 + "---|---|")
    for case in arguments.cases:
        for batch in batches:
            print(measure(case, batch, arguments.threads, rounds, seconds), flush=True)


if __name__ == "__main__":
    main()
