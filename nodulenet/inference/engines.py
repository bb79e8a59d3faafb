"""What computes a model's answer: Keras, ONNX Runtime or OpenVINO behind one small interface.

An engine imports what it computes with and nothing else: with the ``onnx`` and ``openvino``
engines neither Keras nor TensorFlow nor torch is loaded, which saves seconds at a cold start.

Example:
    >>> engine = open_engine("openvino", "model.xml", threads=2)  # doctest: +SKIP
    >>> engine.predict(inputs)  # float32 (n, [z,] y, x, c) in, (n, classes) out  # doctest: +SKIP
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nodulenet.cpus import usable_cpus
from nodulenet.errors import BundleError, MissingDependencyError, UsageError
from nodulenet.inference.openvino_import import import_openvino

Floats = npt.NDArray[np.float32]

KERAS, ONNX, OPENVINO = "keras", "onnx", "openvino"
ENGINES = (OPENVINO, ONNX, KERAS)
"""All engines; where two are equally fast, the first is taken. Keras costs a long import."""
F32, BF16 = "f32", "bf16"
PRECISIONS = (F32, BF16)

_PACKAGES = {KERAS: "keras", ONNX: "onnxruntime", OPENVINO: "openvino"}
# Patches are computed in pieces of at most so many voxels, or of so many patches: the features of
# the first layers take some hundred times the memory of the patch.
_PIECE_VOXELS = 2**21
_PIECE_PATCHES = 64


class Engine(ABC):
    """One model, ready to answer.

    Attributes:
        name: ``keras``, ``onnx`` or ``openvino``.
        precision: what it computes in, ``f32`` or ``bf16``.
        input_shape: ([z,] y, x, channels) of one patch; None for a length that may vary.
    """

    name: str
    precision: str = F32
    input_shape: tuple[int | None, ...]

    def predict(self, inputs: npt.ArrayLike) -> Floats:
        """The model's probabilities.

        Args:
            inputs: (n, [z,] y, x, channels), windowed to [0, 1].

        Returns:
            float32 (n, classes).

        Raises:
            UsageError: inputs of another shape.
        """
        return self.outputs(inputs)[0]

    def outputs(self, inputs: npt.ArrayLike) -> tuple[Floats, ...]:
        """All outputs of a model that has several, probabilities first; inputs as `predict`."""
        x = np.ascontiguousarray(inputs, dtype=np.float32)
        fits = x.ndim == len(self.input_shape) + 1 and all(
            expected in (None, found)
            for expected, found in zip(self.input_shape, x.shape[1:], strict=True)
        )
        if not fits:
            raise UsageError(
                f"{self.name} engine: inputs are {x.shape}, expected (n, "
                f"{', '.join('any' if n is None else str(n) for n in self.input_shape)})"
            )
        if not len(x):
            shape = (1, *x.shape[1:])
            return tuple(part[:0] for part in self._run(np.zeros(shape, dtype=np.float32)))
        size = piece_size(x.shape[1:])
        pieces = [self._run(x[start : start + size]) for start in range(0, len(x), size)]
        if len(pieces) == 1:
            return pieces[0]
        return tuple(np.concatenate(parts) for parts in zip(*pieces, strict=True))

    @abstractmethod
    def _run(self, piece: Floats) -> tuple[Floats, ...]:
        """All outputs for a few patches, as arrays of their own."""


def piece_size(shape: Sequence[int]) -> int:
    """How many patches of a shape ([z,] y, x, channels) are computed at a time."""
    return int(np.clip(_PIECE_VOXELS // max(1, int(np.prod(shape[:-1]))), 1, _PIECE_PATCHES))


class KerasEngine(Engine):
    """A loaded Keras model, on whatever backend Keras runs."""

    name = KERAS

    def __init__(self, model: Any) -> None:
        self.model = model
        self.input_shape = tuple(model.input_shape[1:])

    def _run(self, piece: Floats) -> tuple[Floats, ...]:
        # predict_on_batch is about twice as fast as predict on patches of this size.
        found = self.model.predict_on_batch(piece)
        several = found if isinstance(found, list | tuple) else [found]
        return tuple(np.asarray(part, dtype=np.float32) for part in several)


class OnnxEngine(Engine):
    """An ONNX file on the CPU with ONNX Runtime."""

    name = ONNX

    def __init__(self, file: Path, threads: int | None = None) -> None:
        try:
            # By name: type checkers need not find it.
            onnxruntime: Any = import_module("onnxruntime")
        except ImportError as error:
            raise MissingDependencyError(
                "the onnx engine needs onnxruntime: pip install 'nodulenet[export]'"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cpus()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            # From the bytes: such a model cannot ask for further files.
            self._session = onnxruntime.InferenceSession(
                file.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except OSError:
            raise
        except Exception as error:  # its classes have no common base of their own
            raise _unreadable(file, error) from error
        self._input = self._session.get_inputs()[0].name
        self.input_shape = tuple(
            n if isinstance(n, int) else None for n in self._session.get_inputs()[0].shape[1:]
        )

    def _run(self, piece: Floats) -> tuple[Floats, ...]:
        return tuple(self._session.run(None, {self._input: piece}))


class OpenVinoEngine(Engine):
    """An OpenVINO model on the CPU.

    Args:
        file: the ``.xml``; its ``.bin`` lies beside it.
        precision: OpenVINO's own default on recent CPUs is bfloat16, without a word; here it is
            ``f32`` unless ``bf16`` is asked for.
        threads: CPU threads. Defaults to all usable ones.

    Raises:
        UsageError: ``bf16`` on a CPU that cannot compute with it.
        BundleError: the file cannot be read.
    """

    name = OPENVINO

    def __init__(self, file: Path, precision: str = F32, threads: int | None = None) -> None:
        core = _openvino_core()
        self.precision = precision
        if precision == BF16 and not cpu_computes_bf16():
            raise UsageError("precision bf16: this CPU has no bfloat16 instructions; use f32")
        if not file.is_file():
            raise BundleError(f"{file}: there is no such file")
        try:
            model = core.read_model(file)
            self._compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": precision,
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_NUM_THREADS": threads or usable_cpus(),
                },
            )
        except RuntimeError as error:
            raise _unreadable(file, error) from error
        self._request = self._compiled.create_infer_request()
        shape = self._compiled.inputs[0].get_partial_shape()
        self.input_shape = tuple(None if n.is_dynamic else n.get_length() for n in list(shape)[1:])

    def _run(self, piece: Floats) -> tuple[Floats, ...]:
        found = self._request.infer([piece], share_inputs=True, share_outputs=False)
        return tuple(found[output] for output in self._compiled.outputs)


def open_engine(
    name: str, file: str | Path, *, precision: str = F32, threads: int | None = None
) -> Engine:
    """A model file as an engine.

    Args:
        name: ``keras``, ``onnx`` or ``openvino``.
        file: ``.keras``, ``.onnx`` or ``.xml``, as the engine needs it.
        precision: ``f32``, or ``bf16`` with ``openvino`` only. Defaults to ``f32``.
        threads: CPU threads. Defaults to all usable ones, for ``keras`` to what TensorFlow
            takes; there it counts for the whole process and must come before anything else
            is computed.

    Raises:
        UsageError: an unknown engine or precision, or one that does not have the other.
        MissingDependencyError: its package is not installed.
        BundleError: the file is damaged.
    """
    if name not in ENGINES:
        raise UsageError(f"engine {name!r}: expected one of {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if precision == BF16 and name != OPENVINO:
        raise UsageError(f"precision bf16: only the openvino engine has it, not {name}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; expected at least 1")
    if name == ONNX:
        return OnnxEngine(Path(file), threads)
    if name == OPENVINO:
        return OpenVinoEngine(Path(file), precision, threads)
    return _keras_engine(Path(file), threads)


def installed_engines() -> tuple[str, ...]:
    """The engines whose package is installed, in the order of `ENGINES`; nothing is imported."""
    return tuple(name for name in ENGINES if find_spec(_PACKAGES[name]) is not None)


def _keras_engine(file: Path, threads: int | None) -> KerasEngine:
    # Imported here: they bring Keras. The models' package registers the classes of saved models.
    import nodulenet.models  # noqa: F401
    from nodulenet.training.backend import keras
    from nodulenet.training.unit import set_threads

    set_threads(threads)
    try:
        return KerasEngine(keras.models.load_model(file, compile=False, safe_mode=True))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _unreadable(file, error) from error


@lru_cache(maxsize=1)
def _openvino_core() -> Any:
    """One for all models: each new one would load its plugins again."""
    return import_openvino().Core()


def cpu_computes_bf16() -> bool:
    """Whether OpenVINO can compute in bfloat16 on this machine."""
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _unreadable(file: Path, error: Exception) -> BundleError:
    text = " ".join(str(error).split())[:200]
    return BundleError(
        f"{file}: cannot be loaded as a model ({type(error).__name__}: {text}); export it again"
    )
