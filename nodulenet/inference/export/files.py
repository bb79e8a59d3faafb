"""A Keras model as an ONNX or OpenVINO file, float32, for any number of patches.

Both come from the same frozen TensorFlow graph. The input is called ``patches``, float32
(n, [z,] y, x, channels); the output ``probabilities``, float32 (n, classes).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from nodulenet.atomic import atomic_path
from nodulenet.errors import MissingDependencyError, NoduleNetError
from nodulenet.inference.export.graph import INPUT, freeze
from nodulenet.inference.openvino_import import import_openvino

# The highest that tf2onnx 1.17 writes; ONNX Runtime since 1.14 reads it.
OPSET = 18


def export_onnx(model: Any, path: str | Path, input_shape: Sequence[int]) -> Path:
    """Write a model as one ``.onnx`` file.

    Args:
        model: a Keras model on TensorFlow, float32.
        path: the file.
        input_shape: ([z,] y, x, channels) of a patch.

    Returns:
        The file.

    Raises:
        UsageError: as `nodulenet.inference.export.graph.freeze`.
        MissingDependencyError: onnx or tf2onnx is not installed.
        NoduleNetError: the file would not be a valid model.
    """
    try:
        onnx: Any = import_module("onnx")
        convert: Any = import_module("tf2onnx.convert")
    except ImportError as error:
        raise MissingDependencyError(
            "export to ONNX needs onnx and tf2onnx: pip install 'nodulenet[export]'"
        ) from error
    graph = freeze(model, input_shape)
    with _quiet("tf2onnx", "tensorflow"):
        written, _ = convert.from_graph_def(
            graph.definition,
            input_names=[f"{INPUT}:0"],
            output_names=[f"{name}:0" for name in graph.outputs],
            opset=OPSET,
        )
    _name_plainly(written.graph, (INPUT, *graph.outputs))
    try:
        onnx.checker.check_model(written)
    except onnx.checker.ValidationError as error:
        raise NoduleNetError(
            f"{path}: tf2onnx wrote no valid ONNX model ({str(error).splitlines()[0]}); a defect, "
            f"please report it; export to openvino meanwhile"
        ) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(written.SerializeToString())
    return Path(path)


def export_openvino(model: Any, path: str | Path, input_shape: Sequence[int]) -> Path:
    """Write a model for OpenVINO: ``path`` (``.xml``) and its weights in ``.bin`` beside it.

    Args:
        model: a Keras model on TensorFlow, float32.
        path: the ``.xml`` file.
        input_shape: ([z,] y, x, channels) of a patch.

    Returns:
        The ``.xml`` file.

    Raises:
        UsageError: as `nodulenet.inference.export.graph.freeze`.
        MissingDependencyError: openvino is not installed.
    """
    openvino = import_openvino()
    graph = freeze(model, input_shape)
    target = Path(path).with_suffix(".xml")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".openvino.") as name:
        folder = Path(name)
        (folder / "graph.pb").write_bytes(graph.definition.SerializeToString())
        read = openvino.Core().read_model(folder / "graph.pb")
        read.inputs[0].set_names({INPUT})
        ordered = {next(iter(_plain(o.get_names()) & set(graph.outputs))): o for o in read.outputs}
        for output_name, output in ordered.items():
            output.set_names({output_name})
        # In the model's order, whatever the reader made of it.
        results = [ordered[output_name].get_node() for output_name in graph.outputs]
        read = openvino.Model(results, read.get_parameters())
        # Its default would round the weights to half precision.
        openvino.save_model(read, folder / "model.xml", compress_to_fp16=False)
        # The .xml last: it is what is looked for.
        for suffix in (".bin", ".xml"):
            (folder / f"model{suffix}").replace(target.with_suffix(suffix))
    return target


def _plain(names: set[str]) -> set[str]:
    """TensorFlow's names of tensors without the number of the output."""
    return {name.partition(":")[0] for name in names}


def _name_plainly(graph: Any, names: Sequence[str]) -> None:
    """Call inputs and outputs ``patches``, not ``patches:0``, and the number of patches ``n``."""
    plain = {f"{name}:0": name for name in names}
    for value in (*graph.input, *graph.output):
        value.name = plain.get(value.name, value.name)
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    for node in graph.node:
        for tensors in (node.input, node.output):
            for i, tensor in enumerate(tensors):
                tensors[i] = plain.get(tensor, tensor)


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Without lines on how loggers' packages work inside."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
