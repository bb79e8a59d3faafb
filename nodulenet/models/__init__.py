"""The models: SqueezeNodule-Net, SqueezeNet and a plain ResNet-18 for images and volumes.

Other packages add theirs by entry points (`nodulenet.models.own_models`).

Importing this package imports no Keras; names and sizes of the models are in
`nodulenet.models.registry`. The classes are loaded when they are asked for and, so that
``keras.models.load_model`` finds them without ``custom_objects``, as soon as Keras is there.
"""

from __future__ import annotations

import importlib
from typing import Any

from nodulenet.models import _registration

_HOME = {
    "FireModule": "squeezenet_v1",
    "SqueezeNetV1": "squeezenet_v1",
    "create_squeezenet_v1": "squeezenet_v1",
    "SimplifiedFireModule": "squeezenet_v2",
    "SqueezeNoduleNetV2": "squeezenet_v2",
    "create_squeezenodule_net_v2": "squeezenet_v2",
    "ResNet18": "resnet",
    "build_model": "registry",
    "built_cost": "built_cost",
    "check_classifier": "classifier_check",
    "checked_precision": "precision",
    "get_model": "registry",
    "list_models": "registry",
    "describe_models": "registry",
    "load_imagenet_weights": "weights",
    "register_own_model": "own_models",
    "minimum_spatial_extent": "variants",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


_registration.register_with_keras(
    "nodulenet.models.squeezenet_v1", "nodulenet.models.squeezenet_v2", "nodulenet.models.resnet"
)
