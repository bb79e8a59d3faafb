"""Exported models of the registry answer as Keras does; nothing else is imported for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodulenet.errors import BundleError, UsageError
from nodulenet.inference.engines import KerasEngine, cpu_computes_bf16, open_engine, piece_size
from nodulenet.inference.export.files import export_onnx, export_openvino
from nodulenet.inference.export.parity import check_parity
from nodulenet.models.registry import build_model, list_models
from nodulenet.training.familiarity import with_features

WRITERS: dict[str, tuple[Callable[..., Path], str]] = {
    "onnx": (export_onnx, ".onnx"),
    "openvino": (export_openvino, ".xml"),
}
PACKAGES = {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "openvino": ("openvino",)}


def need(name: str) -> None:
    """Skip where a format's packages are absent."""
    if name == "openvino":
        # importorskip would import it, and with it what import_openvino keeps out.
        from importlib.util import find_spec

        if find_spec(name) is None:
            pytest.skip("needs openvino: pip install 'nodulenet[export]'")
        return
    for package in PACKAGES[name]:
        pytest.importorskip(package, reason=f"needs {package}: pip install 'nodulenet[export]'")


def spread_out(model: Any, seed: int = 0) -> Any:
    """Weights under which outputs vary: He-normal kernels, statistics that are not 0 and 1."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "kernel" in weight.path:
            values = rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        elif "variance" in weight.path or "gamma" in weight.path:
            values = rng.uniform(0.5, 1.5, shape)
        elif "seed" in weight.path:
            continue
        else:
            values = rng.normal(0, 0.1, shape)
        weight.assign(values.astype("float32"))
    return model


def some_patches(shape: tuple[int, ...], count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(1)
    # Of different brightness, so that models whose outputs hardly vary are found out.
    bright = rng.uniform(0.1, 3, (count, *[1] * len(shape)))
    return (rng.uniform(0, 1, (count, *shape)) * bright).astype("float32")


# Pooling: even, odd and mixed lengths; 2D, 2.5D as three channels, 3D; every kind of head.
CASES: list[tuple[str, tuple[int, ...], int, dict[str, Any]]] = [
    ("squeezenodule_v1", (32, 32, 1), 2, {"normalization": "batch", "dropout_rate": 0.5}),
    ("squeezenet_1.0_bypass", (35, 35, 3), 3, {"head_activation": "relu"}),
    ("squeezenodule_v2_3d", (22, 33, 24, 1), 2, {"normalization": "group"}),
    ("squeezenet_1.1_3d", (24, 24, 24, 1), 1, {"normalization": "batch"}),
]
# The published ReLU before the softmax would leave some random models with one answer for all.
OPTIONS = {"normalization": "batch", "head_activation": "linear"}
OTHERS = [
    (name, (30, 27, 25, 2) if name.endswith("3d") else (41, 36, 3), 2, OPTIONS)
    for name in list_models()
    if name not in [case[0] for case in CASES]
]


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options"),
    [*CASES, *[pytest.param(*case, marks=[pytest.mark.slow, pytest.mark.long]) for case in OTHERS]],
)
@pytest.mark.parametrize("engine", WRITERS)
def test_an_exported_model_answers_as_keras(
    engine: str,
    name: str,
    shape: tuple[int, ...],
    classes: int,
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    need(engine)
    model = spread_out(build_model(name, shape, classes, **options))
    if name.startswith("resnet"):
        # Additions make large features; saturated probabilities would hide differences.
        model.weights[-2].assign(model.weights[-2] * 0.2)
    write, suffix = WRITERS[engine]
    opened = open_engine(engine, write(model, tmp_path / f"model{suffix}", shape), threads=1)
    x = some_patches(shape)
    expected = KerasEngine(model).predict(x)
    assert np.ptp(expected, axis=0).max() > 1e-3  # else everything would pass
    row = check_parity([expected[None]], [opened.predict(x)[None]], engine=engine)
    assert row.passed, row
    assert opened.input_shape == shape
    # Any number of patches; one that stands alone answers as in company.
    np.testing.assert_allclose(opened.predict(x[2:3]), expected[2:3], atol=1e-5)
    assert opened.predict(x[:0]).shape == (0, classes)
    many = np.concatenate([x] * 14)
    assert len(many) > piece_size(shape)
    np.testing.assert_allclose(opened.predict(many), np.concatenate([expected] * 14), atol=1e-5)


@pytest.mark.parametrize("engine", WRITERS)
def test_further_outputs_follow_the_probabilities(engine: str, tmp_path: Path) -> None:
    """The features before the head, which tell how far a patch is from the training."""
    need(engine)
    shape = (24, 24, 1)
    model = spread_out(build_model("squeezenodule_v2", shape))
    both = with_features(model)
    write, suffix = WRITERS[engine]
    opened = open_engine(engine, write(both, tmp_path / f"a{suffix}", shape))
    x = some_patches(shape)
    expected = KerasEngine(both).outputs(x)
    found = opened.outputs(x)
    assert expected[1].shape == (5, *both.outputs[1].shape[1:])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_fault_of_one_weight_does_not_pass(tmp_path: Path) -> None:
    need("openvino")
    shape = (24, 24, 1)
    model = spread_out(build_model("squeezenodule_v2", shape))
    x = some_patches(shape)
    expected = KerasEngine(model).predict(x)
    bias = model.get_layer("conv10").bias
    bias.assign(bias + np.array([0.01, 0], dtype="float32"))
    opened = open_engine("openvino", export_openvino(model, tmp_path / "a.xml", shape))
    assert not check_parity([expected[None]], [opened.predict(x)[None]], engine="openvino").passed


def test_float32_is_asked_for_and_bf16_only_on_demand(tmp_path: Path) -> None:
    need("openvino")
    shape = (32, 32, 1)
    model = spread_out(build_model("squeezenodule_v1", shape))
    file = export_openvino(model, tmp_path / "a.xml", shape)
    x = some_patches(shape, 16)
    expected = KerasEngine(model).predict(x)
    assert np.abs(open_engine("openvino", file).predict(x) - expected).max() < 1e-5
    if not cpu_computes_bf16():
        with pytest.raises(UsageError, match="no bfloat16"):
            open_engine("openvino", file, precision="bf16")
        return
    # bfloat16 has eight binary digits: were it float32, it would be nearer.
    assert (
        np.abs(open_engine("openvino", file, precision="bf16").predict(x) - expected).max() > 1e-5
    )


OFFLINE = """
import sys
import numpy as np
from nodulenet.inference.engines import installed_engines, open_engine
from nodulenet.inference.export.listing import chosen_engine, open_exported, read_listing
assert chosen_engine(sys.argv[1], "m", []) == ("keras", ())
x = np.load(sys.argv[1] + "/x.npy")
for name, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
    if name in installed_engines():
        y = open_engine(name, sys.argv[1] + "/model" + suffix, threads=1).predict(x)
        np.save(sys.argv[1] + f"/{name}.npy", y)
heavy = {"tensorflow", "torch", "keras", "monai", "sklearn", "pandas", "openvino_telemetry"}
print(sorted(heavy & set(sys.modules)))
"""


def test_engines_import_no_framework_and_no_telemetry(tmp_path: Path) -> None:
    for name in WRITERS:
        need(name)
    shape = (24, 24, 1)
    model = spread_out(build_model("squeezenodule_v2", shape))
    for write, suffix in WRITERS.values():
        write(model, tmp_path / f"model{suffix}", shape)
    x = some_patches(shape)
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    for name in WRITERS:
        np.testing.assert_allclose(
            np.load(tmp_path / f"{name}.npy"), KerasEngine(model).predict(x), atol=1e-5
        )


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    need("openvino")
    model = build_model("squeezenodule_v2", (None, None, 1))
    with pytest.raises(UsageError, match=r"takes patches of \(None, None, 1\)"):
        export_openvino(model, tmp_path / "a.xml", (24, None, 1))
    half = build_model("squeezenodule_v2", (24, 24, 1), dtype="mixed_bfloat16")
    with pytest.raises(UsageError, match="computes in bfloat16"):
        export_openvino(half, tmp_path / "a.xml", (24, 24, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "precision", "match"),
    [
        ("tensorrt", "f32", "expected one of openvino, onnx, keras"),
        ("onnx", "bf16", "only the openvino engine"),
        ("openvino", "fp8", "expected one of f32, bf16"),
    ],
)
def test_unknown_engines_and_precisions_are_refused(
    name: str, precision: str, match: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=match):
        open_engine(name, tmp_path / "a", precision=precision)


@pytest.mark.parametrize(("name", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_a_damaged_file_and_a_wrong_shape_are_refused(
    name: str, suffix: str, tmp_path: Path
) -> None:
    need(name)
    file = tmp_path / f"a{suffix}"
    file.write_text("<net>")
    with pytest.raises(BundleError, match="export it again"):
        open_engine(name, file)
    model = build_model("squeezenodule_v2", (24, 24, 1))
    opened = open_engine(name, WRITERS[name][0](model, tmp_path / f"b{suffix}", (24, 24, 1)))
    with pytest.raises(UsageError, match=r"expected \(n, 24, 24, 1\)"):
        opened.predict(np.zeros((2, 24, 25, 1)))
