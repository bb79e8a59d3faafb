"""What only an external validation has: a bundle that answered, and a part set aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.words import CALIBRATIONS, cohort, count

_DEVELOPMENT = "the numbers of the development study in full"


def predictions(validation: Mapping[str, Any]) -> Paragraph:
    """Where the bundle comes from, and how its models answer."""
    bundle = validation["bundle"]
    training = bundle["training"]
    # Older bundles count what was held out, which in a hold-out is not what was trained on.
    counts, whose = training, "its out-of-fold predictions are of"
    if "run" in training:
        counts, whose = training["run"], "its folds hold"
    sentences = [
        f"The bundle (hash `{bundle['hash']}`) comes from a training on a source of the kind "
        f"`{training['source']}`; {whose} {cohort(counts)}, "
        f"{count(counts['positives'])} of them positive."
    ]
    for key, model in bundle["models"].items():
        calibration = model["calibration"]
        after = (
            f", calibrated by {CALIBRATIONS.get(calibration['kind'], calibration['kind'])} that "
            f"had been fitted on the out-of-fold predictions of the training"
            if calibration
            else ""
        )
        sentences.append(
            f"The answer of `{key}` is the mean of its {model['fold_models']} fold models{after}."
        )
    return Paragraph(
        "Predictions",
        tuple(sentences),
        claim={"22": "a reference to the architecture and its training", "27": ""},
        tripod={"12g": "", "21": _DEVELOPMENT},
    )


def recalibration_part(validation: Mapping[str, Any]) -> Paragraph:
    """Which patients recalibrations and thresholds were fitted on."""
    part = validation["recalibration"]
    if not part:
        return Paragraph("Part for recalibration", ())
    inner, outer = part["inner"], part["outer"]
    return Paragraph(
        "Part for recalibration",
        (
            f"A share of {part['share']:g} of the patients, drawn at random (seed {part['seed']}) "
            f"within those with and those without a positive finding, was set aside: "
            f"{cohort(inner)}, {count(inner['positives'])} positive. Recalibrations and "
            f"thresholds were fitted on them; all figures are of the other {cohort(outer)}, "
            f"{count(outer['positives'])} positive.",
        ),
        claim={"19": "", "20": ""},
        tripod={"12f": "", "21": _DEVELOPMENT},
    )
