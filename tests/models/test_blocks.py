from __future__ import annotations

import keras
import numpy as np
import pytest
import torch

from nodulenet.models.blocks import CeilMaxPooling, normalization_layer
from nodulenet.models.squeezenet_v1 import FireModule
from nodulenet.models.squeezenet_v2 import SimplifiedFireModule


def torch_pooled(x: np.ndarray) -> np.ndarray:
    pool = torch.nn.functional.max_pool3d if x.ndim == 5 else torch.nn.functional.max_pool2d
    y = pool(torch.from_numpy(np.moveaxis(x, -1, 1).copy()), 3, stride=2, ceil_mode=True)
    return np.moveaxis(y.numpy(), 1, -1)


@pytest.mark.parametrize(
    "sizes", [(8, 8), (9, 9), (8, 9), (2, 2), (3, 2), (13, 27), (6, 6, 6), (7, 5, 3), (6, 7, 2)]
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_pooling_is_bit_equal_to_torch_ceil_mode(sizes: tuple[int, ...], known: bool) -> None:
    # All negative: padding with zeros, or with anything else that shows, would be seen.
    x = -np.abs(np.random.default_rng(1).normal(size=(2, *sizes, 3))).astype("float32") - 1
    if known:
        y = CeilMaxPooling()(x)
    else:
        inputs = keras.Input((*[None] * len(sizes), 3))
        model = keras.Model(inputs, CeilMaxPooling()(inputs))
        assert model.output_shape == (None, *[None] * len(sizes), 3)
        # In a graph whose sizes are unknown, as in an export.
        import tensorflow as tf

        y = tf.function(model, input_signature=[tf.TensorSpec(inputs.shape, "float32")])(x)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(y), torch_pooled(x))


def test_zero_padding_would_be_noticed() -> None:
    x = -np.ones((1, 4, 4, 1), "float32")
    assert torch_pooled(x).max() == -1
    assert keras.ops.convert_to_numpy(CeilMaxPooling()(x)).max() == -1


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("cls", [FireModule, SimplifiedFireModule])
def test_one_fire_class_serves_images_and_volumes(cls: type, rank: int) -> None:
    arguments = {"s1x1": 4, "e3x3": 8} | ({"e1x1": 6} if cls is FireModule else {})
    fire = cls(**arguments)
    x = np.random.default_rng(0).normal(size=(2, *(5,) * rank, 3)).astype("float32")
    y = fire(x)
    width = 14 if cls is FireModule else 8
    assert tuple(y.shape) == (2, *(5,) * rank, width)
    assert fire.compute_output_shape((None, *(5,) * rank, 3)) == (None, *(5,) * rank, width)
    assert fire.squeeze.kernel.shape == (*(1,) * rank, 3, 4)
    assert fire.expand_3x3.kernel.shape == (*(3,) * rank, 4, 8)
    # Only the layers that were used hold weights.
    assert len(fire.weights) == 2 * len(fire._layers) == (6 if cls is FireModule else 4)


def test_fire_channels_are_1x1_then_3x3() -> None:
    fire = FireModule(2, 3, 5)
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
    fire.build(x.shape)
    fire.expand_1x1.bias.assign(np.full(3, -100.0))
    fire.expand_3x3.bias.assign(np.full(5, 100.0))
    y = keras.ops.convert_to_numpy(fire(x))
    assert (y[..., :3] == 0).all()
    assert (y[..., 3:] > 50).all()


def test_filters_can_be_read_before_the_layer_is_built() -> None:
    fire = FireModule(s1x1=16, e1x1=64, e3x3=32)
    filters = [layer.filters for layer in (fire.squeeze, fire.expand_1x1, fire.expand_3x3)]
    assert filters == [16, 64, 32]


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, -1, 1), (1, 1, 0), (1.0, 2, 2), (True, 2, 2)])
def test_fire_filters_must_be_positive_integers(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="All filter counts must be positive integers"):
        FireModule(*counts)


def test_a_simplified_fire_module_must_squeeze() -> None:
    with pytest.raises(ValueError, match="All filter counts must be positive integers"):
        SimplifiedFireModule(s1x1=0, e3x3=1)
    for squeeze in (16, 32):
        with pytest.raises(ValueError, match="Squeeze filters should be less than expand filters"):
            SimplifiedFireModule(s1x1=squeeze, e3x3=16)


def test_a_fire_module_refuses_a_sequence() -> None:
    with pytest.raises(ValueError, match=r"FireModule .* needs \(batch, height"):
        FireModule(2, 3, 4)(np.zeros((1, 4, 3), "float32"))


@pytest.mark.parametrize("cls", [FireModule, SimplifiedFireModule])
def test_fire_config_round_trip(cls: type) -> None:
    arguments = {"s1x1": 4, "e3x3": 8} | ({"e1x1": 6} if cls is FireModule else {})
    fire = cls(
        **arguments,
        kernel_regularizer=keras.regularizers.L2(0.02),
        kernel_initializer=keras.initializers.HeNormal(seed=3),
        normalization="group",
        name="fire7",
    )
    again = cls.from_config(fire.get_config())
    assert again.get_config() == fire.get_config()
    assert again.kernel_regularizer.l2 == pytest.approx(0.02)
    assert again.kernel_initializer.seed == 3
    assert [getattr(again, key) for key in arguments] == list(arguments.values())


def test_an_initializer_object_gives_each_convolution_its_own_values() -> None:
    fire = FireModule(3, 4, 4, kernel_initializer=keras.initializers.HeNormal())
    other = FireModule(3, 4, 4, kernel_initializer=fire.kernel_initializer)
    for layer in (fire, other):
        layer.build((None, 5, 5, 3))
    first, second = (keras.ops.convert_to_numpy(f.squeeze.kernel) for f in (fire, other))
    assert (first != second).any()


@pytest.mark.parametrize(
    ("channels", "groups"), [(16, 1), (32, 2), (48, 3), (96, 6), (256, 16), (8, 1), (24, 3), (7, 1)]
)
def test_groups_have_about_sixteen_channels(channels: int, groups: int) -> None:
    layer = normalization_layer("group", channels, name="norm")
    assert layer.groups == groups
    layer.build((None, 4, 4, channels))


@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_normalization_comes_before_each_relu(normalization: str) -> None:
    fire = SimplifiedFireModule(16, 32, normalization=normalization)
    x = 5 + 3 * np.random.default_rng(0).normal(size=(4, 6, 6, 8)).astype("float32")
    y = keras.ops.convert_to_numpy(fire(x, training=True))
    assert y.min() == 0
    # Half of a normalized map is negative and cut; without normalization the bias would show.
    assert 0.35 < (y == 0).mean() < 0.65
    assert not fire.squeeze.use_bias
    names = {weight.path.split("/")[-2] for weight in fire.weights}
    assert names == {"squeeze", "expand_3x3", "squeeze_norm", "expand_norm"}


def test_an_unknown_normalization_is_refused() -> None:
    with pytest.raises(ValueError, match="normalization must be one of"):
        FireModule(2, 3, 4, normalization="layer")
