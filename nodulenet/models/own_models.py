"""Other people's Keras models, by the entry point group ``nodulenet.models``.

A package offers a model by an entry point in its ``pyproject.toml``::

    [project.entry-points."nodulenet.models"]
    small_net = "lung_models.small:build"

The object is a function (or any callable) of this form::

    def build(input_shape, num_classes, *, dropout_rate=0.5, kernel_regularizer=None): ...

    build.rank = 2                        # 2: images, 3: volumes; left out: both
    build.minimum_extent = 16             # smallest length of an axis in voxels; left out: 1
    build.description = "four 3x3 convolutions"

- ``input_shape`` is (height, width, channels) or (depth, height, width, channels); values are
  windowed to [0, 1].
- It returns a fresh ``keras.Model`` whose output is (n, num_classes) probabilities, rows summing to
  1 (one sigmoid for ``num_classes=1``). `nodulenet.models.classifier_check` holds it to that.
- Options that its signature accepts are passed: ``dropout_rate``, ``kernel_regularizer``,
  ``kernel_initializer``, ``normalization`` (``"batch"``, ``"group"``, None), ``head_activation``
  and ``dtype``. An option that it does not accept but that was set to other than its default is
  refused: a silently ignored setting would be reported as used.
- Layers of its own are registered with ``keras.saving.register_keras_serializable``.

Listing reads only the metadata of installed packages; the package is imported when its model is
asked for. docs/own_models.md has a complete example.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nodulenet.errors import UsageError
from nodulenet.models.entry import OPTION_DEFAULTS, ModelEntry, one_line

GROUP = "nodulenet.models"
# Options that a configuration calls otherwise.
_CONFIGURED_AS = {
    "kernel_regularizer": "'kernel_regularizer' (`weight_decay` of a model in a configuration)",
    "dtype": "'dtype' (`precision` in a configuration)",
}
# Models that live, to notice one that is returned again.
_BUILT: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


@dataclass(frozen=True, kw_only=True)
class OwnModelEntry(ModelEntry):
    """A model of another package. Its costs are counted on a built model."""

    function: Callable[..., Any]
    source: str

    def check_options(self, options: Mapping[str, Any]) -> None:
        self._accepted(options)

    def build(self, input_shape: Sequence[int | None], num_classes: int = 2, **options: Any) -> Any:
        accepted = self._accepted(options)
        try:
            model = self.function(tuple(input_shape), num_classes, **accepted)
        except Exception as error:
            raise UsageError(
                f"Model {self.name!r} ({self.source}) could not be built for inputs of "
                f"{tuple(input_shape)} and {num_classes} classes: {one_line(error)}"
            ) from error
        self._refuse_stale(model)
        return model

    def _refuse_stale(self, model: Any) -> None:
        """A model kept by its package would take what one fold taught it into the next."""
        # Imported here: the package of the function has imported it by now.
        import keras

        if not isinstance(model, keras.Model):
            return  # check_classifier says so
        if _BUILT.get(id(model)) is model:
            raise UsageError(
                f"Model {self.name!r} ({self.source}) returned the same model twice; its function "
                "must build a fresh one at every call, because every fold starts anew."
            )
        _BUILT[id(model)] = model

    def parameter_count(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        return self._cost(input_shape, num_classes)[0]

    def multiply_accumulates(self, input_shape: Sequence[int], num_classes: int = 2) -> int:
        return self._cost(input_shape, num_classes)[1]

    def _cost(self, input_shape: Sequence[int], num_classes: int) -> tuple[int, int]:
        # Imported here: it needs Keras.
        from nodulenet.models.built_cost import built_cost

        return built_cost(self.build(input_shape, num_classes), input_shape)

    def _accepted(self, options: Mapping[str, Any]) -> dict[str, Any]:
        signature = inspect.signature(self.function)
        parameters = signature.parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return dict(options)
        taken = signature.bind((), 0).arguments  # by the input shape and the number of classes
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names = {p.name for p in parameters if p.kind in by_name and p.name not in taken}
        for option, value in options.items():
            if option not in names and not _says_nothing(option, value):
                raise UsageError(
                    f"Model {self.name!r} ({self.source}) has no option "
                    f"{_CONFIGURED_AS.get(option, repr(option))}, which was set to {value!r}. It "
                    f"accepts {', '.join(sorted(names)) or 'none'}; leave the option out for this "
                    "model, or let its function accept it."
                )
        return {option: value for option, value in options.items() if option in names}


def own_models() -> dict[str, tuple[importlib.metadata.EntryPoint, ...]]:
    """The models that other packages offer, by name; nothing is imported.

    Returns:
        name -> its entry points, in the order of the names; more than one where packages collide.
    """
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda p: p.name):
        found.setdefault(point.name, []).append(point)
    return {name: tuple(points) for name, points in found.items()}


def source_of(point: importlib.metadata.EntryPoint) -> str:
    """Package and object of an entry point, for messages and listings."""
    package = point.dist.name if point.dist else "an unnamed package"
    return f"package {package}, {point.value}"


def load_own_model(point: importlib.metadata.EntryPoint) -> OwnModelEntry:
    """Import another package's model.

    Raises:
        UsageError: the package cannot be imported, or its object breaks the contract.
    """
    source = source_of(point)
    try:
        function = point.load()
    except Exception as error:
        raise UsageError(
            f"Model {point.name!r} ({source}) could not be loaded: {one_line(error)}. Repair or "
            "uninstall that package."
        ) from error
    _check_signature(function, point.name, source)
    rank = getattr(function, "rank", None)
    smallest = getattr(function, "minimum_extent", 1)
    description = getattr(function, "description", None) or f"of {source}"
    if rank not in (None, 2, 3) or isinstance(rank, bool):
        raise UsageError(
            f"Model {point.name!r} ({source}): its attribute rank must be 2 (images) or 3 "
            f"(volumes), or be left out for both. Received: {rank!r}"
        )
    if isinstance(smallest, bool) or not isinstance(smallest, int) or smallest < 1:
        raise UsageError(
            f"Model {point.name!r} ({source}): its attribute minimum_extent must be a positive "
            f"number of voxels. Received: {smallest!r}"
        )
    return OwnModelEntry(
        name=point.name,
        description=" ".join(str(description).split()),
        rank=rank,
        minimum_extent=smallest,
        function=function,
        source=source,
    )


def register_own_model(name: str) -> None:
    """Import the package that offers a model, so that Keras finds the layers of its saved files.

    Args:
        name: the model's registry name; nothing happens for ours and for unknown ones.

    Raises:
        UsageError: the package cannot be imported.
    """
    for point in own_models().get(name, ()):
        load_own_model(point)


def _check_signature(function: Any, name: str, source: str) -> None:
    try:
        inspect.signature(function).bind((32, 32, 1), 2)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"Model {name!r} ({source}) is no function build(input_shape, num_classes, **options) "
            f"whose options all have defaults: {one_line(error)}"
        ) from error


def _says_nothing(option: str, value: Any) -> bool:
    return value is None or (option in OPTION_DEFAULTS and value == OPTION_DEFAULTS[option])
