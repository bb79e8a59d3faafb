"""NoduleNet: a lung-nodule classifier for CT scans with honest, cross-validated results.

Not a detector, and not the detection network of 2019 with the same name. Importing this
package is light: TensorFlow, torch and MONAI are loaded only by the modules that need them.
"""

from __future__ import annotations

__version__ = "0.1.0"
