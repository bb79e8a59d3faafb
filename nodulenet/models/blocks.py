"""Layers that both networks are made of. Each takes its rank (2D or 3D) from its input.

All layers are channels last, whatever ``keras.config.image_data_format()`` says.
"""

from __future__ import annotations

import math
from typing import Any

import keras

from nodulenet.models.variants import POOL_SIZE, POOL_STRIDE, pooled_extent

NORMALIZATIONS = (None, "batch", "group")

# Wu and He 2018, arXiv:1803.08494, table 3: sixteen channels a group is about the best choice.
_CHANNELS_PER_GROUP = 16
# Keras' own 0.99 forgets the start only after hundreds of steps; a fold of nodules has fewer.
_BATCH_MOMENTUM = 0.9


def own_initializer(initializer: Any) -> Any:
    """A copy of an initializer: one unseeded object gives every layer the same values."""
    if isinstance(initializer, keras.initializers.Initializer):
        return initializer.__class__.from_config(initializer.get_config())
    return initializer


def convolution(
    rank: int,
    filters: int,
    kernel_size: int,
    *,
    name: str,
    strides: int = 1,
    padding: str = "valid",
    activation: str | None = None,
    use_bias: bool = True,
    kernel_regularizer: Any = None,
    kernel_initializer: Any = "glorot_uniform",
    dtype: Any = None,
) -> keras.layers.Layer:
    """A ``Conv2D`` or ``Conv3D``, channels last."""
    layer = keras.layers.Conv3D if rank == 3 else keras.layers.Conv2D
    return layer(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        activation=activation,
        use_bias=use_bias,
        kernel_regularizer=kernel_regularizer,
        kernel_initializer=own_initializer(kernel_initializer),
        data_format="channels_last",
        dtype=dtype,
        name=name,
    )


def checked_normalization(normalization: str | None) -> str | None:
    """The same value; ValueError where it is none of the known ones."""
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {NORMALIZATIONS}. Received: {normalization!r}"
        )
    return normalization


def normalization_layer(
    kind: str, channels: int, *, name: str, dtype: Any = None, epsilon: float = 1e-3
) -> keras.layers.Layer:
    """Batch normalization, or group normalization with sixteen channels a group."""
    if kind == "batch":
        return keras.layers.BatchNormalization(
            momentum=_BATCH_MOMENTUM, epsilon=epsilon, name=name, dtype=dtype
        )
    size = channels if channels < _CHANNELS_PER_GROUP else math.gcd(channels, _CHANNELS_PER_GROUP)
    return keras.layers.GroupNormalization(
        groups=channels // size, epsilon=epsilon, name=name, dtype=dtype
    )


@keras.saving.register_keras_serializable(package="nodulenet")
class CeilMaxPooling(keras.layers.Layer):
    """Max pooling 3/2 that keeps the last partial window, as Caffe and torch's ``ceil_mode``.

    No constant is padded: the lowest number would survive training but not an int8 export, and
    zero would be wrong for negative features. Where all axes are even, ``same`` pads exactly the
    one missing element at the end; where all are odd, nothing is missing; otherwise each axis'
    last element is repeated, which is in the last window anyway.

    Args:
        **kwargs: arguments of ``keras.layers.Layer``.

    Input shape: (batch, [depth,] height, width, channels); each axis at least 2.
    """

    def call(self, inputs: Any) -> Any:
        sizes = tuple(inputs.shape)[1:-1]
        padding = "valid"
        if all(size is not None and size % 2 == 0 for size in sizes):
            padding = "same"
        elif not all(size is not None and size % 2 for size in sizes):
            for axis in range(1, len(sizes) + 1):
                last = (slice(None),) * axis + (slice(-1, None),)
                inputs = keras.ops.concatenate([inputs, inputs[last]], axis=axis)
        return keras.ops.max_pool(
            inputs, POOL_SIZE, POOL_STRIDE, padding=padding, data_format="channels_last"
        )

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, *sizes, channels = input_shape
        pooled = (None if size is None else pooled_extent(size) for size in sizes)
        return (batch, *pooled, channels)

    def get_config(self) -> dict[str, Any]:
        # Stated, because Keras' automatic configuration cannot write a dtype policy (3.15).
        return dict(super().get_config())


class FireBase(keras.layers.Layer):
    """Squeeze with 1x1 convolutions, then expand; children say with which convolutions.

    The sublayers exist from the start, so that their filters can be read, and become 3D when the
    layer is built on a volume.
    """

    # Attribute and kernel size of the expand convolutions, in the order of their channels.
    EXPANDS: tuple[tuple[str, int], ...] = ()

    def __init__(
        self,
        squeeze_filters: int,
        expand_filters: tuple[int, ...],
        kernel_regularizer: Any,
        kernel_initializer: Any,
        normalization: str | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        counts = (squeeze_filters, *expand_filters)
        if any(isinstance(n, bool) or not isinstance(n, int) or n <= 0 for n in counts):
            raise ValueError(
                "All filter counts must be positive integers. Received: squeeze filters "
                f"{squeeze_filters}, expand filters {expand_filters}"
            )
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.normalization = checked_normalization(normalization)
        self._expand_filters = expand_filters
        self._squeeze_filters = squeeze_filters
        for name, layer in self._convolutions(rank=2).items():
            # Past Keras' tracking: `build` decides which layers hold the weights.
            object.__setattr__(self, name, layer)

    def _convolutions(self, rank: int) -> dict[str, keras.layers.Layer]:
        names = [("squeeze", 1), *self.EXPANDS]
        counts = (self._squeeze_filters, *self._expand_filters)
        return {
            name: convolution(
                rank,
                filters,
                size,
                name=name,
                padding="same",
                activation=None if self.normalization else "relu",
                use_bias=not self.normalization,
                kernel_regularizer=self.kernel_regularizer,
                kernel_initializer=self.kernel_initializer,
                dtype=self.dtype_policy,
            )
            for (name, size), filters in zip(names, counts, strict=True)
        }

    def build(self, input_shape: Any) -> None:
        if len(input_shape) not in (4, 5):
            raise ValueError(
                f"{type(self).__name__} {self.name!r} needs (batch, height, width, channels) or "
                f"(batch, depth, height, width, channels). Received: {tuple(input_shape)}"
            )
        layers = self._convolutions(rank=len(input_shape) - 2)
        for name, layer in layers.items():
            setattr(self, name, layer)
        squeezed = (*input_shape[:-1], self._squeeze_filters)
        layers.pop("squeeze").build(input_shape)
        for layer in layers.values():
            layer.build(squeezed)
        if self.normalization:
            for name, channels in (
                ("squeeze_norm", self._squeeze_filters),
                ("expand_norm", sum(self._expand_filters)),
            ):
                norm = normalization_layer(
                    self.normalization, channels, name=name, dtype=self.dtype_policy
                )
                setattr(self, name, norm)
                norm.build((*input_shape[:-1], channels))
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        x = self.squeeze(inputs)
        if self.normalization:
            x = keras.ops.relu(self.squeeze_norm(x, **self._norm_arguments(training)))
        expanded = [getattr(self, name)(x) for name, _ in self.EXPANDS]
        x = expanded[0] if len(expanded) == 1 else keras.ops.concatenate(expanded, axis=-1)
        if self.normalization:
            x = keras.ops.relu(self.expand_norm(x, **self._norm_arguments(training)))
        return x

    def _norm_arguments(self, training: bool | None) -> dict[str, bool | None]:
        return {"training": training} if self.normalization == "batch" else {}

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], sum(self._expand_filters))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "normalization": self.normalization,
        }
