"""What every network of ours is: a functional model with named stages that saves itself whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras


def at_least_float32(policy: Any) -> Any:
    """``"float32"`` under mixed or half precision, else the policy itself.

    For averages and outputs, whose sums half precision would round.
    """
    return "float32" if policy.compute_dtype in ("float16", "bfloat16") else policy


def resolved_policy(dtype: Any) -> Any:
    """The dtype policy of a constructor's argument; Keras' global policy for None."""
    return keras.dtype_policies.get(keras.config.dtype_policy() if dtype is None else dtype)


class StagedModel(keras.Model):
    """Base of the networks: stages by name, a check of sizes at every call, a complete config.

    Args:
        inputs: the graph's input, (batch, [depth,] height, width, channels).
        outputs: the graph's output.
        stages: stage -> name of the layer that ends it, in order.
        name: of the model.
    """

    def __init__(
        self, inputs: Any, outputs: Any, stages: Mapping[str, str], name: str | None
    ) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._stage_layers = tuple(stages.items())
        if _on_tensorflow_cpu():
            # XLA trains 3D models 5 to 10 times and 2D models 3 to 5 times slower there, and
            # Keras' compile() turns it on by itself for models that support it.
            self.supports_jit = False

    def _check_spatial(self, spatial: Sequence[int | None]) -> None:
        """Raise a ValueError for an axis that is too short for this network."""
        raise NotImplementedError

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        shape, declared = keras.tree.flatten(inputs)[0].shape, self.inputs[0].shape
        if len(shape) == len(declared) and None in declared[1:]:
            self._check_spatial([None if n is None else int(n) for n in tuple(shape)[1:-1]])
        return super().call(inputs, training=training, mask=mask)

    @property
    def stage_names(self) -> list[str]:
        """Names of the feature maps in order, such as ``conv1``, ``pool1``, ``fire2``."""
        return [stage for stage, _ in self._stage_layers]

    def feature_model(self, stages: Sequence[str] | None = None) -> keras.Model:
        """A model on the same weights that returns feature maps.

        Args:
            stages: names out of `stage_names`; all by default. A stage with a bypass or a
                shortcut is the sum.

        Returns:
            A ``keras.Model`` whose output is a dictionary from stage to its feature map.

        Raises:
            ValueError: a stage is unknown.
        """
        layers = dict(self._stage_layers)
        wanted = list(layers) if stages is None else list(stages)
        unknown = [stage for stage in wanted if stage not in layers]
        if unknown or not wanted:
            raise ValueError(f"Unknown stages {unknown}. Expected some of {list(layers)}.")
        return keras.Model(
            self.inputs[0], {stage: self.get_layer(layers[stage]).output for stage in wanted}
        )

    def _saved_state(self, regularizer: Any, initializer: Any, policy: Any) -> dict[str, Any]:
        """The part of a configuration that needs Keras' own serialisation."""
        return {
            "name": self.name,
            "kernel_regularizer": keras.regularizers.serialize(regularizer),
            "kernel_initializer": keras.initializers.serialize(initializer),
            "dtype": keras.dtype_policies.serialize(policy),
            "frozen_layers": [layer.name for layer in self.layers if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> StagedModel:
        config = dict(config)
        frozen = config.pop("frozen_layers", [])
        for key, deserialize in (
            ("kernel_regularizer", keras.regularizers.deserialize),
            ("kernel_initializer", keras.initializers.deserialize),
            ("dtype", keras.dtype_policies.deserialize),
        ):
            if isinstance(config.get(key), dict):
                config[key] = deserialize(config[key], custom_objects)
        model = cls(**config)
        for name in frozen:
            model.get_layer(name).trainable = False
        return model


def _on_tensorflow_cpu() -> bool:
    return keras.config.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")
