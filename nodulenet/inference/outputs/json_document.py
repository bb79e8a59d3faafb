"""Answers as JSON: the table, and what its numbers mean."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodulenet.atomic import write_text
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.sources import Sources, Written

FILE = "answers.json"


def json_text(answers: Answers) -> str:
    """An indented JSON document; what is not known is null.

    Keys: ``meaning``, ``prevalence`` (that the probabilities hold for), ``training_prevalence``,
    ``model``, ``use``, ``answers`` (one object a finding, full precision), ``failures``,
    ``warnings``, then ``label_meaning``, ``class_names`` (negative, positive), ``bundle``,
    ``operating_point`` and ``miss_rate``.
    """
    point = answers.operating_point
    content: dict[str, Any] = {
        "meaning": answers.meaning,
        "prevalence": answers.prevalence,
        "training_prevalence": answers.bundle.get("training_prevalence", answers.prevalence),
        "model": answers.model,
        "use": "research use only",
        "answers": json.loads(answers.table.to_json(orient="records", double_precision=15)),
        "failures": answers.failures,
        "warnings": list(answers.warnings),
        "label_meaning": answers.label_meaning,
        "class_names": list(answers.class_names),
        "bundle": answers.bundle,
        "operating_point": None if point is None else asdict(point),
        "miss_rate": answers.miss_rate,
    }
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def write_answers(answers: Answers, folder: Path, _sources: Sources) -> Written:
    """Writes ``answers.json``."""
    target = folder / FILE
    write_text(target, json_text(answers) + "\n")
    return Written((target,))


def _finite(value: Any) -> Any:
    """The value with null where a number is NaN or infinite, which JSON has no words for."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
