"""Synthetic chest CT with nodules, in the layout of LUNA16.

`generate_phantom` writes a whole data set, `make_scan` makes one scan in memory and `write_scan`
writes it as MetaImage, DICOM or NIfTI; `phantom_predictions` makes up a table of predictions. The
phantom is for tests, demonstrations and benchmarks: a model trained on it knows nothing of real
lungs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.phantom.generate import PhantomDataset, generate_phantom
    from nodulenet.phantom.predictions import phantom_predictions
    from nodulenet.phantom.readings import simulated_readings
    from nodulenet.phantom.scan import PhantomScan, make_scan, plan_scan
    from nodulenet.phantom.write import write_scan

__all__ = [
    "PhantomDataset",
    "PhantomScan",
    "generate_phantom",
    "make_scan",
    "phantom_predictions",
    "plan_scan",
    "simulated_readings",
    "write_scan",
]

_HOMES = {
    "PhantomDataset": "generate",
    "generate_phantom": "generate",
    "phantom_predictions": "predictions",
    "PhantomScan": "scan",
    "make_scan": "scan",
    "plan_scan": "scan",
    "simulated_readings": "readings",
    "write_scan": "write",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
