"""`.keras` files, configurations and clones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from nodulenet.models.registry import build_model
from nodulenet.models.squeezenet_v1 import FireModule, SqueezeNetV1
from nodulenet.models.squeezenet_v2 import SimplifiedFireModule, SqueezeNoduleNetV2

SMALL = (24, 24, 1)


def arrays(model: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


# Keras before and after our package, and ours by way of its modules.
ORDERS = {
    "ours first": "import nodulenet.models, keras",
    "keras first": "import keras, nodulenet.models",
    "registry": "import keras; from nodulenet.models.registry import get_model",
    "class": "from nodulenet.models.squeezenet_v2 import SqueezeNoduleNetV2; import keras",
}


@pytest.mark.parametrize(
    "order",
    [pytest.param(o, marks=() if o == "keras first" else pytest.mark.long) for o in ORDERS],
)
def test_a_fresh_process_loads_without_custom_objects(
    order: str, tmp_path: Path, he_initialise: Callable[..., Any]
) -> None:
    model = he_initialise(SqueezeNoduleNetV2(2, input_shape=SMALL, name="saved"))
    path = tmp_path / "model.keras"
    model.save(path)
    x = np.random.default_rng(0).normal(size=(2, *SMALL)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    build_model("resnet_18", SMALL).save(tmp_path / "resnet.keras")
    code = (
        f"{ORDERS[order]}\nimport sys, numpy as np\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "np.save(sys.argv[1] + '/y.npy', model(np.load(sys.argv[1] + '/x.npy')))\n"
        "print(type(model).__name__, model.name, model.fire_modules[0].name)\n"
        "print(type(keras.models.load_model(sys.argv[1] + '/resnet.keras')).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["SqueezeNoduleNetV2", "saved", "simpfire2", "ResNet18"]
    expected = keras.ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-6)


@pytest.mark.slow
def test_without_our_package_keras_cannot_know_the_class(tmp_path: Path) -> None:
    """The test above would prove nothing if Keras found the class by itself."""
    SqueezeNoduleNetV2(2, input_shape=SMALL).save(tmp_path / "model.keras")
    code = "import sys, keras\nkeras.models.load_model(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Could not locate class 'SqueezeNoduleNetV2'" in done.stderr


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (SqueezeNetV1, {"use_bypass": "complex", "normalization": "group"}),
        (SqueezeNetV1, {"variant_config": SqueezeNetV1.MODEL_VARIANTS["1.1"], "num_classes": 1}),
        (SqueezeNetV1, {"head_activation": None, "include_top": False, "pooling": "max"}),
        (SqueezeNoduleNetV2, {"normalization": "batch", "classifier_activation": None}),
        (SqueezeNoduleNetV2, {"use_3d": True, "input_shape": (21, 22, 23, 2)}),
        (SqueezeNoduleNetV2, {"input_shape": (None, None, 3), "head_activation": "relu"}),
        (SqueezeNoduleNetV2, {"dtype": "mixed_bfloat16"}),
    ],
)
def test_every_argument_survives_the_file(
    cls: Any, options: dict[str, Any], tmp_path: Path
) -> None:
    model = cls(
        **{"num_classes": 3, "input_shape": SMALL, "name": "mine", **options},
        dropout_rate=0.3,
        kernel_regularizer=keras.regularizers.L1L2(0.01, 0.02),
        kernel_initializer=keras.initializers.HeNormal(seed=4),
    )
    model.get_layer("conv1").trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is cls
    assert again.get_config() == model.get_config()
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert again.kernel_regularizer.get_config() == model.kernel_regularizer.get_config()
    assert again.kernel_initializer.get_config() == model.kernel_initializer.get_config()
    assert [w.path for w in again.weights] == [w.path for w in model.weights]
    assert [w.path for w in again.trainable_weights] == [w.path for w in model.trainable_weights]
    for one, other in zip(arrays(model), arrays(again), strict=True):
        np.testing.assert_array_equal(one, other)
    for layer, other in zip(model.layers, again.layers, strict=True):
        assert layer.dtype_policy.name == other.dtype_policy.name


def test_explicit_custom_objects_load_too(tmp_path: Path) -> None:
    model = build_model("squeezenet_1.1", SMALL, 5)
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(
        tmp_path / "model.keras",
        custom_objects={
            "SqueezeNetV1": SqueezeNetV1,
            "FireModule": FireModule,
            "SimplifiedFireModule": SimplifiedFireModule,
        },
    )
    assert again.compiled
    assert again.count_params() == model.count_params()


@pytest.mark.parametrize("name", ["squeezenet_1.0_bypass", "squeezenodule_v2"])
def test_config_and_clone_give_a_fresh_model(name: str, tmp_path: Path) -> None:
    model = build_model(name, SMALL, 2)
    again = type(model).from_config(model.get_config())
    assert type(again) is type(model)
    assert again.get_config() == model.get_config()
    # Keras 3.15 clones every functional model to a plain one, whatever its class.
    clone = keras.models.clone_model(model)
    clone.save(tmp_path / "clone.keras")
    for fresh in (again, clone):
        assert [layer.name for layer in fresh.layers] == [layer.name for layer in model.layers]
        assert [w.shape for w in fresh.weights] == [w.shape for w in model.weights]
        assert (arrays(fresh)[0] != arrays(model)[0]).any()
        fresh.set_weights(model.get_weights())
        assert fresh.count_params() == model.count_params()
        x = np.random.default_rng(0).normal(size=(2, *SMALL)).astype("float32")
        np.testing.assert_array_equal(model(x), fresh(x))
    assert keras.models.load_model(tmp_path / "clone.keras").count_params() == model.count_params()


def test_weights_files_load_into_a_fresh_model(tmp_path: Path) -> None:
    model, fresh = (build_model("squeezenodule_v2", SMALL, 2) for _ in range(2))
    model.save_weights(tmp_path / "m.weights.h5")
    fresh.load_weights(tmp_path / "m.weights.h5")
    for one, other in zip(arrays(model), arrays(fresh), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_model_nests_as_a_backbone(tmp_path: Path, he_initialise: Callable[..., Any]) -> None:
    backbone = SqueezeNoduleNetV2(include_top=False, pooling="avg", input_shape=SMALL)
    he_initialise(backbone)
    inputs = keras.Input(SMALL)
    model = keras.Model(inputs, keras.layers.Dense(1)(backbone(inputs)))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, *SMALL)).astype("float32")
    np.testing.assert_array_equal(model(x), again(x))
