"""Models of other packages: the documented example, installed as pip would, and broken ones."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from nodulenet.config.schema import ModelConfig
from nodulenet.errors import UsageError
from nodulenet.models import check_classifier
from nodulenet.models.built_cost import built_cost
from nodulenet.models.entry import OPTION_DEFAULTS
from nodulenet.models.registry import (
    build_model,
    describe_models,
    get_model,
    list_models,
    models_table,
)

Install = Callable[..., None]


def write_package(site: Path, package: str, entry_points: str, source: str) -> None:
    """What ``pip install`` leaves: a module and its metadata."""
    (site / f"{package}.py").write_text(source, encoding="utf-8")
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[nodulenet.models]\n{entry_points}\n")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """``install(package, entry_points, source)`` makes it importable during the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(package: str, entry_points: str, source: str) -> None:
        monkeypatch.delitem(sys.modules, package, raising=False)
        write_package(tmp_path, package, entry_points, source)

    return write


@pytest.fixture(scope="module")
def documented(repository: Path) -> dict[str, str]:
    """The blocks of the documented package."""
    text = (repository / "docs" / "own_models.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(toml|python)\n(.*?)```", text, flags=re.DOTALL)
    return {"toml": blocks[0][1], "python": blocks[1][1], "use": blocks[2][1]}


def test_the_documented_package_works(documented: dict[str, str], install: Install) -> None:
    project = tomllib.loads(documented["toml"])["project"]
    (name, value), *_ = project["entry-points"]["nodulenet.models"].items()
    assert value == "lung_models.small:build"
    install("documented_small", f"{name} = documented_small:build", documented["python"])
    assert list_models()[-1] == name == "small_net"
    entry = get_model(name)
    assert (entry.rank, entry.minimum_extent, entry.parameters) == (2, 16, None)
    assert entry.description == "four strided convolutions with gates"
    exec(documented["use"], namespace := {})
    model = namespace["model"]
    assert model.layers[-2].rate == 0.3
    # 3x3 kernels 1-16-32-64-64 at 32, 16, 8 and 4 squared.
    macs = 9 * (16 * 32**2 + 16 * 32 * 16**2 + 32 * 64 * 8**2 + 64 * 64 * 4**2) + 64 * 2
    assert entry.multiply_accumulates((64, 64, 1)) == macs
    assert entry.parameter_count((64, 64, 1)) == built_cost(model, (64, 64, 1)).parameters
    assert name not in models_table(), "the README shows ours only"


@pytest.mark.long
def test_a_saved_file_loads_where_its_package_is_registered(
    documented: dict[str, str], tmp_path: Path
) -> None:
    write_package(
        tmp_path, "documented_again", "again = documented_again:build", documented["python"]
    )
    code = (
        f"import sys; sys.path.append({str(tmp_path)!r})\nimport keras\n"
        "from nodulenet.models import build_model, register_own_model\n"
        "file = sys.argv[1]\n"
        "if len(sys.argv) > 2: register_own_model(sys.argv[2])\n"
        "else: build_model('again', (16, 16, 1)).save(file)\n"
        "keras.models.load_model(file, safe_mode=True)\n"
    )
    file = str(tmp_path / "model.keras")
    for arguments, error in (([], ""), (["again"], ""), (["squeezenet_1.1"], "Gate")):
        done = subprocess.run(
            [sys.executable, "-c", code, file, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == bool(error), done.stderr
        assert error in done.stderr.splitlines()[-1] if error else True, done.stderr


def test_options_are_passed_or_refused_but_never_ignored(install: Install) -> None:
    install(
        "few_options",
        "few = few_options:build\nmany = few_options:many\nstar = few_options:star",
        "import keras\n"
        "def build(input_shape, num_classes, *, dropout_rate=0.1):\n"
        "    inputs = keras.Input(input_shape)\n"
        "    x = keras.layers.Dropout(dropout_rate)(keras.layers.Flatten()(inputs))\n"
        "    x = keras.layers.Dense(num_classes, activation='softmax')(x)\n"
        "    return keras.Model(inputs, x)\n"
        "def many(input_shape, num_classes, **options):\n"
        "    model = build(input_shape, num_classes)\n"
        "    model.given = str(sorted(options))\n"
        "    return model\n"
        "def star(*shape_and_classes, dropout_rate=0.1):\n"
        "    return build(*shape_and_classes, dropout_rate=dropout_rate)\n",
    )
    defaults = {**OPTION_DEFAULTS, "dropout_rate": 0.25}
    for name in ("few", "star"):
        assert build_model(name, (8, 8, 1), **defaults).layers[2].rate == 0.25
    for option, value in (
        ("kernel_regularizer", keras.regularizers.L2(0.1)),
        ("kernel_initializer", "glorot_uniform"),
        ("normalization", "batch"),
        ("head_activation", "relu"),
        ("dtype", "mixed_bfloat16"),
        ("droput_rate", 0.3),
    ):
        message = rf"'few' \(package few_options.*no option '{option}'.*accepts dropout_rate"
        with pytest.raises(UsageError, match=message):
            get_model("few").check_options({option: value})
        with pytest.raises(UsageError, match=message):
            build_model("few", (8, 8, 1), **{option: value})
    assert build_model("many", (8, 8, 1), **defaults).given == str(sorted(OPTION_DEFAULTS))


def test_the_defaults_are_those_of_a_configuration() -> None:
    configured = ModelConfig(name="any")
    assert configured.weight_decay == 0
    for option, value in OPTION_DEFAULTS.items():
        if option not in ("kernel_regularizer", "dtype"):
            assert getattr(configured, option) == value, option


GOOD = "import keras\ndef build(input_shape, num_classes): ...\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_thing_anywhere\n", "could not be loaded: ModuleNotFoundError: No module"),
        ("raise OSError('a\\nb')\n", "could not be loaded: OSError: a. Repair"),
        ("x = 1\n", "could not be loaded: AttributeError"),
        ("build = 3\n", "is no function build"),
        ("def build(input_shape): ...\n", "is no function build.*too many positional"),
        ("def build(input_shape, classes, *, depth): ...\n", "is no function build.*'depth'"),
        (GOOD + "build.rank = '2d'\n", "attribute rank must be 2.*Received: '2d'"),
        (GOOD + "build.minimum_extent = 0\n", "minimum_extent must be a positive"),
    ],
)
def test_a_broken_package_is_one_line_with_its_name(
    source: str, message: str, install: Install
) -> None:
    install("broken_package", "broken = broken_package:build", source)
    assert "broken" in list_models()
    assert describe_models()["broken"] == "of package broken_package, broken_package:build"
    with pytest.raises(UsageError, match=message) as caught:
        get_model("broken")
    assert "'broken' (package broken_package, broken_package:build)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert get_model("squeezenodule_v2").name == "squeezenodule_v2", "the others go on"


def test_an_error_while_building_names_the_package(install: Install) -> None:
    source = "def build(input_shape, num_classes):\n    raise KeyError('depth')\n"
    install("fails_late", "late = fails_late:build", source)
    with pytest.raises(UsageError, match=r"'late' \(package fails_late.*KeyError: 'depth'"):
        build_model("late", (8, 8, 1))


def test_a_model_that_is_not_fresh_is_refused(install: Install) -> None:
    source = (
        "import keras\nmodel = keras.Sequential([keras.Input((8, 8, 1))])\n"
        "def build(input_shape, num_classes):\n    return model\n"
    )
    install("keeps_its_model", "kept = keeps_its_model:build", source)
    first = build_model("kept", (8, 8, 1))
    with pytest.raises(UsageError, match=r"same model twice.*fresh one at every call"):
        build_model("kept", (8, 8, 1))
    assert first.name.startswith("sequential")


def test_a_name_that_is_taken_is_refused(install: Install) -> None:
    install("package_a", "resnet_18 = package_a:build\nsame = package_a:build", GOOD)
    install("package_b", "same = package_b:build", GOOD)
    assert list_models().count("resnet_18") == 1
    with pytest.raises(
        UsageError, match=r"'resnet_18' .*nodulenet itself and by package package_a"
    ):
        get_model("resnet_18")
    with pytest.raises(UsageError, match=r"'same' .*package_[ab].* and by package package_[ab]"):
        get_model("same")
    assert describe_models()["same"].startswith("refused: Model 'same' is offered more than once")


def test_listing_imports_neither_keras_nor_the_package(tmp_path: Path) -> None:
    write_package(tmp_path, "loud", "loud = loud:build", "raise SystemExit('imported')\n")
    code = (
        "import sys\nfrom nodulenet.models.registry import list_models, describe_models\n"
        "print(list_models()[-1], describe_models()['loud'], {'loud', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(tmp_path)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n")[0] == "loud of package loud, loud:build set()", done.stderr


# What training asks of every model -----------------------------------------------------------


def head(*layers: keras.layers.Layer, shape: tuple[int, ...] = (8, 8, 1)) -> keras.Model:
    inputs = x = keras.Input(shape)
    for layer in (keras.layers.Flatten(), *layers):
        x = layer(x)
    return keras.Model(inputs, x, name="net")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("squeezenodule_v2", {}),
        ("resnet_18", {"dtype": "mixed_float16"}),
        ("squeezenet_1.1_3d", {}),
    ],
)
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_our_models_are_classifiers(name: str, options: dict[str, str], classes: int) -> None:
    shape = (24,) * get_model(name).rank + (1,)
    model = build_model(name, shape, classes, **options)
    before = model.get_weights()
    check_classifier(model, shape, classes)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match=rf"expected an output of shape \(n, {classes + 1}\)"):
        check_classifier(model, shape, classes + 1)


class Unregistered(keras.layers.Layer):
    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x


class NotReconstructed(keras.layers.Layer):
    def __init__(self, factor: object) -> None:
        super().__init__()
        self.factor = factor

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x


def softmax(classes: int = 2) -> keras.layers.Layer:
    return keras.layers.Dense(classes, activation="softmax")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: head(keras.layers.Dense(2)), r"probabilities .*summing to 1.*with a softmax"),
        (
            lambda: head(keras.layers.Dense(2, activation="sigmoid")),
            r"summing to 1.*with a softmax",
        ),
        (lambda: head(softmax(), keras.layers.Rescaling(np.nan)), "not all finite"),
        (lambda: head(softmax(), keras.layers.Reshape((2, 1))), r"Received the shape \(2, 2, 1\)"),
        (lambda: head(softmax(), shape=(8, 9, 1)), r"does not take patches of \(8, 8, 1\)"),
        (
            lambda: keras.Model(i := keras.Input((8, 8, 1)), [keras.layers.Flatten()(i)] * 2),
            "Received a list of outputs",
        ),
        (lambda: head(keras.layers.Lambda(lambda x: x), softmax()), "saved and loaded.*Lambda"),
        (lambda: head(NotReconstructed(object()), softmax()), "saved and loaded"),
        (lambda: softmax(), r"Expected a keras.Model. Received a .*Dense"),
    ],
)
def test_what_is_no_classifier_is_refused(build: Callable[[], keras.Model], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        check_classifier(build(), (8, 8, 1), 2)
    assert "\n" not in str(caught.value)


def test_one_class_is_between_0_and_1() -> None:
    check_classifier(head(keras.layers.Dense(1, activation="sigmoid")), (8, 8, 1), 1)
    logits = head(keras.layers.Dense(1, bias_initializer=keras.initializers.Constant(9.0)))
    with pytest.raises(UsageError, match="end the model with a sigmoid"):
        check_classifier(logits, (8, 8, 1), 1)


def test_a_layer_that_is_not_registered_is_refused() -> None:
    with pytest.raises(UsageError, match="register_keras_serializable"):
        check_classifier(head(Unregistered(), softmax()), (8, 8, 1), 2)
