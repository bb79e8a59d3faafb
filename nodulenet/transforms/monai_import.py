"""Importing MONAI without TensorFlow."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

_TENSORBOARD = ("tensorboard", "torch.utils.tensorboard")


def import_monai() -> Any:
    """Imports MONAI without TensorFlow.

    ``import monai`` asks for torch's TensorBoard writer, and the tensorboard package behind it
    imports TensorFlow wherever that is installed (4-5 s, 500 MB). For the time of the import
    both are declared absent, which MONAI handles; only ``monai.handlers``' and
    ``monai.visualize``'s own TensorBoard writing is thereby off. ``torch.utils.tensorboard``
    itself and Keras' TensorBoard callback work as ever afterwards.

    Returns:
        The module ``monai``.
    """
    absent = [name for name in _TENSORBOARD if name not in sys.modules]
    for name in absent:
        # None makes an import of that name raise ModuleNotFoundError.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        return import_module("monai")
    finally:
        for name in absent:
            del sys.modules[name]
