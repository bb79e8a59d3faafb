"""What every evaluation leaves behind: metrics.json, comparison.csv, the report and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nodulenet.atomic import write_json, write_text
from nodulenet.report.content import ReportContent
from nodulenet.report.html import write_report
from nodulenet.report.sharing import Sharing


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        path: Of the page; ``metrics.json`` and ``figures/`` lie beside it.
        metrics: Of :func:`nodulenet.evaluation.summary.summarize`, with ``label`` (what it
            means) and ``not_available`` (``{"label", "why"}`` of what stands in no table).
        notes: What it lacks and what was tolerated.
        failures: How many failures earlier stages listed.
    """

    path: Path
    metrics: dict[str, Any]
    notes: list[str]
    failures: int


def publish(folder: Path, content: ReportContent, *, sharing: Sharing | None = None) -> Report:
    """Write ``metrics.json``, ``comparison.csv``, ``figures/`` and ``report.html``.

    Each file is whole or not there at all.

    Args:
        folder: Where.
        content: What is reported.
        sharing: Replaces ids and paths in all of it. Defaults to nothing.

    Raises:
        PredictionsError: the predictions have no outer rows.
    """
    if sharing is not None:
        content = sharing.content(content)
    metrics = dict(content.metrics) | {
        "label": content.label,
        "not_available": [dict(missing) for missing in content.not_available],
    }
    write_json(folder / "metrics.json", metrics)
    # Whole numbers with a gap would be written as 3.0; object keeps them as they are.
    table = pd.DataFrame(metrics["overview"]["rows"], dtype=object)
    table.insert(2, "reference", metrics["overview"]["reference"])
    write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    path = write_report(folder / "report.html", content)
    return Report(path, metrics, [*metrics["notes"], *content.warnings], len(content.failures))
