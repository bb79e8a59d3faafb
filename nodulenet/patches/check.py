"""What a schema cannot know: whether windows and models exist and fit. Told before any work."""

from __future__ import annotations

from typing import Any

from nodulenet.config.schema import Config, ModelConfig
from nodulenet.ct.windows import resolve_windows
from nodulenet.errors import ConfigError, UsageError
from nodulenet.models.registry import get_model


def check_config(config: Config) -> None:
    """Refuse a configuration that preparation or training would fail on later.

    Raises:
        ConfigError: an unknown window or model, a model of another rank, too small patches.
    """
    try:
        resolve_windows(list(config.patch.windows))
    except UsageError as error:
        raise ConfigError(f"patch.windows: {error}") from None
    source = config.source
    intensities = source.kind == "medmnist" or (
        source.kind == "patches" and source.value_kind == "intensity"
    )
    named = [w for w in config.patch.windows if isinstance(w, str)]
    if intensities and named:
        raise ConfigError(
            f"patch.windows: {named[0]!r} is a window in HU, but the source holds plain "
            f"intensities; give their range, e.g. patch.windows=[[0, 255]]"
        )
    rank = 3 if config.patch.form == "3d" else 2
    for i, model in enumerate(config.models):
        try:
            entry = get_model(model.name)
        except UsageError as error:
            raise ConfigError(f"models.{i}.name: {error}") from None
        try:
            entry.check_options(_options(model, config.train.precision))
        except UsageError as error:
            raise ConfigError(f"models.{i}: {error}") from None
        if entry.rank not in (None, rank):
            raise ConfigError(
                f"models.{i}.name: {model.name} takes {entry.rank}D patches, but patch.form is "
                f"{config.patch.form}"
            )
        if min(config.patch.size[-rank:]) < entry.minimum_extent:
            raise ConfigError(
                f"patch.size: {list(config.patch.size)} is too small for {model.name}, which needs "
                f"at least {entry.minimum_extent} voxels along every axis"
            )


def _options(model: ModelConfig, precision: str) -> dict[str, Any]:
    """What the configuration sets, by the names that models know."""
    return {
        "dropout_rate": model.dropout_rate,
        "kernel_regularizer": model.weight_decay or None,
        "kernel_initializer": model.kernel_initializer,
        "normalization": model.normalization,
        "head_activation": model.head_activation,
        "dtype": precision,
        **model.options,
    }
