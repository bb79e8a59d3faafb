"""A plain ResNet-18 for images and volumes: the comparison that every table has.

Source: He et al. 2015, arXiv:1512.03385 (`nodulenet.models.resnet_stages` has the figures).

The stem is the published one, 7x7 of stride 2 and a 3x3 pool of stride 2, for small patches, too.
It is what readers expect of the name, it is the stem and first pool of SqueezeNodule-Net itself,
so that the two differ in what follows, and it is what two cores can train: a 3x3 stem without the
pool leaves more to the last stage (4x4 instead of 2x2 at 64x64) for 4 times the arithmetic in 2D
and 8 times in 3D (3.2 instead of 0.5 billion multiply-accumulates at 32x32x32).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from nodulenet.models.blocks import convolution, normalization_layer, own_initializer
from nodulenet.models.resnet_stages import (
    BLOCK_KERNEL,
    BLOCK_PADDING,
    BLOCKS,
    MINIMUM_EXTENT,
    STEM_KERNEL,
    STEM_PADDING,
    WIDTHS,
    check_resnet_options,
)
from nodulenet.models.staged import StagedModel, at_least_float32, resolved_policy
from nodulenet.models.variants import DEFAULT_INPUT_SHAPE, check_extents, checked_sizes

# As in the authors' networks; Keras' own 1e-3 is not.
_EPSILON = 1e-5


@dataclass(frozen=True)
class _Settings:
    """The checked arguments of a model."""

    num_classes: int
    dropout_rate: float
    kernel_regularizer: Any
    kernel_initializer: Any
    input_shape: tuple[int | None, ...]
    classifier_activation: str | None
    normalization: str
    dtype: Any

    @property
    def kernels(self) -> dict[str, Any]:
        return {
            "kernel_regularizer": self.kernel_regularizer,
            "kernel_initializer": own_initializer(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="nodulenet")
class ResNet18(StagedModel):
    """ResNet-18 (basic blocks 2-2-2-2, widths 64 to 512, shortcuts B) as a functional Keras model.

    Layers are named as in torchvision's state dict (``layer2_0_conv1`` is its
    ``layer2.0.conv1``). No convolution has a bias.

    Args:
        num_classes: outputs; 1 gives one sigmoid, more a softmax.
        dropout_rate: of a dropout before the dense layer, in [0, 1). The published network has
            none (0, the default).
        kernel_regularizer: regularizer of every kernel.
        kernel_initializer: initializer of every kernel; ``"he_normal"`` as published.
        input_shape: (height, width, channels) or (depth, height, width, channels); a spatial size
            may be None, and must be 17 or more.
        name: of the model.
        head_activation: None or ``"linear"``; there for the sake of configurations.
        classifier_activation: ``"softmax"`` by default; None gives logits.
        normalization: ``"batch"`` as published, or ``"group"``.
        dtype: a dtype or dtype policy; Keras' global policy by default. Head and output are
            float32 under mixed precision.

    Raises:
        UsageError: normalization or head activation that a plain ResNet does not have.
        ValueError: another argument does not fit.

    Example:
        >>> ResNet18(num_classes=2, input_shape=(64, 64, 1)).output_shape
        (None, 2)
    """

    def __init__(
        self,
        num_classes: int = 1000,
        dropout_rate: float = 0.0,
        kernel_regularizer: Any = None,
        kernel_initializer: Any = "he_normal",
        input_shape: Sequence[int | None] = DEFAULT_INPUT_SHAPE,
        name: str | None = None,
        *,
        head_activation: str | None = None,
        classifier_activation: str | None = "softmax",
        normalization: str = "batch",
        dtype: Any = None,
    ) -> None:
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"num_classes must be a positive integer. Received: {num_classes!r}")
        if not 0.0 <= dropout_rate < 1.0:
            raise ValueError(f"dropout_rate must be in range [0, 1). Received: {dropout_rate!r}")
        check_resnet_options(normalization, head_activation)
        shape = checked_sizes(input_shape, type(self).__name__)
        self._check_spatial(shape[:-1])
        if num_classes == 1 and classifier_activation == "softmax":
            classifier_activation = "sigmoid"
        settings = _Settings(
            num_classes=num_classes,
            dropout_rate=float(dropout_rate),
            kernel_regularizer=keras.regularizers.get(kernel_regularizer),
            kernel_initializer=keras.initializers.get(kernel_initializer),
            input_shape=shape,
            classifier_activation=classifier_activation,
            normalization=normalization,
            dtype=resolved_policy(dtype),
        )
        assembly = _Assembly(settings)
        inputs, outputs = assembly.run()
        super().__init__(inputs, outputs, assembly.stages, name)
        self._settings = settings

    @property
    def num_classes(self) -> int:
        return self._settings.num_classes

    @property
    def normalization(self) -> str:
        return self._settings.normalization

    @staticmethod
    def _check_spatial(spatial: Sequence[int | None]) -> None:
        check_extents(
            MINIMUM_EXTENT,
            spatial,
            "ResNet18",
            "the last stage would see padding only. Use a larger patch.",
        )

    def get_config(self) -> dict[str, Any]:
        s = self._settings
        return {
            **self._saved_state(s.kernel_regularizer, s.kernel_initializer, s.dtype),
            "num_classes": s.num_classes,
            "dropout_rate": s.dropout_rate,
            "input_shape": list(s.input_shape),
            "classifier_activation": s.classifier_activation,
            "normalization": s.normalization,
        }


class _Assembly:
    """Wires the graph and notes which layer ends each stage."""

    def __init__(self, settings: _Settings) -> None:
        self.settings = settings
        self.rank = len(settings.input_shape) - 1
        self.stages: dict[str, str] = {}

    def run(self) -> tuple[Any, Any]:
        s = self.settings
        # The input stays float32 under mixed precision: the stem casts it.
        inputs = keras.Input(shape=s.input_shape, name="image", dtype=s.dtype.variable_dtype)
        return inputs, self._head(self._body(inputs))

    def _body(self, x: Any) -> Any:
        x = self._normalized(x, WIDTHS[0], STEM_KERNEL, STEM_PADDING, 2, "conv1", "conv1_norm")
        x = self._mark("conv1", self._relu(x, "conv1_relu"))
        # Behind a ReLU zeros are as good as the lowest number, and an export can hold them.
        x = self._padded(x, BLOCK_PADDING, "pool1")
        pool = self._layer("MaxPooling")
        x = pool(BLOCK_KERNEL, 2, name="pool1", **self._last())(x)
        self._mark("pool1", x)
        for stage, filters in enumerate(WIDTHS, start=1):
            for block in range(BLOCKS):
                stride = 2 if stage > 1 and block == 0 else 1
                x = self._block(x, filters, stride, f"layer{stage}_{block}")
        return x

    def _head(self, x: Any) -> Any:
        s = self.settings
        dtype = at_least_float32(s.dtype)
        average = self._layer("GlobalAveragePooling")
        x = average(data_format="channels_last", name="globalpool", dtype=dtype)(x)
        x = keras.layers.Dropout(s.dropout_rate, name="drop", dtype=dtype)(x)
        x = keras.layers.Dense(s.num_classes, name="fc", dtype=dtype, **s.kernels)(x)
        activation = s.classifier_activation or "linear"
        return keras.layers.Activation(activation, name="predictions", dtype=dtype)(x)

    def _block(self, x: Any, filters: int, stride: int, name: str) -> Any:
        y = self._normalized(
            x, filters, BLOCK_KERNEL, BLOCK_PADDING, stride, f"{name}_conv1", f"{name}_norm1"
        )
        y = self._relu(y, f"{name}_relu1")
        y = self._normalized(
            y, filters, BLOCK_KERNEL, BLOCK_PADDING, 1, f"{name}_conv2", f"{name}_norm2"
        )
        if stride > 1:
            shortcut = f"{name}_downsample"
            x = self._normalized(x, filters, 1, 0, stride, shortcut, f"{shortcut}_norm")
        x = keras.layers.Add(name=f"{name}_add", dtype=self.settings.dtype)([x, y])
        return self._mark(name, self._relu(x, name))

    def _normalized(
        self, x: Any, filters: int, kernel: int, padding: int, stride: int, name: str, norm: str
    ) -> Any:
        """A convolution without bias, padded on both sides alike, and its normalization."""
        same = stride == 1
        x = convolution(
            self.rank,
            filters,
            kernel,
            strides=stride,
            padding="same" if same else "valid",
            use_bias=False,
            name=name,
            dtype=self.settings.dtype,
            **self.settings.kernels,
        )(x if same or not padding else self._padded(x, padding, name))
        return normalization_layer(
            self.settings.normalization,
            filters,
            name=norm,
            dtype=self.settings.dtype,
            epsilon=_EPSILON,
        )(x)

    def _padded(self, x: Any, padding: int, name: str) -> Any:
        """Zeros on both sides: Keras' ``same`` puts the odd one of a stride of 2 at the end."""
        return self._layer("ZeroPadding")(padding, name=f"{name}_pad", **self._last())(x)

    def _relu(self, x: Any, name: str) -> Any:
        return keras.layers.Activation("relu", name=name, dtype=self.settings.dtype)(x)

    def _layer(self, kind: str) -> Any:
        return getattr(keras.layers, f"{kind}{self.rank}D")

    def _last(self) -> dict[str, Any]:
        return {"data_format": "channels_last", "dtype": self.settings.dtype}

    def _mark(self, stage: str, x: Any) -> Any:
        self.stages[stage] = x._keras_history.operation.name
        return x
