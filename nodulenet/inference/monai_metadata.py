"""``configs/metadata.json`` as MONAI's bundles have it, for tools that list models by it.

Only the metadata: the networks are Keras models, so MONAI's own runner does not execute them.

Source: MONAI bundle specification, https://docs.monai.io/en/stable/mb_specification.html, and its
``meta_schema_20240725.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodulenet.config.meaning import MEANINGS
from nodulenet.config.patch_spec import PatchSpec

MONAI_FILE = "configs/metadata.json"
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)


def monai_metadata(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of the content of ``bundle.json``."""
    from importlib.metadata import version

    spec = PatchSpec.model_validate(content["spec"])
    names = MEANINGS[content["label_meaning"]].class_names
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"written by nodulenet {content['nodulenet']}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {
            "nodulenet": content["nodulenet"],
            "keras": version("keras"),
        },
        "name": content["name"],
        "task": "Lung-nodule classification on CT",
        "description": f"Probability {content['probability_of']}; Keras models, asked through "
        "nodulenet",
        "authors": "not stated",
        "copyright": "not stated",
        "data_source": f"nodulenet source kind {content['training']['source']}",
        "data_type": "numpy",
        "image_classes": "a patch of one nodule, windowed to 0..1",
        "label_classes": f"0: {names[0]}, 1: {names[1]}",
        "pred_classes": f"probability of: {names[1]}",
        "eval_metrics": {},
        "intended_use": "research use only; not a medical device",
        "references": [],
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if content["values"]["kind"] == "hu" else "magnitude",
                    "modality": "CT",
                    "num_channels": spec.channels,
                    "spatial_shape": list(spec.input_shape[:-1]),
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {str(i): f"channel {i}" for i in range(spec.channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities",
                    "format": "classes",
                    "num_channels": 1,
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": False,
                    "channel_def": {"0": names[1]},
                }
            },
        },
    }
