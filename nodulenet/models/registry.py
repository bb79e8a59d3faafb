"""The models by name, for configurations and the command line: ours, then other people's.

Listing needs no Keras and imports no other package; a model's own module is imported when it is
asked for or built (see `nodulenet.models.own_models`).

Example:
    >>> from nodulenet.models.registry import get_model
    >>> entry = get_model("squeezenodule_v2_3d")
    >>> entry.rank, entry.minimum_extent, entry.parameters
    (3, 21, 2545154)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodulenet.errors import UsageError
from nodulenet.models.cost import count_multiply_accumulates, count_parameters
from nodulenet.models.entry import ModelEntry
from nodulenet.models.own_models import load_own_model, own_models, source_of
from nodulenet.models.resnet_stages import MINIMUM_EXTENT, check_resnet_options, resnet_costs
from nodulenet.models.variants import (
    DEFAULT_INPUT_SHAPE,
    DEFAULT_INPUT_SHAPE_3D,
    SQUEEZENET_VARIANTS,
    SQUEEZENODULE_VARIANTS,
    VariantConfig,
    minimum_spatial_extent,
)

__all__ = [
    "ModelEntry",
    "ResNetEntry",
    "SqueezeNetEntry",
    "build_model",
    "describe_models",
    "get_model",
    "list_models",
    "models_table",
]


@dataclass(frozen=True, kw_only=True)
class SqueezeNetEntry(ModelEntry):
    """A variant of SqueezeNet or SqueezeNodule-Net.

    Attributes:
        family: ``squeezenet`` or ``squeezenodule``.
        variant: the variant's name in the family's ``MODEL_VARIANTS``.
        config: the variant's configuration; read only.
    """

    family: str
    variant: str
    config: VariantConfig

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Nothing to refuse: it has every option of a configuration."""

    def parameter_count(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        return count_parameters(self.config, input_shape, num_classes)

    def multiply_accumulates(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        return count_multiply_accumulates(self.config, input_shape, num_classes)

    def build(self, input_shape: Sequence[int | None], num_classes: int = 2, **options: Any) -> Any:
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


@dataclass(frozen=True)
class ResNetEntry(ModelEntry):
    """The plain ResNet-18, for images or volumes."""

    def check_options(self, options: Mapping[str, Any]) -> None:
        concerned = ("normalization", "head_activation")
        check_resnet_options(**{name: options[name] for name in concerned if name in options})

    def parameter_count(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        return sum(cost.parameters for cost in resnet_costs(input_shape, num_classes))

    def multiply_accumulates(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        return sum(cost.multiply_accumulates for cost in resnet_costs(input_shape, num_classes))

    def build(self, input_shape: Sequence[int | None], num_classes: int = 2, **options: Any) -> Any:
        # Imported here, as above.
        from nodulenet.models.resnet import ResNet18

        if len(input_shape) - 1 != self.rank:
            raise UsageError(
                f"Model {self.name!r} takes {self.rank}D patches and needs an input shape of "
                f"{self.rank} sizes and the channels. Received: {tuple(input_shape)}"
            )
        return ResNet18(
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
    variants = {"squeezenodule": SQUEEZENODULE_VARIANTS, "squeezenet": SQUEEZENET_VARIANTS}
    published: dict[int, dict[str, Any]] = {
        2: {"published_input_shape": DEFAULT_INPUT_SHAPE, "published_classes": 1000},
        3: {"published_input_shape": DEFAULT_INPUT_SHAPE_3D, "published_classes": 2},
    }
    entries: list[ModelEntry] = []
    for suffix, kind, rank in (("", "images", 2), ("_3d", "volumes", 3)):
        for (family, variant), text in texts.items():
            config = variants[family][variant + suffix]
            entries.append(
                SqueezeNetEntry(
                    name=f"{family}_{variant}{suffix}",
                    description=f"{text}; {kind}",
                    rank=rank,
                    minimum_extent=minimum_spatial_extent(config),
                    family=family,
                    variant=variant + suffix,
                    config=config,
                    **published[rank],
                )
            )
        entries.append(
            ResNetEntry(
                name=f"resnet_18{suffix}",
                description=f"plain ResNet-18 to compare with, published stem; {kind}",
                rank=rank,
                minimum_extent=MINIMUM_EXTENT,
                **published[rank],
            )
        )
    return {entry.name: entry for entry in entries}


_MODELS = _entries()


def list_models() -> list[str]:
    """The names of all models: ours, 2D first, then those of other packages."""
    return list(dict.fromkeys([*_MODELS, *own_models()]))


def describe_models() -> dict[str, str]:
    """One line about each model of `list_models`; other packages are not imported for it."""
    lines = {
        name: f"{entry.parameters:>10,} parameters, smallest input {entry.minimum_extent}, "
        f"{entry.description}"
        for name, entry in _MODELS.items()
    }
    for name, points in own_models().items():
        try:
            _refuse_collision(name, points)
        except UsageError as error:
            lines[name] = f"refused: {error}"
        else:
            lines[name] = f"of {source_of(points[0])}"
    return lines


def get_model(name: str) -> ModelEntry:
    """The entry of a model; imports the package of a model that is not ours.

    Args:
        name: such as ``squeezenodule_v2_3d``; see `list_models`.

    Raises:
        UsageError: there is no model of that name, several packages offer one, or its package
            cannot be imported.
    """
    points = own_models().get(name, ())
    _refuse_collision(name, points)
    if points:
        return load_own_model(points[0])
    if name not in _MODELS:
        names = list_models()
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"Unknown model {name!r}. Expected one of {', '.join(names)}.{hint}")
    return _MODELS[name]


def _refuse_collision(name: str, points: Sequence[Any]) -> None:
    """Neither of two models of one name is used: which one it was could not be told later."""
    sources = [source_of(point) for point in points]
    if points and name in _MODELS:
        sources.insert(0, "nodulenet itself")
    if len(sources) > 1:
        raise UsageError(
            f"Model {name!r} is offered more than once: by {' and by '.join(sources)}. Rename the "
            "entry point in that package, or uninstall it."
        )


def build_model(
    name: str, input_shape: Sequence[int | None], num_classes: int = 2, **options: Any
) -> Any:
    """A fresh model by name: ``get_model(name).build(input_shape, num_classes, **options)``."""
    return get_model(name).build(input_shape, num_classes, **options)


def models_table() -> str:
    """Our models as a Markdown table, as the README shows it.

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
        if shape is None or classes is None or entry.rank is None:
            continue
        nodule = entry.parameter_count((*shape[:-1], 1), 2)
        smallest = " x ".join([str(entry.minimum_extent)] * entry.rank)
        lines.append(
            f"| `{entry.name}` | {' x '.join(map(str, shape))} -> {classes} "
            f"| {entry.parameters:,} | {entry.multiply_accumulates(shape, classes) / 1e6:,.0f} M "
            f"| {nodule:,} | {smallest} |"
        )
    return "\n".join(lines)
