"""Arguments, attributes, names, heads and wiring of the two model classes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from nodulenet.models import minimum_spatial_extent
from nodulenet.models.squeezenet_v1 import SqueezeNetV1, create_squeezenet_v1
from nodulenet.models.squeezenet_v2 import SqueezeNoduleNetV2, create_squeezenodule_net_v2

SMALL = (24, 24, 1)
CLASSES = [SqueezeNetV1, SqueezeNoduleNetV2]


def out(model: Any, x: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(x))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("variant", "filters", "bypass", "pools"),
    [
        ("1.0", 96, False, [1, 4, 8]),
        ("1.1", 64, False, [1, 3, 5]),
        ("1.0_bypass", 96, "simple", [1, 4, 8]),
    ],
)
def test_squeezenet_variants(variant: str, filters: int, bypass: Any, pools: list[int]) -> None:
    model = SqueezeNetV1.from_variant(variant, num_classes=10)
    assert model.input_shape == (None, 224, 224, 3)
    assert (model.num_classes, model.conv1_filters, model.use_bypass) == (10, filters, bypass)
    assert model.pool_indices == pools
    assert [p.name for p in model.pool_layers] == [f"pool{n}" for n in pools]
    assert model.use_3d is False
    volume = SqueezeNetV1.from_variant(f"{variant}_3d", num_classes=2)
    assert volume.input_shape == (None, 64, 64, 64, 1)
    assert volume.use_3d is True
    assert (volume.pool_indices, volume.use_bypass) == (pools, bypass)


@pytest.mark.parametrize(
    ("variant", "squeezes"),
    [
        ("v1", [16, 16, 32, 32, 48, 48, 64, 64]),
        ("v2", [32, 32, 64, 64, 96, 96, 64, 64]),
    ],
)
def test_squeezenodule_variants(variant: str, squeezes: list[int]) -> None:
    expands = [64, 64, 128, 128, 192, 192, 256, 256]
    fires = [{"s1x1": s, "e3x3": e} for s, e in zip(squeezes, expands, strict=True)]
    for suffix, shape in (("", (None, 224, 224, 3)), ("_3d", (None, 64, 64, 64, 1))):
        model = SqueezeNoduleNetV2.from_variant(variant + suffix, num_classes=2)
        assert model.fire_configs == fires
        assert model.input_shape == shape
        assert model.use_3d is (suffix == "_3d")
        assert [fire.s1x1 for fire in model.fire_modules] == squeezes
        assert [fire.expand_3x3.filters for fire in model.fire_modules] == expands


def test_attributes_that_others_read() -> None:
    regularizer, initializer = keras.regularizers.L1(0.01), keras.initializers.HeNormal()
    model = SqueezeNetV1(
        num_classes=3,
        dropout_rate=0.2,
        kernel_regularizer=regularizer,
        kernel_initializer=initializer,
        include_top=False,
        input_shape=SMALL,
        use_bypass="simple",
        name="mine",
    )
    assert (model.num_classes, model.dropout_rate, model.name) == (3, 0.2, "mine")
    assert model.kernel_regularizer == regularizer
    assert isinstance(model.kernel_initializer, keras.initializers.HeNormal)
    assert model.include_top is False
    assert model.use_bypass == "simple"
    assert (model.conv1_kernel, model.conv1_stride) == (7, 2)
    assert model.variant_config == SqueezeNetV1.MODEL_VARIANTS["1.0"]
    assert model.fire_configs == SqueezeNetV1.MODEL_VARIANTS["1.0"]["fire_configs"]
    assert len(model.fire_modules) == 8


def test_layer_names_and_order_of_weights() -> None:
    v1 = SqueezeNetV1(2, input_shape=SMALL, use_bypass="simple")
    names = [layer.name for layer in v1.layers]
    assert [n for n in names if n.startswith("fire")] == [f"fire{n}" for n in range(2, 10)]
    assert [n for n in names if n.startswith("add")] == [f"add_fire{n}" for n in (3, 5, 7, 9)]
    assert names[-4:] == ["drop9", "conv10", "globalpool", "predictions"]
    v2 = SqueezeNoduleNetV2(2, input_shape=SMALL)
    assert [f.name for f in v2.fire_modules] == [f"simpfire{n}" for n in range(2, 10)]
    assert [layer.name for layer in v2.head_layers] == names[-4:]
    # conv1, fire2 ... conv10, each kernel before bias.
    paths = [weight.path for weight in v2.weights]
    assert paths[:4] == [
        "conv1/kernel",
        "conv1/bias",
        "simpfire2/squeeze/kernel",
        "simpfire2/squeeze/bias",
    ]
    assert paths[-2:] == ["conv10/kernel", "conv10/bias"]


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a positive integer"),
        ({"num_classes": 2.0}, "num_classes must be a positive integer"),
        ({"dropout_rate": 1.1}, "dropout_rate must be in range"),
        ({"dropout_rate": -0.1}, "dropout_rate must be in range"),
        ({"pooling": "sum", "include_top": False}, "pooling must be one of"),
        ({"pooling": "avg"}, "include_top=False"),
        ({"normalization": "instance"}, "normalization must be one of"),
        ({"input_shape": (20, 24, 1)}, r"axis 0 \(height\) .* length 20, .* minimum .* is 21"),
        ({"input_shape": (64, 64, 20, 1)}, r"axis 2 \(width\) .* length 20"),
    ],
)
def test_wrong_arguments_are_refused(cls: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


@pytest.mark.parametrize("cls", CLASSES)
def test_unknown_variants_and_keywords_are_refused(cls: Any) -> None:
    with pytest.raises(ValueError, match="Unknown variant"):
        cls.from_variant("v9")
    for build in (cls, create_squeezenet_v1, create_squeezenodule_net_v2):
        with pytest.raises(TypeError, match="droput_rate"):
            build(input_shape=SMALL, droput_rate=0.1)


def test_an_unknown_bypass_is_refused() -> None:
    with pytest.raises(ValueError, match="use_bypass must be one of"):
        SqueezeNetV1(input_shape=SMALL, use_bypass="double")


@pytest.mark.parametrize("create", [create_squeezenet_v1, create_squeezenodule_net_v2])
def test_weights_by_name_are_refused_rather_than_random(create: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"No pretrained .* weights"):
        create(weights="imagenet")


def test_use_3d_must_agree_with_the_shape() -> None:
    assert SqueezeNoduleNetV2(2, use_3d=True).input_shape == (None, 64, 64, 64, 1)
    assert SqueezeNoduleNetV2(2, input_shape=(24, 24, 24, 1)).use_3d is True
    assert SqueezeNetV1(2, input_shape=(24, 24, 24, 1)).use_3d is True
    for arguments in (
        {"use_3d": True, "input_shape": (64, 64, 1)},
        {"use_3d": False, "input_shape": (64, 64, 64, 1)},
    ):
        with pytest.raises(ValueError, match="use_3d"):
            SqueezeNoduleNetV2(2, **arguments)
    with pytest.raises(ValueError, match="needs input_shape"):
        SqueezeNoduleNetV2.from_variant("v2_3d", num_classes=2, input_shape=(64, 64, 1))
    with pytest.raises(ValueError, match="needs input_shape"):
        SqueezeNetV1.from_variant("1.1", num_classes=2, input_shape=(64, 64, 64, 1))


def test_squeezenet_1_0_without_top_keeps_the_last_partial_windows() -> None:
    assert SqueezeNetV1(include_top=False).output_shape == (None, 13, 13, 512)
    assert SqueezeNetV1(include_top=False).head_layers == []


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_a_pooled_backbone_reduces_the_feature_map(pooling: str, he_initialise: Any) -> None:
    plain = he_initialise(SqueezeNoduleNetV2(include_top=False, input_shape=(40, 33, 1)))
    pooled = he_initialise(
        SqueezeNoduleNetV2(include_top=False, input_shape=(40, 33, 1), pooling=pooling)
    )
    x = noise(2, 40, 33, 1)
    reduce = np.mean if pooling == "avg" else np.max
    np.testing.assert_allclose(out(pooled, x), reduce(out(plain, x), axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_the_head_is_a_softmax_of_the_logits(cls: Any, classes: int, he_initialise: Any) -> None:
    model = he_initialise(cls(classes, input_shape=SMALL))
    logits = he_initialise(cls(classes, input_shape=SMALL, classifier_activation=None))
    x = noise(3, *SMALL)
    probability, z = out(model, x), out(logits, x)
    np.testing.assert_allclose(probability.sum(axis=1), 1.0, rtol=1e-5)
    expected = np.exp(z - z.max(1, keepdims=True))
    np.testing.assert_allclose(probability, expected / expected.sum(1, keepdims=True), rtol=1e-4)
    assert isinstance(model.head_layers[-1], keras.layers.Activation)
    assert model.head_layers[-1].activation.__name__ == "softmax"
    assert logits.head_layers[-1].activation.__name__ == "linear"


@pytest.mark.parametrize("cls", CLASSES)
def test_one_class_is_one_sigmoid_that_can_say_no(cls: Any, he_initialise: Any) -> None:
    model = he_initialise(cls(1, input_shape=SMALL))
    assert model.head_layers[-1].activation.__name__ == "sigmoid"
    assert model.head_activation is None
    model.get_layer("conv10").bias.assign([-50.0])
    assert (out(model, noise(3, *SMALL)) < 0.5).all()
    with_relu = cls(1, input_shape=SMALL, head_activation="relu")
    assert with_relu.get_layer("conv10").activation.__name__ == "linear"


def test_the_relu_of_the_head_is_v1s_default_only(he_initialise: Any) -> None:
    x = noise(4, *SMALL)
    for cls, activation, clipped in (
        (SqueezeNetV1, "relu", True),
        (SqueezeNoduleNetV2, None, False),
    ):
        model = he_initialise(cls(50, input_shape=SMALL, classifier_activation=None))
        assert model.head_activation == activation
        assert (out(model, x).min() >= 0) is np.bool_(clipped)
        other = None if clipped else "relu"
        changed = cls(50, input_shape=SMALL, classifier_activation=None, head_activation=other)
        assert (out(he_initialise(changed), x).min() >= 0) is np.bool_(not clipped)


def test_simple_bypass_adds_a_fire_modules_input(he_initialise: Any) -> None:
    model = he_initialise(SqueezeNetV1.from_variant("1.0_bypass", 2, (40, 40, 1)))
    maps = model.feature_model()(noise(1, 40, 40, 1))
    for fire, before in (("fire3", "fire2"), ("fire5", "pool4"), ("fire9", "pool8")):
        own = model.get_layer(fire)(maps[before])
        np.testing.assert_allclose(maps[fire], maps[before] + own, rtol=1e-5, atol=1e-5)
    off = SqueezeNetV1.from_variant("1.0_bypass", 2, (40, 40, 1), use_bypass=False)
    assert off.use_bypass is False
    assert not [layer for layer in off.layers if isinstance(layer, keras.layers.Add)]


def test_complex_bypass_convolves_where_the_widths_differ(he_initialise: Any) -> None:
    model = he_initialise(SqueezeNetV1(2, input_shape=(40, 40, 1), use_bypass="complex"))
    bypasses = [layer.name for layer in model.layers if layer.name.startswith("bypass")]
    assert bypasses == [f"bypass_fire{n}" for n in (2, 4, 6, 8)]
    maps = {
        k: keras.ops.convert_to_numpy(v)
        for k, v in model.feature_model()(noise(1, 40, 40, 1)).items()
    }
    layer = model.get_layer("bypass_fire4")
    kernel = keras.ops.convert_to_numpy(layer.kernel)[0, 0]
    expected = (
        keras.ops.convert_to_numpy(model.get_layer("fire4")(maps["fire3"]))
        + maps["fire3"] @ kernel
        + keras.ops.convert_to_numpy(layer.bias)
    )
    np.testing.assert_allclose(maps["fire4"], expected, rtol=1e-4, atol=1e-4)
    assert maps["fire4"].min() < 0, "a complex bypass can be negative, which pooling must respect"


def test_feature_maps_share_the_weights_and_refuse_unknown_stages(he_initialise: Any) -> None:
    model = he_initialise(SqueezeNoduleNetV2(2, input_shape=(24, 24, 1)))
    names = ["conv1", "pool1", *[f"simpfire{n}" for n in (2, 3, 4)], "pool4"]
    assert model.stage_names[:6] == names
    features = model.feature_model(["conv1", "simpfire9"])
    assert {stage: tensor.shape for stage, tensor in features.output.items()} == {
        "conv1": (None, 9, 9, 96),
        "simpfire9": (None, 1, 1, 256),
    }
    x = noise(1, 24, 24, 1)
    before = out_of(features, x, "conv1")
    model.get_layer("conv1").bias.assign(np.full(96, 100.0))
    assert out_of(features, x, "conv1").mean() > before.mean() + 50
    with pytest.raises(ValueError, match=r"Unknown stages \['fire9'\]"):
        model.feature_model(["fire9"])


def out_of(features: Any, x: np.ndarray, stage: str) -> np.ndarray:
    return keras.ops.convert_to_numpy(features(x)[stage])


@pytest.mark.parametrize("normalization", ["batch", "group"])
@pytest.mark.parametrize("cls", CLASSES)
def test_normalization_reaches_stem_and_fire_modules(cls: Any, normalization: str) -> None:
    model = cls(2, input_shape=SMALL, normalization=normalization)
    kind = {
        "batch": keras.layers.BatchNormalization,
        "group": keras.layers.GroupNormalization,
    }[normalization]
    assert sum(isinstance(layer, kind) for layer in model._flatten_layers()) == 1 + 2 * 8
    assert model.get_layer("conv10").use_bias
    assert not model.get_layer("conv1").use_bias
    probability = out(model, 1000 * noise(2, *SMALL))
    assert np.isfinite(probability).all()


@pytest.mark.parametrize("cls", CLASSES)
def test_the_regularizer_reaches_every_convolution(cls: Any) -> None:
    options = {"use_bypass": "complex"} if cls is SqueezeNetV1 else {}
    model = cls(2, input_shape=SMALL, kernel_regularizer=keras.regularizers.L2(0.5), **options)
    kernels = [w for w in model.trainable_weights if w.name == "kernel"]
    assert len(kernels) == (30 if cls is SqueezeNetV1 else 18)
    expected = sum(0.5 * float((keras.ops.convert_to_numpy(w) ** 2).sum()) for w in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


def test_a_configuration_from_squeeze_ratios_builds() -> None:
    config = SqueezeNoduleNetV2.config_from_squeeze_ratios(0.125)
    model = SqueezeNoduleNetV2(2, variant_config=config, input_shape=SMALL)
    assert [fire.s1x1 for fire in model.fire_modules] == [8, 8, 16, 16, 24, 24, 32, 32]
    config["fire_configs"][0]["s1x1"] = 1
    assert model.fire_configs[0]["s1x1"] == 8, "the model must not share the caller's dictionary"


def test_a_shorter_configuration_builds() -> None:
    config = SqueezeNoduleNetV2.config_from_squeeze_ratios(0.5, expand_filters=(16, 32))
    config["pool_indices"] = [1]
    assert minimum_spatial_extent(config) == 9
    model = SqueezeNoduleNetV2(2, variant_config=config, input_shape=(9, 9, 1))
    assert [layer.name for layer in model.head_layers[:2]] == ["drop3", "conv4"]


def test_dropout_acts_before_the_last_convolution_in_training_only() -> None:
    model = SqueezeNoduleNetV2(2, input_shape=SMALL, dropout_rate=0.5)
    assert model.get_layer("drop9").rate == 0.5
    assert model.get_layer("conv10").input is model.get_layer("drop9").output
    x = noise(2, *SMALL)
    np.testing.assert_array_equal(out(model, x), out(model, x))
    first, second = (keras.ops.convert_to_numpy(model(x, training=True)) for _ in range(2))
    assert (first != second).any()


def test_summary_and_shapes_given_as_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    model = SqueezeNoduleNetV2(2, input_shape=[24, 24, 1])
    model.summary()
    text = capsys.readouterr().out
    assert "simpfire9" in text
    assert f"{model.count_params():,}" in text


@pytest.mark.parametrize("shape", [(24, 24, 1), (24, 24, 24, 1)])
def test_xla_stays_off_on_a_tensorflow_cpu(shape: tuple[int, ...]) -> None:
    if keras.distribution.list_devices("gpu"):
        pytest.skip("on a GPU XLA may help and is left to Keras")
    model = SqueezeNoduleNetV2(2, input_shape=shape)
    model.compile(loss="mse")
    assert model.jit_compile is False
    nested = keras.Sequential([keras.Input(shape), model])
    nested.compile(loss="mse")
    assert nested.jit_compile is False
