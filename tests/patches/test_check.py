"""What a configuration's models are asked before any work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nodulenet.config.schema import Config
from nodulenet.errors import ConfigError
from nodulenet.patches.check import check_config


def with_model(tree: dict[str, Any], size: int = 24, **model: Any) -> Config:
    patch = tree["patch"] | {"size": [size, size]}
    return Config.model_validate(tree | {"models": [model], "patch": patch})


def test_a_resnet_needs_normalization_and_a_linear_head(small_tree: dict[str, Any]) -> None:
    check_config(with_model(small_tree, name="resnet_18", normalization="batch"))
    check_config(with_model(small_tree, size=17, name="resnet_18", normalization="group"))
    for model, message in (
        ({}, r"models\.0: normalization=None.*`normalization: batch`"),
        (
            {"normalization": "batch", "head_activation": "relu"},
            r"models\.0: head_activation='relu'",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            check_config(with_model(small_tree, name="resnet_18", **model))
    with pytest.raises(ConfigError, match="needs at least 17 voxels"):
        check_config(with_model(small_tree, size=16, name="resnet_18", normalization="batch"))


def test_models_of_other_packages_are_checked_too(
    small_tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "both_ranks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: both_ranks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nodulenet.models]\nboth = both_ranks:build\n")
    (tmp_path / "both_ranks.py").write_text(
        "def build(input_shape, num_classes, *, dropout_rate=0.5): ...\nbuild.minimum_extent = 20\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "both_ranks", raising=False)
    check_config(with_model(small_tree, name="both", dropout_rate=0.1))
    with pytest.raises(ConfigError, match=r"models\.0: .*package both_ranks.*`weight_decay`.*0\.1"):
        check_config(with_model(small_tree, name="both", weight_decay=0.1))
    with pytest.raises(ConfigError, match="needs at least 20 voxels"):
        check_config(with_model(small_tree, size=19, name="both"))
