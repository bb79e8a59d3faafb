"""NoduleNet: a lung-nodule classifier for CT scans with honest, cross-validated results.

Not a detector, and not the detection network of 2019 with the same name. Importing this
package is light: TensorFlow, torch and MONAI are loaded only by the modules that need them.

>>> import nodulenet
>>> answers = nodulenet.classify("scan.nii.gz", [[56.2, 86.2, -115.9]], "b.zip")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.inference.classify import classify

__version__ = "0.1.0"
__all__ = ["__version__", "classify"]


def __getattr__(name: str) -> Any:
    if name == "classify":
        from nodulenet.inference.classify import classify

        return classify
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
