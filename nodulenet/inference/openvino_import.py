"""Importing OpenVINO without its telemetry."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from nodulenet.errors import MissingDependencyError

_TELEMETRY = "openvino_telemetry"


def import_openvino() -> Any:
    """Imports OpenVINO without its telemetry.

    ``import openvino`` (2026.4) sends an event to a statistics service on the internet. For the
    time of the import the package that does it is declared absent, which OpenVINO handles: what
    is asked of a hospital's computer is nobody else's business, and some have no network.

    Returns:
        The module ``openvino``.

    Raises:
        MissingDependencyError: it is not installed.
    """
    absent = _TELEMETRY not in sys.modules
    if absent:
        # None makes an import of that name raise ModuleNotFoundError.
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return import_module("openvino")
    except ImportError as error:
        raise MissingDependencyError(
            "the openvino engine needs openvino: pip install 'nodulenet[export]'"
        ) from error
    finally:
        if absent:
            del sys.modules[_TELEMETRY]
