"""Published SqueezeNet weights (ImageNet) into SqueezeNet models, for transfer to CT.

The files are torchvision's state dicts of ``squeezenet1_0`` and ``squeezenet1_1``. One-channel
models get the sum over RGB (a grey image gives the same features as its RGB copy); volumes get
each kernel spread evenly along depth (Carreira and Zisserman 2017, arXiv:1705.07750), so that a
volume that is constant along depth gives the same features as its slice.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nodulenet.errors import DataError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    from nodulenet.models.squeezenet_v1 import SqueezeNetV1

Array = npt.NDArray[np.float32]

_RGB = 3
_FIRE_PARTS = (
    ("squeeze", "squeeze"),
    ("expand_1x1", "expand1x1"),
    ("expand_3x3", "expand3x3"),
)


def load_imagenet_weights(model: SqueezeNetV1, path: str | Path) -> list[str]:
    """Read published SqueezeNet 1.0 or 1.1 weights into a model, all or nothing.

    Args:
        model: a `SqueezeNetV1` without normalization and with one or three channels, for images
            or volumes. The head is loaded where it has the file's number of classes (1000) and
            keeps its initial weights otherwise, as do the convolutions of a complex bypass.
        path: torchvision's state dict as ``.pth`` or ``.pt`` (read with ``weights_only=True``) or
            ``.safetensors``.

    Returns:
        The names of the layers that were loaded, in order.

    Raises:
        UsageError: the model cannot take published weights.
        DataError: the file is missing, unreadable, of the other variant or incomplete; the model
            is then untouched.
        MissingDependencyError: reading the format needs a package that is not installed.
    """
    from nodulenet.models.squeezenet_v1 import SqueezeNetV1

    if not isinstance(model, SqueezeNetV1):
        raise UsageError(
            "Published ImageNet weights fit SqueezeNet models only (squeezenet_1.0, "
            f"squeezenet_1.1). Received a {type(model).__name__}."
        )
    channels = model.input_shape[-1]
    if model.normalization or channels not in (1, _RGB):
        raise UsageError(
            "Published ImageNet weights need normalization=None and 1 or 3 channels. Received a "
            f"model with normalization={model.normalization!r} and {channels} channels."
        )
    path = Path(path)
    state = _read_state(path)
    targets = _targets(model)
    head = _head_name(model)
    if head and len(state.get("classifier.1.bias", ())) != model.num_classes:
        targets.pop("classifier.1")
    _check_keys(state, targets, path)

    assignments = []
    for key, layer in targets.items():
        kernel = _as_keras(state[f"{key}.weight"], channels if key == "features.0" else None, model)
        values = [kernel, state[f"{key}.bias"]]
        shapes = [tuple(value.shape) for value in values]
        expected = [tuple(weight.shape) for weight in layer.weights]
        if shapes != expected:
            raise DataError(
                f"{path}: '{key}' has the shapes {shapes} (as Keras kernel and bias), but layer "
                f"{layer.name!r} needs {expected}. Is it the weights file of the model's variant?"
            )
        assignments.append((layer, values))
    for layer, values in assignments:
        layer.set_weights(values)
    return list(dict.fromkeys(_layer_names(model, targets)))


def _head_name(model: SqueezeNetV1) -> str | None:
    return str(model.head_layers[1].name) if model.include_top else None


def _targets(model: SqueezeNetV1) -> dict[str, Any]:
    """torchvision's key -> our convolution. Its ``features`` count ReLU and pools as entries."""
    targets = {"features.0": model.get_layer("conv1")}
    pools = model.pool_indices
    index = 2 + (1 in pools)
    for number, fire in enumerate(model.fire_modules, start=2):
        for ours, theirs in _FIRE_PARTS:
            targets[f"features.{index}.{theirs}"] = getattr(fire, ours)
        index += 1 + (number in pools)
    head = _head_name(model)
    if head:
        targets["classifier.1"] = model.get_layer(head)
    return targets


def _layer_names(model: SqueezeNetV1, targets: Mapping[str, Any]) -> list[str]:
    owner = {
        id(getattr(fire, part)): fire for fire in model.fire_modules for part, _ in _FIRE_PARTS
    }
    return [str(owner.get(id(layer), layer).name) for layer in targets.values()]


def _check_keys(state: Mapping[str, Array], targets: Mapping[str, Any], path: Path) -> None:
    wanted = {f"{key}.{part}" for key in targets for part in ("weight", "bias")}
    missing = sorted(wanted - set(state))
    # The published head may stay unused; nothing else may.
    unknown = sorted(set(state) - wanted - {"classifier.1.weight", "classifier.1.bias"})
    if missing or unknown:
        raise DataError(
            f"{path} does not hold the weights of this SqueezeNet: {len(missing)} keys are missing "
            f"(first: {', '.join(missing[:3]) or 'none'}) and {len(unknown)} unknown (first: "
            f"{', '.join(unknown[:3]) or 'none'}). Expected torchvision's state dict of the "
            "model's own variant (squeezenet1_0 or squeezenet1_1)."
        )


def _as_keras(kernel: Array, channels: int | None, model: SqueezeNetV1) -> Array:
    """(out, in, y, x) of torch -> ([z,] y, x, in, out) of Keras, summed and inflated as needed."""
    if kernel.ndim != 4:
        return kernel
    kernel = kernel.transpose(2, 3, 1, 0)
    if channels == 1 and kernel.shape[2] == _RGB:
        kernel = kernel.sum(axis=2, keepdims=True)
    if model.use_3d:
        depth = kernel.shape[0]
        kernel = np.repeat(kernel[np.newaxis], depth, axis=0) / np.float32(depth)
    return kernel


def _read_state(path: Path) -> dict[str, Array]:
    """The file's tensors as float32 arrays, checked for finiteness."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such weights file.")
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt"):
        state = _read_torch(path)
    else:
        raise DataError(
            f"{path}: expected a .pth, .pt or .safetensors file. Received: {path.suffix!r}"
        )
    bad = [key for key, value in state.items() if not np.isfinite(value).all()]
    if bad:
        raise DataError(f"{path}: the weights of {bad[0]!r} are not all finite numbers.")
    return state


def _read_safetensors(path: Path) -> dict[str, Array]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading {path} needs safetensors: pip install 'nodulenet[safetensors]'"
        ) from error
    try:
        state = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a readable safetensors file: {error}") from error
    return {key: np.asarray(value, dtype=np.float32) for key, value in state.items()}


def _read_torch(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading {path} needs torch (pip install torch), or convert it to .safetensors."
        ) from error
    try:
        # weights_only: a pickle may run any code, a list of tensors may not.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a readable torch state dict: {first}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise DataError(
            f"{path} holds no state dict (names and tensors). Save model.state_dict(), not the "
            "model or a training checkpoint."
        )
    return {key: value.to(torch.float32).numpy() for key, value in state.items()}
