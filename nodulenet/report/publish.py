"""What every evaluation leaves behind: metrics.json, the report and its figures, in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodulenet.atomic import write_json
from nodulenet.report.content import ReportContent
from nodulenet.report.html import write_report


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        path: Of the page; ``metrics.json`` and ``figures/`` lie beside it.
        metrics: Of :func:`nodulenet.evaluation.summary.summarize`.
        notes: What it lacks and what was tolerated.
        failures: How many failures earlier stages listed.
    """

    path: Path
    metrics: dict[str, Any]
    notes: list[str]
    failures: int


def publish(folder: Path, content: ReportContent) -> Report:
    """Write ``metrics.json``, ``figures/`` and ``report.html``, each whole or not at all.

    Raises:
        PredictionsError: the predictions have no outer rows.
    """
    metrics = dict(content.metrics)
    write_json(folder / "metrics.json", metrics)
    path = write_report(folder / "report.html", content)
    return Report(path, metrics, [*metrics["notes"], *content.warnings], len(content.failures))
