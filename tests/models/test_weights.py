"""Published weights, read from files that an independent torch network wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nodulenet.errors import DataError, UsageError
from nodulenet.models.registry import build_model
from nodulenet.models.squeezenet_v1 import create_squeezenet_v1
from nodulenet.models.weights import load_imagenet_weights


@pytest.fixture(scope="module")
def published(
    he_torch: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Networks 1.0 and 1.1 and their files; the oracle uses torchvision's key names."""
    folder = tmp_path_factory.mktemp("published")
    result: dict[str, Any] = {"folder": folder}
    for stem in ("1.0", "1.1"):
        net = he_torch(seed=1, stem=stem)
        torch.save(net.state_dict(), folder / f"{stem}.pth")
        save_file(net.state_dict(), folder / f"{stem}.safetensors")
        result[stem] = net
    return result


def numpy(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def last_map(net: Any, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.moveaxis(
            net(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))[1]["fire9"].numpy(), 1, -1
        )


def assert_untouched(model: Any, before: list[np.ndarray]) -> None:
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_oracle_has_torchvisions_keys(published: dict[str, Any]) -> None:
    """A sample of the keys of torchvision's squeezenet1_0 and squeezenet1_1."""
    keys = {stem: set(published[stem].state_dict()) for stem in ("1.0", "1.1")}
    assert {"features.5.expand3x3.bias", "features.10.squeeze.weight"} <= keys["1.0"]
    assert "features.11.squeeze.weight" not in keys["1.0"]
    assert {"features.6.expand1x1.weight", "features.11.squeeze.weight"} <= keys["1.1"]
    assert "features.5.squeeze.weight" not in keys["1.1"]
    for found in keys.values():
        assert {"features.0.weight", "features.12.squeeze.bias", "classifier.1.weight"} <= found
        assert len(found) == 52


@pytest.mark.parametrize("stem", ["1.0", "1.1"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_rgb_is_exact(published: dict[str, Any], stem: str, suffix: str) -> None:
    model = build_model(f"squeezenet_{stem}", (64, 50, 3), 1000, classifier_activation=None)
    loaded = load_imagenet_weights(model, published["folder"] / f"{stem}.{suffix}")
    assert loaded == ["conv1", *[f"fire{n}" for n in range(2, 10)], "conv10"]
    x = np.random.default_rng(0).normal(size=(2, 64, 50, 3)).astype("float32")
    with torch.no_grad():
        logits = published[stem](torch.from_numpy(np.moveaxis(x, -1, 1).copy()))[0].numpy()
    assert np.abs(numpy(model(x)) - logits).max() <= 1e-4 * np.abs(logits).max()


def test_one_channel_is_the_grey_image(published: dict[str, Any]) -> None:
    model = create_squeezenet_v1("1.1", 2, (48, 40, 1), weights=published["folder"] / "1.1.pth")
    x = np.random.default_rng(0).normal(size=(1, 48, 40, 1)).astype("float32")
    expected = last_map(published["1.1"], np.repeat(x, 3, axis=-1))
    got = numpy(model.feature_model(["fire9"])(x)["fire9"])
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_volume_constant_along_depth_gives_its_slices_stem(
    published: dict[str, Any], channels: int
) -> None:
    model = build_model("squeezenet_1.0_3d", (24, 40, 33, channels), 2)
    load_imagenet_weights(model, published["folder"] / "1.0.pth")
    image = np.random.default_rng(0).normal(size=(1, 40, 33, channels)).astype("float32")
    volume = np.repeat(image[:, np.newaxis], 24, axis=1)
    with torch.no_grad():
        rgb = np.repeat(image, 3 // channels, axis=-1)
        stages = published["1.0"](torch.from_numpy(np.moveaxis(rgb, -1, 1).copy()))[1]
    features = model.feature_model()(volume)
    # Through the first 3x3 expand, away from its zero padding in depth.
    for stage in ("conv1", "pool1", "fire2"):
        expected = np.moveaxis(stages[stage].numpy(), 1, -1)
        got = numpy(features[stage])[:, 2]
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), stage
    kernels = numpy(model.get_layer("fire5").expand_3x3.kernel)
    flat = published["1.0"].features[7].expand3x3.weight.detach().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernels.sum(axis=0), flat, rtol=1e-5, atol=1e-6)


def test_another_head_keeps_its_initial_weights(published: dict[str, Any]) -> None:
    model = build_model("squeezenet_1.0_bypass", (32, 32, 1), 2)
    before = numpy(model.get_layer("conv10").kernel).copy()
    loaded = load_imagenet_weights(model, published["folder"] / "1.0.pth")
    assert "conv10" not in loaded
    np.testing.assert_array_equal(numpy(model.get_layer("conv10").kernel), before)
    backbone = build_model("squeezenet_1.0", (32, 32, 1), include_top=False)
    assert load_imagenet_weights(backbone, published["folder"] / "1.0.pth") == loaded


def test_the_wrong_variant_is_refused_and_the_model_untouched(published: dict[str, Any]) -> None:
    for mine, other in (("1.0", "1.1"), ("1.1", "1.0")):
        model = build_model(f"squeezenet_{mine}", (32, 32, 3), 1000)
        before = model.get_weights()
        with pytest.raises(DataError, match=rf"{other}.pth .* missing .*variant"):
            load_imagenet_weights(model, published["folder"] / f"{other}.pth")
        assert_untouched(model, before)


def damaged(state: dict[str, torch.Tensor], how: str) -> Any:
    key = "features.12.expand3x3.weight"
    if how == "missing":
        del state[key]
    elif how == "shape":
        state[key] = state[key][:, :, :2]
    elif how == "unknown":
        state["features.13.weight"] = torch.zeros(1)
    elif how == "nan":
        state[key] = state[key] * float("nan")
    elif how == "scalar":
        state[key] = torch.tensor(1.0)
    elif how == "wrapped":
        return {"state_dict": state, "epoch": 3}
    elif how == "empty":
        return {}
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "1 keys are missing .*features.12.expand3x3.weight"),
        ("unknown", "1 unknown .*features.13.weight"),
        ("shape", "'features.12.expand3x3' has the shapes"),
        ("scalar", "'features.12.expand3x3' has the shapes"),
        ("nan", "'features.12.expand3x3.weight' are not all finite"),
        ("wrapped", "holds no state dict"),
        ("empty", "52 keys are missing|50 keys are missing"),
    ],
)
def test_damaged_files_are_refused_and_the_model_untouched(
    published: dict[str, Any], how: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(damaged(dict(published["1.0"].state_dict()), how), path)
    model = build_model("squeezenet_1.0", (32, 32, 3), 1000)
    before = model.get_weights()
    with pytest.raises(DataError, match=message):
        load_imagenet_weights(model, path)
    assert_untouched(model, before)


@pytest.mark.parametrize(
    "name", ["noise.pth", "noise.safetensors", "empty.pth", "x.h5", "none.pth"]
)
def test_files_that_are_no_weights_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name != "none.pth":
        path.write_bytes(b"" if name == "empty.pth" else b"not a weights file" * 9)
    with pytest.raises(DataError, match=name):
        load_imagenet_weights(build_model("squeezenet_1.0", (32, 32, 3), 1000), path)


class _Boom:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/nodulenet-pickle-was-executed"),))


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    mark = Path("/tmp/nodulenet-pickle-was-executed")
    mark.unlink(missing_ok=True)
    torch.save({"features.0.weight": _Boom()}, tmp_path / "evil.pth")
    with pytest.raises(DataError, match="not a readable torch state dict"):
        load_imagenet_weights(build_model("squeezenet_1.0", (32, 32, 3)), tmp_path / "evil.pth")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("squeezenodule_v2", (32, 32, 3), {}, "SqueezeNet models only"),
        ("squeezenet_1.0", (32, 32, 2), {}, "1 or 3 channels"),
        ("squeezenet_1.0", (32, 32, 3), {"normalization": "batch"}, "normalization=None"),
    ],
)
def test_models_that_cannot_take_them_are_refused(
    published: dict[str, Any],
    name: str,
    shape: tuple[int, ...],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        load_imagenet_weights(build_model(name, shape, **options), published["folder"] / "1.0.pth")
