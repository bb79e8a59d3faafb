"""What the two networks share: arguments, stem, staged pooling, head and saving."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from nodulenet.models.blocks import (
    CeilMaxPooling,
    FireBase,
    checked_normalization,
    convolution,
    normalization_layer,
)
from nodulenet.models.staged import StagedModel, at_least_float32, resolved_policy
from nodulenet.models.variants import (
    BYPASSES,
    VariantConfig,
    check_spatial_extents,
    checked_input_shape,
    checked_variant_config,
)

POOLINGS = (None, "avg", "max")


@dataclass(frozen=True)
class Settings:
    """The checked arguments of a model; ``relu`` and ``softmax`` already made fit one class."""

    variant_config: VariantConfig
    num_classes: int
    dropout_rate: float
    kernel_regularizer: Any
    kernel_initializer: Any
    include_top: bool
    input_shape: tuple[int | None, ...]
    use_bypass: bool | str
    use_3d: bool
    head_activation: str | None
    classifier_activation: str | None
    normalization: str | None
    pooling: str | None
    dtype: Any

    @property
    def rank(self) -> int:
        return 3 if self.use_3d else 2

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of every convolution and fire module."""
        return {
            "kernel_regularizer": self.kernel_regularizer,
            "kernel_initializer": self.kernel_initializer,
            "dtype": self.dtype,
        }


def check_settings(
    model_name: str,
    *,
    num_classes: int,
    variant_config: VariantConfig,
    fire_keys: tuple[str, ...],
    config_options: tuple[str, ...],
    dropout_rate: float,
    kernel_regularizer: Any,
    kernel_initializer: Any,
    include_top: bool,
    input_shape: Sequence[int | None],
    use_bypass: bool | str,
    use_3d: bool | None,
    head_activation: str | None,
    classifier_activation: str | None,
    normalization: str | None,
    pooling: str | None,
    dtype: Any,
) -> Settings:
    """Check every argument of a model; ValueError for the first that does not fit."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes must be a positive integer. Received: {num_classes!r}")
    if not 0.0 <= dropout_rate < 1.0:
        raise ValueError(f"dropout_rate must be in range [0, 1). Received: {dropout_rate!r}")
    if use_bypass not in BYPASSES:
        raise ValueError(f"use_bypass must be one of {BYPASSES}. Received: {use_bypass!r}")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {POOLINGS}. Received: {pooling!r}")
    if pooling and include_top:
        raise ValueError(
            f"pooling={pooling!r} is for include_top=False; the classification head has its own."
        )
    checked_normalization(normalization)
    config = checked_variant_config(variant_config, fire_keys=fire_keys, options=config_options)
    shape, is_3d = checked_input_shape(input_shape, config, use_3d, model_name)
    if num_classes == 1:
        # One sigmoid: a ReLU before it could never say less than 0.5, a softmax only 1.
        head_activation = None if head_activation == "relu" else head_activation
        classifier_activation = (
            "sigmoid" if classifier_activation == "softmax" else classifier_activation
        )
    return Settings(
        variant_config=config,
        num_classes=num_classes,
        dropout_rate=float(dropout_rate),
        kernel_regularizer=keras.regularizers.get(kernel_regularizer),
        kernel_initializer=keras.initializers.get(kernel_initializer),
        include_top=bool(include_top),
        input_shape=shape,
        use_bypass=use_bypass,
        use_3d=is_3d,
        head_activation=head_activation,
        classifier_activation=classifier_activation,
        normalization=normalization,
        pooling=pooling,
        dtype=resolved_policy(dtype),
    )


class _Assembly:
    """Wires the graph and notes which layer ends each stage."""

    def __init__(self, settings: Settings, fire: Callable[..., FireBase], prefix: str) -> None:
        self.settings = settings
        self.fire = fire
        self.prefix = prefix
        self.stages: dict[str, str] = {}

    def run(self) -> tuple[Any, Any]:
        s = self.settings
        pools = s.variant_config["pool_indices"]
        # The input stays float32 under mixed precision: the stem casts it.
        inputs = keras.Input(shape=s.input_shape, name="image", dtype=s.dtype.variable_dtype)
        x = self._stem(inputs)
        if 1 in pools:
            x = self._pool(x, 1)
        for number, filters in enumerate(s.variant_config["fire_configs"], start=2):
            x = self._stage(x, number, filters)
            if number in pools:
                x = self._pool(x, number)
        return inputs, self._head(x) if s.include_top else self._pooled(x)

    def _mark(self, stage: str, x: Any) -> Any:
        self.stages[stage] = x._keras_history.operation.name
        return x

    def _stem(self, x: Any) -> Any:
        s, config = self.settings, self.settings.variant_config
        x = convolution(
            s.rank,
            config["conv1_filters"],
            config["conv1_kernel"],
            strides=config["conv1_stride"],
            activation=None if s.normalization else "relu",
            use_bias=not s.normalization,
            name="conv1",
            **s.common,
        )(x)
        if s.normalization:
            x = normalization_layer(
                s.normalization, config["conv1_filters"], name="conv1_norm", dtype=s.dtype
            )(x)
            x = keras.layers.Activation("relu", name="conv1_relu", dtype=s.dtype)(x)
        return self._mark("conv1", x)

    def _pool(self, x: Any, index: int) -> Any:
        return self._mark(
            f"pool{index}",
            CeilMaxPooling(name=f"pool{index}", dtype=self.settings.dtype)(x),
        )

    def _stage(self, x: Any, number: int, filters: dict[str, int]) -> Any:
        s = self.settings
        name = f"{self.prefix}{number}"
        entering = x
        x = self.fire(**filters, normalization=s.normalization, name=name, **s.common)(x)
        if s.use_bypass and entering.shape[-1] == x.shape[-1]:
            x = keras.layers.Add(name=f"add_{name}", dtype=s.dtype)([entering, x])
        elif s.use_bypass == "complex":
            # Iandola et al. 2016, section 6: a 1x1 convolution where the widths differ.
            bypass = convolution(s.rank, x.shape[-1], 1, name=f"bypass_{name}", **s.common)
            x = keras.layers.Add(name=f"add_{name}", dtype=s.dtype)([bypass(entering), x])
        return self._mark(name, x)

    def _global_pooling(self, kind: str, x: Any) -> Any:
        layer = getattr(keras.layers, f"Global{kind}Pooling{self.settings.rank}D")
        return layer(
            data_format="channels_last",
            name="globalpool",
            dtype=at_least_float32(self.settings.dtype),
        )(x)

    def _pooled(self, x: Any) -> Any:
        kind = {None: None, "avg": "Average", "max": "Max"}[self.settings.pooling]
        return self._global_pooling(kind, x) if kind else x

    def _head(self, x: Any) -> Any:
        s = self.settings
        last = len(s.variant_config["fire_configs"]) + 1
        x = keras.layers.Dropout(s.dropout_rate, name=f"drop{last}", dtype=s.dtype)(x)
        x = convolution(
            s.rank,
            s.num_classes,
            1,
            activation=s.head_activation,
            name=f"conv{last + 1}",
            **s.common,
        )(x)
        x = self._global_pooling("Average", x)
        activation = s.classifier_activation or "linear"
        return keras.layers.Activation(
            activation, name="predictions", dtype=at_least_float32(self.settings.dtype)
        )(x)


class SqueezeNetwork(StagedModel):
    """Base of both networks: a functional model with its arguments as attributes.

    The attributes are properties over one record, because lists that Keras tracks before the
    graph exists would reorder ``weights``.
    """

    MODEL_VARIANTS: ClassVar[dict[str, VariantConfig]]
    FIRE_PREFIX: ClassVar[str]
    # Constructor arguments that get_config writes besides those that all networks have.
    OWN_ARGUMENTS: ClassVar[tuple[str, ...]]

    def __init__(
        self, settings: Settings, fire: Callable[..., FireBase], name: str | None = None
    ) -> None:
        assembly = _Assembly(settings, fire, self.FIRE_PREFIX)
        inputs, outputs = assembly.run()
        super().__init__(inputs, outputs, assembly.stages, name)
        self._settings = settings

    def _check_spatial(self, spatial: Sequence[int | None]) -> None:
        check_spatial_extents(self._settings.variant_config, spatial, type(self).__name__)

    @property
    def num_classes(self) -> int:
        return self._settings.num_classes

    @property
    def variant_config(self) -> VariantConfig:
        """A copy of the configuration that the model was built from."""
        return copy.deepcopy(self._settings.variant_config)

    @property
    def dropout_rate(self) -> float:
        return self._settings.dropout_rate

    @property
    def kernel_regularizer(self) -> Any:
        return self._settings.kernel_regularizer

    @property
    def kernel_initializer(self) -> Any:
        return self._settings.kernel_initializer

    @property
    def include_top(self) -> bool:
        return self._settings.include_top

    @property
    def use_3d(self) -> bool:
        return self._settings.use_3d

    @property
    def head_activation(self) -> str | None:
        """Activation of the last convolution as built (never ``relu`` with one class)."""
        return self._settings.head_activation

    @property
    def classifier_activation(self) -> str | None:
        """Activation of the output as built; None for logits."""
        return self._settings.classifier_activation

    @property
    def normalization(self) -> str | None:
        return self._settings.normalization

    @property
    def pooling(self) -> str | None:
        return self._settings.pooling

    @property
    def fire_configs(self) -> list[dict[str, int]]:
        return list(self.variant_config["fire_configs"])

    @property
    def conv1_filters(self) -> int:
        return int(self._settings.variant_config["conv1_filters"])

    @property
    def conv1_kernel(self) -> int:
        return int(self._settings.variant_config["conv1_kernel"])

    @property
    def conv1_stride(self) -> int:
        return int(self._settings.variant_config["conv1_stride"])

    @property
    def pool_indices(self) -> list[int]:
        return list(self._settings.variant_config["pool_indices"])

    @property
    def fire_modules(self) -> list[FireBase]:
        """The fire modules, fire2 first."""
        return [layer for layer in self.layers if isinstance(layer, FireBase)]

    @property
    def pool_layers(self) -> list[keras.layers.Layer]:
        """The pooling layers between the stages, in order."""
        return [layer for layer in self.layers if isinstance(layer, CeilMaxPooling)]

    @property
    def head_layers(self) -> list[keras.layers.Layer]:
        """Dropout, convolution, global average, activation; empty without the head."""
        return self.layers[-4:] if self.include_top else []

    def get_config(self) -> dict[str, Any]:
        s = self._settings
        return {
            **self._saved_state(s.kernel_regularizer, s.kernel_initializer, s.dtype),
            "num_classes": s.num_classes,
            "variant_config": self.variant_config,
            "dropout_rate": s.dropout_rate,
            "include_top": s.include_top,
            "input_shape": list(s.input_shape),
            "head_activation": s.head_activation,
            "classifier_activation": s.classifier_activation,
            "normalization": s.normalization,
            "pooling": s.pooling,
            **{name: getattr(s, name) for name in self.OWN_ARGUMENTS},
        }
