"""What the registry knows of a model, whoever wrote it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# What a configuration gives to every model when it says nothing; a test holds them equal to the
# defaults of the schema. A model that lacks an option may be built as long as it is at its default.
OPTION_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "dropout_rate": 0.5,
        "kernel_regularizer": None,
        "kernel_initializer": "he_normal",
        "normalization": None,
        "head_activation": "linear",
        "dtype": "float32",
    }
)


def one_line(error: Exception) -> str:
    """An error of other people's code as one line: its class and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@dataclass(frozen=True)
class ModelEntry(ABC):
    """A named model: what it is and how to build it.

    Attributes:
        name: as used in configurations, such as ``squeezenodule_v2_3d``.
        description: one line.
        rank: 2 for images, 3 for volumes, None for a model that takes both.
        minimum_extent: the smallest length of a spatial axis, in voxels.
        published_input_shape: input of the published form: (224, 224, 3), or (64, 64, 64, 1) for
            volumes; None where there is no such form.
        published_classes: classes of the published form: 1000 (ImageNet), or 2 for volumes.
    """

    name: str
    description: str
    rank: int | None
    minimum_extent: int
    published_input_shape: tuple[int, ...] | None = None
    published_classes: int | None = None

    @property
    def parameters(self) -> int | None:
        """Parameters of the published form; None where there is no such form."""
        if self.published_input_shape is None or self.published_classes is None:
            return None
        return self.parameter_count(self.published_input_shape, self.published_classes)

    @abstractmethod
    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuse options that this model cannot honour, without building it.

        Args:
            options: as for `build`.

        Raises:
            UsageError: an option that is set does not exist for this model or makes no sense.
        """

    @abstractmethod
    def build(self, input_shape: Sequence[int | None], num_classes: int = 2, **options: Any) -> Any:
        """A fresh model with new initial weights.

        Args:
            input_shape: (height, width, channels) or (depth, height, width, channels); None
                for a spatial size that is not known.
            num_classes: outputs; 1 is one sigmoid, more are a softmax.
            **options: further arguments of the model, such as ``dropout_rate``,
                ``head_activation``, ``normalization`` and ``dtype``.

        Returns:
            The ``keras.Model``.

        Raises:
            UsageError: as for `check_options`.
            TypeError: an option of that name is unknown to a model of ours.
        """

    @abstractmethod
    def parameter_count(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        """Parameters for an input shape and a number of classes.

        Those that training changes; moving averages of batch normalization are not counted.
        """

    @abstractmethod
    def multiply_accumulates(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        """Multiply-accumulates of convolutions and dense layers for one input."""
