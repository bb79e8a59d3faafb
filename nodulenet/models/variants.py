"""The published variants as plain data, and what follows from a configuration by arithmetic.

Nothing here needs Keras, so that names, sizes and smallest inputs can be listed in an instant.

A *variant configuration* is a dictionary with the keys ``fire_configs`` (a list of
``{"s1x1", "e1x1", "e3x3"}``; SqueezeNodule-Net has no ``e1x1``), ``conv1_filters``,
``conv1_kernel``, ``conv1_stride``, ``pool_indices`` (1 is conv1, 2 to 9 are fire2 to fire9) and
optionally ``use_bypass`` (SqueezeNet only) and ``use_3d``.

Sources: Iandola et al. 2016, arXiv:1602.07360 (SqueezeNet; 1.1 is the authors' release of the
same year); Tsivgoulis et al. 2022, doi:10.1016/j.mlwa.2022.100399 (SqueezeNodule-Net).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

VariantConfig = dict[str, Any]

POOL_SIZE = 3
POOL_STRIDE = 2

DEFAULT_INPUT_SHAPE = (224, 224, 3)
DEFAULT_INPUT_SHAPE_3D = (64, 64, 64, 1)

BYPASSES = (False, "simple", "complex")
_AXES = {2: ("height", "width"), 3: ("depth", "height", "width")}

# Expand filters of fire2 to fire9: (1x1, 3x3) halves in SqueezeNet, 3x3 alone in SqueezeNodule-Net.
EXPAND_FILTERS = (64, 64, 128, 128, 192, 192, 256, 256)
_STEM_1_0: VariantConfig = {
    "conv1_filters": 96,
    "conv1_kernel": 7,
    "conv1_stride": 2,
    "pool_indices": [1, 4, 8],
}
_STEM_1_1: VariantConfig = {
    "conv1_filters": 64,
    "conv1_kernel": 3,
    "conv1_stride": 2,
    "pool_indices": [1, 3, 5],
}


def _squeezenet(stem: VariantConfig, use_bypass: bool | str, use_3d: bool) -> VariantConfig:
    squeeze = (16, 16, 32, 32, 48, 48, 64, 64)
    fires = [
        {"s1x1": s, "e1x1": e, "e3x3": e} for s, e in zip(squeeze, EXPAND_FILTERS, strict=True)
    ]
    return {
        "fire_configs": fires,
        **copy.deepcopy(stem),
        "use_bypass": use_bypass,
        "use_3d": use_3d,
    }


def _squeezenodule(squeeze: Iterable[int], expand: Iterable[int], use_3d: bool) -> VariantConfig:
    fires = [{"s1x1": s, "e3x3": e} for s, e in zip(squeeze, expand, strict=True)]
    return {"fire_configs": fires, **copy.deepcopy(_STEM_1_0), "use_3d": use_3d}


SQUEEZENET_VARIANTS: dict[str, VariantConfig] = {
    "1.0": _squeezenet(_STEM_1_0, use_bypass=False, use_3d=False),
    "1.1": _squeezenet(_STEM_1_1, use_bypass=False, use_3d=False),
    "1.0_bypass": _squeezenet(_STEM_1_0, use_bypass="simple", use_3d=False),
    "1.0_3d": _squeezenet(_STEM_1_0, use_bypass=False, use_3d=True),
    "1.1_3d": _squeezenet(_STEM_1_1, use_bypass=False, use_3d=True),
    "1.0_bypass_3d": _squeezenet(_STEM_1_0, use_bypass="simple", use_3d=True),
}

_SQUEEZE_V1 = (16, 16, 32, 32, 48, 48, 64, 64)
_SQUEEZE_V2 = (32, 32, 64, 64, 96, 96, 64, 64)
SQUEEZENODULE_VARIANTS: dict[str, VariantConfig] = {
    "v1": _squeezenodule(_SQUEEZE_V1, EXPAND_FILTERS, use_3d=False),
    "v2": _squeezenodule(_SQUEEZE_V2, EXPAND_FILTERS, use_3d=False),
    "v1_3d": _squeezenodule(_SQUEEZE_V1, EXPAND_FILTERS, use_3d=True),
    "v2_3d": _squeezenodule(_SQUEEZE_V2, EXPAND_FILTERS, use_3d=True),
}


def config_from_squeeze_ratios(
    ratios: float | Sequence[float],
    *,
    expand_filters: Sequence[int] = EXPAND_FILTERS,
    use_3d: bool = False,
) -> VariantConfig:
    """A SqueezeNodule-Net configuration from squeeze ratios (squeeze over expand filters).

    Args:
        ratios: one ratio for all fire modules or one a module, each in (0, 1).
        expand_filters: 3x3 expand filters of each fire module, fire2 first.
        use_3d: whether the configuration is for volumes.

    Returns:
        A configuration for ``variant_config``, with the stem and pools of SqueezeNet 1.0.
        ``v1`` is a ratio of 0.25 throughout; ``v2`` is 0.5 with 0.25 in the last two modules.

    Raises:
        ValueError: a ratio is outside (0, 1), leaves no squeeze filter, or their number does
            not fit.
    """
    each = [ratios] * len(expand_filters) if isinstance(ratios, int | float) else list(ratios)
    if len(each) != len(expand_filters):
        raise ValueError(
            f"Expected one squeeze ratio or {len(expand_filters)}, one for each fire module. "
            f"Received: ratios={ratios}"
        )
    squeeze = []
    for ratio, expand in zip(each, expand_filters, strict=True):
        if not 0.0 < ratio < 1.0 or not 1 <= round(ratio * expand) < expand:
            raise ValueError(
                "A squeeze ratio must be in (0, 1) and leave at least one squeeze filter and fewer "
                f"than the {expand} expand filters. Received: ratios={ratios}"
            )
        squeeze.append(round(ratio * expand))
    return _squeezenodule(squeeze, expand_filters, use_3d)


def resolved_variant(
    model_name: str, variants: dict[str, VariantConfig], variant: str
) -> VariantConfig:
    """A copy of the named variant's configuration; ValueError where there is none."""
    if variant not in variants:
        raise ValueError(
            f"Unknown variant for {model_name}. Expected one of {sorted(variants)}. "
            f"Received: variant={variant!r}"
        )
    return copy.deepcopy(variants[variant])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def checked_variant_config(
    config: VariantConfig, *, fire_keys: tuple[str, ...], options: tuple[str, ...]
) -> VariantConfig:
    """A validated copy of a variant configuration.

    Args:
        config: what the user gave.
        fire_keys: the keys that each entry of ``fire_configs`` must have, and no others.
        options: keys that the configuration may have besides those of stem, pools and fires.

    Raises:
        ValueError: a key is missing or unknown, or a value is not a positive integer.
    """
    required = {"fire_configs", *_STEM_1_0}
    missing, unknown = required - set(config), set(config) - required - set(options)
    if missing or unknown:
        raise ValueError(
            f"variant_config must have the keys {sorted(required)} and may have "
            f"{sorted(options)}. Missing: {sorted(missing)}; unknown: {sorted(unknown)}"
        )
    fires = [dict(fire) for fire in config["fire_configs"]]
    for number, fire in enumerate(fires, start=2):
        if set(fire) != set(fire_keys):
            raise ValueError(
                f"variant_config['fire_configs'] of fire{number} must have exactly the keys "
                f"{list(fire_keys)}. Received: {fire}"
            )
    result: VariantConfig = {"fire_configs": fires}
    for key in ("conv1_filters", "conv1_kernel", "conv1_stride"):
        if not _is_count(config[key]):
            raise ValueError(
                f"variant_config[{key!r}] must be a positive integer. Received: {config[key]!r}"
            )
        result[key] = config[key]
    pools = list(config["pool_indices"])
    last = len(fires) + 1
    if not fires or pools != sorted({p for p in pools if _is_count(p) and p <= last}):
        raise ValueError(
            "variant_config needs at least one fire module, and 'pool_indices' must be rising "
            f"integers from 1 (conv1) to {last} (fire{last}). Received: pool_indices={pools}"
        )
    result["pool_indices"] = pools
    result.update({key: config[key] for key in options if key in config})
    return result


def pooled_extent(size: int) -> int:
    """Length of an axis after a 3/2 pool that keeps the last partial window (ceil mode)."""
    return max(0, -(-(size - POOL_SIZE) // POOL_STRIDE) + 1)


def stage_extents(config: VariantConfig, size: int) -> dict[str, int]:
    """Length of one axis after each downsampling stage, by layer name (``conv1``, ``pool4``)."""
    size = max(0, (size - config["conv1_kernel"]) // config["conv1_stride"] + 1)
    extents = {"conv1": size}
    for index in config["pool_indices"]:
        size = pooled_extent(size)
        extents[f"pool{index}"] = size
    return extents


def minimum_spatial_extent(variant_config: VariantConfig) -> int:
    """The smallest length of a spatial axis for which every stage keeps at least one element.

    Args:
        variant_config: an entry of ``MODEL_VARIANTS`` or a configuration of the same form.

    Returns:
        The length in voxels, the same for every axis (21 for the 7x7 stem, 17 for SqueezeNet 1.1).
    """
    size = 1
    for _ in variant_config["pool_indices"]:
        # A pooled length n needs 2 (n - 1) + 2 elements: the last window may lack its third.
        size = POOL_STRIDE * (size - 1) + POOL_SIZE - 1
    stride: int = variant_config["conv1_stride"]
    return stride * (size - 1) + int(variant_config["conv1_kernel"])


def check_extents(smallest: int, spatial: Sequence[int | None], model_name: str, why: str) -> None:
    """Raise a ValueError naming the first axis below the smallest length; None passes.

    Args:
        smallest: length in voxels, the same for every axis.
        spatial: lengths of the axes; None where unknown.
        model_name: for the message.
        why: what goes wrong below it, and the remedy; one or two sentences for the message.
    """
    for axis, size in enumerate(spatial):
        if size is not None and size < smallest:
            raise ValueError(
                f"{model_name}: axis {axis} ({_AXES[len(spatial)][axis]}) of the input has length "
                f"{size}, but the minimum for this variant is {smallest}: below it {why} "
                f"Received: {tuple(spatial)}."
            )


def check_spatial_extents(
    variant_config: VariantConfig, spatial: Sequence[int | None], model_name: str
) -> None:
    """Raise a ValueError naming the first axis that is too short; unknown axes (None) pass."""
    check_extents(
        minimum_spatial_extent(variant_config),
        spatial,
        model_name,
        "a stage has no elements and the output would be NaN. Use a larger patch or a variant "
        "with a smaller stem.",
    )


def checked_sizes(input_shape: Sequence[int | None], model_name: str) -> tuple[int | None, ...]:
    """The input shape as a tuple; ValueError where its length or its channels do not fit."""
    shape = tuple(None if size is None else int(size) for size in input_shape)
    if len(shape) not in (3, 4):
        raise ValueError(
            f"{model_name}: input_shape must be (height, width, channels) or (depth, height, "
            f"width, channels). Received: input_shape={shape}"
        )
    if shape[-1] is None or shape[-1] < 1:
        raise ValueError(
            f"{model_name}: the number of channels, last in input_shape, must be a positive "
            f"integer. Received: input_shape={shape}"
        )
    return shape


def checked_input_shape(
    input_shape: Sequence[int | None],
    variant_config: VariantConfig,
    use_3d: bool | None,
    model_name: str,
) -> tuple[tuple[int | None, ...], bool]:
    """The input shape as a tuple and whether the model is 3D.

    Args:
        input_shape: (height, width, channels) or (depth, height, width, channels); spatial axes
            may be None. The very default tuple stands for "not given" and gives way to
            (64, 64, 64, 1) in a 3D model.
        variant_config: a checked configuration; its ``use_3d`` counts where the argument is None.
        use_3d: True, False, or None for the configuration's own choice or, without one, the rank.
        model_name: for messages.

    Raises:
        ValueError: rank, channels or an axis' length do not fit.
    """
    if use_3d is False and variant_config.get("use_3d"):
        raise ValueError(
            f"{model_name}: use_3d=False contradicts the 3D variant. Choose the variant without "
            "'_3d', or leave use_3d out."
        )
    if use_3d is None:
        use_3d = variant_config.get("use_3d")
    if input_shape is DEFAULT_INPUT_SHAPE and use_3d:
        input_shape = DEFAULT_INPUT_SHAPE_3D
    shape = checked_sizes(input_shape, model_name)
    if use_3d is None:
        use_3d = len(shape) == 4
    if use_3d != (len(shape) == 4):
        expected = "(depth, height, width, channels)" if use_3d else "(height, width, channels)"
        remedy = "a 2D variant (use_3d=False)" if use_3d else "a '_3d' variant (use_3d=True)"
        raise ValueError(
            f"{model_name}: this variant (use_3d={use_3d}) needs input_shape={expected}. "
            f"Received: input_shape={shape}. Give such a shape or choose {remedy}."
        )
    check_spatial_extents(variant_config, shape[:-1], model_name)
    return shape, use_3d
