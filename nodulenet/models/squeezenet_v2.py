"""SqueezeNodule-Net, for images and volumes.

Source: Tsivgoulis M., Papastergiou T., Megalooikonomou V., "An improved SqueezeNet model for the
diagnosis of lung cancer in CT scans", Machine Learning with Applications 9:100399, 2022.
SqueezeNet with 3x3 expands only and higher squeeze ratios; stem and pools of SqueezeNet 1.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from nodulenet.models.blocks import FireBase
from nodulenet.models.network import SqueezeNetwork, check_settings
from nodulenet.models.variants import (
    DEFAULT_INPUT_SHAPE,
    SQUEEZENODULE_VARIANTS,
    VariantConfig,
    config_from_squeeze_ratios,
    minimum_spatial_extent,
    resolved_variant,
)

__all__ = [
    "SimplifiedFireModule",
    "SqueezeNoduleNetV2",
    "create_squeezenodule_net_v2",
    "minimum_spatial_extent",
]


@keras.saving.register_keras_serializable(package="nodulenet")
class SimplifiedFireModule(FireBase):
    """Squeeze 1x1, then expand by 3x3 convolutions alone; 2D or 3D as its input.

    Args:
        s1x1: filters of the squeeze, fewer than ``e3x3``.
        e3x3: 3x3 (3x3x3) filters of the expand.
        kernel_regularizer: regularizer of all kernels; none by default.
        kernel_initializer: initializer of all kernels.
        normalization: None, ``"batch"`` or ``"group"``, before each ReLU; the convolutions then
            have no bias.
        **kwargs: arguments of ``keras.layers.Layer``.

    Returns: the input with ``e3x3`` channels.

    Raises:
        ValueError: a filter count is not a positive integer, or the squeeze does not squeeze.
    """

    EXPANDS = (("expand_3x3", 3),)

    def __init__(
        self,
        s1x1: int,
        e3x3: int,
        kernel_regularizer: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        normalization: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            s1x1, (e3x3,), kernel_regularizer, kernel_initializer, normalization, **kwargs
        )
        if s1x1 >= e3x3:
            raise ValueError(
                "Squeeze filters should be less than expand filters. "
                f"Received: s1x1={s1x1}, e3x3={e3x3}"
            )
        self.s1x1, self.e3x3 = s1x1, e3x3

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "s1x1": self.s1x1, "e3x3": self.e3x3}


@keras.saving.register_keras_serializable(package="nodulenet")
class SqueezeNoduleNetV2(SqueezeNetwork):
    """SqueezeNodule-Net (both published versions, V1 and V2) as a functional Keras model.

    Args:
        num_classes: outputs; 1 gives one sigmoid, more a softmax.
        variant_config: an entry of ``MODEL_VARIANTS``, a dictionary of the same form or the result
            of `config_from_squeeze_ratios`; ``"v2"`` by default (``"v2_3d"`` where ``use_3d`` or
            ``input_shape`` says so).
        dropout_rate: of the dropout after the last fire module, in [0, 1).
        kernel_regularizer: regularizer of every convolution's kernel.
        kernel_initializer: initializer of every convolution's kernel.
        include_top: whether the classification head is there.
        input_shape: (height, width, channels) or (depth, height, width, channels); a spatial size
            may be None. 3D configurations default to (64, 64, 64, 1).
        name: of the model.
        use_3d: None for the configuration's own; True or False must agree with ``input_shape``.
        head_activation: of the last convolution; None (linear) by default, because a ReLU clips
            the logits and stops the gradient in a two-class problem.
        classifier_activation: ``"softmax"`` by default; None gives logits.
        normalization: None as published, ``"batch"`` or ``"group"``.
        pooling: None, ``"avg"`` or ``"max"`` over the last features; with ``include_top=False``.
        dtype: a dtype or dtype policy; Keras' global policy by default. The output is float32
            under mixed precision.

    Raises:
        ValueError: an argument does not fit; a spatial size below `minimum_spatial_extent`.

    Example:
        >>> model = SqueezeNoduleNetV2.from_variant(
        ...     "v2_3d", num_classes=2, input_shape=(32, 32, 32, 1)
        ... )
        >>> model.count_params()
        2545154
    """

    MODEL_VARIANTS: ClassVar[dict[str, VariantConfig]] = SQUEEZENODULE_VARIANTS
    FIRE_PREFIX = "simpfire"
    OWN_ARGUMENTS = ("use_3d",)

    config_from_squeeze_ratios = staticmethod(config_from_squeeze_ratios)

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
        use_3d: bool | None = None,
        head_activation: str | None = None,
        classifier_activation: str | None = "softmax",
        normalization: str | None = None,
        pooling: str | None = None,
        dtype: Any = None,
    ) -> None:
        if variant_config is None:
            volume = len(input_shape) == 4 if use_3d is None else use_3d
            variant_config = SQUEEZENODULE_VARIANTS["v2_3d" if volume else "v2"]
        settings = check_settings(
            type(self).__name__,
            num_classes=num_classes,
            variant_config=variant_config,
            fire_keys=("s1x1", "e3x3"),
            config_options=("use_3d",),
            dropout_rate=dropout_rate,
            kernel_regularizer=kernel_regularizer,
            kernel_initializer=kernel_initializer,
            include_top=include_top,
            input_shape=input_shape,
            use_bypass=False,
            use_3d=use_3d,
            head_activation=head_activation,
            classifier_activation=classifier_activation,
            normalization=normalization,
            pooling=pooling,
            dtype=dtype,
        )
        super().__init__(settings, SimplifiedFireModule, name)

    @classmethod
    def from_variant(
        cls,
        variant: str,
        num_classes: int = 1000,
        input_shape: Sequence[int | None] = DEFAULT_INPUT_SHAPE,
        weights: None = None,
        **kwargs: Any,
    ) -> SqueezeNoduleNetV2:
        """A model of a published variant.

        Args:
            variant: a key of ``MODEL_VARIANTS``.
            num_classes: outputs.
            input_shape: as for the constructor.
            weights: None; the authors published none.
            **kwargs: further arguments of the constructor.

        Raises:
            ValueError: there is no such variant, or an argument does not fit.
            NotImplementedError: weights are asked for.
        """
        config = resolved_variant(cls.__name__, cls.MODEL_VARIANTS, variant)
        if weights is not None:
            raise NotImplementedError(
                "No pretrained SqueezeNodule-Net weights are published. Train from scratch, or "
                "read your own with model.load_weights() or keras.models.load_model()."
            )
        return cls(
            num_classes=num_classes, variant_config=config, input_shape=input_shape, **kwargs
        )


def create_squeezenodule_net_v2(
    variant: str = "v2",
    num_classes: int = 1000,
    input_shape: Sequence[int | None] = DEFAULT_INPUT_SHAPE,
    weights: None = None,
    **kwargs: Any,
) -> SqueezeNoduleNetV2:
    """A SqueezeNodule-Net: `SqueezeNoduleNetV2.from_variant` with ``"v2"`` as default."""
    return SqueezeNoduleNetV2.from_variant(variant, num_classes, input_shape, weights, **kwargs)
