"""MONAI dictionary transforms over the kernel of :mod:`nodulenet.ct`.

They compose with MONAI's own. A scan stays lazy until a patch is cut from it::

    Compose([
        LoadCTd("ct"),                                              # path -> CTVolume
        ExtractNodulePatchd("ct", "point_lps_mm", (32, 48, 48), (1, 1, 1)),   # -> MetaTensor, HU
        RandFlipd("ct", prob=0.5, spatial_axis=2),
        WindowHUd("ct", ["lung", "mediastinum"]),                   # HU -> [0, 1], a channel each
        ToKerasd("ct"),                                             # -> NumPy, channels last
    ])

Tensors are channel first with the spatial axes (z, y, x), array z rising to the head, y to the
back, x to the patient's left. Their affine says so: MONAI's affines map an array index, whatever
its axis order, to RAS millimetres, so its columns are the steps along z, y and x. ``pixdim`` of
MONAI's ``Spacingd`` is in array order too: (z, y, x).

Importing this room imports MONAI (about 3.5 s), without TensorFlow.
"""

from __future__ import annotations

from nodulenet.transforms.monai_import import import_monai

import_monai()

from nodulenet.transforms.affine_pose import RandAffinePosed  # noqa: E402
from nodulenet.transforms.extract import ExtractNodulePatchd  # noqa: E402
from nodulenet.transforms.load import LoadCTd  # noqa: E402
from nodulenet.transforms.pose import RandPosePlanesd  # noqa: E402
from nodulenet.transforms.resample import ResampleIsotropicd  # noqa: E402
from nodulenet.transforms.sharpness import RandSharpnessd  # noqa: E402
from nodulenet.transforms.values import ToKerasd, WindowHUd  # noqa: E402

__all__ = [
    "ExtractNodulePatchd",
    "LoadCTd",
    "RandAffinePosed",
    "RandPosePlanesd",
    "RandSharpnessd",
    "ResampleIsotropicd",
    "ToKerasd",
    "WindowHUd",
    "import_monai",
]
