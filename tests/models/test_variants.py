from __future__ import annotations

import copy

import pytest
import torch

from nodulenet.models.variants import (
    DEFAULT_INPUT_SHAPE,
    SQUEEZENET_VARIANTS,
    SQUEEZENODULE_VARIANTS,
    check_spatial_extents,
    checked_input_shape,
    checked_variant_config,
    config_from_squeeze_ratios,
    minimum_spatial_extent,
    pooled_extent,
    stage_extents,
)

ALL = {**SQUEEZENET_VARIANTS, **SQUEEZENODULE_VARIANTS}
V2_KEYS = {"fire_keys": ("s1x1", "e3x3"), "options": ("use_3d",)}


@pytest.mark.parametrize("size", range(2, 40))
def test_pooled_extent_is_that_of_torch_ceil_mode(size: int) -> None:
    pool = torch.nn.MaxPool1d(3, stride=2, ceil_mode=True)
    assert pooled_extent(size) == pool(torch.zeros(1, 1, size)).shape[-1]


def test_one_element_cannot_be_pooled() -> None:
    assert pooled_extent(1) == 0


@pytest.mark.parametrize(("variant", "smallest"), [("1.0", 21), ("1.1", 17), ("v2", 21)])
def test_smallest_extents_as_published(variant: str, smallest: int) -> None:
    assert minimum_spatial_extent(ALL[variant]) == smallest


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pools", [[], [1], [1, 4, 8], [2, 3, 4, 5]])
def test_smallest_extent_is_the_first_that_survives_every_stage(
    kernel: int, stride: int, pools: list[int]
) -> None:
    config = {
        **ALL["1.0"],
        "conv1_kernel": kernel,
        "conv1_stride": stride,
        "pool_indices": pools,
    }
    surviving = [n for n in range(1, 400) if min(stage_extents(config, n).values()) >= 1]
    assert minimum_spatial_extent(config) == surviving[0]


def test_the_message_names_axis_value_and_minimum() -> None:
    with pytest.raises(ValueError, match=r"axis 1 \(height\) .* length 20, .* minimum .* is 21"):
        check_spatial_extents(ALL["v2_3d"], (32, 20, 32), "Net")
    check_spatial_extents(ALL["v2_3d"], (None, 21, None), "Net")


def test_squeeze_ratios_give_the_published_variants() -> None:
    assert config_from_squeeze_ratios(0.25) == SQUEEZENODULE_VARIANTS["v1"]
    v2 = config_from_squeeze_ratios([0.5] * 6 + [0.25] * 2, use_3d=True)
    assert v2 == SQUEEZENODULE_VARIANTS["v2_3d"]


@pytest.mark.parametrize("ratios", [0.0, 1.0, -0.5, 0.001, 0.999, [0.5, 0.5], [0.5] * 7 + [2.0]])
def test_impossible_squeeze_ratios_are_refused(ratios: float | list[float]) -> None:
    with pytest.raises(ValueError, match="ratio"):
        config_from_squeeze_ratios(ratios)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1_filters": 0}, "conv1_filters.*positive integer"),
        ({"conv1_stride": 2.0}, "conv1_stride.*positive integer"),
        ({"pool_indices": [4, 1]}, "rising"),
        ({"pool_indices": [1, 10]}, "from 1 .conv1. to 9"),
        ({"fire_configs": []}, "at least one fire module"),
        ({"fire_configs": [{"s1x1": 1, "e1x1": 2, "e3x3": 2}]}, "of fire2 must have exactly"),
        ({"use_bypass": "simple"}, r"unknown: \['use_bypass'\]"),
        ({"conv_filters": 96}, r"unknown: \['conv_filters'\]"),
    ],
)
def test_wrong_configurations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_variant_config({**ALL["v2"], **change}, **V2_KEYS)


def test_a_missing_key_is_named() -> None:
    config = copy.deepcopy(ALL["v2"])
    del config["pool_indices"]
    with pytest.raises(ValueError, match=r"Missing: \['pool_indices'\]"):
        checked_variant_config(config, **V2_KEYS)


def test_the_checked_configuration_is_a_copy() -> None:
    config = checked_variant_config(ALL["v2"], **V2_KEYS)
    config["fire_configs"][0]["s1x1"] = 1
    config["pool_indices"].append(9)
    assert ALL["v2"]["fire_configs"][0]["s1x1"] == 32
    assert ALL["v2"]["pool_indices"] == [1, 4, 8]


def test_a_volume_variant_has_a_volume_as_default_input() -> None:
    shape, is_3d = checked_input_shape(DEFAULT_INPUT_SHAPE, ALL["v2_3d"], None, "Net")
    assert (shape, is_3d) == ((64, 64, 64, 1), True)


@pytest.mark.parametrize(
    ("shape", "variant", "use_3d", "message"),
    [
        ((64, 64, 1), "v2_3d", None, r"needs input_shape=\(depth, height, width, channels\)"),
        ((64, 64, 64, 1), "v2", None, r"needs input_shape=\(height, width, channels\)"),
        ((64, 64, 1), "v2", True, "needs input_shape"),
        ((64, 64, 64, 1), "v2", False, "needs input_shape"),
        ((64, 64, 1), "v2_3d", False, "contradicts"),
        ((64, 1), "v2", None, "input_shape must be"),
        ((64, 64, None), "v2", None, "channels"),
        ((64, 64, 0), "v2", None, "channels"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    shape: tuple[int | None, ...], variant: str, use_3d: bool | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        checked_input_shape(shape, ALL[variant], use_3d, "Net")
