"""``methods.md``: all paragraphs, then the tables of both guidelines."""

from __future__ import annotations

from pathlib import Path

from nodulenet.atomic import write_text
from nodulenet.report.methods.checklists import checklist_lines, item_tag
from nodulenet.report.methods.data import data, preprocessing, reference_standard
from nodulenet.report.methods.design import design, independence, partitions
from nodulenet.report.methods.external import predictions, recalibration_part
from nodulenet.report.methods.facts import MethodsFacts
from nodulenet.report.methods.paragraph import Paragraph
from nodulenet.report.methods.records import exclusions, software
from nodulenet.report.methods.statistics import (
    baselines,
    calibration,
    comparisons,
    discrimination,
    froc,
    operating_points,
    results,
    subgroups,
)
from nodulenet.report.methods.training import models, stacks, training
from nodulenet.report.sharing import Sharing


def write_methods(path: str | Path, facts: MethodsFacts, *, sharing: Sharing | None = None) -> Path:
    """Write :func:`methods_text`, whole or not at all; ``sharing`` replaces ids and paths in it."""
    target, text = Path(path), methods_text(facts)
    if sharing is not None:
        text = "\n".join(sharing.text(line) for line in text.split("\n"))
    write_text(target, text)
    return target


def methods_text(facts: MethodsFacts) -> str:
    """The methods of a run or of an external validation, as Markdown.

    After each paragraph stand the checklist items that it answers; ``*`` marks those it answers
    in part. The tables at the end go through all items of both guidelines.

    Args:
        facts: What is known.

    Returns:
        Markdown, ending with a line break.

    Source: CLAIM 2024 update, doi:10.1148/ryai.240300; TRIPOD+AI, doi:10.1136/bmj-2023-078378.
    """
    paragraphs = [p for p in _paragraphs(facts) if p.sentences]
    what = "external validation" if facts.validation else "development and internal validation"
    lines = [
        f"# Methods: {facts.config.name}",
        "",
        f"Draft for a paper on the {what} of a model, written by nodulenet from its own records. "
        f"It says what was done, not why: check it, shorten it, and add what the tables at the "
        f"end leave to the authors. Research use only.",
        "",
    ]
    for paragraph in paragraphs:
        lines += [f"## {paragraph.title}", "", " ".join(paragraph.sentences), ""]
        tag = item_tag(paragraph)
        if tag:
            lines += [tag, ""]
    lines += checklist_lines(paragraphs, external=bool(facts.validation))
    return "\n".join(lines) + "\n"


def _paragraphs(facts: MethodsFacts) -> list[Paragraph]:
    first = [
        design(facts),
        data(facts),
        reference_standard(facts),
        preprocessing(facts.config),
    ]
    if facts.validation:
        middle = [
            independence(facts),
            predictions(facts.validation),
            recalibration_part(facts.validation),
        ]
    else:
        middle = [partitions(facts), models(facts), training(facts), stacks(facts)]
    return [
        *first,
        *middle,
        discrimination(facts.metrics),
        calibration(facts),
        operating_points(facts),
        comparisons(facts.metrics),
        baselines(facts),
        subgroups(facts.metrics),
        froc(facts.metrics),
        results(facts.metrics),
        software(facts),
        exclusions(facts),
    ]
