"""The models by name, for configurations and the command line.

Listing needs no Keras; it is imported when a model is built.

Example:
    >>> from nodulenet.models.registry import get_model
    >>> entry = get_model("squeezenodule_v2_3d")
    >>> entry.rank, entry.minimum_extent, entry.parameters
    (3, 21, 2545154)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nodulenet.errors import UsageError
from nodulenet.models.cost import count_multiply_accumulates, count_parameters
from nodulenet.models.variants import (
    DEFAULT_INPUT_SHAPE,
    DEFAULT_INPUT_SHAPE_3D,
    SQUEEZENET_VARIANTS,
    SQUEEZENODULE_VARIANTS,
    VariantConfig,
    minimum_spatial_extent,
)


@dataclass(frozen=True)
class ModelEntry:
    """A named model: what it is and how to build it.

    Attributes:
        name: as used in configurations, such as ``squeezenodule_v2_3d``.
        description: one line.
        family: ``squeezenet`` or ``squeezenodule``.
        variant: the variant's name in the family's ``MODEL_VARIANTS``.
    """

    name: str
    description: str
    family: str
    variant: str

    @property
    def config(self) -> VariantConfig:
        """The variant's configuration; read only."""
        variants = SQUEEZENET_VARIANTS if self.family == "squeezenet" else SQUEEZENODULE_VARIANTS
        return variants[self.variant]

    @property
    def rank(self) -> int:
        """2 for images, 3 for volumes."""
        return 3 if self.config["use_3d"] else 2

    @property
    def minimum_extent(self) -> int:
        """The smallest length of a spatial axis, in voxels."""
        return minimum_spatial_extent(self.config)

    @property
    def published_input_shape(self) -> tuple[int, ...]:
        """Input of the published form: (224, 224, 3), or (64, 64, 64, 1) for volumes."""
        return DEFAULT_INPUT_SHAPE_3D if self.rank == 3 else DEFAULT_INPUT_SHAPE

    @property
    def published_classes(self) -> int:
        """Classes of the published form: 1000 (ImageNet), or 2 for volumes."""
        return 2 if self.rank == 3 else 1000

    @property
    def parameters(self) -> int:
        """Parameters of the published form."""
        return count_parameters(self.config, self.published_input_shape, self.published_classes)

    def parameter_count(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        """Parameters for an input shape (only its channels matter) and a number of classes."""
        return count_parameters(self.config, input_shape, num_classes)

    def multiply_accumulates(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        """Multiply-accumulates of the convolutions for one input of the given shape."""
        return count_multiply_accumulates(self.config, input_shape, num_classes)

    def build(self, input_shape: Sequence[int | None], num_classes: int = 2, **options: Any) -> Any:
        """A fresh model with new initial weights.

        Args:
            input_shape: (height, width, channels) or (depth, height, width, channels); None
                for a spatial size that is not known.
            num_classes: outputs; 1 is one sigmoid, more are a softmax.
            **options: further arguments of the model's constructor, such as ``dropout_rate``,
                ``head_activation`` and ``normalization``; an unknown one is a TypeError.

        Returns:
            The ``keras.Model``, named as the entry unless ``name`` is given.
        """
        # Imported here: Keras and its backend take seconds, and listing does without.
        create: Callable[..., Any]
        if self.family == "squeezenet":
            from nodulenet.models.squeezenet_v1 import create_squeezenet_v1 as create
        else:
            from nodulenet.models.squeezenet_v2 import create_squeezenodule_net_v2 as create
        return create(
            self.variant,
            num_classes=num_classes,
            input_shape=tuple(input_shape),
            **{"name": self.name, **options},
        )


def _entries() -> dict[str, ModelEntry]:
    texts = {
        ("squeezenodule", "v1"): "SqueezeNodule-Net V1: 3x3 expands, squeeze ratio 0.25",
        ("squeezenodule", "v2"): "SqueezeNodule-Net V2: 3x3 expands, squeeze ratio 0.5",
        ("squeezenet", "1.0"): "SqueezeNet 1.0: 7x7 stem of 96, pools after conv1, fire4, fire8",
        ("squeezenet", "1.1"): "SqueezeNet 1.1: 3x3 stem of 64, pools after conv1, fire3, fire5",
        ("squeezenet", "1.0_bypass"): "SqueezeNet 1.0 with additions round fire3, 5, 7 and 9",
    }
    entries = {}
    for suffix, kind in (("", "images"), ("_3d", "volumes")):
        for (family, variant), text in texts.items():
            name = f"{family}_{variant}{suffix}"
            entries[name] = ModelEntry(name, f"{text}; {kind}", family, variant + suffix)
    return entries


_MODELS = _entries()


def list_models() -> list[str]:
    """The names of all models, 2D first."""
    return list(_MODELS)


def get_model(name: str) -> ModelEntry:
    """The entry of a model.

    Args:
        name: such as ``squeezenodule_v2_3d``; see `list_models`.

    Raises:
        UsageError: there is no model of that name.
    """
    if name not in _MODELS:
        near = difflib.get_close_matches(str(name), _MODELS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"Unknown model {name!r}. Expected one of {', '.join(_MODELS)}.{hint}")
    return _MODELS[name]


def build_model(
    name: str, input_shape: Sequence[int | None], num_classes: int = 2, **options: Any
) -> Any:
    """A fresh model by name: ``get_model(name).build(input_shape, num_classes, **options)``."""
    return get_model(name).build(input_shape, num_classes, **options)


def models_table() -> str:
    """The models as a Markdown table, as the README shows it.

    Returns:
        Lines joined by newlines, without one at the end: name, published form (its input,
        classes, parameters and multiply-accumulates), parameters for one channel and two
        classes, and the smallest input.
    """
    lines = [
        "| model | published input -> classes | parameters | multiply-accumulates "
        "| parameters, 1 channel, 2 classes | smallest input |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for entry in _MODELS.values():
        shape, classes = entry.published_input_shape, entry.published_classes
        nodule = entry.parameter_count((*shape[:-1], 1), 2)
        smallest = " x ".join([str(entry.minimum_extent)] * entry.rank)
        lines.append(
            f"| `{entry.name}` | {' x '.join(map(str, shape))} -> {classes} "
            f"| {entry.parameters:,} | {entry.multiply_accumulates(shape, classes) / 1e6:,.0f} M "
            f"| {nodule:,} | {smallest} |"
        )
    return "\n".join(lines)
