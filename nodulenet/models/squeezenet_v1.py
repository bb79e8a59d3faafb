"""SqueezeNet 1.0 and 1.1 for images and volumes, with optional bypasses.

Source: Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters",
arXiv:1602.07360; the stages are those of the authors' Caffe networks, ceil-mode pooling included.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras

from nodulenet.models.blocks import FireBase
from nodulenet.models.network import SqueezeNetwork, check_settings
from nodulenet.models.variants import (
    DEFAULT_INPUT_SHAPE,
    SQUEEZENET_VARIANTS,
    VariantConfig,
    minimum_spatial_extent,
    resolved_variant,
)

__all__ = ["FireModule", "SqueezeNetV1", "create_squeezenet_v1", "minimum_spatial_extent"]


@keras.saving.register_keras_serializable(package="nodulenet")
class FireModule(FireBase):
    """Squeeze 1x1, then expand by 1x1 and 3x3 convolutions side by side; 2D or 3D as its input.

    Args:
        s1x1: filters of the squeeze.
        e1x1: 1x1 filters of the expand.
        e3x3: 3x3 (3x3x3) filters of the expand.
        kernel_regularizer: regularizer of all kernels; none by default.
        kernel_initializer: initializer of all kernels.
        normalization: None, ``"batch"`` or ``"group"``, before each ReLU; the convolutions then
            have no bias.
        **kwargs: arguments of ``keras.layers.Layer``.

    Returns: the input with ``e1x1 + e3x3`` channels, in that order.

    Raises:
        ValueError: a filter count is not a positive integer.
    """

    EXPANDS = (("expand_1x1", 1), ("expand_3x3", 3))

    def __init__(
        self,
        s1x1: int,
        e1x1: int,
        e3x3: int,
        kernel_regularizer: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        normalization: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            s1x1, (e1x1, e3x3), kernel_regularizer, kernel_initializer, normalization, **kwargs
        )
        self.s1x1, self.e1x1, self.e3x3 = s1x1, e1x1, e3x3

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "s1x1": self.s1x1, "e1x1": self.e1x1, "e3x3": self.e3x3}


@keras.saving.register_keras_serializable(package="nodulenet")
class SqueezeNetV1(SqueezeNetwork):
    """SqueezeNet as a functional Keras model.

    Args:
        num_classes: outputs; 1 gives one sigmoid, more a softmax.
        variant_config: an entry of ``MODEL_VARIANTS`` or a dictionary of the same form; ``"1.0"``
            by default (``"1.0_3d"`` where ``input_shape`` is a volume's).
        dropout_rate: of the dropout after the last fire module, in [0, 1).
        kernel_regularizer: regularizer of every convolution's kernel.
        kernel_initializer: initializer of every convolution's kernel.
        include_top: whether the classification head is there.
        input_shape: (height, width, channels) or (depth, height, width, channels); a spatial size
            may be None. 3D configurations default to (64, 64, 64, 1).
        name: of the model.
        use_bypass: None for the configuration's own, False, ``"simple"`` (additions where the
            widths agree: fire3, 5, 7, 9) or ``"complex"`` (1x1 convolutions round the others too).
        head_activation: of the last convolution, ``"relu"`` as published (needed for published
            weights) or None for linear, which trains more reliably with few classes. Never ReLU
            with one class.
        classifier_activation: ``"softmax"`` by default; None gives logits.
        normalization: None as published, ``"batch"`` or ``"group"``.
        pooling: None, ``"avg"`` or ``"max"`` over the last features; with ``include_top=False``.
        dtype: a dtype or dtype policy; Keras' global policy by default. The output is float32
            under mixed precision.

    Raises:
        ValueError: an argument does not fit; a spatial size below `minimum_spatial_extent`.

    Example:
        >>> model = SqueezeNetV1.from_variant("1.1", num_classes=2, input_shape=(32, 32, 1))
        >>> model.output_shape
        (None, 2)
    """

    MODEL_VARIANTS: ClassVar[dict[str, VariantConfig]] = SQUEEZENET_VARIANTS
    FIRE_PREFIX = "fire"
    OWN_ARGUMENTS = ("use_bypass",)

    def __init__(
        self,
        num_classes: int = 1000,
        variant_config: VariantConfig | None = None,
        dropout_rate: float = 0.5,
        kernel_regularizer: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        include_top: bool = True,
        input_shape: Sequence[int | None] = DEFAULT_INPUT_SHAPE,
        name: str | None = None,
        *,
        use_bypass: bool | str | None = None,
        head_activation: str | None = "relu",
        classifier_activation: str | None = "softmax",
        normalization: str | None = None,
        pooling: str | None = None,
        dtype: Any = None,
    ) -> None:
        if variant_config is None:
            variant_config = SQUEEZENET_VARIANTS["1.0_3d" if len(input_shape) == 4 else "1.0"]
        if use_bypass is None:
            use_bypass = variant_config.get("use_bypass", False)
        settings = check_settings(
            type(self).__name__,
            num_classes=num_classes,
            variant_config=variant_config,
            fire_keys=("s1x1", "e1x1", "e3x3"),
            config_options=("use_bypass", "use_3d"),
            dropout_rate=dropout_rate,
            kernel_regularizer=kernel_regularizer,
            kernel_initializer=kernel_initializer,
            include_top=include_top,
            input_shape=input_shape,
            use_bypass=use_bypass,
            use_3d=None,
            head_activation=head_activation,
            classifier_activation=classifier_activation,
            normalization=normalization,
            pooling=pooling,
            dtype=dtype,
        )
        super().__init__(settings, FireModule, name)

    @property
    def use_bypass(self) -> bool | str:
        return self._settings.use_bypass

    @classmethod
    def from_variant(
        cls,
        variant: str,
        num_classes: int = 1000,
        input_shape: Sequence[int | None] = DEFAULT_INPUT_SHAPE,
        weights: str | Path | None = None,
        **kwargs: Any,
    ) -> SqueezeNetV1:
        """A model of a published variant.

        Args:
            variant: a key of ``MODEL_VARIANTS``.
            num_classes: outputs.
            input_shape: as for the constructor.
            weights: None for initial weights, or the path of a published state dict (see
                `nodulenet.models.weights.load_imagenet_weights`).
            **kwargs: further arguments of the constructor.

        Raises:
            ValueError: there is no such variant, or an argument does not fit.
            NotImplementedError: weights are asked for by name; none come with the package.
        """
        config = resolved_variant(cls.__name__, cls.MODEL_VARIANTS, variant)
        if weights == "imagenet":
            raise NotImplementedError(
                "No pretrained SqueezeNet weights come with this package. Download torchvision's "
                "squeezenet state dict and give its path: weights='squeezenet1_1.pth'."
            )
        model = cls(
            num_classes=num_classes, variant_config=config, input_shape=input_shape, **kwargs
        )
        if weights is not None:
            from nodulenet.models.weights import load_imagenet_weights

            load_imagenet_weights(model, weights)
        return model


def create_squeezenet_v1(
    variant: str = "1.0",
    num_classes: int = 1000,
    input_shape: Sequence[int | None] = DEFAULT_INPUT_SHAPE,
    weights: str | Path | None = None,
    **kwargs: Any,
) -> SqueezeNetV1:
    """A SqueezeNet: `SqueezeNetV1.from_variant` with ``"1.0"`` as default."""
    return SqueezeNetV1.from_variant(variant, num_classes, input_shape, weights, **kwargs)
