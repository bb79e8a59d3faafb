"""ResNet-18 against MONAI's (written by others, in torch), with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import ResNet

from nodulenet.errors import UsageError
from nodulenet.models.registry import build_model, get_model
from nodulenet.models.resnet import ResNet18

# Of the largest value of each tensor.
TOLERANCE = 1e-4
STAGES = ("conv1", "pool1", *(f"layer{s}_{b}" for s in (1, 2, 3, 4) for b in (0, 1)))


def torch_resnet(rank: int, channels: int, classes: int, seed: int = 0) -> Any:
    """Option B, no bias in the shortcuts, published stem; every weight and statistic random."""
    net = ResNet(
        "basic",
        [2, 2, 2, 2],
        [64, 128, 256, 512],
        spatial_dims=rank,
        n_input_channels=channels,
        conv1_t_size=7,
        conv1_t_stride=2,
        num_classes=classes,
        shortcut_type="B",
        bias_downsample=False,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if value.ndim > 1:
                value.normal_(0.0, (2.0 / value[0].numel()) ** 0.5, generator=generator)
            elif name.endswith(("running_var", "weight")):
                value.uniform_(0.5, 1.5, generator=generator)
            elif value.is_floating_point():
                value.normal_(0.0, 0.2, generator=generator)
    return net.eval()


def copy_to_keras(net: Any, model: Any) -> None:
    """By torchvision's names; every weight of both is used once."""
    state = {k: v.numpy() for k, v in net.state_dict().items() if "num_batches" not in k}
    endings = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "bias": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    for weight in model.weights:
        layer, _, kind = weight.path.rpartition("/")
        layer = layer.replace("conv1_norm", "bn1").replace("downsample_norm", "downsample.1")
        layer = layer.removesuffix("_downsample") + ".downsample.0" * layer.endswith("_downsample")
        key = layer.replace("norm", "bn").replace("_", ".") + "." + endings[kind]
        value = state.pop(key)
        if kind == "kernel":
            value = value.T if value.ndim == 2 else np.moveaxis(value, (0, 1), (-1, -2))
        weight.assign(value)
    assert not state, f"not copied: {list(state)}"


def torch_outputs(net: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    found = {}

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: found.update({name: output})

    hooks = [net.maxpool.register_forward_hook(note("pool1"))]
    for stage in (1, 2, 3, 4):
        for block, module in enumerate(getattr(net, f"layer{stage}")):
            hooks.append(module.register_forward_hook(note(f"layer{stage}_{block}")))
    with torch.no_grad():
        found["logits"] = net(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    for hook in hooks:
        hook.remove()
    return {k: np.moveaxis(v.numpy(), 1, -1) for k, v in found.items()}


def differences(net: Any, model: Any, x: np.ndarray) -> dict[str, float]:
    outputs = {**model.feature_model().output, "logits": model.output}
    ours = keras.Model(model.inputs[0], outputs)(x)
    result = {}
    for name, expected in torch_outputs(net, x).items():
        got = keras.ops.convert_to_numpy(ours[name])
        assert got.shape == expected.shape, name
        assert np.abs(expected).max() > 0, f"{name} is zero everywhere and would prove nothing"
        result[name] = float(np.abs(got - expected).max() / np.abs(expected).max())
    return result


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("resnet_18", (224, 224, 3), 1000),
        # Axes of different length and parity: a swapped axis or padding on one side shows.
        ("resnet_18", (65, 50, 1), 2),
        ("resnet_18_3d", (32, 37, 30, 1), 2),
    ],
)
def test_logits_and_all_stages_agree(name: str, shape: tuple[int, ...], classes: int) -> None:
    net = torch_resnet(len(shape) - 1, shape[-1], classes)
    model = build_model(name, shape, classes, classifier_activation=None)
    copy_to_keras(net, model)
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    worst = differences(net, model, x)
    assert list(worst) == [*STAGES[1:], "logits"]
    assert max(worst.values()) <= TOLERANCE, worst
    kernel = model.get_layer("layer3_0_downsample").kernel
    kernel.assign(-keras.ops.convert_to_numpy(kernel))
    worst = differences(net, model, x)
    assert worst["layer2_1"] <= TOLERANCE < worst["layer3_0"], "a changed weight is noticed"


def test_the_published_counts() -> None:
    entry = get_model("resnet_18")
    # torchvision: ResNet18_Weights, "num_params": 11689512, "_ops": 1.814 (GFLOPS).
    assert entry.parameters == 11_689_512
    assert entry.multiply_accumulates((224, 224, 3), 1000) / 1e9 == pytest.approx(1.814, abs=5e-4)
    model = entry.build((224, 224, 3), 1000)
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 11_689_512
    # MONAI counts the volumes.
    parameters = sum(p.numel() for p in torch_resnet(3, 1, 2).parameters())
    assert get_model("resnet_18_3d").parameters == parameters


def test_what_is_no_plain_resnet_is_refused() -> None:
    with pytest.raises(UsageError, match="`normalization: batch`"):
        build_model("resnet_18", (32, 32, 1), normalization=None)
    with pytest.raises(UsageError, match=r"'relu'.*linear"):
        build_model("resnet_18", (32, 32, 1), head_activation="relu")
    with pytest.raises(UsageError, match="`normalization: batch`"):
        get_model("resnet_18_3d").check_options({"normalization": None, "dropout_rate": 0.5})
    get_model("resnet_18").check_options({"normalization": "group", "head_activation": "linear"})
    with pytest.raises(UsageError, match="takes 2D patches"):
        build_model("resnet_18", (32, 32, 32, 1))
    with pytest.raises(TypeError, match="droput_rate"):
        build_model("resnet_18", (32, 32, 1), droput_rate=0.1)
    for arguments, message in (
        ({"num_classes": 0}, "num_classes must be a positive integer"),
        ({"dropout_rate": 1.0}, "dropout_rate must be in range"),
        ({"input_shape": (32, 1)}, "input_shape must be"),
        ({"input_shape": (16, 32, 1)}, r"axis 0 \(height\) .* length 16, .* minimum .* is 17"),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet18(**arguments)


def test_one_class_is_one_sigmoid_and_dropout_is_before_the_dense_layer() -> None:
    model = ResNet18(1, dropout_rate=0.5, input_shape=(32, 32, 1))
    assert model.get_layer("predictions").activation.__name__ == "sigmoid"
    assert model.get_layer("fc").input is model.get_layer("drop").output
    assert model.get_layer("drop").rate == 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "group", "classifier_activation": None, "num_classes": 3},
        {"dtype": "mixed_bfloat16", "input_shape": (None, None, 2), "num_classes": 1},
    ],
)
def test_every_argument_survives_the_file(options: dict[str, Any], tmp_path: Path) -> None:
    model = ResNet18(
        **{"input_shape": (32, 33, 1), **options},
        dropout_rate=0.3,
        kernel_regularizer=keras.regularizers.L2(0.02),
        kernel_initializer=keras.initializers.HeNormal(seed=4),
        name="mine",
    )
    model.get_layer("conv1").trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.get_config() == model.get_config()
    assert [w.path for w in again.trainable_weights] == [w.path for w in model.trainable_weights]
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for layer, other in zip(model.layers, again.layers, strict=True):
        assert layer.dtype_policy.name == other.dtype_policy.name


def test_the_regularizer_reaches_every_kernel() -> None:
    model = ResNet18(2, input_shape=(32, 32, 1), kernel_regularizer=keras.regularizers.L2(0.5))
    kernels = [w for w in model.trainable_weights if w.name == "kernel"]
    assert len(kernels) == 21
    expected = sum(0.5 * float((keras.ops.convert_to_numpy(w) ** 2).sum()) for w in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)
