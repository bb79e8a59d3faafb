"""Registers the classes with Keras without importing it.

Keras finds a registered class (``nodulenet>SqueezeNoduleNetV2`` in a ``.keras`` file) only where
its module has been imported; it imports none but its own by itself (3.15). Importing Keras takes
five seconds, which a listing of names must not cost. So: where Keras is there already, the
modules are imported at once; otherwise as the last step of the import of Keras.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finds ``keras`` as usual, once, and appends the import of our modules to its execution."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self.modules = modules

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "keras" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            for name in self.modules:
                importlib.import_module(name)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def register_with_keras(*modules: str) -> None:
    """Import the modules now if Keras is imported, otherwise when it is."""
    if "keras" in sys.modules:
        for name in modules:
            importlib.import_module(name)
    else:
        sys.meta_path.insert(0, _AfterKeras(modules))
